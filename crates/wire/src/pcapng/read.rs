//! Reads pcapng: sections in either byte order, packets of all three kinds; skips blocks that it does not know.

use std::borrow::Cow;

use dunlin_record::WireInterface;

use super::{BLOCK_FRAME_BYTES, BYTE_ORDER_MAGIC, PACKET_FIXED_BYTES, STATISTICS_FIXED_BYTES, block, option};
use crate::input::{Endian, Input, MOST_BLOCK_BYTES};
use crate::packets::Packet;
use crate::{ReadError, ReadResult, link_type};

const NS_PER_SECOND: u128 = 1_000_000_000;
const US_PER_SECOND: u128 = 1_000_000;
/// A section header's body after the byte order magic: version and section length.
const SECTION_FIXED_BYTES: usize = 12;
/// More than any file has; a file that describes ever more of them shall not fill the memory.
const MOST_INTERFACES: usize = 4096;
/// As many comments on statistics are kept.
const MOST_REMARKS: usize = 1000;

pub(crate) struct PcapngReader {
    input: Input,
    endian: Endian,
    /// Those of the whole file; the current section's begin at `section_start`.
    interfaces: Vec<WireInterface>,
    clocks: Vec<Clock>,
    section_start: usize,
    /// By the last statistics of each interface.
    dropped: Vec<Option<u64>>,
    /// Comments on interfaces' statistics, with their time.
    remarks: Vec<(i128, String)>,
    /// The current block's body.
    buffer: Vec<u8>,
}

/// How an interface's stamps are read, and from where on packets were cut.
#[derive(Debug, Clone, Copy)]
struct Clock {
    link: u32,
    snap_bytes: u32,
    units_per_second: u128,
    offset_s: i64,
}

/// Where a packet lies in the current block's body.
struct PacketPlace {
    interface: u32,
    clock: Clock,
    stamp: Option<u64>,
    captured: usize,
    original: u32,
    start: usize,
    body_bytes: usize,
}

impl PcapngReader {
    /// Goes on behind the first section's block type.
    pub(crate) fn new(input: Input) -> ReadResult<Self> {
        let mut reader = Self {
            input,
            endian: Endian::Little,
            interfaces: Vec::new(),
            clocks: Vec::new(),
            section_start: 0,
            dropped: Vec::new(),
            remarks: Vec::new(),
            buffer: Vec::new(),
        };
        reader.section(0)?;
        Ok(reader)
    }

    pub(crate) fn interfaces(&self) -> &[WireInterface] {
        &self.interfaces
    }

    pub(crate) fn dropped(&self) -> Option<u64> {
        self.dropped.iter().flatten().copied().reduce(u64::saturating_add)
    }

    pub(crate) fn remarks(&self) -> &[(i128, String)] {
        &self.remarks
    }

    pub(crate) fn offset(&self) -> u64 {
        self.input.offset()
    }

    pub(crate) fn next(&mut self) -> ReadResult<Option<Packet<'_>>> {
        let place = loop {
            if self.input.is_at_end()? {
                return Ok(None);
            }
            if let Some(place) = self.block()? {
                break place;
            }
        };
        let end = place.start + place.captured;
        let options = self.buffer.get(end.next_multiple_of(4)..place.body_bytes).unwrap_or_default();
        Ok(Some(Packet {
            at_ns: place.stamp.map(|stamp| place.clock.at_ns(stamp)),
            interface: place.interface,
            interfaces: self.interfaces.len() as u32,
            link: place.clock.link,
            original_bytes: place.original.max(place.captured as u32),
            data: &self.buffer[place.start..end],
            comments: Comments(Options { endian: self.endian, rest: options }),
        }))
    }

    /// Reads a block; tells where its packet is, if it is one.
    fn block(&mut self) -> ReadResult<Option<PacketPlace>> {
        let offset = self.input.offset();
        let kind = self.endian.u32(self.input.array("a block's header")?);
        if kind == block::SECTION_HEADER {
            self.section(offset)?;
            return Ok(None);
        }
        let length = self.input.array("a block's header")?;
        let body_bytes = self.body(offset, length, 8)?;
        let body = &self.buffer[..body_bytes];
        match kind {
            block::INTERFACE_DESCRIPTION => {
                let interface = interface(self.endian, body);
                self.add_interface(offset, interface)?;
                Ok(None)
            }
            block::INTERFACE_STATISTICS => {
                self.statistics(body_bytes);
                Ok(None)
            }
            block::ENHANCED_PACKET | block::PACKET | block::SIMPLE_PACKET => {
                self.packet(kind, offset, body_bytes).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A section header, from its length on.
    fn section(&mut self, offset: u64) -> ReadResult<()> {
        let length = self.input.array("a section's header")?;
        let magic = self.input.array("a section's header")?;
        self.endian = [Endian::Little, Endian::Big]
            .into_iter()
            .find(|endian| endian.u32(magic) == BYTE_ORDER_MAGIC)
            .ok_or_else(|| damaged(offset, "a section does not say its byte order"))?;
        let body_bytes = self.body(offset, length, 12)?;
        if body_bytes < SECTION_FIXED_BYTES {
            return Err(damaged(offset, "a section's header is too short"));
        }
        let major = self.endian.u16_at(&self.buffer, 0).unwrap_or_default();
        if major != 1 {
            return Err(damaged(offset, format!("version {major} of pcapng is not known")));
        }
        self.section_start = self.interfaces.len();
        Ok(())
    }

    /// Reads what is left of a block of which `read` bytes were read, and returns the length of that without the frame.
    fn body(&mut self, offset: u64, length: [u8; 4], read: usize) -> ReadResult<usize> {
        let length = self.endian.u32(length) as usize;
        if length < BLOCK_FRAME_BYTES.max(read + 4) || !length.is_multiple_of(4) || length > MOST_BLOCK_BYTES
        {
            return Err(damaged(offset, format!("a block cannot be {length} bytes long")));
        }
        let body_bytes = length - read - 4;
        self.input.fill_front(&mut self.buffer, body_bytes, "a block")?;
        let again = self.endian.u32(self.input.array("a block")?) as usize;
        if again != length {
            return Err(damaged(
                offset,
                format!("a block begins with length {length} and ends with {again}"),
            ));
        }
        Ok(body_bytes)
    }

    fn add_interface(
        &mut self,
        offset: u64,
        interface: Result<(WireInterface, Clock), &'static str>,
    ) -> ReadResult<()> {
        let (interface, clock) = interface.map_err(|why| damaged(offset, why))?;
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(damaged(offset, format!("it describes more than {MOST_INTERFACES} interfaces")));
        }
        self.interfaces.push(interface);
        self.clocks.push(clock);
        self.dropped.push(None);
        Ok(())
    }

    /// Counters that only grow, so that the last ones hold. What cannot be read of them is not known, and no more.
    fn statistics(&mut self, body_bytes: usize) {
        let body = &self.buffer[..body_bytes];
        let Some(index) = self.endian.u32_at(body, 0) else { return };
        let index = self.section_start.saturating_add(index as usize);
        let (Some(clock), Some(dropped)) = (self.clocks.get(index), self.dropped.get_mut(index)) else {
            return;
        };
        let options = body.get(STATISTICS_FIXED_BYTES..).unwrap_or_default();
        let count = |code| {
            let value = find_option(self.endian, options, code)?.first_chunk()?;
            Some(self.endian.u64(*value))
        };
        let counts = [count(option::STATISTICS_INTERFACE_DROP), count(option::STATISTICS_SYSTEM_DROP)];
        *dropped = counts.into_iter().flatten().reduce(u64::saturating_add);
        let stamp = self.endian.u32_at(body, 4).zip(self.endian.u32_at(body, 8));
        let Some(at_ns) = stamp.map(|(high, low)| clock.at_ns(u64::from(high) << 32 | u64::from(low))) else {
            return;
        };
        let room = MOST_REMARKS.saturating_sub(self.remarks.len());
        let comments = Comments(Options { endian: self.endian, rest: options }).take(room);
        self.remarks.extend(comments.map(|text| (at_ns, text.into_owned())));
    }

    fn packet(&self, kind: u32, offset: u64, body_bytes: usize) -> ReadResult<PacketPlace> {
        let body = &self.buffer[..body_bytes];
        let too_short = || damaged(offset, "a packet's block is too short");
        let field = |at| self.endian.u32_at(body, at).ok_or_else(too_short);
        let interface = match kind {
            block::ENHANCED_PACKET => field(0)? as usize,
            block::PACKET => usize::from(self.endian.u16_at(body, 0).ok_or_else(too_short)?),
            _ => 0,
        };
        let index = self.section_start.saturating_add(interface);
        let clock = *self.clocks.get(index).ok_or_else(|| {
            damaged(offset, format!("a packet is of interface {interface}, which is not described"))
        })?;
        let (stamp, captured, original, start) = if kind == block::SIMPLE_PACKET {
            let original = field(0)?;
            let room = body_bytes - 4;
            let snap = if clock.snap_bytes == 0 { u32::MAX } else { clock.snap_bytes };
            (None, (original.min(snap) as usize).min(room), original, 4)
        } else {
            let stamp = u64::from(field(4)?) << 32 | u64::from(field(8)?);
            (Some(stamp), field(12)? as usize, field(16)?, PACKET_FIXED_BYTES)
        };
        if captured > body_bytes.saturating_sub(start) {
            return Err(damaged(
                offset,
                format!("a packet of {captured} captured bytes is longer than its block"),
            ));
        }
        Ok(PacketPlace { interface: index as u32, clock, stamp, captured, original, start, body_bytes })
    }
}

impl Clock {
    fn at_ns(&self, stamp: u64) -> i128 {
        let stamp = u128::from(stamp);
        let ns = match self.units_per_second {
            // The usual ones need no division of 128 bits.
            NS_PER_SECOND => stamp,
            US_PER_SECOND => stamp * (NS_PER_SECOND / US_PER_SECOND),
            units_per_second => stamp * NS_PER_SECOND / units_per_second,
        };
        // 64 bits of seconds in nanoseconds are less than 2^94.
        ns.cast_signed() + i128::from(self.offset_s) * NS_PER_SECOND.cast_signed()
    }
}

fn interface(endian: Endian, body: &[u8]) -> Result<(WireInterface, Clock), &'static str> {
    let too_short = "an interface's description is too short";
    let link = u32::from(endian.u16_at(body, 0).ok_or(too_short)?);
    let snap_bytes = endian.u32_at(body, 4).ok_or(too_short)?;
    let options = body.get(8..).unwrap_or_default();
    let units_per_second =
        match find_option(endian, options, option::INTERFACE_RESOLUTION).and_then(<[u8]>::first) {
            None => 1_000_000,
            Some(&power) if power & 0x80 == 0 => {
                10_u128.checked_pow(power.into()).ok_or("an interface's stamps are finer than can be told")?
            }
            Some(&power) => 1_u128 << (power & 0x7f),
        };
    let offset_s = find_option(endian, options, option::INTERFACE_OFFSET)
        .and_then(|value| value.first_chunk())
        .map_or(0, |value| endian.u64(*value).cast_signed());
    let name = find_option(endian, options, option::INTERFACE_NAME)
        .map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
    let interface = WireInterface {
        name,
        link: link_type::name(link),
        snap_bytes: (1..262_144).contains(&snap_bytes).then_some(snap_bytes),
    };
    Ok((interface, Clock { link, snap_bytes, units_per_second, offset_s }))
}

/// The value of the first option of this code.
fn find_option(endian: Endian, options: &[u8], wanted: u16) -> Option<&[u8]> {
    Options { endian, rest: options }.find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

/// Options, as far as they make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Options<'a> {
    endian: Endian,
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, length) = (self.endian.u16_at(self.rest, 0)?, self.endian.u16_at(self.rest, 2)?);
        let value = self.rest.get(4..4 + usize::from(length)).filter(|_| code != option::END)?;
        self.rest = self.rest.get(4 + usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}

/// The comments on a packet, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comments<'a>(Options<'a>);

impl Comments<'_> {
    /// None.
    pub(crate) const NONE: Self = Self(Options { endian: Endian::Little, rest: &[] });
}

impl<'a> Iterator for Comments<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, text) = self.0.find(|(code, _)| *code == option::COMMENT)?;
        Some(String::from_utf8_lossy(text))
    }
}

fn damaged(offset: u64, why: impl Into<String>) -> ReadError {
    ReadError::Damaged { offset, why: why.into() }
}
