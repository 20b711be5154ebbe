//! What was sent and not yet acknowledged, to tell how long the acknowledgement took.

use std::collections::VecDeque;

/// More segments than any window holds; a capture that lacks the acknowledgements shall not fill the memory.
const MOST_SEGMENTS: usize = 1 << 16;

/// Segments in the order of their ends.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    segments: VecDeque<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    end: u32,
    at_ns: i64,
    /// Whether any of it was sent again, so that an acknowledgement may be of either.
    again: bool,
}

impl InFlight {
    /// A segment that goes beyond all before.
    pub(super) fn send(&mut self, end: u32, at_ns: i64) {
        if self.segments.len() == MOST_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(Sent { end, at_ns, again: false });
    }

    /// A segment below the highest: what it repeats can no longer be timed; what is new, can.
    pub(super) fn send_below(&mut self, seq: u32, end: u32, at_ns: i64) {
        let first = self.segments.partition_point(|sent| !is_after(sent.end, seq));
        let repeated = self.segments.range_mut(first..).take_while(|sent| !is_after(sent.end, end));
        let mut is_new = true;
        for sent in repeated {
            sent.again = true;
            is_new = false;
        }
        if is_new && self.segments.len() < MOST_SEGMENTS {
            self.segments.insert(first, Sent { end, at_ns, again: false });
        }
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
