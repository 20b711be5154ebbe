//! Which case is held against which, and which of them a side lacks.

use dunlin_record::{Case, CaseLabel, Outcome, SkippedCase, Status, VmId};
use serde::Serialize;

use super::Figure;
use super::side::Side;

/// A run as it is compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComparedRun<'a> {
    /// What came out.
    pub outcomes: &'a [Outcome],
    /// What was asked.
    pub cases: &'a [Case],
    /// What could not be run there.
    pub skipped: &'a [SkippedCase],
}

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SideName {
    /// Before.
    A,
    /// After.
    B,
}

/// A case of which runs of one side tell nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lacking {
    /// The case's title.
    pub case: String,
    /// Whose runs.
    pub side: SideName,
    /// How many of them lack it.
    pub runs: usize,
    /// Whether all of them do.
    pub all: bool,
    /// Why, of the first of them.
    pub because: String,
}

/// The cases of both sides, matched by name, dials and VM; or those of one run, each beside its baseline.
pub(super) struct MatchedCases<'a> {
    pub(super) cases: Vec<Matched<'a>>,
    pub(super) only_in_a: Vec<String>,
    pub(super) only_in_b: Vec<String>,
    pub(super) lacking: Vec<Lacking>,
    pub(super) cancelled_trials: usize,
}

/// Two sides of a case.
pub(super) struct Matched<'a> {
    pub(super) title: String,
    pub(super) label: &'a CaseLabel,
    pub(super) vm: &'a VmId,
    /// The figures that at least one of the outcomes has: the rows.
    pub(super) figures: Vec<Figure>,
    pub(super) a: Side,
    pub(super) b: Side,
    /// Whether the trials of both sides were made in turn, so that what drifts drifted for both.
    pub(super) in_turn: bool,
}

/// A VM moved first and one moved last are not repetitions of each other.
type Key<'a> = (&'a CaseLabel, &'a VmId);

pub(super) fn match_cases<'a>(a: &[ComparedRun<'a>], b: &[ComparedRun<'a>]) -> MatchedCases<'a> {
    let everything = || a.iter().chain(b).flat_map(|run| run.outcomes);
    let title = titles(everything());
    let (keys_a, keys_b) = (keys(a), keys(b));
    let only =
        |these: &[Key], others: &[Key]| these.iter().filter(|key| !others.contains(key)).map(title).collect();
    let both = keys_a.iter().filter(|key| keys_b.contains(key));
    MatchedCases {
        cases: both
            .map(|key| Matched::new(title(key), *key, &trials(a, *key), &trials(b, *key), false))
            .collect(),
        only_in_a: only(&keys_a, &keys_b),
        only_in_b: only(&keys_b, &keys_a),
        lacking: lacking(a, b),
        cancelled_trials: everything().filter(|outcome| !counts(outcome)).count(),
    }
}

/// Every other case of a run, each beside the one with this title; nothing if the run does not have it.
pub(super) fn match_to_baseline<'a>(run: &ComparedRun<'a>, baseline: &str) -> Option<MatchedCases<'a>> {
    let title = titles(run.outcomes.iter());
    let runs = std::slice::from_ref(run);
    let (before, after): (Vec<Key>, Vec<Key>) =
        keys(runs).into_iter().partition(|(label, _)| label.title() == baseline);
    let of_vm = |vm: &VmId| before.iter().find(|(_, of)| *of == vm);
    // Cases of other links stand in another lab, and are made after one another.
    let link = |title: &str| run.cases.iter().find(|case| case.title() == title).map(|case| &case.link);
    let beside = |key: &Key<'a>| {
        let in_turn = link(baseline) == link(&key.0.title());
        of_vm(key.1).map(|before| {
            Matched::new(title(key), *key, &trials(runs, *before), &trials(runs, *key), in_turn)
        })
    };
    let mut lacking = lacking(&[], runs);
    lacking.retain(|one| one.case != baseline);
    (!before.is_empty()).then(|| MatchedCases {
        cases: after.iter().filter_map(beside).collect(),
        only_in_a: Vec::new(),
        only_in_b: after.iter().filter(|key| of_vm(key.1).is_none()).map(title).collect(),
        lacking,
        cancelled_trials: run.outcomes.iter().filter(|outcome| !counts(outcome)).count(),
    })
}

impl<'a> Matched<'a> {
    fn new(
        title: String,
        (label, vm): Key<'a>,
        a: &[Vec<&'a Outcome>],
        b: &[Vec<&'a Outcome>],
        in_turn: bool,
    ) -> Self {
        let has = |figure: &Figure| a.iter().chain(b).flatten().any(|outcome| figure.of(outcome).is_some());
        let figures: Vec<Figure> = Figure::ALL.into_iter().filter(has).collect();
        Self { title, label, vm, a: Side::new(a, &figures), b: Side::new(b, &figures), figures, in_turn }
    }
}

/// The cases that some run of either side was asked for, or has, and that another tells nothing of.
fn lacking(a: &[ComparedRun], b: &[ComparedRun]) -> Vec<Lacking> {
    let mut titles: Vec<String> = Vec::new();
    for run in a.iter().chain(b) {
        let asked = run.cases.iter().map(Case::title);
        for title in asked.chain(run.outcomes.iter().map(|outcome| outcome.case.title())) {
            if !titles.contains(&title) {
                titles.push(title);
            }
        }
    }
    let of_side = |title: &String, side: SideName, runs: &[ComparedRun]| {
        let reasons: Vec<String> = runs.iter().filter_map(|run| lack(run, title)).collect();
        let all = reasons.len() == runs.len();
        let (case, runs) = (title.clone(), reasons.len());
        reasons.into_iter().next().map(|because| Lacking { case, side, runs, all, because })
    };
    let both = |title: &String| [of_side(title, SideName::A, a), of_side(title, SideName::B, b)];
    titles.iter().flat_map(both).flatten().collect()
}

/// Why a run tells nothing of a case, if so.
fn lack(run: &ComparedRun, title: &str) -> Option<String> {
    let of_case = || run.outcomes.iter().filter(|outcome| outcome.case.title() == title);
    if of_case().any(counts) {
        let completed = of_case().any(|outcome| outcome.status == Status::Completed);
        let trials = of_case().filter(|outcome| counts(outcome)).count();
        return (!completed).then(|| match trials {
            1 => "its one trial did not complete".into(),
            trials => format!("none of its {trials} trials completed"),
        });
    }
    let skipped = run.skipped.iter().find(|skipped| skipped.title == title);
    Some(match skipped {
        Some(skipped) => {
            format!("skipped: {}", skipped.because.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        None if of_case().next().is_some() => "its trials were cancelled".into(),
        None if run.cases.iter().any(|case| case.title() == title) => "not run".into(),
        None => "not asked for".into(),
    })
}

/// How cases are titled: with their VM where there are several.
fn titles<'a>(everything: impl Iterator<Item = &'a Outcome>) -> impl Fn(&Key<'_>) -> String + Copy {
    let mut vms = everything.map(|outcome| &outcome.vm);
    let first = vms.next();
    let several_vms = vms.any(|vm| Some(vm) != first);
    move |(label, vm)| if several_vms { format!("{} {vm}", label.title()) } else { label.title() }
}

fn keys<'a>(runs: &[ComparedRun<'a>]) -> Vec<Key<'a>> {
    let mut keys = Vec::new();
    for outcome in runs.iter().flat_map(|run| run.outcomes).filter(|outcome| counts(outcome)) {
        let key = (&outcome.case, &outcome.vm);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn trials<'a>(runs: &[ComparedRun<'a>], key: Key) -> Vec<Vec<&'a Outcome>> {
    let of_run = |run: &ComparedRun<'a>| {
        run.outcomes.iter().filter(|outcome| counts(outcome) && (&outcome.case, &outcome.vm) == key).collect()
    };
    runs.iter().map(of_run).collect()
}

fn counts(outcome: &Outcome) -> bool {
    outcome.status != Status::Cancelled
}
