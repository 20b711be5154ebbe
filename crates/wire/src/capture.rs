//! Captures what an interface carries to a pcapng file, without ever holding up what is captured.
//!
//! The kernel copies the beginnings of frames into a ring of memory; a thread writes them from there to the file. Where
//! that thread or the disk is too slow, the ring fills and the kernel drops frames of the capture, which it counts;
//! the frames themselves go their way.

mod annotate;
mod file;
mod filter;
mod flow;
mod mark;
mod ring;

use std::path::Path;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, Mapping};

use crate::packet_socket::Statistics;
use crate::pcapng::{Interface, Packet};
use crate::{Result, Task};
pub use annotate::annotate;
use file::CaptureFile;
pub use filter::{Filter, FilterError};
pub use flow::count_flow;
pub use mark::CaptureMark;
pub(crate) use mark::read_comment;
use ring::{Frame, Ring};

/// How much of each frame is usually kept: Ethernet, IP and TCP with all their options come to 134 bytes at most, of
/// which 128 are hardly ever exceeded.
pub const CAPTURE_SNAP_BYTES: u32 = 128;
/// MiB of the ring: some 300 000 frames of 128 bytes, which at 1 Gbit/s is more than two seconds in which nobody reads.
const RING_BLOCKS: usize = 64;
/// How long until a quiet capture sees that it is to end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long the kernel may take to hand over its last frames.
const LAST_FRAMES_LIMIT: Duration = Duration::from_secs(2);

/// What is to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSpec {
    /// An interface of the current network namespace. It is not made promiscuous.
    pub interface: String,
    /// What the file says of the interface besides its name; may be empty.
    pub description: String,
    /// Which frames are kept.
    pub filter: Filter,
    /// How many bytes of each at most.
    pub snap_bytes: u32,
}

/// What a capture came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Frames that the filter let through.
    pub accepted: u64,
    /// Of these, dropped because there was no room for them in memory.
    pub dropped: u64,
    /// Of these, in the file.
    pub written: u64,
    /// The original bytes of those in the file, from the hardware addresses on.
    pub bytes: u64,
    /// What to add to the file's stamps, which are of `CLOCK_REALTIME`, to get the bench's clock.
    pub clock_offset_ns: i64,
    /// The worst error of that, which includes any step of the wall clock meanwhile.
    pub clock_error_ns: i64,
    /// Why the file lacks frames that were not dropped: the disk was full.
    pub cut_short: Option<String>,
}

/// A capture that goes on until it is stopped or dropped. A file that grows no more, for want of room on the disk,
/// ends no capture: its frames are counted on.
pub type Capture = Task<CaptureSummary>;

/// Captures an interface to a file, which is replaced if it is there. All that passes after this returns is captured.
///
/// # Errors
/// Where the interface is not there or is of no known kind, the right to a packet socket (`CAP_NET_RAW`) is missing,
/// or the file cannot be written.
pub fn capture(spec: &CaptureSpec, path: &Path) -> Result<Capture> {
    let ring = Ring::open(&spec.interface, &spec.filter, spec.snap_bytes, RING_BLOCKS)?;
    let mapping = Mapping::read();
    let comment = format!(
        "stamps are the kernel's, of CLOCK_REALTIME; the capturing host's CLOCK_MONOTONIC is a stamp {:+} ns, \
         give or take {} ns",
        mapping.offset_ns, mapping.error_ns
    );
    let interface = Interface {
        name: &spec.interface,
        description: &spec.description,
        comment: &comment,
        link_type: ring.link_type(),
        snap_bytes: spec.snap_bytes,
        filter: &spec.filter.to_string(),
    };
    let file = CaptureFile::create(path, &interface)?;
    let running = Running { ring, file, mapping, counts: Statistics::default(), read: 0 };
    Task::spawn("capture", move |ending| running.all(ending))
}

/// A capture's thread.
struct Running {
    ring: Ring,
    file: CaptureFile,
    /// When it began.
    mapping: Mapping,
    counts: Statistics,
    /// Frames read from the ring.
    read: u64,
}

impl Running {
    fn all(mut self, ending: &Cancel) -> Result<CaptureSummary> {
        while !ending.is_cancelled() {
            self.ring.wait(LOOK_UP)?;
            while self.read_block() && !ending.is_cancelled() {}
            self.file.flush();
            self.count()?;
        }
        self.ring.close_intake()?;
        self.count()?;
        let deadline = Deadline::after(LAST_FRAMES_LIMIT);
        while self.read + self.counts.dropped < self.counts.accepted && !deadline.passed() {
            if !self.read_block() {
                self.ring.wait(deadline.step(LOOK_UP))?;
            }
        }
        self.finish()
    }

    /// Whether there was a block to be read.
    fn read_block(&mut self) -> bool {
        let file = &mut self.file;
        let read = self.ring.read_block(|frame| packet(&frame, |packet| file.packet(packet)));
        self.read += read.unwrap_or(0);
        read.is_some()
    }

    /// The kernel's counters are of 32 bits, so they are fetched now and then.
    fn count(&mut self) -> Result<()> {
        let more = self.ring.take_statistics()?;
        self.counts.accepted += more.accepted;
        self.counts.dropped += more.dropped;
        Ok(())
    }

    fn finish(self) -> Result<CaptureSummary> {
        let Self { file, mapping: first, counts, .. } = self;
        let last = Mapping::read();
        let (written, cut_short) = file.finish(counts);
        Ok(CaptureSummary {
            accepted: counts.accepted,
            dropped: counts.dropped,
            written: written.packets,
            bytes: written.original_bytes,
            clock_offset_ns: first.offset_ns,
            clock_error_ns: first.error_ns.max(last.error_ns) + (last.offset_ns - first.offset_ns).abs(),
            cut_short,
        })
    }
}

/// The frame as it was on the wire: with its VLAN tag, which the kernel keeps beside it.
fn packet(frame: &Frame<'_>, take: impl FnOnce(&Packet<'_>)) {
    /// Two hardware addresses; the tag stands behind them.
    const ADDRESSES_BYTES: usize = 12;
    let tag = frame.vlan_tag.as_ref().map_or(&[][..], |tag| &tag[..]);
    let (addresses, rest) = frame.bytes.split_at(frame.bytes.len().min(ADDRESSES_BYTES));
    take(&Packet {
        epoch_ns: frame.epoch_ns,
        original_bytes: frame.original_bytes + tag.len() as u32,
        pieces: [addresses, tag, rest],
        direction: frame.direction,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcapng::Direction;

    #[test]
    fn a_vlan_tag_goes_back_behind_the_addresses() {
        let bytes: Vec<u8> = (0..20).collect();
        let mut frame = Frame {
            epoch_ns: 0,
            original_bytes: 60,
            bytes: &bytes,
            direction: Direction::In,
            vlan_tag: Some([0x81, 0, 0, 5]),
        };
        packet(&frame, |packet| {
            assert_eq!(packet.original_bytes, 64);
            assert_eq!(packet.pieces.concat(), [&bytes[..12], &[0x81, 0, 0, 5], &bytes[12..]].concat());
        });
        frame.vlan_tag = None;
        packet(&frame, |packet| assert_eq!(packet.pieces.concat(), bytes));
        frame.bytes = &bytes[..5];
        packet(&frame, |packet| assert_eq!(packet.pieces.concat(), bytes[..5]));
    }
}
