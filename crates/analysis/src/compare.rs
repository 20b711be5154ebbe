//! Two runs of the same cases side by side, or the cases of one run beside one of them: what changed, by how much, and
//! whether that can be told from chance.

mod cases;
mod drift;
mod figure;
mod permutation;
mod power;
mod settings;
mod side;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use dunlin_record::{CaseLabel, Flag, VmId};
use serde::Serialize;

use crate::statistics::{Bootstrap, Interval, Reading, change_interval, relative_change};
pub use cases::{ComparedRun, Lacking, SideName};
use cases::{Matched, MatchedCases, match_cases, match_to_baseline};
use drift::{Drift, corrected, step};
pub use figure::Figure;
use permutation::{Block, Judged, judge};
pub use power::{FoundWith, Power, PowerOptions, PowerRow, power};
pub use settings::{ChangedSetting, changed_settings, changed_settings_and_amounts};
use verdict::{Evidence, LEAST_VALUES, completion_interval, is_coarse, more_runs, more_trials, verdict};

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

/// Runs of two sides, or one case of a run (A) beside its others (B).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The cases that both have, in A's order.
    pub cases: Vec<CaseComparison>,
    /// The titles of cases that only A has; none beside a baseline.
    pub only_in_a: Vec<String>,
    /// The titles of cases that only B has; of those whose VM the baseline did not move.
    pub only_in_b: Vec<String>,
    /// Cases of which runs of a side tell nothing: not asked for, skipped, not run, never completed.
    pub lacking: Vec<Lacking>,
    /// Trials that the user ended: they say nothing of the migration and are left out.
    pub cancelled_trials: usize,
}

/// A case on both sides.
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

/// A figure of a case on both sides.
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
    /// Where the change lies with 95 % confidence, this figure looked at alone: with the drift between runs where several
    /// are given. Absent for so few values that no interval reaches that confidence, and without drift where some of them are
    /// bounds.
    pub interval: Option<Interval>,
    /// The standard deviation between runs of the same side, as a share of the figure (of completion, and of figures that
    /// may be 0, absolute). Absent where no side has several runs, and where the median of one is a bound.
    pub drift: Option<f64>,
    /// How often a table in which nothing changed shows a difference as clear as this one somewhere.
    pub p_value: f64,
    /// What to make of it.
    pub verdict: Verdict,
    /// Whether drift between runs is known, or shared by both sides.
    #[serde(skip)]
    pub knows_drift: bool,
    /// Where there is not enough data: roughly how many more trials a side would be needed, if that can be told.
    pub more_trials: Option<u32>,
    /// The same in runs, where several are given.
    pub more_runs: Option<u32>,
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
    /// The two runs differ, for the better, by more than chance explains; drift between runs may be why.
    SeemsBetter,
    /// The two runs differ, for the worse, by more than chance explains; drift between runs may be why.
    SeemsWorse,
    /// The two runs do not differ by what is worth telling; drift between runs may hide a change.
    SeemsTheSame,
    /// A change that matters can neither be shown nor ruled out.
    NotEnoughData,
}

impl Verdict {
    /// Whether it says that it got worse, for certain or perhaps.
    #[must_use]
    pub fn is_worse(self) -> bool {
        matches!(self, Self::Worse | Self::SeemsWorse)
    }

    /// Whether drift between runs may be why it says what it says.
    #[must_use]
    pub fn only_seems(self) -> bool {
        matches!(self, Self::SeemsBetter | Self::SeemsWorse | Self::SeemsTheSame)
    }

    /// Whether it says that something changed, for certain or perhaps.
    #[must_use]
    pub fn is_change(self) -> bool {
        self.is_worse() || matches!(self, Self::Better | Self::SeemsBetter)
    }
}

/// What one side says of a figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Runs that have trials of the case.
    pub runs: usize,
    /// Trials of the case, but for cancelled ones.
    pub trials: usize,
    /// Of these, those that tell the figure: only a migration that completed has figures.
    pub values: usize,
    /// Of [`Figure::Completed`], how many trials did; of other figures absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<usize>,
    /// The figure's median; of [`Figure::Completed`] the share of the trials that did. Of several runs the mean of theirs.
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
    /// Why the figures of these trials cannot be fully trusted, and of how many of them.
    pub flags: BTreeMap<Flag, usize>,
}

/// Compares the runs of two sides, case by case.
///
/// Whether a difference is more than chance is told by one permutation test over the whole table, so that the number of
/// cases and figures does not multiply the false alarms. What runs of the same thing differ by is no chance within them: with
/// several runs of a side a difference must stand out of that too; with one run a side it only *seems* to be one.
#[must_use]
pub fn compare(a: &[ComparedRun<'_>], b: &[ComparedRun<'_>], options: &CompareOptions) -> Comparison {
    compare_matched(&match_cases(a, b), options)
}

/// Compares every other case of a run with the one of this title (A of the comparison); nothing if the run has none. Their
/// trials were made in turn, so drift is no matter, unless their links are others.
///
/// The trials of the baseline stand in every row of the table. That makes rows resemble each other, which the permutation
/// test does not know; it only makes it more careful than it need be.
#[must_use]
pub fn compare_to_baseline(
    run: &ComparedRun<'_>,
    baseline: &str,
    options: &CompareOptions,
) -> Option<Comparison> {
    Some(compare_matched(&match_to_baseline(run, baseline)?, options))
}

fn compare_matched(matched: &MatchedCases, options: &CompareOptions) -> Comparison {
    let judged = judge_all(&matched.cases, options);
    let rows = judged.iter().map(Vec::len).sum();
    let cases = matched.cases.iter().zip(&judged);
    Comparison {
        cases: cases.map(|(case, judged)| compare_case(case, judged, rows, options)).collect(),
        only_in_a: matched.only_in_a.clone(),
        only_in_b: matched.only_in_b.clone(),
        lacking: matched.lacking.clone(),
        cancelled_trials: matched.cancelled_trials,
    }
}

/// What both tests say of every figure of every case: it must stand out of the trials, and of the runs.
fn judge_all(cases: &[Matched], options: &CompareOptions) -> Vec<Vec<(Judged, Option<Drift>)>> {
    let blocks: Vec<Block> = cases.iter().map(block).collect();
    let judged = judge(&blocks, options.permutations, options.bootstrap.seed);
    let drift_of = |case: &Matched, row: usize| {
        Drift::of(case.figures[row], &case.a.readings(row), &case.b.readings(row))
    };
    let drifts: Vec<Option<Drift>> =
        cases.iter().flat_map(|case| (0..case.figures.len()).map(move |row| drift_of(case, row))).collect();
    // What is the same in every trial shows nothing, and is none of those that are corrected for.
    let p_value = |(judged, drift): (&Judged, &Option<Drift>)| {
        drift.filter(|_| judged.statistic != 0.0).map(|drift| drift.p_value())
    };
    let by_row: Vec<Option<f64>> = judged.iter().flatten().zip(&drifts).map(p_value).collect();
    let mut rows = corrected(&by_row).into_iter().zip(drifts);
    let with_drift = |judged: Vec<Judged>| {
        let both = judged.into_iter().zip(rows.by_ref()).map(|(judged, (p_value, drift))| {
            (Judged { p_value: judged.p_value.max(p_value.unwrap_or(0.0)), ..judged }, drift)
        });
        both.collect()
    };
    judged.into_iter().map(with_drift).collect()
}

fn block(case: &Matched) -> Block {
    let values = |row: usize| case.a.trials().chain(case.b.trials()).map(|trial| trial[row]).collect();
    Block { in_a: case.a.trials().count(), rows: (0..case.figures.len()).map(values).collect() }
}

fn compare_case(
    case: &Matched,
    judged: &[(Judged, Option<Drift>)],
    rows: usize,
    options: &CompareOptions,
) -> CaseComparison {
    CaseComparison {
        title: case.title.clone(),
        case: case.label.clone(),
        vm: case.vm.clone(),
        figures: judged
            .iter()
            .enumerate()
            .map(|(row, (judged, drift))| compare_figure(case, row, (*judged, *drift), rows, options))
            .collect(),
    }
}

fn compare_figure(
    case: &Matched,
    row: usize,
    (judged, drift): (Judged, Option<Drift>),
    rows: usize,
    options: &CompareOptions,
) -> FigureComparison {
    let figure = case.figures[row];
    let (a, b) = (case.a.sample(figure, row), case.b.sample(figure, row));
    let medians = a.median.zip(b.median);
    let change = medians.and_then(|(before, after)| match figure {
        Figure::Completed => Some(after - before),
        _ => relative_change(before, after),
    });
    let apart = medians.is_none().then(|| nearest(&a, &b)).flatten();
    let change_at_least = apart.and_then(|(before, after)| relative_change(before, after));
    let interval = interval(case, row, drift, options);
    let values = (a.values, b.values);
    let evidence = Evidence {
        figure,
        values,
        medians: medians.or(apart),
        change: change.or(change_at_least),
        interval,
        step: relative_step(case, row, medians),
        judged,
        rows,
        drift,
        in_turn: case.in_turn,
    };
    let verdict = verdict(&evidence, options);
    // Where a median is a bound more trials give another bound, and what hides in one step is in none of them.
    let is_hidden = is_coarse(&evidence, options)
        && evidence.change.is_some_and(|change| change.abs() < options.least_change);
    let more_may_help = verdict == Verdict::NotEnoughData && !(a.is_bound() || b.is_bound() || is_hidden);
    // How far values scatter of which some are bounds is not known, so neither is how many of them would do.
    let is_exact = case.a.values(row).is_some() && case.b.values(row).is_some();
    FigureComparison {
        more_trials: if more_may_help && is_exact && drift.is_none() {
            more_trials(&evidence, options)
        } else {
            None
        },
        more_runs: if more_may_help { more_runs(&evidence, options) } else { None },
        interval: interval.filter(|_| drift.is_some() || is_believable(figure, values)),
        drift: drift.map(|drift| drift.deviation),
        p_value: judged.p_value,
        figure,
        a,
        b,
        change,
        change_at_least,
        verdict,
        knows_drift: case.in_turn || drift.is_some(),
    }
}

/// In which steps a figure is told, as a share of the lesser median.
fn relative_step(case: &Matched, row: usize, medians: Option<(f64, f64)>) -> Option<f64> {
    let (before, after) = medians?;
    let readings = [case.a.readings(row), case.b.readings(row)].concat().concat();
    Some(step(case.figures[row], readings.iter())? / before.min(after))
}

/// The two values within the bounds of both medians that are nearest to each other, if the bounds do not touch.
fn nearest(a: &Sample, b: &Sample) -> Option<(f64, f64)> {
    let (before, after) = (a.bounds()?, b.bounds()?);
    if before.is_below(after) {
        Some((before.high, after.low))
    } else if after.is_below(before) {
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

fn interval(case: &Matched, row: usize, drift: Option<Drift>, options: &CompareOptions) -> Option<Interval> {
    let figure = case.figures[row];
    if let Some(drift) = drift {
        return drift.interval(figure);
    }
    // What the interval of a change is where some of the values are bounds, the bootstrap does not say.
    let (a, b) = (case.a.values(row)?.concat(), case.b.values(row)?.concat());
    match figure {
        Figure::Completed => completion_interval(&a, &b),
        _ => change_interval(&a, &b, &options.bootstrap),
    }
}

/// Whether an interval of so few values can be one of 95 %. That of a share is meant for few; one trial says nothing of how
/// it varies.
fn is_believable(figure: Figure, (a, b): (usize, usize)) -> bool {
    a.min(b) >= if figure == Figure::Completed { 2 } else { LEAST_VALUES }
}
