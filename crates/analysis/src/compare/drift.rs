//! Drift: how far runs of the same thing lie apart, which trials of one run cannot tell.
//!
//! A machine is warmer, fuller or busier today than yesterday, and every trial of a run has that in common. So a run counts as
//! one value, its median, and sides are told apart by Student's t over the runs of both. It is asked for beside the
//! permutation test over trials, never instead of it.

use super::Figure;
use super::side::{mean, middle};
use crate::statistics::{Interval, Reading, deviation, student};

/// The standard error of a median of normally distributed values, over that of their mean: the root of half pi.
const MEDIAN_ERROR: f64 = 1.2533;

/// What the runs of both sides say of one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drift {
    /// The standard deviation between runs of one side; a share of the figure, but of completion and of figures that may
    /// be 0, where it is absolute.
    pub(super) deviation: f64,
    /// B less A in the same unit; of shares the logarithm of their ratio.
    difference: f64,
    runs: (usize, usize),
    is_relative: bool,
}

impl Drift {
    /// Of either side what is told in each run. Nothing where no side has several runs, for what is drift cannot be told from
    /// what is change then; nor where the middle of a run is known by bounds only.
    pub(super) fn of(figure: Figure, a: &[Vec<Reading>], b: &[Vec<Reading>]) -> Option<Self> {
        let middles = |side: &[Vec<Reading>]| -> Option<Vec<f64>> {
            side.iter().map(|readings| middle(figure, readings)?.exact()).collect()
        };
        let (in_a, in_b) = (middles(a)?, middles(b)?);
        let (before, after) = (mean(&in_a)?, mean(&in_b)?);
        let degrees = in_a.len() + in_b.len() - 2;
        if degrees == 0 {
            return None;
        }
        let is_relative = figure != Figure::Completed && before > 0.0 && after > 0.0;
        let unit = |mean: f64| if is_relative { mean } else { 1.0 };
        let squares = |middles: &[f64], mean: f64| {
            middles.iter().map(|middle| ((middle - mean) / unit(mean)).powi(2)).sum::<f64>()
        };
        let between = (squares(&in_a, before) + squares(&in_b, after)) / degrees as f64;
        // Runs that lie closer together than their own trials allow do so by luck, or because the figure is told in steps: what
        // is rounded to a step is off by its share of a uniform distribution, however many trials agree.
        let rounding = step(figure, a.iter().chain(b).flatten()).unwrap_or(0.0) / 12.0_f64.sqrt();
        let errors = |side: &[Vec<Reading>], mean: f64| {
            side.iter()
                .map(|readings| (error(figure, readings).max(rounding) / unit(mean)).powi(2))
                .sum::<f64>()
        };
        let within = (errors(a, before) + errors(b, after)) / (a.len() + b.len()) as f64;
        let deviation = between.max(within).sqrt();
        deviation.is_finite().then(|| Self {
            deviation,
            difference: if is_relative { (after / before).ln() } else { after - before },
            runs: (in_a.len(), in_b.len()),
            is_relative,
        })
    }

    fn degrees(&self) -> usize {
        self.runs.0 + self.runs.1 - 2
    }

    fn standard_error(&self) -> f64 {
        self.deviation * (1.0 / self.runs.0 as f64 + 1.0 / self.runs.1 as f64).sqrt()
    }

    /// How often runs of the same thing lie so far apart, this figure looked at alone.
    pub(super) fn p_value(&self) -> f64 {
        if self.difference == 0.0 {
            return 1.0;
        }
        student::beyond(self.difference / self.standard_error(), self.degrees())
    }

    /// Where the change lies with 95 % confidence; of completion and relative figures only.
    pub(super) fn interval(&self, figure: Figure) -> Option<Interval> {
        let reach = student::reach(0.05, self.degrees()) * self.standard_error();
        let (low, high) = (self.difference - reach, self.difference + reach);
        match (figure, self.is_relative) {
            (Figure::Completed, _) => Some(Interval { low: low.max(-1.0), high: high.min(1.0) }),
            (_, true) => Some(Interval { low: low.exp_m1(), high: high.exp_m1() }),
            _ => None,
        }
    }

    /// How many runs a side would find a change of this size among so many figures, were there no other scatter.
    pub(super) fn runs_for(&self, change: f64, share_of_error: f64) -> Option<usize> {
        const MOST_RUNS: usize = 50;
        let finds = |runs: &usize| {
            let reach = student::reach(share_of_error, 2 * runs - 2);
            reach * self.deviation * (2.0 / *runs as f64).sqrt() <= change
        };
        (2..=MOST_RUNS).find(finds)
    }

    /// The fewer of both sides' runs.
    pub(super) fn fewest_runs(&self) -> usize {
        self.runs.0.min(self.runs.1)
    }
}

/// In which steps a figure is told, as far as these values show it: the least distance between two that differ. Completion
/// has none.
pub(super) fn step<'a>(figure: Figure, readings: impl Iterator<Item = &'a Reading>) -> Option<f64> {
    let mut values: Vec<f64> = readings.filter_map(|reading| reading.exact()).collect();
    values.sort_by(f64::total_cmp);
    let steps = values.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0);
    steps.min_by(f64::total_cmp).filter(|_| figure != Figure::Completed)
}

/// The standard error of the middle of one run, by its own trials; the greater one that bounds among them allow.
fn error(figure: Figure, readings: &[Reading]) -> f64 {
    let by_ends = [|reading: &Reading| reading.low, |reading: &Reading| reading.high];
    by_ends
        .map(|end| error_of(figure, &readings.iter().map(end).collect::<Vec<_>>()))
        .into_iter()
        .fold(0.0, f64::max)
}

fn error_of(figure: Figure, values: &[f64]) -> f64 {
    let amount = values.len() as f64;
    if figure == Figure::Completed {
        // Agresti and Coull, "Approximate is Better than Exact", 1998: a share of all or none varies too.
        let share = (values.iter().sum::<f64>() + 2.0) / (amount + 4.0);
        return (share * (1.0 - share) / (amount + 4.0)).sqrt();
    }
    MEDIAN_ERROR * deviation(values).unwrap_or(0.0) / amount.sqrt()
}

/// Corrects for the number of figures (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979). Those that
/// can show nothing are absent and do not count.
pub(super) fn corrected(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> =
        p_values.iter().enumerate().filter_map(|(row, p_value)| Some((row, (*p_value)?))).collect();
    order.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut corrected = vec![None; p_values.len()];
    let mut least = 0.0_f64;
    for (place, (row, p_value)) in order.iter().enumerate() {
        least = least.max((p_value * (order.len() - place) as f64).min(1.0));
        corrected[*row] = Some(least);
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(medians: &[f64]) -> Vec<Vec<Reading>> {
        medians
            .iter()
            .map(|median| [0.999, 1.0, 1.001].map(|by| Reading::value(median * by)).to_vec())
            .collect()
    }

    #[test]
    fn runs_are_told_apart_by_student_s_t() {
        let drift = Drift::of(Figure::TotalTime, &runs(&[98.0, 102.0]), &runs(&[147.0, 153.0])).unwrap();
        // Each side scatters by the root of 8 over 100: 2.83 %, of a mean of 2 the same, so t is ln 1.5 over 2.83 %.
        assert!((drift.deviation - 0.028_28).abs() < 1e-4, "{drift:?}");
        let t = 1.5_f64.ln() / 0.028_28;
        assert!((drift.p_value() - student::beyond(t, 2)).abs() < 1e-5, "{drift:?}");
        let interval = drift.interval(Figure::TotalTime).unwrap();
        assert!(
            (0.30..0.34).contains(&interval.low) && (0.68..0.72).contains(&interval.high),
            "{interval:?}"
        );
    }

    #[test]
    fn of_one_run_a_side_nothing_is_known_and_of_several_on_one_side_something_is() {
        assert_eq!(Drift::of(Figure::TotalTime, &runs(&[100.0]), &runs(&[150.0])), None);
        assert_eq!(Drift::of(Figure::TotalTime, &runs(&[100.0]), &[]), None);
        assert!(Drift::of(Figure::TotalTime, &runs(&[99.0, 100.0, 101.0]), &runs(&[150.0])).is_some());
    }

    #[test]
    fn runs_that_agree_by_luck_are_no_closer_than_their_trials_allow() {
        let wide = vec![[90.0, 95.0, 100.0, 105.0, 110.0].map(Reading::value).to_vec(); 2];
        let drift = Drift::of(Figure::TotalTime, &wide, &wide).unwrap();
        assert!(drift.deviation > 0.03, "{drift:?}");
        let all = vec![vec![Reading::value(1.0); 10]; 2];
        let drift = Drift::of(Figure::Completed, &all, &all).unwrap();
        assert!(drift.deviation > 0.05 && drift.p_value() == 1.0, "{drift:?}");
    }

    #[test]
    fn what_is_told_in_whole_steps_drifts_by_what_rounding_takes_at_least() {
        // More than half of each run's trials agree, so their median deviation is 0.
        let steps = |values: &[f64]| vec![values.iter().map(|ms| Reading::value(*ms)).collect::<Vec<_>>(); 3];
        let (a, b) = (steps(&[10.0, 10.0, 10.0, 11.0, 9.0]), steps(&[10.0, 10.0, 10.0, 10.0, 11.0]));
        let drift = Drift::of(Figure::DowntimeReported, &a, &b).unwrap();
        // 1 ms of 10 over the root of 12.
        assert!((drift.deviation - 0.028_867_5).abs() < 1e-6, "{drift:?}");
        let interval = drift.interval(Figure::DowntimeReported).unwrap();
        // Student's t of 4 degrees, 2.776, by the root of 2/3.
        assert!((interval.high - (2.776_f64 * 0.816_5 * 0.028_867_5).exp_m1()).abs() < 1e-4, "{interval:?}");
        assert_eq!(step(Figure::DowntimeReported, a.iter().flatten()), Some(1.0));
        assert_eq!(step(Figure::DowntimeReported, steps(&[10.0, 10.0]).iter().flatten()), None);
        assert_eq!(step(Figure::Completed, steps(&[0.0, 1.0]).iter().flatten()), None);
    }

    #[test]
    fn bounds_that_do_not_reach_the_middles_of_runs_leave_the_drift_known() {
        let (mut a, b) = (runs(&[98.0, 102.0]), runs(&[147.0, 153.0]));
        let whole = Drift::of(Figure::DowntimeIcmp, &a, &b).unwrap();
        a[0][0] = Reading::at_most(40.0);
        a[1][2] = Reading::at_least(200.0);
        let drift = Drift::of(Figure::DowntimeIcmp, &a, &b).unwrap();
        assert!((drift.deviation - whole.deviation).abs() < 1e-3, "{drift:?} after {whole:?}");
        a[0][1] = Reading::at_most(40.0);
        assert_eq!(Drift::of(Figure::DowntimeIcmp, &a, &b), None);
    }

    #[test]
    fn many_figures_are_corrected_for() {
        let given = [Some(0.01), None, Some(0.04), Some(0.03), Some(0.9)];
        assert_eq!(corrected(&given), [Some(0.04), None, Some(0.09), Some(0.09), Some(0.9)]);
    }
}
