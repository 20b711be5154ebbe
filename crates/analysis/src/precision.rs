//! How well a case's trials tell its medians, and whether more of them are wanted.

use dunlin_record::{Outcome, Percent, Status, VmId};

use crate::statistics::{Reading, median};

/// How often an interval misses the true median, at most.
const MISSES: f64 = 0.05;

/// What a figure is called, how it is read from an outcome, and the error of a single measurement.
type Figure = (&'static str, fn(&Outcome) -> Option<Reading>, fn(&Outcome) -> Option<f64>);

/// The figures that say when a case has been tried often enough.
const DECIDING: [Figure; 2] = [
    ("total_time_ms", |outcome| Reading::of(outcome.total_time_ms, None, None), |_| None),
    ("downtime_ms.icmp", icmp, |outcome| outcome.downtime_error_ms.icmp.or_else(|| half_bound(outcome))),
];

fn icmp(outcome: &Outcome) -> Option<Reading> {
    let at_least = outcome.downtime_at_least_ms.icmp;
    Reading::of(outcome.downtime_ms.icmp, outcome.downtime_at_most_ms.icmp, at_least)
}

/// Of a bound half of its width is what a single measurement leaves open.
fn half_bound(outcome: &Outcome) -> Option<f64> {
    let Reading { low, high } = icmp(outcome)?;
    Some((high - low) / 2.0).filter(|half| half.is_finite())
}

/// The confidence interval of a median.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    low: f64,
    high: f64,
}

impl Interval {
    /// The interval between two order statistics that covers the median of any continuous distribution in 95 % of
    /// cases at least (Conover, Practical Nonparametric Statistics, section 3.2: the number of values below the median
    /// is binomial). Absent for fewer than six values: even their least and greatest cover it less often.
    fn of(readings: &[Reading]) -> Option<Self> {
        let count = readings.len();
        let sorted = |bound: fn(&Reading) -> f64| {
            let mut sorted: Vec<f64> = readings.iter().map(bound).collect();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        // Whatever the values within the bounds are.
        let (lows, highs) = (sorted(|one| one.low), sorted(|one| one.high));
        let mut below = 0.5_f64.powi(i32::try_from(count).ok()?);
        let mut misses = 0.0;
        let mut inner = None;
        for rank in 0..count / 2 {
            // Both tails: at most `rank` values below the median, or at most as many above it.
            misses += 2.0 * below;
            if misses > MISSES {
                break;
            }
            inner = Some(Self { low: lows[rank], high: highs[count - 1 - rank] });
            below *= (count - rank) as f64 / (rank + 1) as f64;
        }
        inner
    }
}

/// How well one figure's median is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Precision {
    /// As in `downtime_ms.icmp`.
    pub figure: &'static str,
    /// The median over completed trials, or what bounds it.
    pub median: Reading,
    /// Half the width of its 95 % confidence interval.
    pub half_width: f64,
    /// The error of a single measurement; absent where it is not an estimate.
    pub error: Option<f64>,
}

impl Precision {
    /// The half width as a share of the median; absent where that is 0 or a bound.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let median = self.median.exact().filter(|median| *median > 0.0)?;
        Some(self.half_width / median * 100.0)
    }

    /// Whether the median is known to within this share of it, or to within the error of a single measurement: below
    /// that, trials tell more of the probe than of the migration.
    fn is_within(&self, until: Percent) -> bool {
        let wanted = self.median.exact().unwrap_or(0.0) * until.percent() / 100.0;
        self.half_width <= wanted.max(self.error.unwrap_or(0.0))
    }
}

/// How well one VM's trials of one case tell its total time and its ICMP downtime: those that at least six completed
/// trials measured.
#[must_use]
pub fn precision(outcomes: &[&Outcome]) -> Vec<Precision> {
    let known = |(figure, value, error): &Figure| {
        let readings = completed(outcomes, *value);
        let Interval { low, high } = Interval::of(&readings)?;
        let errors = completed(outcomes, *error);
        let half_width = (high - low) / 2.0;
        Some(Precision { figure, median: Reading::median(&readings)?, half_width, error: median(&errors) })
    };
    DECIDING.iter().filter_map(known).collect()
}

/// Whether a case has been tried often enough: for each of its VMs the medians of total time and ICMP downtime, where
/// they are measured at all, are known within `until`. Also where no trial has completed: more of them give no median.
#[must_use]
pub fn precise_enough(outcomes: &[Outcome], until: Percent) -> bool {
    let mut vms: Vec<&VmId> = outcomes.iter().map(|outcome| &outcome.vm).collect();
    vms.sort();
    vms.dedup();
    vms.into_iter().all(|vm| {
        let of_vm: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.vm == *vm).collect();
        let measured = |(_, value, _): &&Figure| !completed(&of_vm, *value).is_empty();
        let known = precision(&of_vm);
        known.len() == DECIDING.iter().filter(measured).count()
            && known.iter().all(|figure| figure.is_within(until))
    })
}

/// What completed trials say.
fn completed<T>(outcomes: &[&Outcome], value: fn(&Outcome) -> Option<T>) -> Vec<T> {
    let completed = outcomes.iter().filter(|outcome| outcome.status == Status::Completed);
    completed.filter_map(|outcome| value(outcome)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::Fixture;

    fn outcome(total_time_ms: f64, icmp_ms: f64) -> Outcome {
        let mut outcome = Fixture::pre_copy().outcome();
        outcome.total_time_ms = Some(total_time_ms);
        outcome.downtime_ms.icmp = Some(icmp_ms);
        outcome.downtime_error_ms.icmp = Some(1.0);
        outcome
    }

    fn enough(outcomes: &[Outcome], percent: f64) -> bool {
        precise_enough(outcomes, Percent::new(percent).unwrap())
    }

    /// Ranks, from 1, as in tables of the confidence interval of the median (Conover, table A3).
    #[test]
    fn the_interval_is_the_one_of_the_tables() {
        for (count, low, high) in
            [(6, 1.0, 6.0), (8, 1.0, 8.0), (9, 2.0, 8.0), (15, 4.0, 12.0), (30, 10.0, 21.0)]
        {
            let values: Vec<Reading> = (1..=count).map(|value| Reading::value(f64::from(value))).collect();
            assert_eq!(Interval::of(&values), Some(Interval { low, high }), "{count}");
        }
        assert_eq!(Interval::of(&[]), None);
        assert_eq!(Interval::of(&[Reading::value(1.0); 5]), None);
    }

    #[test]
    fn equal_trials_are_precise_once_there_are_six() {
        let equal = vec![outcome(500.0, 40.0); 6];
        assert!(!enough(&equal[..5], 5.0));
        assert!(enough(&equal, 5.0));
    }

    #[test]
    fn each_figure_must_be_known() {
        let totals: Vec<_> = (0..6).map(|trial| outcome(500.0 + f64::from(trial) * 20.0, 40.0)).collect();
        assert!(enough(&totals, 10.0) && !enough(&totals, 5.0));
        let downtimes: Vec<_> = (0..6).map(|trial| outcome(500.0, 40.0 + f64::from(trial) * 2.0)).collect();
        assert!(enough(&downtimes, 12.0) && !enough(&downtimes, 5.0));
        let known = precision(&downtimes.iter().collect::<Vec<_>>());
        assert_eq!(known[1].figure, "downtime_ms.icmp");
        assert_eq!(
            (known[1].median, known[1].half_width, known[1].percent()),
            (Reading::value(45.0), 5.0, Some(500.0 / 45.0))
        );
    }

    #[test]
    fn no_more_is_asked_than_the_probe_can_tell() {
        let short: Vec<_> = (0..6).map(|trial| outcome(500.0, 2.0 + f64::from(trial) * 0.3)).collect();
        assert!(enough(&short, 5.0));
        let none = vec![outcome(500.0, 0.0); 6];
        assert!(enough(&none, 5.0));
        assert_eq!(precision(&none.iter().collect::<Vec<_>>())[1].percent(), None);
    }

    #[test]
    fn bounds_that_no_trial_makes_finer_are_not_waited_for_and_bounds_among_values_are() {
        let bound = |at_most_ms| {
            let mut outcome = outcome(500.0, 0.0);
            outcome.downtime_ms.icmp = None;
            outcome.downtime_error_ms.icmp = None;
            outcome.downtime_at_most_ms.icmp = Some(at_most_ms);
            outcome
        };
        let bounds = vec![bound(2.0); 6];
        assert!(enough(&bounds, 5.0) && !enough(&bounds[..5], 5.0));
        let known = precision(&bounds.iter().collect::<Vec<_>>());
        assert_eq!((known[1].median, known[1].percent()), (Reading::at_most(2.0), None));
        let mixed: Vec<_> =
            (0..6).map(|trial| if trial % 2 == 0 { bound(2.0) } else { outcome(500.0, 40.0) }).collect();
        assert!(!enough(&mixed, 5.0));
    }

    #[test]
    fn what_is_not_measured_is_not_waited_for() {
        let mut unprobed = outcome(500.0, 40.0);
        unprobed.downtime_ms.icmp = None;
        assert!(enough(&vec![unprobed; 6], 5.0));
        let mut never = outcome(500.0, 40.0);
        never.status = Status::NotConverged;
        assert!(enough(&vec![never.clone(); 6], 5.0), "no number of trials would give a median");
        let mut mixed = vec![never; 5];
        mixed.push(outcome(500.0, 40.0));
        assert!(!enough(&mixed, 5.0));
    }

    #[test]
    fn each_vm_must_be_known() {
        let mut outcomes = vec![outcome(500.0, 40.0); 6];
        let second = |total_time_ms| Outcome { vm: VmId::new("vm1"), ..outcome(total_time_ms, 40.0) };
        outcomes.extend((0..6).map(|trial| second(500.0 + f64::from(trial) * 200.0)));
        assert!(!enough(&outcomes, 5.0) && enough(&outcomes, 100.0));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median_and_scales_with_the_values(
            mut values in proptest::collection::vec(0.0..1e6_f64, 6..60), factor in 0.1..10.0_f64,
        ) {
            values.sort_by(f64::total_cmp);
            let interval = |values: &[f64]| {
                Interval::of(&values.iter().copied().map(Reading::value).collect::<Vec<_>>())
            };
            let Interval { low, high } = interval(&values).unwrap();
            prop_assert!(low <= median(&values).unwrap() && median(&values).unwrap() <= high);
            let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
            prop_assert_eq!(interval(&scaled), Some(Interval { low: low * factor, high: high * factor }));
        }
    }
}
