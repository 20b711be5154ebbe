//! Counts those frames of an interface that fit a filter: what one of several flows had of its counters.

use std::collections::BTreeMap;

use dunlin_clock::{MILLISECOND_NS, Mapping, now_ns};
use dunlin_record::shapes::WIRE;

use super::filter::Filter;
use super::ring::Ring;
use crate::pcapng::Direction;
use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary};

/// How finely it tells the time.
const TICK_NS: i64 = 10 * MILLISECOND_NS;
/// The kernel hands a frame over at most 20 ms after its stamp, where it has anything to run on.
const HANDED_OVER_NS: i64 = 5 * TICK_NS;
/// Of so short pieces of frames this holds some 80 000.
const RING_BLOCKS: usize = 8;
/// Nothing of a frame is looked at.
const SNAP_BYTES: u32 = 1;

/// Records how many frames and bytes of an interface of the current network namespace fit a filter, as rows of [`WIRE`] of
/// every 10 ms, by the kernel's stamps; they come some 50 ms later.
///
/// # Errors
/// Where the interface is not there or is of no known kind, or the right to a packet socket (`CAP_NET_RAW`) is missing.
pub fn count_flow(interface: &str, filter: &Filter, sink: RowSink) -> Result<Recording> {
    let ring = Ring::open(interface, filter, SNAP_BYTES, RING_BLOCKS)?;
    let ticks = Ticks { open: BTreeMap::new(), next: now_ns().div_euclid(TICK_NS), counted: [0; 4] };
    Recording::start("flow", Flow { ring, ticks, dropped: 0 }, sink)
}

struct Flow {
    ring: Ring,
    ticks: Ticks,
    dropped: u64,
}

impl Source for Flow {
    const PERIOD_NS: i64 = TICK_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        let (mapping, ticks) = (Mapping::read(), &mut self.ticks);
        while self
            .ring
            .read_block(|frame| {
                let bytes = i64::from(frame.original_bytes);
                ticks.add(mapping.to_monotonic(frame.epoch_ns), frame.direction, bytes);
            })
            .is_some()
        {}
        self.dropped += self.ring.take_statistics()?.dropped;
        self.ticks.close_before(now_ns() - HANDED_OVER_NS, rows);
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary { dropped: Some(self.dropped), clock_error_ns: None })
    }
}

/// Ticks of which more frames may come.
struct Ticks {
    /// Of each: bytes sent and received, frames sent and received.
    open: BTreeMap<i64, [i64; 4]>,
    /// The first that is open.
    next: i64,
    /// What was counted in all before it.
    counted: [i64; 4],
}

impl Ticks {
    /// A frame too late for its tick counts for the next that is open.
    fn add(&mut self, t_ns: i64, direction: Direction, bytes: i64) {
        let more = match direction {
            Direction::Out => [bytes, 0, 1, 0],
            Direction::In => [0, bytes, 0, 1],
        };
        let tick = self.open.entry(t_ns.div_euclid(TICK_NS).max(self.next)).or_default();
        tick.iter_mut().zip(more).for_each(|(count, more)| *count += more);
    }

    /// Closes all ticks that end until then, and appends a row for each.
    fn close_before(&mut self, t_ns: i64, rows: &mut Vec<i64>) {
        let end = t_ns.div_euclid(TICK_NS);
        while self.next < end {
            let more = self.open.remove(&self.next).unwrap_or_default();
            self.counted.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            self.next += 1;
            let [tx_bytes, rx_bytes, tx_packets, rx_packets] = self.counted;
            let row: [i64; WIRE.len()] = [self.next * TICK_NS, tx_bytes, rx_bytes, tx_packets, rx_packets];
            rows.extend(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_is_a_row_with_all_that_was_counted_until_its_end() {
        let mut ticks = Ticks { open: BTreeMap::new(), next: 100, counted: [0; 4] };
        let at = |tick: i64| tick * TICK_NS + 7;
        ticks.add(at(101), Direction::Out, 1500);
        ticks.add(at(100), Direction::In, 66);
        ticks.add(at(101), Direction::Out, 100);
        let mut rows = Vec::new();
        ticks.close_before(at(103), &mut rows);
        // One that comes only now.
        ticks.add(at(100), Direction::Out, 9);
        ticks.close_before(at(104), &mut rows);
        ticks.close_before(at(104), &mut rows);
        let row = |tick: i64, counted: [i64; 4]| [&[tick * TICK_NS], &counted[..]].concat();
        let expected = [
            row(101, [0, 66, 0, 1]),
            row(102, [1600, 66, 2, 1]),
            row(103, [1600, 66, 2, 1]),
            row(104, [1609, 66, 3, 1]),
        ];
        assert_eq!(rows, expected.concat());
    }
}
