//! How far a run is and what is left of it: pure arithmetic on times given from outside.

use std::time::Duration;

/// A run's expected durations, corrected by how true they were so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Estimate {
    expected: Duration,
    /// Expected duration of the trials that have ended.
    done: Duration,
    /// Time the trials that have ended really took.
    took: Duration,
    current: Option<Current>,
}

/// The trial that runs now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Current {
    expected: Duration,
    started_ns: i64,
}

impl Estimate {
    /// A run that is expected to take this long in all.
    pub(super) fn of(expected: Duration) -> Self {
        Self { expected, ..Self::default() }
    }

    pub(super) fn trial_started(&mut self, expected: Duration, now_ns: i64) {
        self.current = Some(Current { expected, started_ns: now_ns });
    }

    pub(super) fn trial_ended(&mut self, now_ns: i64) {
        if let Some(current) = self.current.take() {
            self.done += current.expected;
            self.took += since(current.started_ns, now_ns);
        }
    }

    /// What is left of the run.
    pub(super) fn left(&self, now_ns: i64) -> Duration {
        let running = self.current.map_or(Duration::ZERO, |current| {
            current.expected.mul_f64(self.pace()).saturating_sub(since(current.started_ns, now_ns))
        });
        let waiting = self.current.map_or(Duration::ZERO, |current| current.expected) + self.done;
        running + self.expected.saturating_sub(waiting).mul_f64(self.pace())
    }

    /// How much of the run is done, from 0 to 1. A trial that takes longer than expected stays short of its end.
    pub(super) fn fraction(&self, now_ns: i64) -> f64 {
        let running = self.current.map_or(0.0, |current| {
            let expected_s = current.expected.as_secs_f64() * self.pace();
            let elapsed_s = since(current.started_ns, now_ns).as_secs_f64();
            current.expected.as_secs_f64() * (elapsed_s / expected_s.max(0.001)).min(0.95)
        });
        ((self.done.as_secs_f64() + running) / self.expected.as_secs_f64().max(0.001)).min(1.0)
    }

    /// How long trials took for each second expected.
    fn pace(&self) -> f64 {
        if self.done.is_zero() {
            return 1.0;
        }
        (self.took.as_secs_f64() / self.done.as_secs_f64()).clamp(0.2, 5.0)
    }
}

fn since(start_ns: i64, now_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now_ns - start_ns).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    fn seconds(estimate: &Estimate, now_s: i64) -> f64 {
        estimate.left(now_s * SECOND_NS).as_secs_f64()
    }

    #[test]
    fn what_is_left_shrinks_with_time_and_learns_from_trials() {
        let mut estimate = Estimate::of(Duration::from_secs(30));
        assert_eq!(seconds(&estimate, 0), 30.0);
        estimate.trial_started(Duration::from_secs(10), 0);
        assert_eq!(seconds(&estimate, 4), 26.0);
        // A trial that takes too long does not make the others shorter.
        assert_eq!(seconds(&estimate, 15), 20.0);
        estimate.trial_ended(20 * SECOND_NS);
        assert_eq!(seconds(&estimate, 20), 40.0, "it took twice as long as expected");
        estimate.trial_started(Duration::from_secs(10), 20 * SECOND_NS);
        assert_eq!(seconds(&estimate, 25), 35.0);
    }

    #[test]
    fn the_fraction_grows_from_nothing_to_all_and_never_falls() {
        let mut estimate = Estimate::of(Duration::from_secs(20));
        let mut last = estimate.fraction(0);
        assert_eq!(last, 0.0);
        for trial in 0..2 {
            let start_ns = trial * 30 * SECOND_NS;
            estimate.trial_started(Duration::from_secs(10), start_ns);
            for now_s in 0..30 {
                let fraction = estimate.fraction(start_ns + now_s * SECOND_NS);
                assert!(fraction >= last && fraction < 1.0, "{trial} {now_s}: {last} {fraction}");
                last = fraction;
            }
            estimate.trial_ended(start_ns + 30 * SECOND_NS);
        }
        assert_eq!(estimate.fraction(60 * SECOND_NS), 1.0);
        assert_eq!(estimate.left(60 * SECOND_NS), Duration::ZERO);
    }

    #[test]
    fn a_run_of_nothing_divides_by_nothing() {
        let mut estimate = Estimate::of(Duration::ZERO);
        estimate.trial_started(Duration::ZERO, 0);
        assert!(estimate.fraction(SECOND_NS).is_finite());
        estimate.trial_ended(SECOND_NS);
        assert_eq!(estimate.left(SECOND_NS), Duration::ZERO);
    }
}
