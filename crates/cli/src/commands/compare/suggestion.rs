//! Which commands would add what a comparison lacks.

use std::path::Path;

use dunlin_analysis::{Comparison, Figure, FigureComparison, Verdict};

use super::condition::Judgement;
use super::sides::Sides;
use crate::shell::quoted;
use crate::shipped::Shipped;

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
        // What takes more than anybody would do is still undecided then.
        let left_out = |more: fn(&FigureComparison) -> Option<u32>| {
            let undecided = figures.iter().filter(|figure| figure.verdict == Verdict::NotEnoughData).count();
            let advised = |figure: &&&FigureComparison| more(figure).is_some_and(|more| more <= MOST_MORE);
            let decided = figures.iter().filter(advised).count();
            if decided < undecided {
                format!(" (this decides {decided} of {undecided} figures without enough data)")
            } else {
                String::new()
            }
        };
        if let Some(more) = more_runs {
            let words = format!(
                "To decide more, about {more} more run{} of each side{}",
                if more == 1 { "" } else { "s" },
                left_out(|figure| figure.more_runs)
            );
            return Self::again(&words, sides);
        }
        if let Some(trials) = more_trials() {
            let mut paths = sides.paths_of_a();
            paths.extend(sides.paths_of_b());
            paths.dedup();
            let resume = |path| format!("dunlin bench --resume {} --trials {trials}", quoted(path));
            return Self {
                words: Some(format!(
                    "To decide more, about {trials} trials a case{}:",
                    left_out(|figure| figure.more_trials)
                )),
                commands: paths.into_iter().map(resume).collect(),
            };
        }
        if figures.iter().any(drift_would_tell) {
            let words = "To tell change from drift, three runs or more of each side (A1 A2 A3 -- B1 B2 B3)";
            return Self::again(words, sides);
        }
        Self { words: None, commands: Vec::new() }
    }

    /// The scenario anew: by its name where that is one to `dunlin bench`; a run does not know its scenario's file.
    fn again(words: &str, sides: &Sides) -> Self {
        let (name, file) = (sides.scenario(), Path::new(sides.scenario()));
        if file.is_file() || Shipped::find(name).is_some() {
            let commands = vec![format!("dunlin bench {}", quoted(file))];
            return Self { words: Some(format!("{words}:")), commands };
        }
        let words = format!("{words}: dunlin bench FILE, with the file of the scenario {name}");
        Self { words: Some(words), commands: Vec::new() }
    }
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
