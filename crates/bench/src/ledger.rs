//! Which trials of a run have been made, and which are still due.

use std::ops::RangeInclusive;
use std::time::Duration;

use dunlin_analysis::precise_enough;
use dunlin_record::{Case, Outcome};

use crate::scenario::{expected_trial_duration, trial_id};

/// The cases of a run with what their trials came to.
pub(crate) struct Ledger<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    case: &'a Case,
    /// Whether it can be run here at all.
    runs_here: bool,
    /// The numbers of the trials that have been made.
    made: Vec<u32>,
    outcomes: Vec<Outcome>,
}

impl<'a> Ledger<'a> {
    /// A ledger with the outcomes of an earlier part of the run. `run_here` says of each case whether it can be run.
    pub(crate) fn new(
        cases: &'a [Case],
        run_here: impl Iterator<Item = bool>,
        earlier: Vec<Outcome>,
    ) -> Self {
        let entry = |(case, runs_here)| Entry { case, runs_here, made: Vec::new(), outcomes: Vec::new() };
        let mut ledger = Self { entries: cases.iter().zip(run_here).map(entry).collect() };
        for outcome in earlier {
            let of_case = cases
                .iter()
                .enumerate()
                .position(|(index, case)| trial_id(index, case, outcome.trial) == outcome.id);
            if let Some(index) = of_case {
                ledger.enter(index, outcome.trial, vec![outcome]);
            }
        }
        ledger
    }

    /// Enters what a trial came to.
    pub(crate) fn enter(&mut self, case_index: usize, number: u32, outcomes: Vec<Outcome>) {
        let entry = &mut self.entries[case_index];
        if !entry.made.contains(&number) {
            entry.made.push(number);
        }
        entry.outcomes.extend(outcomes);
        entry.outcomes.sort_by_key(|outcome| outcome.trial);
    }

    /// All that came out, by case, then by trial.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.entries.iter().flat_map(|entry| &entry.outcomes)
    }

    /// Whether a case is to have its trial of this number now.
    pub(crate) fn is_due(&self, case_index: usize, number: u32) -> bool {
        let entry = &self.entries[case_index];
        !entry.made.contains(&number) && entry.wants(number)
    }

    /// Whether any of these cases wants a trial of this number, made or not, or may want a later one.
    pub(crate) fn goes_on(&self, group: &[usize], number: u32) -> bool {
        group.iter().any(|&index| self.entries[index].wants(number))
    }

    /// Leaves a case as it is from now on; says whether trials of it are not made for that.
    pub(crate) fn give_up(&mut self, case_index: usize) -> bool {
        let entry = &mut self.entries[case_index];
        let left = entry.left(|range| *range.end()) > 0;
        entry.runs_here = false;
        left
    }

    /// The least and the most trials that are still due.
    pub(crate) fn trials_left(&self) -> RangeInclusive<usize> {
        let left = |bound: fn(&RangeInclusive<u32>) -> u32| {
            self.entries.iter().map(|entry| entry.left(bound) as usize).sum()
        };
        left(|range| *range.start())..=left(|range| *range.end())
    }

    /// How long what is still due will take, about: between the least and the most of it.
    pub(crate) fn expected(&self) -> Duration {
        let expected = |entry: &Entry<'_>| {
            let trials = entry.left(|range| *range.start()) + entry.left(|range| *range.end());
            expected_trial_duration(entry.case).saturating_mul(trials) / 2
        };
        self.entries.iter().map(expected).fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Entry<'_> {
    /// Whether the case's trials go on up to this number: to the least asked for, then until they tell enough.
    fn wants(&self, number: u32) -> bool {
        let asked = &self.case.trials;
        let (least, most) = asked.range().into_inner();
        let enough = |until| precise_enough(&self.outcomes, until);
        self.runs_here && number <= most && (number <= least || !asked.until.is_some_and(enough))
    }

    /// How many trials are missing to a bound of what was asked for; none where it wants no more.
    fn left(&self, bound: fn(&RangeInclusive<u32>) -> u32) -> u32 {
        let made = self.made.len() as u32;
        if self.wants(made + 1) { bound(&self.case.trials.range()).saturating_sub(made) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    fn cases(trials: &str) -> Vec<Case> {
        let text = format!("name = \"s\"\n[[case]]\nname = \"c\"\ntrials = {trials}\nvm.vcpus = [1, 2]\n");
        Scenario::parse(&text, "s.toml").unwrap().cases
    }

    #[test]
    fn a_count_is_made_whatever_comes_of_it_and_only_where_it_runs() {
        let cases = cases("{ count = 2 }");
        let mut ledger = Ledger::new(&cases, [true, false].into_iter(), Vec::new());
        assert_eq!(ledger.trials_left(), 2..=2);
        assert!(ledger.is_due(0, 1) && ledger.is_due(0, 2) && !ledger.is_due(0, 3) && !ledger.is_due(1, 1));
        ledger.enter(0, 1, Vec::new());
        assert!(!ledger.is_due(0, 1) && ledger.is_due(0, 2));
        // The round has nothing to do, but a later one has.
        assert!(ledger.goes_on(&[0, 1], 1) && ledger.goes_on(&[0, 1], 2) && !ledger.goes_on(&[0, 1], 3));
        assert_eq!(ledger.trials_left(), 1..=1);
    }

    #[test]
    fn a_case_that_is_given_up_is_due_no_more() {
        let cases = cases("{ count = 2 }");
        let mut ledger = Ledger::new(&cases, [true, true].into_iter(), Vec::new());
        ledger.enter(0, 1, Vec::new());
        assert!(ledger.give_up(0));
        assert!(!ledger.is_due(0, 2) && ledger.is_due(1, 2) && ledger.goes_on(&[0, 1], 2));
        assert_eq!(ledger.trials_left(), 2..=2);
        assert!(!ledger.give_up(0));
    }

    #[test]
    fn an_open_number_ends_at_the_least_where_more_would_tell_nothing() {
        let cases = cases("{ min = 2, max = 9, until = \"5%\" }");
        let mut ledger = Ledger::new(&cases, [true, true].into_iter(), Vec::new());
        assert_eq!(ledger.trials_left(), 4..=18);
        for number in 1..=2 {
            assert!(ledger.is_due(0, number));
            ledger.enter(0, number, Vec::new());
        }
        assert!(!ledger.is_due(0, 3), "no trial gave an outcome");
        assert_eq!(ledger.trials_left(), 2..=9);
        assert_eq!(ledger.expected(), expected_trial_duration(&cases[1]) * 11 / 2);
    }
}
