//! Times in which a service did not answer: gaps between arrivals that stand out of those before the migration.

use crate::moments::Moments;
use crate::probe_log::ProbeLog;

/// A gap between two consecutive arrivals of answers, or from the last one to the end of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The arrival before it.
    pub(crate) start_ns: i64,
    /// The arrival after it; where none came, the last request that should have been answered.
    pub(crate) end_ns: i64,
    /// Its length less one interval: the time for which no answer came that should have.
    pub(crate) missing_ns: i64,
    /// Whether no answer came after it: it is then at least as long as it seems.
    pub(crate) is_unfinished: bool,
}

/// What a probe's arrivals say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outages {
    /// The longest gap before the migration, less one interval; absent with fewer than two answers before it.
    pub(crate) baseline_ns: Option<i64>,
    /// The gaps that overlap the window and stand out, in order.
    pub(crate) gaps: Vec<Gap>,
    /// The longest gap that overlaps the window, whether it stands out or not, less one interval.
    pub(crate) longest_ns: Option<i64>,
}

impl Outages {
    /// Finds the outages in a probe's log.
    pub(crate) fn find(log: &ProbeLog, moments: &Moments) -> Self {
        let baseline_ns = gaps(log)
            .filter(|gap| {
                !gap.is_unfinished && gap.start_ns >= moments.baseline_start && gap.end_ns <= moments.command
            })
            .map(|gap| gap.missing_ns.max(0))
            .max();
        let usual_ns = baseline_ns.unwrap_or(0).max(log.interval_ns);
        let overlaps_window = |gap: &Gap| gap.end_ns > moments.command && gap.start_ns < moments.window_end;
        let in_window = || gaps(log).filter(overlaps_window);
        Self {
            baseline_ns,
            longest_ns: in_window().map(|gap| gap.missing_ns.max(0)).max(),
            gaps: in_window().filter(|gap| gap.missing_ns > usual_ns).collect(),
        }
    }

    /// The longest outage.
    pub(crate) fn longest(&self) -> Option<&Gap> {
        self.gaps.iter().max_by_key(|gap| gap.missing_ns)
    }
}

fn gaps(log: &ProbeLog) -> impl Iterator<Item = Gap> + '_ {
    let gap = |start_ns: i64, end_ns: i64, is_unfinished| Gap {
        start_ns,
        end_ns,
        missing_ns: end_ns.saturating_sub(start_ns).saturating_sub(log.interval_ns),
        is_unfinished,
    };
    let finished = log.arrivals_ns.windows(2).map(move |pair| gap(pair[0], pair[1], false));
    let unfinished = log
        .arrivals_ns
        .last()
        .zip(log.last_due_ns())
        .filter(|(arrived_ns, due_ns)| due_ns > arrived_ns)
        .map(|(arrived_ns, due_ns)| gap(*arrived_ns, due_ns, true));
    finished.chain(unfinished)
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    fn outages(answer: impl Fn(f64) -> Option<f64>) -> Outages {
        let (moments, log) = Fixture::pre_copy().with_probe("icmp", answer).probe_log();
        Outages::find(&log, &moments)
    }

    fn gap(start_ms: f64, end_ms: f64) -> Gap {
        Gap {
            start_ns: ns(start_ms),
            end_ns: ns(end_ms),
            missing_ns: ns(end_ms) - ns(start_ms) - 1_000_000,
            is_unfinished: false,
        }
    }

    #[test]
    fn answers_that_never_came_make_an_outage() {
        let found = outages(|at| (!(500.0..540.0).contains(&at)).then_some(at + 0.2));
        assert_eq!(found.gaps, [gap(499.2, 540.2)]);
        assert_eq!(found.gaps[0].missing_ns, 40_000_000);
        assert_eq!(found.baseline_ns, Some(0));
    }

    #[test]
    fn answers_that_came_late_all_at_once_make_the_same_outage() {
        let found = outages(|at| Some(if (500.0..540.0).contains(&at) { 540.2 } else { at + 0.2 }));
        assert_eq!(found.gaps, [gap(499.2, 540.2)]);
    }

    #[test]
    fn only_gaps_longer_than_those_before_the_migration_stand_out() {
        let holes = |holes: &'static [std::ops::Range<f64>]| {
            outages(move |at| (!holes.iter().any(|hole| hole.contains(&at))).then_some(at + 0.2))
        };
        let found = holes(&[-500.0..-480.0, 100.0..120.0, 200.0..221.0, 300.0..350.0]);
        assert_eq!(found.baseline_ns, Some(20_000_000));
        assert_eq!(found.gaps, [gap(199.2, 221.2), gap(299.2, 350.2)]);
        assert_eq!(found.longest(), Some(&gap(299.2, 350.2)));
        // A single missing answer is one interval: no outage even where nothing was ever late before.
        assert_eq!(holes(&[100.0..101.0]).gaps, []);
    }

    #[test]
    fn a_gap_counts_if_it_overlaps_the_time_from_the_command_to_the_end_of_settling() {
        let found = |from: f64, to: f64| {
            !outages(|at| (!(from..to).contains(&at)).then_some(at + 0.2)).gaps.is_empty()
        };
        assert!(found(-50.0, 10.0), "reaches over the command");
        assert!(!found(-50.0, -10.0), "before the command");
        assert!(found(1500.0, 1580.0), "reaches over the end, at 1543");
        assert!(!found(1550.0, 1580.0), "after the end");
    }

    #[test]
    fn a_probe_that_ended_before_the_command_saw_no_outage() {
        let requests: Vec<_> = (-1000..-200).map(|at| [at + 1000, ns(at as f64), ns(at as f64)]).collect();
        let (moments, log) = Fixture::pre_copy()
            .with_probe("icmp", |at| (at < -500.0).then_some(at + 0.2))
            .with_series("vm0-probe-icmp-sent", Series::from_rows(shapes::PROBE_SENT, &requests))
            .probe_log();
        assert_eq!(Outages::find(&log, &moments).gaps, []);
    }

    #[test]
    fn an_outage_that_sees_no_end_is_as_long_as_the_sending_went_on() {
        let found = outages(|at| (at < 500.0).then_some(at + 0.2));
        assert_eq!(found.gaps, [Gap { is_unfinished: true, ..gap(499.2, 1600.01) }]);
        // The last request is always sent after the last answer but one.
        assert_eq!(outages(|at| (at < 1600.0).then_some(at + 0.2)).gaps, []);
    }
}
