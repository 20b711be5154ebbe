//! Reads pcap files: a header, then packets, in either byte order, with stamps in micro- or nanoseconds.
//!
//! Source: draft-ietf-opsawg-pcap.

use dunlin_record::WireInterface;

use crate::input::{Endian, Input, MOST_BLOCK_BYTES};
use crate::packets::Packet;
use crate::pcapng::Comments;
use crate::{ReadError, ReadResult, link_type};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// A header's bytes after the magic number.
const HEADER_BYTES: usize = 20;
const RECORD_BYTES: usize = 16;
/// No writer keeps more of a packet, whatever it says in the header (libpcap: `MAXIMUM_SNAPLEN`).
const MOST_SNAP_BYTES: u32 = 262_144;

/// The byte order and the length of a stamp's unit in nanoseconds that a magic number tells.
pub(crate) fn recognize(magic: [u8; 4]) -> Option<(Endian, i64)> {
    [Endian::Little, Endian::Big].into_iter().find_map(|endian| match endian.u32(magic) {
        MICROSECONDS => Some((endian, 1000)),
        NANOSECONDS => Some((endian, 1)),
        _ => None,
    })
}

/// In which order a packet's two lengths stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    /// Either: what was captured is not longer than the packet was.
    LesserIsCaptured,
}

/// By the file's version, as libpcap has it (`sf-pcap.c`); 543 is DG/UX's.
fn lengths(major: u16, minor: u16) -> Option<Lengths> {
    match (major, minor) {
        (2, 0..=2) | (543, _) => Some(Lengths::OriginalFirst),
        (2, 3) => Some(Lengths::LesserIsCaptured),
        (2, 4) => Some(Lengths::CapturedFirst),
        _ => None,
    }
}

pub(crate) struct PcapReader {
    input: Input,
    endian: Endian,
    unit_ns: i64,
    lengths: Lengths,
    link: u32,
    snap_bytes: u32,
    buffer: Vec<u8>,
}

impl PcapReader {
    /// Goes on behind the magic number.
    pub(crate) fn new(mut input: Input, (endian, unit_ns): (Endian, i64)) -> ReadResult<Self> {
        let header: [u8; HEADER_BYTES] = input.array("the file's header")?;
        let version = |at| endian.u16_at(&header, at).unwrap_or_default();
        let (major, minor) = (version(0), version(2));
        let lengths = lengths(major, minor).ok_or_else(|| ReadError::Damaged {
            offset: 4,
            why: format!("version {major}.{minor} of pcap is not known"),
        })?;
        let snap_bytes = endian.u32_at(&header, 12).unwrap_or_default();
        // The upper bits say how long a frame check sequence is.
        let link = endian.u32_at(&header, 16).unwrap_or_default() & 0xffff;
        Ok(Self { input, endian, unit_ns, lengths, link, snap_bytes, buffer: Vec::new() })
    }

    pub(crate) fn interface(&self) -> WireInterface {
        WireInterface {
            name: None,
            link: link_type::name(self.link),
            snap_bytes: (1..MOST_SNAP_BYTES).contains(&self.snap_bytes).then_some(self.snap_bytes),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.input.offset()
    }

    pub(crate) fn next(&mut self) -> ReadResult<Option<Packet<'_>>> {
        if self.input.is_at_end()? {
            return Ok(None);
        }
        let offset = self.input.offset();
        let record: [u8; RECORD_BYTES] = self.input.array("a packet's header")?;
        let field = |at| self.endian.u32_at(&record, at).unwrap_or_default();
        let (seconds, fraction, first, second) = (field(0), field(4), field(8), field(12));
        let (captured, original) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::OriginalFirst => (second, first),
            Lengths::LesserIsCaptured => (first.min(second), first.max(second)),
        };
        if captured > self.snap_bytes.max(MOST_SNAP_BYTES) || captured as usize > MOST_BLOCK_BYTES {
            let why = format!("a packet of {captured} captured bytes is more than any writer keeps");
            return Err(ReadError::Damaged { offset, why });
        }
        self.input.fill_front(&mut self.buffer, captured as usize, "a packet")?;
        Ok(Some(Packet {
            at_ns: Some((i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.unit_ns).into()),
            interface: 0,
            interfaces: 1,
            link: self.link,
            original_bytes: original.max(captured),
            data: &self.buffer[..captured as usize],
            comments: Comments::NONE,
        }))
    }
}
