//! Which probe frames passed a VM's tap, and when: the record that tells who answered.

use dunlin_clock::{MILLISECOND_NS, Mapping};
use dunlin_record::shapes::PASSAGES;

use crate::probe_socket::{ProbeSocket, Seen};
use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary, parse_probe_frame};

/// Records our probes' frames on `interface`, which must have the probed VM behind it, as rows of
/// [`PASSAGES`].
///
/// A request counts where it leaves through the interface, towards the VM, and an answer where it comes in from it:
/// frames that a bridge floods to the tap of a VM that is elsewhere are no answers.
///
/// # Errors
/// Where the interface is not there, or the right to a packet socket (`CAP_NET_RAW`) is missing.
pub fn watch_passages(interface: &str, sink: RowSink) -> Result<Recording> {
    let source = Passages { socket: ProbeSocket::open(interface)?, clock_error_ns: None };
    Recording::start("passages", source, sink)
}

struct Passages {
    socket: ProbeSocket,
    clock_error_ns: Option<i64>,
}

impl Source for Passages {
    /// Frames wait in the socket's buffer: a wake-up for each would cost more than the probes themselves.
    const PERIOD_NS: i64 = 20 * MILLISECOND_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        // Read at each drain, because the wall clock may be slewed.
        let mapping = Mapping::read();
        self.clock_error_ns = self.clock_error_ns.max(Some(mapping.error_ns));
        self.socket.drain(|seen| rows.extend(row(&seen, mapping).into_iter().flatten()))
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary { dropped: Some(self.socket.take_drops()?), clock_error_ns: self.clock_error_ns })
    }
}

fn row(seen: &Seen<'_>, mapping: Mapping) -> Option<[i64; PASSAGES.len()]> {
    let frame = parse_probe_frame(seen.bytes)?;
    if frame.is_answer == seen.outgoing {
        return None;
    }
    let seq = i64::try_from(frame.seq).ok()?;
    Some([frame.probe.into(), seq, frame.is_answer.into(), mapping.to_monotonic(seen.realtime_ns)])
}
