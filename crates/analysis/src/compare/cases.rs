//! Which case of one run is which of the other.

use dunlin_record::{CaseLabel, Outcome, Status, VmId};

use super::Figure;

/// The cases of two runs, matched by name, dials and VM.
pub(super) struct MatchedCases<'a> {
    pub(super) cases: Vec<Matched<'a>>,
    pub(super) only_in_a: Vec<String>,
    pub(super) only_in_b: Vec<String>,
    pub(super) cancelled_trials: usize,
}

/// A case that both runs have.
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
    let everything = || a.iter().chain(b);
    let several_vms = everything().any(|outcome| everything().next().is_some_and(|one| one.vm != outcome.vm));
    let title = |(label, vm): &Key| {
        if several_vms { format!("{} {vm}", label.title()) } else { label.title() }
    };
    let (keys_a, keys_b) = (keys(a), keys(b));
    let only =
        |these: &[Key], others: &[Key]| these.iter().filter(|key| !others.contains(key)).map(title).collect();
    let both = keys_a.iter().filter(|key| keys_b.contains(key));
    MatchedCases {
        cases: both
            .map(|key| {
                let (a, b) = (trials(a, *key), trials(b, *key));
                let has = |figure: &Figure| a.iter().chain(&b).any(|outcome| figure.of(outcome).is_some());
                let figures = Figure::ALL.into_iter().filter(has).collect();
                Matched { title: title(key), label: key.0, vm: key.1, a, b, figures }
            })
            .collect(),
        only_in_a: only(&keys_a, &keys_b),
        only_in_b: only(&keys_b, &keys_a),
        cancelled_trials: everything().filter(|outcome| !counts(outcome)).count(),
    }
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
