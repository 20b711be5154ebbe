//! Reads the headers of a packet: link, VLAN, IP, TCP. Tells what contradicts itself from what was merely not captured.

mod ip;
mod tcp;

use std::fmt;
use std::net::SocketAddr;

use crate::link_type;
use crate::packets::Packet;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;
/// IEEE 802.1Q, 802.1ad, and what older bridges use for the outer tag.
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// More tags than any network stacks.
const MOST_TAGS: usize = 8;

/// What a packet's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The innermost protocol that was found.
    pub(crate) protocol: Protocol,
    /// Whether it is a part of a fragmented packet.
    pub(crate) is_fragment: bool,
    pub(crate) segment: Option<Segment>,
    /// Why there is no more.
    pub(crate) stopped: Option<Stopped>,
}

/// Why headers were not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The capture kept too little.
    Snapped,
    /// This is wrong with the packet.
    Malformed(&'static str),
}

/// A protocol above the link, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Arp,
    /// IP whose header could not be read.
    Ip,
    /// What an IP packet carries, by its number.
    OverIp(u8),
    Ether(u16),
    /// IEEE 802.3 with a length instead of a type, as spanning tree has it.
    Llc,
    /// A link whose packets are not understood, or whose header could not be read.
    Link(u32),
}

/// A TCP segment's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    /// As in the header: not scaled.
    pub(crate) window: u16,
    pub(crate) window_scale: Option<u8>,
    /// The end of the highest block beyond a hole that the sender says it has.
    pub(crate) sack_end: Option<u32>,
    pub(crate) payload_bytes: u32,
    pub(crate) ip_header_bytes: u32,
    pub(crate) tcp_header_bytes: u32,
}

/// A TCP segment's flags (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }

    pub(crate) fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    pub(crate) fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }

    pub(crate) fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// Reads a packet's headers.
pub(crate) fn decode(packet: &Packet<'_>) -> Frame {
    let mut frame =
        Frame { protocol: Protocol::Link(packet.link), is_fragment: false, segment: None, stopped: None };
    let bytes = Bytes { captured: packet.data, wire_bytes: packet.original_bytes as usize };
    frame.stopped = link(packet.link, bytes, &mut frame).err();
    frame
}

fn link(link: u32, bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    match link {
        link_type::ETHERNET => ethernet(bytes, frame),
        // The type is where Ethernet has it, behind other things.
        link_type::LINUX_SLL => typed(bytes.u16(14)?, bytes.after(16)?, frame),
        link_type::LINUX_SLL2 => typed(bytes.u16(0)?, bytes.after(20)?, frame),
        // Four bytes of address family, whose numbers differ between systems: the IP header tells its version itself.
        link_type::NULL | link_type::LOOP => ip::ip(bytes.after(4)?, frame),
        link_type::RAW | link_type::IPV4 | link_type::IPV6 => ip::ip(bytes, frame),
        link if link_type::RAW_OLD.contains(&link) => ip::ip(bytes, frame),
        _ => Ok(()),
    }
}

fn ethernet(bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    typed(bytes.u16(12)?, bytes.after(14)?, frame)
}

fn typed(mut ethertype: u16, mut bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    for _ in 0..MOST_TAGS {
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            break;
        }
        ethertype = bytes.u16(2)?;
        bytes = bytes.after(4)?;
    }
    match ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => ip::ip(bytes, frame),
        ETHERTYPE_ARP => {
            frame.protocol = Protocol::Arp;
            Ok(())
        }
        // Up to 1500 it is a length (IEEE 802.3).
        0..=1500 => {
            frame.protocol = Protocol::Llc;
            Ok(())
        }
        other => {
            frame.protocol = Protocol::Ether(other);
            Ok(())
        }
    }
}

/// The rest of a packet: what was captured of it, and how long it was on the wire.
#[derive(Debug, Clone, Copy)]
struct Bytes<'a> {
    captured: &'a [u8],
    wire_bytes: usize,
}

impl<'a> Bytes<'a> {
    fn first<const N: usize>(self, at: usize) -> Result<[u8; N], Stopped> {
        match self.captured.get(at..).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => Ok(*bytes),
            None => Err(self.lacks(at + N)),
        }
    }

    fn u8(self, at: usize) -> Result<u8, Stopped> {
        self.first::<1>(at).map(|[byte]| byte)
    }

    fn u16(self, at: usize) -> Result<u16, Stopped> {
        self.first(at).map(u16::from_be_bytes)
    }

    fn u32(self, at: usize) -> Result<u32, Stopped> {
        self.first(at).map(u32::from_be_bytes)
    }

    /// What follows after `amount` bytes.
    fn after(self, amount: usize) -> Result<Bytes<'a>, Stopped> {
        let captured = self.captured.get(amount..).ok_or_else(|| self.lacks(amount))?;
        Ok(Bytes { captured, wire_bytes: self.wire_bytes - amount })
    }

    /// No more than `amount` bytes; the rest is not part of this packet.
    fn up_to(self, amount: usize) -> Bytes<'a> {
        Bytes {
            captured: &self.captured[..self.captured.len().min(amount)],
            wire_bytes: self.wire_bytes.min(amount),
        }
    }

    /// Why there are not `amount` bytes.
    fn lacks(self, amount: usize) -> Stopped {
        if self.wire_bytes < amount { Stopped::Malformed("a header is cut") } else { Stopped::Snapped }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("ARP"),
            Self::Ip => f.write_str("IP"),
            Self::OverIp(1) => f.write_str("ICMP"),
            Self::OverIp(2) => f.write_str("IGMP"),
            Self::OverIp(6) => f.write_str("TCP"),
            Self::OverIp(17) => f.write_str("UDP"),
            Self::OverIp(47) => f.write_str("GRE"),
            Self::OverIp(50) => f.write_str("ESP"),
            Self::OverIp(58) => f.write_str("ICMPv6"),
            Self::OverIp(132) => f.write_str("SCTP"),
            Self::OverIp(number) => write!(f, "IP protocol {number}"),
            Self::Ether(0x88cc) => f.write_str("LLDP"),
            Self::Ether(number) => write!(f, "ethertype {number:#06x}"),
            Self::Llc => f.write_str("LLC"),
            Self::Link(number) => f.write_str(&link_type::name(*number)),
        }
    }
}

#[cfg(test)]
mod tests;
