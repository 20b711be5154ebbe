//! Which commands would add what a comparison lacks.

use dunlin_analysis::{Comparison, Figure, FigureComparison};

use super::condition::Judgement;
use super::sides::Sides;
use crate::shell::quoted;

/// More trials or runs than that are nobody's next step.
const MOST_MORE: u32 = 200;

/// What to do next; empty where all is decided, or nobody knows what would decide it.
pub(super) struct Suggestion {
    /// In a sentence.
    pub(super) words: Option<String>,
    /// Lines for a shell.
    pub(super) commands: Vec<String>,
}

impl Suggestion {
    pub(super) fn of(sides: &Sides, comparison: &Comparison, judged: &[Judgement]) -> Self {
        let figures: Vec<&FigureComparison> = comparison
            .cases
            .iter()
            .flat_map(|case| &case.figures)
            .filter(|figure| matters(figure, judged))
            .collect();
        let more_runs =
            figures.iter().filter_map(|figure| figure.more_runs).filter(|more| *more <= MOST_MORE).max();
        let more_trials = || {
            let with_all = |figure: &&&FigureComparison| {
                figure
                    .more_trials
                    .filter(|more| *more <= MOST_MORE)
                    .map(|more| more as usize + trials(figure))
            };
            figures.iter().filter_map(|figure| with_all(&figure)).max()
        };
        // Of several runs, or of bounds, more of the same tell no drift either.
        let drift_would_tell = |figure: &&FigureComparison| {
            let is_bound = figure.a.is_bound() || figure.b.is_bound();
            figure.verdict.only_seems() && figure.a.runs.max(figure.b.runs) == 1 && !is_bound
        };
        if let Some(more) = more_runs {
            return Self {
                words: Some(format!(
                    "To decide more, about {more} more run{} of each side:",
                    if more == 1 { "" } else { "s" }
                )),
                commands: vec![again(sides)],
            };
        }
        if let Some(trials) = more_trials() {
            let mut paths = sides.paths_of_a();
            paths.extend(sides.paths_of_b());
            paths.dedup();
            let resume = |path| format!("dunlin bench --resume {} --trials {trials}", quoted(path));
            return Self {
                words: Some(format!("To decide more, about {trials} trials a case:")),
                commands: paths.into_iter().map(resume).collect(),
            };
        }
        if figures.iter().any(drift_would_tell) {
            return Self {
                words: Some(
                    "To tell change from drift, three runs or more of each side (A1 A2 A3 -- B1 B2 B3):"
                        .into(),
                ),
                commands: vec![again(sides)],
            };
        }
        Self { words: None, commands: Vec::new() }
    }
}

fn again(sides: &Sides) -> String {
    format!("dunlin bench {}", quoted(std::path::Path::new(sides.scenario())))
}

/// Whether it is asked for. That every trial completes would take a hundred to be told for certain, so that counts only where a
/// condition asks for it.
fn matters(figure: &FigureComparison, judged: &[Judgement]) -> bool {
    if judged.is_empty() {
        return figure.figure != Figure::Completed || figure.a.median != figure.b.median;
    }
    judged.iter().any(|judgement| judgement.condition.figure == figure.figure)
}

fn trials(figure: &FigureComparison) -> usize {
    figure.a.trials.max(figure.b.trials)
}
