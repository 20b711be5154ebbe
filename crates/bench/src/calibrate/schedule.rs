//! Which outage is made when: sizes and faults interleaved, those that told nothing made again, up to a bound.

use std::collections::VecDeque;
use std::time::Duration;

use dunlin_clock::MILLISECOND_NS;
use dunlin_testbed::Fault;

use super::CalibrationProgress;

/// Quiet after an outage before its rows are taken.
const SETTLE_NS: i64 = 100 * MILLISECOND_NS;
/// Waiting for the last rows.
const ROWS_NS: i64 = 20 * MILLISECOND_NS;

/// One outage to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    pub(super) asked_ms: u32,
}

impl Planned {
    pub(super) fn length_ns(&self) -> i64 {
        i64::from(self.asked_ms) * MILLISECOND_NS
    }

    /// How long things settle after it: frames held for long take a while to pass.
    pub(super) fn settle_ns(&self) -> i64 {
        SETTLE_NS + self.length_ns() / 10
    }

    fn expected(&self) -> Duration {
        let ns = super::LEAD_NS + self.length_ns() + self.settle_ns() + ROWS_NS;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }
}

/// The outages still to be made.
#[derive(Debug)]
pub(super) struct Schedule {
    waiting: VecDeque<Planned>,
    made: usize,
    again_left: usize,
}

impl Schedule {
    /// Every size by both faults, so many times, interleaved: a bad moment of the machine then meets few of each.
    pub(super) fn new(sizes_ms: &[u32], repetitions: u32) -> Self {
        let mut waiting = VecDeque::new();
        for _ in 0..repetitions {
            for &asked_ms in sizes_ms {
                waiting.extend([Fault::Drop, Fault::Hold].map(|fault| Planned { fault, asked_ms }));
            }
        }
        Self { again_left: waiting.len() / 2, waiting, made: 0 }
    }

    pub(super) fn next(&mut self) -> Option<Planned> {
        let next = self.waiting.pop_front();
        self.made += usize::from(next.is_some());
        next
    }

    /// Makes one again later; not if half as many as planned were made again already.
    pub(super) fn again(&mut self, planned: Planned) {
        if self.again_left > 0 {
            self.again_left -= 1;
            self.waiting.push_back(planned);
        }
    }

    /// Where between two requests the current outage is to begin, 0 to 1: spread evenly, however many there are.
    pub(super) fn phase(&self) -> f64 {
        const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;
        (self.made as f64 * GOLDEN_RATIO).fract()
    }

    /// How far it is, when `next` is about to be made and something that takes `then` follows the last.
    pub(super) fn progress(&self, next: &Planned, then: Duration) -> CalibrationProgress {
        CalibrationProgress {
            done: self.made - 1,
            total: self.made + self.waiting.len(),
            doing: format!("{} {} ms", super::certificate::fault_name(next.fault), next.asked_ms),
            left: next.expected() + self.waiting.iter().map(Planned::expected).sum::<Duration>() + then,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(schedule: &mut Schedule) -> Vec<Planned> {
        std::iter::from_fn(|| schedule.next()).collect()
    }

    #[test]
    fn every_size_is_made_by_both_faults_as_often_as_asked_and_interleaved() {
        let planned = all(&mut Schedule::new(&[5, 20], 3));
        assert_eq!(planned.len(), 12);
        let of = |fault, asked_ms| Planned { fault, asked_ms };
        let round = [of(Fault::Drop, 5), of(Fault::Hold, 5), of(Fault::Drop, 20), of(Fault::Hold, 20)];
        assert!(planned.chunks(4).all(|chunk| chunk == round));
    }

    #[test]
    fn what_told_nothing_is_made_again_at_the_end_but_not_for_ever() {
        let mut schedule = Schedule::new(&[5], 4);
        let mut made = 0;
        while let Some(planned) = schedule.next() {
            made += 1;
            schedule.again(planned);
        }
        assert_eq!(made, 8 + 4);
    }

    #[test]
    fn progress_counts_down_to_what_follows() {
        let mut schedule = Schedule::new(&[5, 1000], 1);
        let mut lefts = Vec::new();
        while let Some(planned) = schedule.next() {
            let progress = schedule.progress(&planned, Duration::from_secs(7));
            assert_eq!((progress.done, progress.total), (lefts.len(), 4));
            lefts.push(progress.left);
        }
        assert!(lefts.windows(2).all(|pair| pair[0] > pair[1]), "{lefts:?}");
        assert!(lefts[3] > Duration::from_secs(8));
    }

    #[test]
    fn outages_begin_at_every_phase() {
        let mut schedule = Schedule::new(&[5], 5);
        let mut phases = Vec::new();
        while schedule.next().is_some() {
            phases.push(schedule.phase());
        }
        phases.sort_by(f64::total_cmp);
        assert!(phases[0] >= 0.0 && phases[9] < 1.0);
        assert!(phases.windows(2).all(|pair| (0.02..0.2).contains(&(pair[1] - pair[0]))), "{phases:?}");
    }
}
