//! The runs of both sides, read and held against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dunlin_analysis::{
    ChangedSetting, CompareOptions, ComparedRun, Comparison, changed_settings, compare, compare_to_baseline,
};
use dunlin_record::Status;

use super::Args;
use crate::commands::report::Loaded;
use crate::failure::{Exit, Failure, Result};

/// A run by its folder.
pub(super) struct Run {
    pub(super) path: PathBuf,
    pub(super) loaded: Loaded,
}

/// What is held against what.
pub(super) enum Sides {
    Runs { a: Vec<Run>, b: Vec<Run> },
    OwnCase { run: Box<Run>, title: String },
}

/// What came of it.
pub(super) struct Compared {
    pub(super) comparison: Comparison,
    /// Where equally named cases were not the same; beside a baseline they are not meant to be.
    pub(super) changed: Vec<ChangedBetween>,
    /// Why trials of each side lack figures.
    pub(super) lacks: Vec<(&'static str, Vec<String>)>,
}

/// What differs in the cases of two runs.
pub(super) struct ChangedBetween {
    pub(super) before: PathBuf,
    pub(super) after: PathBuf,
    pub(super) settings: Vec<ChangedSetting>,
}

impl Sides {
    pub(super) fn of(args: &Args) -> Result<Self> {
        match (args.runs.as_slice(), args.after.as_slice(), &args.baseline) {
            ([run], [], Some(title)) => {
                Ok(Self::OwnCase { run: Box::new(Run::open(run)?), title: title.clone() })
            }
            (_, _, Some(_)) => Err(usage("--baseline takes one run")),
            ([a, b], [], None) => Self::of_runs(std::slice::from_ref(a), std::slice::from_ref(b)),
            (a, b, None) if !b.is_empty() => Self::of_runs(a, b),
            ([_], ..) => Err(usage("a run is compared with another, or by --baseline with one of its cases")),
            _ => Err(usage("several runs a side are parted by --, as in dunlin compare A1 A2 -- B1 B2")),
        }
    }

    fn of_runs(a: &[PathBuf], b: &[PathBuf]) -> Result<Self> {
        let amount_of_a = a.len();
        let mut a = open_all(a.iter().chain(b))?;
        let b = a.split_off(amount_of_a);
        Ok(Self::Runs { a, b })
    }

    pub(super) fn compare(&self, options: &CompareOptions) -> Result<Compared> {
        let compared = match self {
            Self::Runs { a, b } => Compared {
                comparison: compare(&told(a), &told(b), options),
                changed: a[1..].iter().chain(b).filter_map(|other| a[0].changed_to(other)).collect(),
                lacks: vec![("A", lacks(a)), ("B", lacks(b))],
            },
            Self::OwnCase { run, title } => Compared {
                comparison: compare_to_baseline(&run.told(), title, options)
                    .ok_or_else(|| no_such_case(run, title))?,
                changed: Vec::new(),
                lacks: vec![("A and B", lacks(std::slice::from_ref(run)))],
            },
        };
        if compared.comparison.cases.is_empty() {
            return Err(self.nothing_in_common());
        }
        Ok(compared)
    }

    pub(super) fn paths_of_a(&self) -> Vec<&Path> {
        match self {
            Self::Runs { a, .. } => a.iter().map(|run| run.path.as_path()).collect(),
            Self::OwnCase { run, .. } => vec![&run.path],
        }
    }

    pub(super) fn paths_of_b(&self) -> Vec<&Path> {
        match self {
            Self::Runs { b, .. } => b.iter().map(|run| run.path.as_path()).collect(),
            Self::OwnCase { .. } => Vec::new(),
        }
    }

    pub(super) fn baseline(&self) -> Option<&str> {
        match self {
            Self::Runs { .. } => None,
            Self::OwnCase { title, .. } => Some(title),
        }
    }

    /// Whether one run is held against another.
    pub(super) fn are_single_runs(&self) -> bool {
        matches!(self, Self::Runs { a, b } if a.len() == 1 && b.len() == 1)
    }

    /// The scenario's name, by the first run.
    pub(super) fn scenario(&self) -> &str {
        match self {
            Self::Runs { a, .. } => a[0].loaded.scenario(),
            Self::OwnCase { run, .. } => run.loaded.scenario(),
        }
    }

    fn nothing_in_common(&self) -> Failure {
        match self {
            Self::Runs { .. } => {
                let message = format!(
                    "{} and {} have no case in common",
                    listed(&self.paths_of_a()),
                    listed(&self.paths_of_b())
                );
                Failure::says(Exit::BadInput, message).hint("compare runs of one scenario")
            }
            Self::OwnCase { run, title } => Failure::says(
                Exit::BadInput,
                format!("{} has no case other than {title:?}", run.path.display()),
            ),
        }
    }
}

impl Run {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), loaded: Loaded::open(path)? })
    }

    pub(super) fn told(&self) -> ComparedRun<'_> {
        ComparedRun {
            outcomes: self.loaded.outcomes(),
            cases: self.loaded.cases(),
            skipped: self.loaded.skipped(),
        }
    }

    /// Of the cases that completed at all, in how many trials the one did that did so in the fewest.
    pub(super) fn fewest_completed(&self) -> Option<usize> {
        let mut by_case = BTreeMap::<_, usize>::new();
        let completed = self.loaded.outcomes().iter().filter(|outcome| outcome.status == Status::Completed);
        for outcome in completed {
            *by_case.entry((outcome.case.title(), outcome.vm.to_string())).or_default() += 1;
        }
        by_case.into_values().min()
    }

    /// Whether both are one run: of the same folder, or one a copy of the other, by what they say of themselves.
    fn is(&self, other: &Self) -> bool {
        let folder = |run: &Self| run.path.canonicalize().ok();
        let told = |run: &Self| (run.loaded.started_epoch_ms(), run.loaded.scenario().to_owned());
        told(self) == told(other) || folder(self).is_some_and(|path| Some(path) == folder(other))
    }

    fn changed_to(&self, other: &Self) -> Option<ChangedBetween> {
        let settings = changed_settings(self.loaded.cases(), other.loaded.cases());
        let (before, after) = (self.path.clone(), other.path.clone());
        (!settings.is_empty()).then_some(ChangedBetween { before, after, settings })
    }
}

/// Opens runs, each of which must be one of its own: the same run given twice would count as two, which show no drift.
pub(super) fn open_all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for path in paths {
        let run = Run::open(path)?;
        if let Some(same) = runs.iter().find(|known| known.is(&run)) {
            let message =
                format!("{} and {} are the same run, given twice", same.path.display(), run.path.display());
            return Err(Failure::says(Exit::BadInput, message)
                .hint("each run counts once: a copy of it shows nothing of how runs vary"));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// What the runs hold.
pub(super) fn told(runs: &[Run]) -> Vec<ComparedRun<'_>> {
    runs.iter().map(Run::told).collect()
}

/// Why trials of these runs lack figures.
fn lacks(runs: &[Run]) -> Vec<String> {
    dunlin_report::lacks(runs.iter().flat_map(|run| run.loaded.outcomes()))
}

/// As in `before, after`.
pub(super) fn listed(paths: &[&Path]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn usage(message: &str) -> Failure {
    Failure::says(Exit::Usage, message).hint("dunlin compare --help")
}

fn no_such_case(run: &Run, baseline: &str) -> Failure {
    let titles: BTreeSet<String> = run.loaded.outcomes().iter().map(|outcome| outcome.case.title()).collect();
    let titles = Vec::from_iter(titles).join(", ");
    let message = format!("--baseline: {} has no case {baseline:?}", run.path.display());
    Failure::says(Exit::BadInput, message).hint(format!("its cases: {titles}"))
}
