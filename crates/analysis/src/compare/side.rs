//! What one side of a comparison tells of a case: its runs, their trials, their figures.

use std::collections::BTreeMap;

use dunlin_record::{Flag, Outcome};

use super::{Figure, Sample};
use crate::statistics::{Reading, deviation, outliers};

/// The trials of one run of one case: of each, what it tells of every figure of the row.
pub(super) type RunTrials = Vec<Vec<Option<Reading>>>;

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

    pub(super) fn trials(&self) -> impl Iterator<Item = &Vec<Option<Reading>>> {
        self.runs.iter().flatten()
    }

    /// What is told of a figure, by run; of those runs that tell anything.
    pub(super) fn readings(&self, row: usize) -> Vec<Vec<Reading>> {
        let of_run = |run: &RunTrials| run.iter().filter_map(|trial| trial[row]).collect::<Vec<_>>();
        self.runs.iter().map(of_run).filter(|readings| !readings.is_empty()).collect()
    }

    /// The values of a figure, by run; of those runs that have any. Absent where some of what is told are bounds.
    pub(super) fn values(&self, row: usize) -> Option<Vec<Vec<f64>>> {
        let exact = |readings: Vec<Reading>| readings.into_iter().map(Reading::exact).collect();
        self.readings(row).into_iter().map(exact).collect()
    }

    pub(super) fn sample(&self, figure: Figure, row: usize) -> Sample {
        let by_run = self.readings(row);
        let middle = middle_of_runs(figure, &by_run);
        let bounds = middle.filter(|middle| middle.exact().is_none());
        // How far values scatter, of which only bounds are known, is not known.
        let values = self.values(row).filter(|_| figure != Figure::Completed).unwrap_or_default().concat();
        let completed = || by_run.iter().flatten().filter(|reading| reading.exact() == Some(1.0)).count();
        Sample {
            completed: (figure == Figure::Completed).then(completed),
            runs: self.runs.len(),
            trials: self.trials().count(),
            values: by_run.iter().map(Vec::len).sum(),
            median: middle.and_then(Reading::exact),
            median_at_most: bounds.map(|bounds| bounds.high).filter(|high| high.is_finite()),
            median_at_least: bounds.map(|bounds| bounds.low).filter(|low| *low > 0.0),
            deviation: deviation(&values),
            outliers: outliers(&values).into_iter().filter(|is_one| *is_one).count(),
            flags: self.flags.clone(),
        }
    }
}

/// The mean of the runs' middles, or its bounds: it lies between the mean of the lower ones and that of the upper ones.
fn middle_of_runs(figure: Figure, by_run: &[Vec<Reading>]) -> Option<Reading> {
    let middles: Vec<Reading> = by_run.iter().filter_map(|readings| middle(figure, readings)).collect();
    mean_of(&middles)
}

/// The middle of what is told in one run: its median, or of completion the share.
pub(super) fn middle(figure: Figure, readings: &[Reading]) -> Option<Reading> {
    if figure == Figure::Completed { mean_of(readings) } else { Reading::median(readings) }
}

fn mean_of(readings: &[Reading]) -> Option<Reading> {
    let of_ends = |end: fn(&Reading) -> f64| mean(&readings.iter().map(end).collect::<Vec<_>>());
    Some(Reading { low: of_ends(|one| one.low)?, high: of_ends(|one| one.high)? })
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
