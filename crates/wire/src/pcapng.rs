//! The pcapng file format: the numbers of its blocks and options, shared by those who write it and those who read it.
//!
//! Source: draft-ietf-opsawg-pcapng. A file is a row of blocks: type and length (32 bits each), a body padded to
//! 32 bits, the length again.

mod read;
mod write;

pub use read::Comments;
pub(crate) use read::PcapngReader;
pub(crate) use write::{
    Direction, Interface, Packet, Statistics, append_head, append_packet, append_statistics, append_text,
};

/// Bytes that a block has besides its body: type and length before it, length after it.
pub(crate) const BLOCK_FRAME_BYTES: usize = 12;

/// Of an enhanced packet, before its bytes: interface, stamp in two halves, captured and original length.
pub(crate) const PACKET_FIXED_BYTES: usize = 20;
/// Of an interface's statistics, before their options: interface, stamp in two halves.
pub(crate) const STATISTICS_FIXED_BYTES: usize = 12;

/// Types of blocks.
pub(crate) mod block {
    pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(crate) const INTERFACE_DESCRIPTION: u32 = 1;
    /// Obsolete, but found in old files.
    pub(crate) const PACKET: u32 = 2;
    pub(crate) const SIMPLE_PACKET: u32 = 3;
    pub(crate) const INTERFACE_STATISTICS: u32 = 5;
    pub(crate) const ENHANCED_PACKET: u32 = 6;
}

/// The section header's byte order magic: read as this number, the file has the reader's order.
pub(crate) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Codes of options; each is 16 bits of code, 16 of length, and a value padded to 32 bits.
pub(crate) mod option {
    pub(crate) const END: u16 = 0;
    pub(crate) const COMMENT: u16 = 1;
    /// Of a section: the program that wrote it.
    pub(crate) const SECTION_APPLICATION: u16 = 4;
    pub(crate) const INTERFACE_NAME: u16 = 2;
    pub(crate) const INTERFACE_DESCRIPTION: u16 = 3;
    /// One byte: stamps count units of 10 to the minus this many seconds; of 2, where the highest bit is set.
    pub(crate) const INTERFACE_RESOLUTION: u16 = 9;
    /// One byte 0, then the filter as libpcap writes it.
    pub(crate) const INTERFACE_FILTER: u16 = 11;
    /// Seconds to add to every stamp.
    pub(crate) const INTERFACE_OFFSET: u16 = 14;
    /// 32 bits, of which the lowest two say which way the packet went: 1 in, 2 out.
    pub(crate) const PACKET_FLAGS: u16 = 2;
    /// Packets dropped for want of room in the interface.
    pub(crate) const STATISTICS_INTERFACE_DROP: u16 = 5;
    /// Packets that the filter let through.
    pub(crate) const STATISTICS_FILTER_ACCEPT: u16 = 6;
    /// Of these, dropped by the system.
    pub(crate) const STATISTICS_SYSTEM_DROP: u16 = 7;
    /// Of these, delivered to the writer's user: written.
    pub(crate) const STATISTICS_DELIVERED: u16 = 8;
}

/// How a packet begins, as in <https://www.tcpdump.org/linktypes.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkType {
    /// With an Ethernet header.
    Ethernet = 1,
    /// With its IP header.
    Raw = 101,
}
