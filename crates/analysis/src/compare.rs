//! Two runs of the same cases side by side, or the cases of one run beside one of them: what changed, by how much, and
//! whether that can be told from chance.

mod cases;
mod figure;
mod permutation;
mod settings;
#[cfg(test)]
mod tests;
mod verdict;

use dunlin_record::{CaseLabel, Outcome, VmId};
use serde::Serialize;

use crate::statistics::{
    Bootstrap, Interval, Reading, change_interval, deviation, outliers, relative_change,
};
use cases::{Matched, MatchedCases, match_cases, match_to_baseline};
pub use figure::Figure;
use permutation::{Block, Judged, judge};
pub use settings::{ChangedSetting, changed_settings, changed_settings_and_amounts};
use verdict::{Evidence, completion_interval, more_trials, verdict};

/// How two runs are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompareOptions {
    /// The share of whole tables that may hold a false `better` or `worse`, as in 0.05.
    pub false_tables: f64,
    /// The least relative change worth telling, as in 0.05.
    pub least_change: f64,
    /// How often the trials of a case are dealt to both sides anew.
    pub permutations: u32,
    /// How the intervals are made. Its seed is also that of the permutations.
    pub bootstrap: Bootstrap,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { false_tables: 0.05, least_change: 0.05, permutations: 9999, bootstrap: Bootstrap::default() }
    }
}

/// Two runs side by side, or one case of a run (A) beside its others (B).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The cases that both have, in A's order.
    pub cases: Vec<CaseComparison>,
    /// The titles of cases that only A has; none beside a baseline.
    pub only_in_a: Vec<String>,
    /// The titles of cases that only B has; of those whose VM the baseline did not move.
    pub only_in_b: Vec<String>,
    /// Trials that the user ended: they say nothing of the migration and are left out.
    pub cancelled_trials: usize,
}

/// A case in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseComparison {
    /// The case's title; with the VM's name where there are several.
    pub title: String,
    /// The case.
    pub case: CaseLabel,
    /// The VM.
    pub vm: VmId,
    /// Completion, then each figure that either run measured.
    pub figures: Vec<FigureComparison>,
}

/// A figure of a case in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FigureComparison {
    /// Which figure.
    pub figure: Figure,
    /// Before.
    pub a: Sample,
    /// After.
    pub b: Sample,
    /// B's median relative to A's (0.1 is 10 % more); of [`Figure::Completed`] the difference of the shares. Absent
    /// where one of them is, or A's is 0 and B's is not.
    pub change: Option<f64>,
    /// Where a median is known by bounds only and the bounds of both sides do not touch: the least change there was, with
    /// its direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_at_least: Option<f64>,
    /// Where the change lies with 95 % confidence, this figure looked at alone.
    pub interval: Option<Interval>,
    /// How often a table in which nothing changed shows a difference as clear as this one somewhere.
    pub p_value: f64,
    /// What to make of it.
    pub verdict: Verdict,
    /// Where there is not enough data: roughly how many more trials a side would be needed, if that can be told.
    pub more_trials: Option<u32>,
}

/// What to make of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It changed for the better, by more than chance explains.
    Better,
    /// It changed for the worse, by more than chance explains.
    Worse,
    /// Any change is smaller than the least that is worth telling.
    NoDifference,
    /// A change that matters can neither be shown nor ruled out.
    NotEnoughData,
}

/// What one run says of a figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Trials of the case, but for cancelled ones.
    pub trials: usize,
    /// Of these, those that tell the figure: only a migration that completed has figures.
    pub values: usize,
    /// The figure's median; of [`Figure::Completed`] the share of the trials that did.
    pub median: Option<f64>,
    /// Where bounds reach the middle: what the median is at most, and at least if that is above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_at_most: Option<f64>,
    /// What it is at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_at_least: Option<f64>,
    /// Median absolute deviation, scaled as a standard deviation. Absent for [`Figure::Completed`], and where some of the
    /// values are bounds.
    pub deviation: Option<f64>,
    /// Values further than three deviations from the median. They count like the others.
    pub outliers: usize,
}

/// Compares two runs, case by case.
///
/// Whether a difference is more than chance is told by one permutation test over the whole table, so that the number of
/// cases and figures does not multiply the false alarms.
#[must_use]
pub fn compare(a: &[Outcome], b: &[Outcome], options: &CompareOptions) -> Comparison {
    compare_matched(&match_cases(a, b), options)
}

/// Compares every other case of a run with the one of this title (A of the comparison); nothing if the run has none.
///
/// The trials of the baseline stand in every row of the table. That makes rows resemble each other, which the permutation
/// test does not know; it only makes it more careful than it need be.
#[must_use]
pub fn compare_to_baseline(run: &[Outcome], baseline: &str, options: &CompareOptions) -> Option<Comparison> {
    Some(compare_matched(&match_to_baseline(run, baseline)?, options))
}

fn compare_matched(matched: &MatchedCases, options: &CompareOptions) -> Comparison {
    let blocks: Vec<Block> = matched.cases.iter().map(block).collect();
    let judged = judge(&blocks, options.permutations, options.bootstrap.seed);
    let rows = judged.iter().map(Vec::len).sum();
    let cases = matched.cases.iter().zip(&judged);
    Comparison {
        cases: cases.map(|(case, judged)| compare_case(case, judged, rows, options)).collect(),
        only_in_a: matched.only_in_a.clone(),
        only_in_b: matched.only_in_b.clone(),
        cancelled_trials: matched.cancelled_trials,
    }
}

fn block(case: &Matched) -> Block {
    let values = |figure: &Figure| case.a.iter().chain(&case.b).map(|outcome| figure.of(outcome)).collect();
    Block { in_a: case.a.len(), rows: case.figures.iter().map(values).collect() }
}

fn compare_case(case: &Matched, judged: &[Judged], rows: usize, options: &CompareOptions) -> CaseComparison {
    let figures = case.figures.iter().zip(judged);
    CaseComparison {
        title: case.title.clone(),
        case: case.label.clone(),
        vm: case.vm.clone(),
        figures: figures
            .map(|(figure, judged)| compare_figure(*figure, case, *judged, rows, options))
            .collect(),
    }
}

fn compare_figure(
    figure: Figure,
    case: &Matched,
    judged: Judged,
    rows: usize,
    options: &CompareOptions,
) -> FigureComparison {
    let readings = |side: &[&Outcome]| side.iter().filter_map(|outcome| figure.of(outcome)).collect();
    let (readings_a, readings_b): (Vec<Reading>, Vec<Reading>) = (readings(&case.a), readings(&case.b));
    let (a, b) = (sample(figure, case.a.len(), &readings_a), sample(figure, case.b.len(), &readings_b));
    let medians = a.median.zip(b.median);
    // What the interval of a change is where some of the values are bounds, the bootstrap does not say.
    let values = |readings: &[Reading]| readings.iter().map(|one| one.exact()).collect::<Option<Vec<f64>>>();
    let (values_a, values_b) = values(&readings_a).zip(values(&readings_b)).unwrap_or_default();
    let (change, interval) = match figure {
        Figure::Completed => {
            (medians.map(|(before, after)| after - before), completion_interval(&values_a, &values_b))
        }
        _ => (
            medians.and_then(|(before, after)| relative_change(before, after)),
            change_interval(&values_a, &values_b, &options.bootstrap),
        ),
    };
    let apart = medians.is_none().then(|| nearest(&a, &b)).flatten();
    let change_at_least = apart.and_then(|(before, after)| relative_change(before, after));
    let evidence = Evidence {
        figure,
        values: (a.values, b.values),
        medians: medians.or(apart),
        change: change.or(change_at_least),
        interval,
        judged,
        rows,
    };
    let verdict = verdict(&evidence, options);
    // Where a median is a bound more trials give another bound.
    let may_help = verdict == Verdict::NotEnoughData && !(a.is_bound() || b.is_bound());
    let more_trials = if may_help { more_trials(&evidence, options) } else { None };
    FigureComparison {
        figure,
        a,
        b,
        change,
        change_at_least,
        interval,
        p_value: judged.p_value,
        verdict,
        more_trials,
    }
}

/// The two values within the bounds of both medians that are nearest to each other, if the bounds do not touch.
fn nearest(a: &Sample, b: &Sample) -> Option<(f64, f64)> {
    let (before, after) = (a.bounds()?, b.bounds()?);
    if before.high < after.low {
        Some((before.high, after.low))
    } else if after.high < before.low {
        Some((before.low, after.high))
    } else {
        None
    }
}

impl Sample {
    /// Whether its median is known by bounds only.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.median_at_most.is_some() || self.median_at_least.is_some()
    }

    /// Its median, or what bounds it.
    #[must_use]
    pub fn bounds(&self) -> Option<Reading> {
        let bounds = Reading {
            low: self.median_at_least.unwrap_or(0.0),
            high: self.median_at_most.unwrap_or(f64::INFINITY),
        };
        self.median.map(Reading::value).or_else(|| self.is_bound().then_some(bounds))
    }
}

fn sample(figure: Figure, trials: usize, readings: &[Reading]) -> Sample {
    let values: Vec<f64> = readings.iter().filter_map(|one| one.exact()).collect();
    let share = values.iter().sum::<f64>() / values.len() as f64;
    let is_share = figure == Figure::Completed;
    let middle = Reading::median(readings).filter(|_| !is_share);
    let bounds = middle.filter(|middle| middle.exact().is_none());
    let has_spread = !is_share && values.len() == readings.len();
    Sample {
        trials,
        values: readings.len(),
        median: if is_share {
            Some(share).filter(|share| share.is_finite())
        } else {
            middle.and_then(Reading::exact)
        },
        median_at_most: bounds.map(|bounds| bounds.high).filter(|high| high.is_finite()),
        median_at_least: bounds.map(|bounds| bounds.low).filter(|low| *low > 0.0),
        deviation: if has_spread { deviation(&values) } else { None },
        outliers: if has_spread { outliers(&values).into_iter().filter(|is_one| *is_one).count() } else { 0 },
    }
}
