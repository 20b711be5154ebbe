//! What a capture tells of migrations: streams, announcements, services that fell silent, and what is made of them.

use serde::Serialize;

/// What a stream of payload begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamKind {
    /// QEMU's migration stream.
    QemuMigration,
    /// A further channel of one (`multifd`).
    QemuChannel,
    /// Xen's migration stream: that of libxl, of libxc or of XenServer.
    XenMigration,
    /// A network block device, as disks are copied through.
    Nbd,
    /// Libvirt's own protocol, in which migrations may be tunnelled.
    Libvirt,
    /// Encrypted by TLS.
    Tls,
    /// Encrypted by SSH.
    Ssh,
    /// HTTP.
    Http,
}

impl StreamKind {
    /// Whether it is a migration's own.
    #[must_use]
    pub fn is_migration(self) -> bool {
        matches!(self, Self::QemuMigration | Self::QemuChannel | Self::XenMigration)
    }
}

/// Somebody says where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Announcement {
    /// When, in nanoseconds after the file's first packet.
    pub at_ns: i64,
    /// How.
    pub kind: AnnouncementKind,
    /// Its Ethernet address.
    pub mac: String,
    /// Its IP address; RARP tells none.
    pub address: Option<String>,
}

/// How somebody says where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnnouncementKind {
    /// A request or an answer by ARP about its sender itself (RFC 5227).
    GratuitousArp,
    /// A request by RARP about its sender itself, as hypervisors send it for a VM that has moved.
    Rarp,
    /// A neighbor advertisement that nobody asked for (RFC 4861).
    NeighborAdvertisement,
}

/// What answered somebody, and for how long it did not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// As in `ICMP echo`, `TCP port 80`.
    pub what: String,
    /// Whose answers: its IP address.
    pub address: String,
    /// The Ethernet address that they came from, its own or a router's.
    pub mac: Option<String>,
    /// Who asked.
    pub client: String,
    /// Packets to it.
    pub requests: u64,
    /// Packets from it.
    pub answers: u64,
    /// From one request to the next, usually, in ms; where there are none, from one answer to the next.
    pub interval_ms: f64,
    /// From the first request that is not answered yet to an answer, at most, in all but 5 of 100 cases, in ms.
    pub usual_wait_ms: f64,
    /// Its longest silences of two or more requests, in the order of time.
    pub silences: Vec<Silence>,
}

/// A time in which nothing was answered that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The answer before it, or an interval before its first request, if that is later; in nanoseconds after the file's first packet.
    pub begin_ns: i64,
    /// The answer after it; where none came, the last request.
    pub end_ns: i64,
    /// Requests in it.
    pub requests: u64,
    /// Whether no answer came after it.
    pub is_unfinished: bool,
}

/// What looks like a VM's migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireMigration {
    /// What that rests on.
    pub evidence: MigrationEvidence,
    /// From where to where, as in `10.78.0.11` and `10.78.0.12:4444`; absent where only its effects were seen.
    pub hosts: Option<[String; 2]>,
    /// The TCP conversations that carried it, by their numbers.
    pub conversations: Vec<u64>,
    /// Their payload, in bytes.
    pub goodput_bytes: u64,
    /// Its first packet, in ms after the first of its file; absent where only its effects were seen.
    pub begin_ms: Option<f64>,
    /// Its last.
    pub end_ms: Option<f64>,
    /// Who said meanwhile or shortly after that it has moved.
    pub moved: Vec<Moved>,
    /// How many services that might have been gone were asked and answered in these files: without any, an outage is not known.
    pub watched: u64,
    /// For how long what was asked meanwhile did not answer.
    pub outages: Vec<WireOutage>,
}

/// What a migration is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationEvidence {
    /// Its payload begins like QEMU's migration stream.
    QemuStream,
    /// Its payload begins like Xen's migration stream.
    XenStream,
    /// Much went one way for long, and then somebody said that it has moved.
    BulkAndAnnouncement,
    /// Much went one way for long, which may be anything.
    Bulk,
    /// Somebody said that it has moved; how, was not seen.
    Announcement,
}

/// Somebody who said that it has moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// Its Ethernet address.
    pub mac: String,
    /// Its IP addresses, as far as they are known.
    pub addresses: Vec<String>,
    /// How it said so.
    pub kinds: Vec<AnnouncementKind>,
    /// How often.
    pub announcements: u64,
    /// The first time, in ms as [`WireMigration::begin_ms`].
    pub first_ms: f64,
    /// The last time.
    pub last_ms: f64,
    /// The file in which that is, if it is another.
    pub file: Option<String>,
}

/// For how long a service was gone, as seen in a capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireOutage {
    /// As in `ICMP echo`, `TCP port 80`.
    pub what: String,
    /// Whose.
    pub address: String,
    /// Who asked.
    pub client: String,
    /// From its begin to its end, less one interval, in ms.
    pub outage_ms: f64,
    /// The last answer before it, or an interval before the first request in it, if that is later; in ms as
    /// [`WireMigration::begin_ms`].
    pub begin_ms: f64,
    /// The first after it; where none came, the last request.
    pub end_ms: f64,
    /// As [`Service::interval_ms`].
    pub interval_ms: f64,
    /// The longest silence in the second before the migration, less one interval, in ms; where its begin is not known, the longest other one.
    /// Absent where there is none among the longest.
    pub usual_ms: Option<f64>,
    /// Requests meanwhile.
    pub requests: u64,
    /// Whether no answer came after it: it is then at least as long as it seems.
    pub is_unfinished: bool,
    /// The file in which that is, if it is another.
    pub file: Option<String>,
}
