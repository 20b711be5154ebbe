//! By how much a time may be wrong because the clocks of hosts stamped its ends.

use dunlin_record::{ABSENT, Series};

use crate::trial::Trial;

/// How far around a stamp its clock's rows are looked at: longer than from one exchange with a host to the next, at whose end
/// the least is known.
const AROUND_NS: i64 = 600_000_000;
/// By how much clocks of two machines may run apart: what `dunlin_clock` takes for the bound.
const APART_PPM: i64 = 1_000;

/// What is too much for a clock that only runs apart: it was set.
const STEP_NS: i64 = 2_000_000;

/// Whose clock stamped the end of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Our own: it has no error.
    Bench,
    /// The source's hypervisor.
    Source,
    /// The destination's hypervisor.
    Destination,
}

/// A moment and whose clock stamped it.
pub(crate) type Stamp = (i64, By);

/// How a trial's hosts' clocks stood to the bench's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostClocks<'a> {
    source: Option<&'a Series>,
    destination: Option<&'a Series>,
}

/// What was recorded around a stamp, or from one to another.
#[derive(Debug, Clone, Copy)]
struct Known {
    error_ns: i64,
    least_offset_ns: i64,
    greatest_offset_ns: i64,
    /// Whether the bench ran on that machine, whose clocks do not run apart.
    is_own: bool,
}

impl<'a> HostClocks<'a> {
    pub(crate) fn of(trial: &Trial<'a>) -> Self {
        let series =
            |host| trial.record.series.get(&format!("clock-{host}")).filter(|series| !series.is_empty());
        Self { source: series(trial.source), destination: series(trial.destination) }
    }

    /// By how much the clocks may make the time between two stamps wrong, in ns. Absent where both are the bench's own, or it
    /// was not recorded how a host's clock stood.
    pub(crate) fn error_between_ns(&self, from: Stamp, to: Stamp) -> Option<i64> {
        if from.1 == By::Bench && to.1 == By::Bench {
            return None;
        }
        let both_ns = self.error_ns(from)?.saturating_add(self.error_ns(to)?);
        if from.1 != to.1 {
            return Some(both_ns);
        }
        // What is wrong with one clock is wrong with both stamps alike. They differ by what was newly learnt of it meanwhile and
        // by its pace.
        let known = known(self.series(from.1)?, from.0, to.0)?;
        let length_ns = to.0.saturating_sub(from.0).saturating_abs();
        let apart_ns = if known.is_own { 0 } else { length_ns / (1_000_000 / APART_PPM) + 1 };
        // A clock that was set in between is no longer the same one: its step is in the errors of both stamps.
        let learnt_ns = known.greatest_offset_ns.saturating_sub(known.least_offset_ns);
        Some(both_ns.min(learnt_ns.saturating_add(apart_ns)))
    }

    fn error_ns(&self, (t_ns, by): Stamp) -> Option<i64> {
        if by == By::Bench {
            return Some(0);
        }
        known(self.series(by)?, t_ns, t_ns).map(Known::error_at_ns)
    }

    fn series(&self, by: By) -> Option<&'a Series> {
        match by {
            By::Bench => None,
            By::Source => self.source,
            By::Destination => self.destination,
        }
    }
}

/// What was recorded from a while before one moment to a while after another; where that was nothing, right before and after.
fn known(series: &Series, from_ns: i64, to_ns: i64) -> Option<Known> {
    let rows = || series.rows_of().filter(|row: &[i64; 5]| !row.contains(&ABSENT));
    let (from_ns, to_ns) = (from_ns.saturating_sub(AROUND_NS), to_ns.saturating_add(AROUND_NS));
    let within = rows().filter(|row| (from_ns..=to_ns).contains(&row[0]));
    let before = rows().filter(|row| row[0] < from_ns).max_by_key(|row| row[0]);
    let after = rows().filter(|row| row[0] > to_ns).min_by_key(|row| row[0]);
    let outside = before.into_iter().chain(after);
    within.map(Known::of).reduce(Known::and).or_else(|| outside.map(Known::of).reduce(Known::and))
}

impl Known {
    fn of([_, _, monotonic_error_ns, offset_ns, error_ns]: [i64; 5]) -> Self {
        let error_ns = error_ns.saturating_abs();
        let is_own = monotonic_error_ns == 0;
        Self { error_ns, least_offset_ns: offset_ns, greatest_offset_ns: offset_ns, is_own }
    }

    /// By how much a stamp may be wrong. Where its clock was set meanwhile, what was recorded before that was known is of no
    /// use, and the stamp may be off by the whole step.
    fn error_at_ns(self) -> i64 {
        let spread_ns = self.greatest_offset_ns.saturating_sub(self.least_offset_ns);
        let drift_ns = if self.is_own { 0 } else { 2 * AROUND_NS / (1_000_000 / APART_PPM) };
        let is_step = spread_ns > drift_ns.saturating_add(self.error_ns.saturating_mul(2)).max(STEP_NS);
        if is_step { self.error_ns.saturating_add(spread_ns) } else { self.error_ns }
    }

    fn and(self, other: Self) -> Self {
        Self {
            error_ns: self.error_ns.max(other.error_ns),
            least_offset_ns: self.least_offset_ns.min(other.least_offset_ns),
            greatest_offset_ns: self.greatest_offset_ns.max(other.greatest_offset_ns),
            is_own: self.is_own && other.is_own,
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::{DowntimeMs, PhasesMs, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// Rows of every 100 ms; the real-time clock is off by as much as `error_ns` says of a moment.
    fn clock(monotonic_error_ns: i64, offset_ns: impl Fn(f64) -> i64, error_ns: i64) -> Series {
        let rows: Vec<[i64; 5]> = (-20..20)
            .map(|tick| f64::from(tick) * 100.0)
            .map(|at_ms| [ns(at_ms), 7, monotonic_error_ns, offset_ns(at_ms), error_ns])
            .collect();
        Series::from_rows(shapes::CLOCK, &rows)
    }

    fn two_machines() -> Fixture {
        Fixture::pre_copy()
            .with_series("clock-host-a", clock(300_000, |_| 99, 300_000))
            .with_series("clock-host-b", clock(400_000, |_| -77, 400_000))
    }

    #[test]
    fn a_time_between_two_hosts_has_both_their_errors_and_one_on_a_hosts_own_clock_hardly_any() {
        let outcome = two_machines().outcome();
        assert_eq!(outcome.downtime_ms.paused, Some(40.0));
        let icmp = Some(1.002);
        assert_eq!(
            outcome.downtime_error_ms,
            DowntimeMs { paused: Some(0.7), icmp, ..DowntimeMs::default() },
            "what is reported is by one clock"
        );
        let expected = PhasesMs {
            // From our command to the source's word.
            initialize: Some(0.3),
            // Both are the bench's.
            reserve: None,
            // 398 ms and 100 ms at a thousandth, the first no more than twice its error.
            pre_copy: vec![0.399, 0.101],
            stop_and_copy: Some(0.031),
            commit: Some(0.7),
            activate: Some(0.7),
            ..PhasesMs::default()
        };
        assert_eq!(outcome.phases_error_ms, expected);
        assert_eq!(Fixture::hybrid().outcome().phases_error_ms, PhasesMs::default(), "as in old runs");
    }

    #[test]
    fn what_was_newly_learnt_of_a_clock_between_two_stamps_is_in_their_error() {
        let learnt = |offset_ns| {
            let series = clock(300_000, move |at_ms| if at_ms > 515.0 { offset_ns } else { 0 }, 300_000);
            two_machines().with_series("clock-host-a", series).outcome().phases_error_ms.stop_and_copy
        };
        assert_eq!(learnt(50_000), Some(0.081));
        assert_eq!(learnt(-1_500_000), Some(0.6), "both errors hold that");
        assert_eq!(learnt(-5_000_000), Some(5.031), "it was set");
    }

    #[test]
    fn on_one_machine_the_error_is_that_of_reading_its_clock() {
        let own = clock(0, |_| 5, 40);
        let outcome = Fixture::pre_copy()
            .with_series("clock-host-a", own.clone())
            .with_series("clock-host-b", own)
            .outcome();
        assert_eq!(outcome.downtime_error_ms.paused, Some(0.001), "never less than it is");
        assert_eq!(outcome.phases_error_ms.stop_and_copy, Some(0.0));
    }

    #[test]
    fn the_worst_of_what_was_known_around_a_stamp_counts_and_where_nothing_was_the_nearest() {
        let rows =
            [[ns(400.0), 0, 9, 0, 200_000], [ns(480.0), 0, 9, 0, 500_000], [ns(1200.0), 0, 9, 0, 9_000_000]];
        let worst = Series::from_rows(shapes::CLOCK, &rows);
        let error =
            |series| two_machines().with_series("clock-host-a", series).outcome().downtime_error_ms.paused;
        assert_eq!(error(worst), Some(0.9));
        let far =
            [[ns(-900.0), 0, 9, 0, 600_000], [ns(1900.0), 0, 9, 0, 100_000], [ns(510.0), 0, 9, 0, ABSENT]];
        assert_eq!(error(Series::from_rows(shapes::CLOCK, &far)), Some(1.0));
        assert_eq!(error(Series::from_rows::<5>(shapes::CLOCK, &[])), None);
    }
}
