//! Writes pcapng: the blocks of a file with one section and one interface, appended to bytes in memory.

use super::{BLOCK_FRAME_BYTES, BYTE_ORDER_MAGIC, LinkType, block, option};

/// The only interface.
const INTERFACE_ID: u32 = 0;
/// Stamps are in nanoseconds.
const RESOLUTION: u8 = 9;

/// What packets were captured on. Texts may be empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) comment: &'a str,
    /// As libpcap writes it.
    pub(crate) filter: &'a str,
    pub(crate) link_type: LinkType,
    pub(crate) snap_bytes: u32,
}

/// Which way a packet went, as seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In = 1,
    Out = 2,
}

/// A packet, or its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Nanoseconds since the Unix epoch.
    pub(crate) epoch_ns: i64,
    pub(crate) original_bytes: u32,
    /// What was kept, in pieces.
    pub(crate) pieces: [&'a [u8]; 3],
    pub(crate) direction: Direction,
}

/// What became of an interface's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statistics<'a> {
    /// Nanoseconds since the Unix epoch.
    pub(crate) epoch_ns: i64,
    /// Let through by the filter.
    pub(crate) accepted: u64,
    /// Of these, dropped by the system.
    pub(crate) dropped: u64,
    /// Of these, written.
    pub(crate) written: u64,
    /// May be empty.
    pub(crate) comment: &'a str,
}

/// Begins a file.
pub(crate) fn append_head(to: &mut Vec<u8>, interface: &Interface<'_>) {
    append_block(to, block::SECTION_HEADER, |body| {
        body.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0; a section of unknown length.
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&(-1_i64).to_le_bytes());
        append_text(body, option::SECTION_APPLICATION, concat!("Dunlin ", env!("CARGO_PKG_VERSION")));
        append_option(body, option::END, &[]);
    });
    append_block(to, block::INTERFACE_DESCRIPTION, |body| {
        body.extend_from_slice(&(interface.link_type as u16).to_le_bytes());
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&interface.snap_bytes.to_le_bytes());
        append_text(body, option::INTERFACE_NAME, interface.name);
        append_text(body, option::INTERFACE_DESCRIPTION, interface.description);
        append_text(body, option::COMMENT, interface.comment);
        append_option(body, option::INTERFACE_RESOLUTION, &[RESOLUTION]);
        if !interface.filter.is_empty() {
            append_text(body, option::INTERFACE_FILTER, &format!("\0{}", interface.filter));
        }
        append_option(body, option::END, &[]);
    });
}

/// Appends a packet.
pub(crate) fn append_packet(to: &mut Vec<u8>, packet: &Packet<'_>) {
    append_block(to, block::ENHANCED_PACKET, |body| {
        let captured: usize = packet.pieces.iter().map(|piece| piece.len()).sum();
        let mut fixed = [0; super::PACKET_FIXED_BYTES];
        fixed[..4].copy_from_slice(&INTERFACE_ID.to_le_bytes());
        fixed[4..12].copy_from_slice(&stamp(packet.epoch_ns));
        fixed[12..16].copy_from_slice(&(captured as u32).to_le_bytes());
        fixed[16..].copy_from_slice(&packet.original_bytes.to_le_bytes());
        body.extend_from_slice(&fixed);
        packet.pieces.iter().for_each(|piece| body.extend_from_slice(piece));
        pad(body, captured);
        append_option(body, option::PACKET_FLAGS, &(packet.direction as u32).to_le_bytes());
        append_option(body, option::END, &[]);
    });
}

/// Appends what became of the interface's packets.
pub(crate) fn append_statistics(to: &mut Vec<u8>, statistics: &Statistics<'_>) {
    append_block(to, block::INTERFACE_STATISTICS, |body| {
        body.extend_from_slice(&INTERFACE_ID.to_le_bytes());
        body.extend_from_slice(&stamp(statistics.epoch_ns));
        for (code, value) in [
            (option::STATISTICS_FILTER_ACCEPT, statistics.accepted),
            (option::STATISTICS_SYSTEM_DROP, statistics.dropped),
            (option::STATISTICS_DELIVERED, statistics.written),
        ] {
            append_option(body, code, &value.to_le_bytes());
        }
        append_text(body, option::COMMENT, statistics.comment);
        append_option(body, option::END, &[]);
    });
}

/// Appends an option that is text, unless it is empty.
pub(crate) fn append_text(to: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        append_option(to, code, text.as_bytes());
    }
}

/// Appends a block whose body is made by `body`.
fn append_block(to: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend_from_slice(&kind.to_le_bytes());
    to.extend_from_slice(&[0; 4]);
    body(to);
    let length = (to.len() - start - 8 + BLOCK_FRAME_BYTES) as u32;
    to[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&length.to_le_bytes());
}

/// A stamp's upper half before its lower one.
fn stamp(epoch_ns: i64) -> [u8; 8] {
    epoch_ns.rotate_left(32).to_le_bytes()
}

fn append_option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Longer ones cannot be told; nobody wants to read them either.
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    to.extend_from_slice(&code.to_le_bytes());
    to.extend_from_slice(&(value.len() as u16).to_le_bytes());
    to.extend_from_slice(value);
    pad(to, value.len());
}

fn pad(to: &mut Vec<u8>, written: usize) {
    to.extend_from_slice(&[0; 3][..written.next_multiple_of(4) - written]);
}
