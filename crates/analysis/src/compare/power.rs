//! Which change would be found with how many trials or runs, as much as these trials and runs vary: the comparison itself is
//! tried on tables drawn out of recorded ones, of which one side is made worse.

use dunlin_record::{CaseLabel, VmId};
use serde::Serialize;

use super::cases::{ComparedRun, Matched, match_cases};
use super::side::{RunTrials, Side};
use super::{CompareOptions, Figure, compare_figure, judge_all};
use crate::statistics::{Bootstrap, SplitMix64};

/// How the power of a comparison is found.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerOptions {
    /// With how many trials a run it is tried; of several runs, with how many runs a side, their own trials each.
    pub amounts: Vec<usize>,
    /// Which relative changes are tried, in rising order.
    pub changes: Vec<f64>,
    /// How many tables are drawn for each.
    pub tables: u32,
    /// How often a change must be found to count as one that is, as in 0.8.
    pub share: f64,
    /// How often the trials of a case are dealt to both sides anew.
    pub permutations: u32,
    /// Where the generator begins.
    pub seed: u64,
}

impl PowerOptions {
    /// What is tried for one run, or for several.
    #[must_use]
    pub fn for_runs(runs: usize) -> Self {
        Self {
            amounts: if runs > 1 { vec![2, 3, 4, 5, 6, 8] } else { vec![3, 5, 7, 10, 15, 20, 30] },
            changes: vec![0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0],
            tables: 100,
            share: 0.8,
            permutations: 199,
            seed: 1,
        }
    }
}

/// Which change is found with how many trials, or runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Power {
    /// How many runs it rests on. With one, drift between runs is not known and not part of it.
    pub runs: usize,
    /// A row for each figure of each case.
    pub rows: Vec<PowerRow>,
    /// The share of tables without any change in which something was called one, by the amounts of the rows.
    pub false_tables: Vec<FoundWith>,
}

/// A figure of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerRow {
    /// The case's title.
    pub title: String,
    /// Which figure.
    pub figure: Figure,
    /// With how much what is found: the least change of those that were tried.
    pub found: Vec<FoundWith>,
}

/// What is found with so many trials or runs a side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FoundWith {
    /// Trials a side, or runs a side.
    pub amount: usize,
    /// The least change that is found (0.1 is 10 % more), or a share; absent where none of those tried is.
    pub found: Option<f64>,
}

/// Finds the power of a comparison of runs like these.
#[must_use]
pub fn power(runs: &[ComparedRun<'_>], options: &PowerOptions) -> Power {
    let matched = match_cases(runs, runs);
    let cases: Vec<&Matched> = matched.cases.iter().filter(|case| case.figures.len() > 1).collect();
    let mut rows: Vec<PowerRow> = Vec::new();
    for case in &cases {
        for figure in case.figures.iter().filter(|figure| **figure != Figure::Completed) {
            rows.push(PowerRow { title: case.title.clone(), figure: *figure, found: Vec::new() });
        }
    }
    let mut false_tables = Vec::new();
    for &amount in &options.amounts {
        let trial = Trial { cases: &cases, runs: runs.len(), amount, options };
        let unchanged = trial.found(0.0).1;
        false_tables.push(FoundWith { amount, found: Some(unchanged) });
        let found: Vec<Vec<bool>> = options.changes.iter().map(|change| trial.found(*change).0).collect();
        for (place, row) in rows.iter_mut().enumerate() {
            // A change counts where every greater one is found as well.
            let least = found.iter().rposition(|found| !found[place]).map_or(0, |last| last + 1);
            row.found.push(FoundWith { amount, found: options.changes.get(least).copied() });
        }
    }
    Power { runs: runs.len(), rows, false_tables }
}

/// One amount that is tried.
struct Trial<'a> {
    cases: &'a [&'a Matched<'a>],
    runs: usize,
    amount: usize,
    options: &'a PowerOptions,
}

impl Trial<'_> {
    /// Whether a change is found often enough, for each row of the answer; and the share of tables in which anything was.
    fn found(&self, change: f64) -> (Vec<bool>, f64) {
        let mut random = SplitMix64::new(self.options.seed);
        let mut by_row: Vec<u32> = Vec::new();
        let mut in_table = 0;
        for table in 0..self.options.tables {
            let found = self.found_in_table(change, u64::from(table), &mut random);
            in_table += u32::from(found.contains(&true));
            by_row.resize(found.len(), 0);
            by_row.iter_mut().zip(&found).for_each(|(times, found)| *times += u32::from(*found));
        }
        let tables = f64::from(self.options.tables);
        let often = by_row.into_iter().map(|times| f64::from(times) >= self.options.share * tables);
        (often.collect(), f64::from(in_table) / tables)
    }

    fn found_in_table(&self, change: f64, seed: u64, random: &mut SplitMix64) -> Vec<bool> {
        let options = CompareOptions {
            permutations: self.options.permutations,
            // Whether a change is found needs no interval.
            bootstrap: Bootstrap { resamples: 0, seed, ..Bootstrap::default() },
            ..CompareOptions::default()
        };
        let cases: Vec<Matched> = self.cases.iter().map(|case| self.drawn(case, change, random)).collect();
        let judged = judge_all(&cases, &options);
        let rows = judged.iter().map(Vec::len).sum();
        let mut found = Vec::new();
        for (case, judged) in cases.iter().zip(&judged) {
            for (row, judged) in judged.iter().enumerate() {
                if case.figures[row] != Figure::Completed {
                    let verdict = compare_figure(case, row, *judged, rows, &options).verdict;
                    found.push(if change == 0.0 { verdict.is_change() } else { verdict.is_worse() });
                }
            }
        }
        found
    }

    /// A case with both sides drawn anew, of which B is worse.
    fn drawn<'a>(&self, case: &Matched<'a>, change: f64, random: &mut SplitMix64) -> Matched<'a> {
        let (label, vm): (&'a CaseLabel, &'a VmId) = (case.label, case.vm);
        let mut side = |factor: f64| Side {
            runs: self.drawn_runs(&case.a, factor, &case.figures, random),
            ..Side::default()
        };
        let (a, b) = (side(1.0), side(1.0 + change));
        let (title, figures) = (case.title.clone(), case.figures.clone());
        Matched { title, label, vm, figures, a, b, in_turn: false }
    }

    fn drawn_runs(
        &self,
        of: &Side,
        factor: f64,
        figures: &[Figure],
        random: &mut SplitMix64,
    ) -> Vec<RunTrials> {
        let several = self.runs > 1;
        let amount = if several { self.amount } else { 1 };
        let runs = (0..amount).map(|_| {
            let run = &of.runs[random.below(of.runs.len())];
            let trials = if several { run.len() } else { self.amount };
            let trial = |_| {
                let trial = &run[random.below(run.len())];
                let told = trial.iter().zip(figures).map(|(told, figure)| match figure {
                    Figure::Completed => *told,
                    _ => told.map(|told| told.scaled(factor)),
                });
                told.collect()
            };
            (0..trials).map(trial).collect()
        });
        runs.collect()
    }
}
