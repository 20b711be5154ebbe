//! What a capture of a wire held: packets, protocols, TCP conversations and what they cost. Units stand last in every
//! name; absent = not known.
//!
//! Bytes on the wire are those of the packets as captured: link header and padding included, without Ethernet's
//! preamble, checksum and gap. A snapped packet counts with its original length.

mod migration;

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use migration::{
    Announcement, AnnouncementKind, MigrationEvidence, Moved, Service, Silence, StreamKind, WireMigration,
    WireOutage,
};

/// What a capture file held.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct WireAccount {
    /// `pcap` or `pcapng`.
    pub format: &'static str,
    /// The stamp of the file's first packet, in nanoseconds since the Unix epoch; absent also where these are more than 64 bits,
    /// after the year 2262. Times below count from it; those of packets that stand behind it and are earlier are negative.
    pub start_epoch_ns: Option<i64>,
    /// The earliest packet's time; of a selection, of those in it.
    pub start_ms: Option<f64>,
    /// From the earliest to the latest packet, in ms.
    pub duration_ms: Option<f64>,
    /// Packets and their bytes on the wire. One that was seen on several interfaces counts once.
    pub total: Amount,
    /// Packets of the file that were left out, as asked.
    pub not_selected: u64,
    /// Sights of packets that another interface of the file had seen already. Nothing else counts them.
    pub seen_again: Amount,
    /// Bytes that the file holds of them.
    pub captured_bytes: u64,
    /// Packets that the capture missed, as the file says.
    pub dropped: Option<u64>,
    /// What was captured on.
    pub interfaces: Vec<WireInterface>,
    /// Packets by protocol, most bytes first: the innermost that was found.
    pub protocols: Vec<ProtocolShare>,
    /// Packets by the tunnels that they were in, which were looked into; one in several counts for each.
    pub tunnels: Vec<ProtocolShare>,
    /// Packets by tunnels that were not looked into.
    pub unopened: Vec<ProtocolShare>,
    /// Packets with more tunnels in each other than are looked into.
    pub too_deep: u64,
    /// Packets that are parts of a fragmented one. They count as their protocol's, and are not analysed further.
    pub fragments: u64,
    /// Packets of which the capture kept too little to read their headers.
    pub snapped_headers: u64,
    /// Packets that contradict themselves, by what is wrong with them.
    pub malformed: Vec<Malformed>,
    /// TCP conversations, most bytes first: the biggest, where there are more than are kept.
    pub conversations: Vec<Conversation>,
    /// TCP conversations beyond those.
    pub unlisted: Unlisted,
    /// What all of TCP cost, unlisted conversations included.
    pub overhead: Overhead,
    /// TCP payload that was sent, as what followed it or its acknowledgement says, and is not in the file, in bytes: all
    /// amounts are too small by at least that.
    pub unseen_bytes: u64,
    /// Who said where it is: VMs that have moved do, and hosts that come up. Where there are very many, the last of each, and
    /// the latest of the others.
    pub announcements: Vec<Announcement>,
    /// What answered others, and for how long it did not: the most asked, where there are very many.
    pub services: Vec<Service>,
    /// All packets over time.
    pub graph: WireGraph,
    /// Comments, in the order of the file.
    pub marks: Vec<WireMark>,
    /// Why the file was not read to its end.
    pub broken_off: Option<BrokenOff>,
}

/// Packets and their bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// How many packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
}

/// An interface as a capture file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct WireInterface {
    /// Its name; absent in files that do not say it.
    pub name: Option<String>,
    /// How its packets begin, as in `Ethernet`.
    pub link: String,
    /// At most so many bytes of each packet were kept; absent where all were.
    pub snap_bytes: Option<u32>,
}

/// One protocol's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProtocolShare {
    /// As in `TCP`, `ARP`, `ethertype 0x88cc`.
    pub protocol: String,
    /// How much.
    pub amount: Amount,
}

/// Packets that contradict themselves in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Malformed {
    /// What is wrong with them.
    pub what: &'static str,
    /// How many.
    pub packets: u64,
    /// The number of the first in the file, from 1.
    pub first_packet: u64,
}

/// TCP conversations that are not listed one by one, so that memory stays bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Unlisted {
    /// How many. One that was let go and went on counts anew.
    pub conversations: u64,
    /// Their packets.
    pub total: Amount,
    /// Of these, how many were let go before they were over: the smallest, where too many were open at once.
    pub let_go: u64,
    /// None of these had more bytes on the wire than this by then; so each that has more is listed.
    pub let_go_bytes: u64,
}

/// A TCP conversation.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Conversation {
    /// Its number in the order of its first packet, from 1.
    pub number: u64,
    /// Who opened it, or where that was not seen, who sent first: address and port.
    pub a: String,
    /// The other end.
    pub b: String,
    /// Its first packet, in ms after the file's first.
    pub start_ms: f64,
    /// Its last packet, in ms after the file's first.
    pub end_ms: f64,
    /// From the opening to its last acknowledgement, in ms; absent where the handshake was not seen.
    pub handshake_rtt_ms: Option<f64>,
    /// So many bytes on the wire of its begin, at most, may have been let go ([`Unlisted::let_go_bytes`]); 0 where it is whole.
    pub may_lack_bytes: u64,
    /// What `a` sent.
    pub from_a: Flow,
    /// What `b` sent.
    pub from_b: Flow,
    /// What both directions cost.
    pub overhead: Overhead,
    /// Packets over time.
    pub graph: ConversationGraph,
}

/// One direction of a TCP conversation.
///
/// The analysis counts are those of Wireshark's TCP analysis (User's Guide, "TCP Analysis"); retransmissions that are
/// neither fast nor spurious are told apart further.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Flow {
    /// All packets.
    pub total: Amount,
    /// Payload, retransmissions included, in bytes.
    pub payload_bytes: u64,
    /// Packets that open a connection.
    pub syns: u64,
    /// Packets that close their direction.
    pub fins: u64,
    /// Packets that abort the connection.
    pub resets: u64,
    /// What was sent again, by what made it so.
    pub retransmissions: Retransmissions,
    /// Segments that came shortly after later ones.
    pub out_of_order: u64,
    /// Acknowledgements that say nothing new.
    pub duplicate_acks: u64,
    /// Packets that say that no more can be taken.
    pub zero_windows: u64,
    /// Segments that fill what the other end can take.
    pub windows_full: u64,
    /// Packets that only ask whether the other end is there.
    pub keep_alives: u64,
    /// Segments before which one was not seen: lost on the way here, or missed by the capture.
    pub gaps: u64,
    /// Acknowledgements of what was not seen: missed by the capture.
    pub acks_of_unseen: u64,
    /// Payload that was sent, as what followed it or its acknowledgement says, and is not in the file, in bytes. At least: what
    /// came before the first or after the last segment in it is not known.
    pub unseen_bytes: u64,
    /// What its payload begins like; absent where that is not known or was not kept.
    pub begins_as: Option<StreamKind>,
    /// From a segment to its acknowledgement. Only exact ones count, and none of what was sent twice (Karn).
    pub rtt_ms: Option<RttMs>,
    /// What it cost.
    pub overhead: Overhead,
}

/// What was sent again, by what made it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Retransmissions {
    /// At once after two or more duplicate acknowledgements of the same byte.
    pub fast: u64,
    /// Below what the other end says it has beyond a hole (selective acknowledgements).
    pub recovery: u64,
    /// Neither: after a time-out, or as a probe for a lost tail.
    pub timeout: u64,
    /// Of what had been acknowledged already.
    pub spurious: u64,
}

impl Retransmissions {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.fast + self.recovery + self.timeout + self.spurious
    }
}

/// Round-trip times, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RttMs {
    /// How many.
    pub samples: u64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// Where TCP's bytes on the wire went (Prakash et al., section V, "Overhead"). Each packet is in one class, and so is each
/// byte, so that goodput, headers and the classes add up to the total.
///
/// Payload is goodput where it is seen for the first time, byte by byte, whatever its packet is taken for by
/// [`Flow::retransmissions`]: what was lost before the capture and sent again counts here once, and of a segment that repeats
/// some bytes and brings others, each is where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// All packets.
    pub total: Amount,
    /// Payload seen for the first time, in bytes.
    pub goodput_bytes: u64,
    /// Packets that carried some of it.
    pub goodput_packets: u64,
    /// Their link headers, tunnels' headers and padding, in bytes.
    pub link_header_bytes: u64,
    /// Their IP headers, in bytes.
    pub ip_header_bytes: u64,
    /// Their TCP headers, in bytes.
    pub tcp_header_bytes: u64,
    /// Packets without payload that only acknowledge, or change the window.
    pub pure_acks: Amount,
    /// Packets without payload that open, close or abort.
    pub handshakes: Amount,
    /// Packets that only repeat; the bytes also of what the others repeat.
    pub retransmissions: Amount,
}

/// Packets over time: column by column, ticks without packets left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct WireGraph {
    /// A tick's length, in ms: that asked for, or doubled as often as was needed to bound the ticks' number.
    pub tick_ms: f64,
    /// Number of each tick: it begins so many lengths after the file's first packet.
    pub tick: Vec<i64>,
    /// Packets in it.
    pub packets: Vec<u64>,
    /// Their bytes on the wire.
    pub wire_bytes: Vec<u64>,
}

/// A conversation's packets over time, as in [`WireGraph`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ConversationGraph {
    /// A tick's length, in ms.
    pub tick_ms: f64,
    /// Number of each tick.
    pub tick: Vec<i64>,
    /// Packets that `a` sent in it.
    pub a_packets: Vec<u64>,
    /// Their bytes on the wire.
    pub a_wire_bytes: Vec<u64>,
    /// Packets that `b` sent in it.
    pub b_packets: Vec<u64>,
    /// Their bytes on the wire.
    pub b_wire_bytes: Vec<u64>,
}

/// A comment in a capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireMark {
    /// Its time, in ms after the file's first packet: that of what it is on, or what it says itself, as those of Dunlin do.
    pub at_ms: f64,
    /// The comment.
    pub text: String,
}

/// Why a file was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenOff {
    /// Where reading ended, in bytes from the file's begin (uncompressed).
    pub offset: u64,
    /// Why.
    pub why: String,
}

impl Amount {
    /// Counts a packet.
    pub fn add(&mut self, wire_bytes: u64) {
        self.packets += 1;
        self.wire_bytes += wire_bytes;
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
    }
}

impl Overhead {
    /// All bytes but the payload that was sent for the first time, in percent of all; `None` of nothing.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let all = self.total.wire_bytes;
        let other = all.saturating_sub(self.goodput_bytes);
        (all > 0).then(|| 100.0 * other as f64 / all as f64)
    }

    /// Headers of the packets that carried that payload, link headers and padding included, in bytes.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        self.link_header_bytes + self.ip_header_bytes + self.tcp_header_bytes
    }
}

impl Unlisted {
    /// Counts one.
    pub fn add(&mut self, total: Amount) {
        self.conversations += 1;
        self.total += total;
    }
}

impl AddAssign for Overhead {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.goodput_bytes += other.goodput_bytes;
        self.goodput_packets += other.goodput_packets;
        self.link_header_bytes += other.link_header_bytes;
        self.ip_header_bytes += other.ip_header_bytes;
        self.tcp_header_bytes += other.tcp_header_bytes;
        self.pure_acks += other.pure_acks;
        self.handshakes += other.handshakes;
        self.retransmissions += other.retransmissions;
    }
}

impl AddAssign for Retransmissions {
    fn add_assign(&mut self, other: Self) {
        self.fast += other.fast;
        self.recovery += other.recovery;
        self.timeout += other.timeout;
        self.spurious += other.spurious;
    }
}
