//! What one side of a comparison tells of a case: its runs, their trials, their figures.

use std::collections::BTreeMap;

use dunlin_record::{Flag, Outcome};

use super::{Figure, Sample};
use crate::statistics::{deviation, median, outliers};

/// What a trial tells of a figure: between which ends it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    low: f64,
    high: f64,
}

impl Told {
    pub(super) fn exactly(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// The value, where it is known and no mere bound.
    pub(super) fn value(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether it is certainly less. Of bounds that reach over each other neither is (Gehan, "A Generalized Wilcoxon Test
    /// for Comparing Arbitrarily Singly-Censored Samples", 1965).
    pub(super) fn is_below(self, other: Self) -> bool {
        self.high < other.low
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }
}

/// The trials of one run of one case: of each, what it tells of every figure of the row.
pub(super) type RunTrials = Vec<Vec<Option<Told>>>;

/// One side of a case.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) runs: Vec<RunTrials>,
    pub(super) flags: BTreeMap<Flag, usize>,
}

impl Side {
    /// The trials of each run, where a run without any is none.
    pub(super) fn new(runs: &[Vec<&Outcome>], figures: &[Figure]) -> Self {
        let told = |outcome: &&Outcome| figures.iter().map(|figure| figure.of(outcome)).collect();
        let mut flags = BTreeMap::new();
        for flag in runs.iter().flatten().flat_map(|outcome| &outcome.flags) {
            *flags.entry(*flag).or_default() += 1;
        }
        let runs = runs.iter().filter(|run| !run.is_empty());
        Self { runs: runs.map(|run| run.iter().map(told).collect()).collect(), flags }
    }

    pub(super) fn trials(&self) -> impl Iterator<Item = &Vec<Option<Told>>> {
        self.runs.iter().flatten()
    }

    /// The known values of a figure, by run; of those runs that have any.
    pub(super) fn values(&self, row: usize) -> Vec<Vec<f64>> {
        let of_run = |run: &RunTrials| run.iter().filter_map(|trial| trial[row]?.value()).collect::<Vec<_>>();
        self.runs.iter().map(of_run).filter(|values| !values.is_empty()).collect()
    }

    pub(super) fn sample(&self, figure: Figure, row: usize) -> Sample {
        let by_run = self.values(row);
        let middles: Vec<f64> = by_run.iter().filter_map(|values| middle(figure, values)).collect();
        let values = by_run.concat();
        let is_share = figure == Figure::Completed;
        Sample {
            runs: self.runs.len(),
            trials: self.trials().count(),
            values: values.len(),
            median: mean(&middles),
            deviation: if is_share { None } else { deviation(&values) },
            outliers: if is_share {
                0
            } else {
                outliers(&values).into_iter().filter(|is_one| *is_one).count()
            },
            flags: self.flags.clone(),
        }
    }
}

/// The middle of one run's values: their median, or of completion the share.
pub(super) fn middle(figure: Figure, values: &[f64]) -> Option<f64> {
    if figure == Figure::Completed { mean(values) } else { median(values) }
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
