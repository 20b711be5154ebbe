//! What a capture of a wire held: packets, protocols, TCP conversations and what they cost. Units stand last in every
//! name; absent = not known.
//!
//! Bytes on the wire are those of the packets as captured: link header and padding included, without Ethernet's
//! preamble, checksum and gap. A snapped packet counts with its original length.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a capture file held.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct WireAccount {
    /// `pcap` or `pcapng`.
    pub format: &'static str,
    /// The stamp of the file's first packet, in nanoseconds since the Unix epoch. Times below count from it; those of
    /// packets that stand behind it and are earlier are negative.
    pub start_epoch_ns: Option<i64>,
    /// From the earliest to the latest packet, in ms.
    pub duration_ms: Option<f64>,
    /// Packets and their bytes on the wire.
    pub total: Amount,
    /// Bytes that the file holds of them.
    pub captured_bytes: u64,
    /// Packets that the capture missed, as the file says.
    pub dropped: Option<u64>,
    /// What was captured on.
    pub interfaces: Vec<WireInterface>,
    /// Packets by protocol, most bytes first.
    pub protocols: Vec<ProtocolShare>,
    /// Packets that are parts of a fragmented one. They count as their protocol's, and are not analysed further.
    pub fragments: u64,
    /// Packets of which the capture kept too little to read their headers.
    pub snapped_headers: u64,
    /// Packets that contradict themselves, by what is wrong with them.
    pub malformed: Vec<Malformed>,
    /// TCP conversations, most bytes first.
    pub conversations: Vec<Conversation>,
    /// Packets of TCP conversations beyond those that are followed at once.
    pub not_followed: Amount,
    /// What all of TCP cost.
    pub overhead: Overhead,
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

/// A TCP conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Where TCP's bytes on the wire went (Prakash et al., section V, "Overhead"): each packet is in one class, so that
/// goodput, headers and the classes add up to the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// All packets.
    pub total: Amount,
    /// Payload sent for the first time, in bytes.
    pub goodput_bytes: u64,
    /// Packets that carried it.
    pub goodput_packets: u64,
    /// Their link headers and padding, in bytes.
    pub link_header_bytes: u64,
    /// Their IP headers, in bytes.
    pub ip_header_bytes: u64,
    /// Their TCP headers, in bytes.
    pub tcp_header_bytes: u64,
    /// Packets without payload that only acknowledge, or change the window.
    pub pure_acks: Amount,
    /// Packets without payload that open, close or abort.
    pub handshakes: Amount,
    /// Packets that send something again.
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
