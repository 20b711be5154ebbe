//! Which bytes of a direction were seen, which were passed over and which came again.

use std::collections::VecDeque;

use super::in_flight::is_after;

/// As many holes are remembered one by one; older ones are counted only, and what fills them came again.
const MOST_HOLES: usize = 256;
/// No window reaches further (RFC 7323, section 2.3): what is further off belongs to other numbers, as after a restart.
const FURTHEST: u32 = 1 << 30;

/// The sequence numbers of one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// From the lowest number that was seen to behind the highest that was seen or acknowledged.
    reach: Option<(u32, u32)>,
    /// Whether the lowest is the opening's, so that nothing is below it.
    opened: bool,
    /// What was passed over, in order; the acknowledged ones come first.
    holes: VecDeque<Hole>,
    /// Numbers in holes that are no longer remembered.
    forgotten: u64,
    /// Whether the last acknowledged number may be the closing's, which is no payload.
    may_end_in_fin: bool,
}

#[derive(Debug, Clone, Copy)]
struct Hole {
    start: u32,
    end: u32,
    /// When the other end said that it has what is missing here.
    acked_ns: Option<i64>,
    /// Whether it lies before what was seen first, so that it may be older than the capture.
    is_older: bool,
}

impl Hole {
    fn length(&self) -> u32 {
        self.end.wrapping_sub(self.start)
    }
}

impl Seen {
    /// The opening: what follows begins at `start`.
    pub(super) fn open(&mut self, start: u32) {
        match &mut self.reach {
            Some((bottom, _)) if is_after(*bottom, start) => {
                let end = std::mem::replace(bottom, start);
                self.holes.push_front(Hole { start, end, acked_ns: None, is_older: false });
            }
            Some(_) => {}
            None => self.reach = Some((start, start)),
        }
        self.opened = true;
    }

    /// Other numbers begin: what was passed over of the former stays so.
    pub(super) fn begin_anew(&mut self) {
        self.forgotten = self.unseen();
        *self = Self { forgotten: self.forgotten, ..Self::default() };
    }

    /// Payload: how many of its bytes were not seen before. `acked` is up to where the other end had all already; what was
    /// acknowledged less than `reordering_ns` ago only stands behind its acknowledgement.
    pub(super) fn see(
        &mut self,
        start: u32,
        end: u32,
        at_ns: i64,
        acked: Option<u32>,
        reordering_ns: i64,
    ) -> u32 {
        let length = end.wrapping_sub(start);
        if length == 0 {
            return 0;
        }
        if self.reach.is_some_and(|(bottom, top)| is_far(start, top) && is_far(start, bottom)) {
            self.begin_anew();
        }
        let Some((bottom, top)) = self.reach else {
            self.reach = Some((start, end));
            let already =
                acked.filter(|acked| is_after(*acked, start)).map_or(0, |acked| acked.wrapping_sub(start));
            return length - already.min(length);
        };
        let mut fresh = 0;
        if is_after(end, top) {
            if is_after(start, top) {
                self.add_hole(Hole { start: top, end: start, acked_ns: None, is_older: false });
            }
            fresh += end.wrapping_sub(if is_after(start, top) { start } else { top });
            self.reach = Some((bottom, end));
            self.may_end_in_fin = false;
            self.forget_far();
        }
        if is_after(bottom, start) && !self.opened {
            fresh += self.see_older(start, end, bottom, acked);
        }
        if !self.holes.is_empty() {
            fresh += self.fill(start, end, at_ns, reordering_ns);
        }
        fresh
    }

    /// The closing, at a number of its own.
    pub(super) fn close(&mut self, at: u32, at_ns: i64, reordering_ns: i64) {
        let may_end_in_fin = self.may_end_in_fin;
        let fresh = self.see(at, at.wrapping_add(1), at_ns, None, reordering_ns);
        // What closes fills its place among the acknowledged, if it is not too late for that.
        self.may_end_in_fin = may_end_in_fin && fresh == 0;
    }

    /// The other end has all before `ack`.
    pub(super) fn acknowledge(&mut self, ack: u32, at_ns: i64) {
        let Some((bottom, top)) = self.reach else { return };
        if is_after(ack, top) {
            if is_far(ack, top) {
                return;
            }
            self.add_hole(Hole { start: top, end: ack, acked_ns: None, is_older: false });
            self.reach = Some((bottom, ack));
            self.may_end_in_fin = true;
            self.forget_far();
        }
        let open = self.holes.iter().rposition(|hole| hole.acked_ns.is_some()).map_or(0, |last| last + 1);
        for index in open..self.holes.len() {
            let hole = self.holes[index];
            if !is_after(ack, hole.start) {
                break;
            }
            if is_after(hole.end, ack) {
                self.holes[index] = Hole { start: ack, ..hole };
                self.holes.insert(index, Hole { end: ack, acked_ns: Some(at_ns), ..hole });
                break;
            }
            self.holes[index].acked_ns = Some(at_ns);
        }
    }

    /// Payload that was sent, as what came behind it or its acknowledgement says, and was not seen, in bytes.
    pub(super) fn unseen(&self) -> u64 {
        let holes = self.holes.iter().filter(|hole| !hole.is_older).map(|hole| u64::from(hole.length()));
        (self.forgotten + holes.sum::<u64>()).saturating_sub(self.may_end_in_fin.into())
    }

    /// What it takes of the memory, in bytes.
    pub(super) fn room(&self) -> usize {
        self.holes.capacity() * size_of::<Hole>()
    }

    /// What is before all that was seen is new, if the other end did not have it already.
    fn see_older(&mut self, start: u32, end: u32, bottom: u32, acked: Option<u32>) -> u32 {
        let until = if is_after(end, bottom) { bottom } else { end };
        if is_after(bottom, until) {
            // Acknowledged before it was known of is acknowledged long ago.
            let acked_ns = acked.filter(|acked| !is_after(bottom, *acked)).map(|_| i64::MIN);
            self.holes.push_front(Hole { start: until, end: bottom, acked_ns, is_older: true });
        }
        let top = self.reach.map_or(end, |(_, top)| top);
        self.reach = Some((start, top));
        let from = acked.filter(|acked| is_after(*acked, start)).unwrap_or(start);
        if is_after(until, from) { until.wrapping_sub(from) } else { 0 }
    }

    /// Takes from the holes what lies in them, and tells how much that is.
    fn fill(&mut self, start: u32, end: u32, at_ns: i64, reordering_ns: i64) -> u32 {
        let mut filled = 0;
        let mut index = self.holes.partition_point(|hole| !is_after(hole.end, start));
        while let Some(hole) = self.holes.get(index).copied().filter(|hole| is_after(end, hole.start)) {
            let is_late = hole.acked_ns.is_some_and(|acked_ns| {
                at_ns.saturating_sub(acked_ns).unsigned_abs() >= reordering_ns.unsigned_abs()
            });
            if is_late {
                index += 1;
                continue;
            }
            let from = if is_after(start, hole.start) { start } else { hole.start };
            let until = if is_after(hole.end, end) { end } else { hole.end };
            filled += until.wrapping_sub(from);
            self.holes.remove(index);
            for part in [Hole { start: until, ..hole }, Hole { end: from, ..hole }] {
                if part.length() > 0 {
                    self.holes.insert(index, part);
                }
            }
            index += usize::from(from != hole.start);
        }
        filled
    }

    fn add_hole(&mut self, hole: Hole) {
        if self.holes.len() >= MOST_HOLES {
            self.forget_first();
        }
        self.holes.push_back(hole);
    }

    fn forget_first(&mut self) {
        let first = self.holes.pop_front();
        self.forgotten += first.filter(|hole| !hole.is_older).map_or(0, |hole| hole.length().into());
    }

    /// Numbers are compared modulo 2^32, so that those far below the highest cannot be.
    fn forget_far(&mut self) {
        let Some((bottom, top)) = &mut self.reach else { return };
        let top = *top;
        if top.wrapping_sub(*bottom) > FURTHEST {
            *bottom = top.wrapping_sub(FURTHEST);
        }
        while self.holes.front().is_some_and(|hole| top.wrapping_sub(hole.start) > FURTHEST) {
            self.forget_first();
        }
    }
}

/// Whether two numbers lie further apart than any window reaches.
fn is_far(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed().unsigned_abs() > FURTHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    fn opened(start: u32) -> Seen {
        let mut seen = Seen::default();
        seen.open(start);
        seen
    }

    fn see(seen: &mut Seen, start: u32, end: u32) -> u32 {
        seen.see(start, end, 0, None, MS)
    }

    #[test]
    fn bytes_count_once_whatever_they_come_with() {
        let mut seen = opened(100);
        assert_eq!(see(&mut seen, 100, 200), 100);
        assert_eq!(see(&mut seen, 100, 400), 200, "half of it new");
        assert_eq!(see(&mut seen, 600, 700), 100);
        assert_eq!(seen.unseen(), 200);
        assert_eq!(see(&mut seen, 450, 650), 150, "out of the middle of a hole");
        assert_eq!(seen.unseen(), 50);
        assert_eq!(see(&mut seen, 0, 700), 50);
        assert_eq!((see(&mut seen, 0, 700), seen.unseen()), (0, 0));
    }

    #[test]
    fn what_the_other_end_has_was_sent_before_it_was_seen() {
        let mut seen = opened(0);
        see(&mut seen, 100, 200);
        seen.acknowledge(150, 10 * MS);
        assert_eq!(seen.see(0, 50, 10 * MS + 1000, Some(150), MS), 50, "just behind its acknowledgement");
        assert_eq!(seen.see(50, 100, 20 * MS, Some(150), MS), 0, "long after it: again");
        assert_eq!(seen.unseen(), 50);
        seen.acknowledge(300, 30 * MS);
        assert_eq!(seen.unseen(), 50 + 99, "the last may be the closing");
        assert_eq!(see(&mut seen, 300, 400), 100);
        assert_eq!(seen.unseen(), 50 + 100, "it was not");
    }

    #[test]
    fn a_closing_is_no_payload() {
        let mut seen = opened(0);
        see(&mut seen, 0, 100);
        seen.acknowledge(101, 0);
        assert_eq!(seen.unseen(), 0);
        seen.close(100, 5 * MS, MS);
        assert_eq!(seen.unseen(), 0);
        let mut in_order = opened(0);
        see(&mut in_order, 0, 100);
        in_order.close(100, 0, MS);
        in_order.acknowledge(101, 0);
        assert_eq!(in_order.unseen(), 0);
    }

    #[test]
    fn what_is_older_than_the_first_is_new_unless_it_was_acknowledged() {
        let mut seen = Seen::default();
        assert_eq!(see(&mut seen, 1000, 1100), 100);
        assert_eq!(see(&mut seen, 800, 900), 100);
        assert_eq!(seen.unseen(), 0, "the hole may be older than the capture");
        assert_eq!(see(&mut seen, 900, 1000), 100);
        assert_eq!(seen.see(600, 800, 0, Some(700), MS), 100);
        assert_eq!(Seen::default().see(600, 800, 0, Some(900), MS), 0);
    }

    #[test]
    fn numbers_that_cannot_be_of_the_same_stream_are_none() {
        let mut seen = opened(0);
        see(&mut seen, 0, 100);
        seen.acknowledge(1 << 31, 0);
        assert_eq!(seen.unseen(), 0);
        assert_eq!(see(&mut seen, 3 << 29, (3 << 29) + 100), 100);
        assert_eq!(seen.unseen(), 0);
    }

    proptest! {
        /// Against a list of all numbers: near the wrap of 2^32, and whatever is acknowledged.
        #[test]
        fn every_byte_is_fresh_once(
            start in prop_oneof![Just(0_u32), Just(u32::MAX - 300), any::<u32>()],
            parts in proptest::collection::vec((0_u32..600, 1_u32..80, any::<bool>()), 1..80),
        ) {
            let mut seen = opened(start);
            let mut known = [false; 700];
            let mut acked = 0;
            let mut fresh_bytes = 0;
            for (from, length, is_ack) in parts {
                if is_ack {
                    // Never beyond the first that is missing.
                    let has = known.iter().position(|known| !known).unwrap_or(0) as u32;
                    acked = from.min(has).max(acked);
                    seen.acknowledge(start.wrapping_add(acked), 0);
                    continue;
                }
                let range = from as usize..(from + length) as usize;
                let expected = known[range.clone()].iter().filter(|known| !**known).count() as u32;
                known[range].fill(true);
                let at = start.wrapping_add(from);
                let fresh = seen.see(at, at.wrapping_add(length), 0, Some(start.wrapping_add(acked)), MS);
                prop_assert_eq!(fresh, expected);
                fresh_bytes += u64::from(fresh);
            }
            let top = known.iter().rposition(|known| *known).map_or(0, |last| last as u64 + 1);
            prop_assert_eq!(seen.unseen() + fresh_bytes, top);
        }

        #[test]
        fn foreign_numbers_never_panic(
            parts in proptest::collection::vec((any::<u32>(), any::<u32>(), 0_u8..4, any::<i64>()), 0..200),
        ) {
            let mut seen = Seen::default();
            for (one, other, what, at_ns) in parts {
                match what {
                    0 => { seen.see(one, one.wrapping_add(other >> 8), at_ns, Some(other), MS); }
                    1 => seen.acknowledge(one, at_ns),
                    2 => seen.open(one),
                    _ => seen.close(one, at_ns, MS),
                }
                prop_assert!(seen.holes.len() <= MOST_HOLES + 2);
                seen.unseen();
            }
        }
    }
}
