//! Which case is held against which.

use dunlin_record::{CaseLabel, Outcome, Status, VmId};

use super::Figure;

/// The cases of two runs, matched by name, dials and VM; or those of one run, each beside its baseline.
pub(super) struct MatchedCases<'a> {
    pub(super) cases: Vec<Matched<'a>>,
    pub(super) only_in_a: Vec<String>,
    pub(super) only_in_b: Vec<String>,
    pub(super) cancelled_trials: usize,
}

/// Two sides of a comparison.
pub(super) struct Matched<'a> {
    pub(super) title: String,
    pub(super) label: &'a CaseLabel,
    pub(super) vm: &'a VmId,
    pub(super) a: Vec<&'a Outcome>,
    pub(super) b: Vec<&'a Outcome>,
    /// The figures that at least one of the outcomes has.
    pub(super) figures: Vec<Figure>,
}

/// A VM moved first and one moved last are not repetitions of each other.
type Key<'a> = (&'a CaseLabel, &'a VmId);

pub(super) fn match_cases<'a>(a: &'a [Outcome], b: &'a [Outcome]) -> MatchedCases<'a> {
    let title = titles(a.iter().chain(b));
    let (keys_a, keys_b) = (keys(a), keys(b));
    let only =
        |these: &[Key], others: &[Key]| these.iter().filter(|key| !others.contains(key)).map(title).collect();
    let both = keys_a.iter().filter(|key| keys_b.contains(key));
    MatchedCases {
        cases: both.map(|key| Matched::new(title(key), *key, trials(a, *key), trials(b, *key))).collect(),
        only_in_a: only(&keys_a, &keys_b),
        only_in_b: only(&keys_b, &keys_a),
        cancelled_trials: a.iter().chain(b).filter(|outcome| !counts(outcome)).count(),
    }
}

/// Every other case of a run, each beside the one with this title; nothing if the run does not have it.
pub(super) fn match_to_baseline<'a>(run: &'a [Outcome], baseline: &str) -> Option<MatchedCases<'a>> {
    let title = titles(run.iter());
    let (before, after): (Vec<Key>, Vec<Key>) =
        keys(run).into_iter().partition(|(label, _)| label.title() == baseline);
    let of_vm = |vm: &VmId| before.iter().find(|(_, of)| *of == vm);
    let beside = |key: &Key<'a>| {
        of_vm(key.1).map(|before| Matched::new(title(key), *key, trials(run, *before), trials(run, *key)))
    };
    (!before.is_empty()).then(|| MatchedCases {
        cases: after.iter().filter_map(beside).collect(),
        only_in_a: Vec::new(),
        only_in_b: after.iter().filter(|key| of_vm(key.1).is_none()).map(title).collect(),
        cancelled_trials: run.iter().filter(|outcome| !counts(outcome)).count(),
    })
}

impl<'a> Matched<'a> {
    fn new(title: String, (label, vm): Key<'a>, a: Vec<&'a Outcome>, b: Vec<&'a Outcome>) -> Self {
        let has = |figure: &Figure| a.iter().chain(&b).any(|outcome| figure.of(outcome).is_some());
        let figures = Figure::ALL.into_iter().filter(has).collect();
        Self { title, label, vm, a, b, figures }
    }
}

/// How cases are titled: with their VM where there are several.
fn titles<'a>(everything: impl Iterator<Item = &'a Outcome>) -> impl Fn(&Key<'_>) -> String + Copy {
    let mut vms = everything.map(|outcome| &outcome.vm);
    let first = vms.next();
    let several_vms = vms.any(|vm| Some(vm) != first);
    move |(label, vm)| if several_vms { format!("{} {vm}", label.title()) } else { label.title() }
}

fn keys(outcomes: &[Outcome]) -> Vec<Key<'_>> {
    let mut keys = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| counts(outcome)) {
        let key = (&outcome.case, &outcome.vm);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn trials<'a>(outcomes: &'a [Outcome], key: Key) -> Vec<&'a Outcome> {
    outcomes.iter().filter(|outcome| counts(outcome) && (&outcome.case, &outcome.vm) == key).collect()
}

fn counts(outcome: &Outcome) -> bool {
    outcome.status != Status::Cancelled
}
