//! When each phase of a trial's migrations began: what a capture of them is marked with.

use dunlin_record::TrialRecord;

use crate::moments::Moments;
use crate::phases::Phases;
use crate::trial::Trial;

/// A moment at which one phase of a migration ends and another begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// When, in nanoseconds of the bench's clock.
    pub t_ns: i64,
    /// What, as in `vm0: stop-and-copy begins`.
    pub text: String,
}

/// The boundaries of all migrations of a trial, in the order of time; none where no migration was commanded.
#[must_use]
pub fn boundaries(record: &TrialRecord) -> Vec<Boundary> {
    let vms = Trial::each_vm(record).unwrap_or_default();
    let mut boundaries: Vec<Boundary> = vms.iter().flat_map(of_vm).collect();
    // Stable: what begins at the moment of the command follows it.
    boundaries.sort_by_key(|boundary| boundary.t_ns);
    boundaries
}

fn of_vm(trial: &Trial) -> Vec<Boundary> {
    let Some(moments) = Moments::of(trial) else { return Vec::new() };
    let boundary = |t_ns, text: &str| Boundary { t_ns, text: format!("{}: {text}", trial.vm) };
    let mut boundaries = vec![boundary(moments.command, "migrate command")];
    let phases = Phases::of(trial, &moments).named();
    boundaries.extend(phases.iter().map(|(name, phase)| boundary(phase.start_ns, &format!("{name} begins"))));
    let end =
        if moments.completed.is_some() { "migration completed" } else { "migration ended, not completed" };
    boundaries.push(boundary(moments.end, end));
    boundaries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, ns};

    fn told(fixture: &Fixture) -> Vec<(i64, String)> {
        boundaries(&fixture.record).into_iter().map(|one| (one.t_ns, one.text)).collect()
    }

    #[test]
    fn every_phase_of_a_migration_begins_with_a_mark() {
        let expected = [
            (-1500.0, "vm0: reserve begins"),
            (0.0, "vm0: migrate command"),
            (0.0, "vm0: initialize begins"),
            (2.0, "vm0: pass 1 begins"),
            (400.0, "vm0: pass 2 begins"),
            (500.0, "vm0: stop-and-copy begins"),
            (530.0, "vm0: activate begins"),
            (540.0, "vm0: commit begins"),
            (543.0, "vm0: migration completed"),
        ];
        assert_eq!(told(&Fixture::pre_copy()), expected.map(|(at, text)| (ns(at), text.to_owned())));
    }

    #[test]
    fn a_migration_that_was_given_up_ends_all_the_same_and_without_one_there_is_nothing() {
        let last = told(&Fixture::not_converged()).pop().unwrap();
        assert_eq!(last, (ns(900.0), "vm0: migration ended, not completed".into()));
        assert_eq!(told(&Fixture::before()), []);
    }
}
