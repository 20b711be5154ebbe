//! What was sent and not yet acknowledged, to tell how long the acknowledgement took.

use std::collections::VecDeque;

/// More segments than any window holds; a capture that lacks the acknowledgements shall not fill the memory.
const MOST_SEGMENTS: usize = 1 << 16;

/// Segments in the order of their ends. Neighbours that were sent again together become one, so that a segment that repeats
/// many of them, over and over, takes no longer than another.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    segments: VecDeque<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    start: u32,
    end: u32,
    at_ns: i64,
    /// Whether any of it was sent again, so that an acknowledgement may be of either.
    again: bool,
}

impl InFlight {
    /// A segment that goes beyond all before.
    pub(super) fn send(&mut self, seq: u32, end: u32, at_ns: i64) {
        if self.segments.len() == MOST_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(Sent { start: seq, end, at_ns, again: false });
    }

    /// A segment below the highest: what it repeats can no longer be timed; what is new, can.
    pub(super) fn send_below(&mut self, seq: u32, end: u32, at_ns: i64) {
        let first = self.segments.partition_point(|sent| !is_after(sent.end, seq));
        let repeated = self.segments.range(first..).take_while(|sent| !is_after(sent.end, end)).count();
        if repeated > 0 {
            self.segments[first].end = self.segments[first + repeated - 1].end;
            self.segments[first].again = true;
            self.segments.drain(first + 1..first + repeated);
            return;
        }
        // Part of what was sent again already.
        let is_within = self.segments.get(first).is_some_and(|sent| sent.again && is_after(end, sent.start));
        if !is_within && self.segments.len() < MOST_SEGMENTS {
            self.segments.insert(first, Sent { start: seq, end, at_ns, again: false });
        }
    }

    /// What it takes of the memory, in bytes.
    pub(super) fn room(&self) -> usize {
        self.segments.capacity() * size_of::<Sent>()
    }

    /// How long the acknowledged segment was under way, in ns. Only where the acknowledgement is exactly that of a segment's end,
    /// and of nothing that was sent twice (Karn's algorithm, RFC 6298 section 3).
    pub(super) fn acknowledge(&mut self, ack: u32, at_ns: i64) -> Option<i64> {
        let mut last = None;
        let mut any_again = false;
        while let Some(sent) = self.segments.front().copied().filter(|sent| !is_after(sent.end, ack)) {
            self.segments.pop_front();
            any_again |= sent.again;
            last = Some(sent);
        }
        last.filter(|sent| sent.end == ack && !any_again).map(|sent| at_ns.saturating_sub(sent.at_ns))
    }
}

/// Whether a sequence number comes after another (RFC 9293, section 3.4: modulo 2^32).
pub(super) fn is_after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of 100 bytes, sent at 10, 20 and 30.
    fn three() -> InFlight {
        let mut in_flight = InFlight::default();
        (1..=3).for_each(|n| in_flight.send((n - 1) * 100, n * 100, i64::from(n) * 10));
        in_flight
    }

    #[test]
    fn an_acknowledgement_of_exactly_a_segment_s_end_is_timed() {
        let mut in_flight = three();
        assert_eq!(in_flight.acknowledge(50, 100), None);
        assert_eq!(in_flight.acknowledge(100, 100), Some(90));
        assert_eq!(in_flight.acknowledge(300, 100), Some(70), "by the last that it covers");
        assert_eq!(in_flight.acknowledge(300, 100), None);
    }

    #[test]
    fn what_was_sent_twice_is_not_timed_nor_what_is_acknowledged_with_it() {
        let mut again = three();
        again.send_below(0, 200, 50);
        // Half of it a third time.
        again.send_below(0, 100, 60);
        assert_eq!(again.clone().acknowledge(300, 100), None, "all at once");
        for (ack, expected) in [(100, None), (200, None), (300, Some(70))] {
            assert_eq!(again.acknowledge(ack, 100), expected, "{ack}");
        }
    }

    #[test]
    fn what_fills_a_hole_is_new() {
        let mut in_flight = InFlight::default();
        in_flight.send(0, 100, 10);
        in_flight.send(200, 300, 30);
        in_flight.send_below(100, 200, 40);
        assert_eq!(in_flight.acknowledge(200, 100), Some(60));
        assert_eq!(in_flight.acknowledge(300, 100), Some(70));
    }
}
