//! The phases of Prakash et al., equation 1: which moments bound each is the table in `docs/phases.md`.

use dunlin_record::{EventKind, PhasesMs, StandstillStage};

use crate::host_clocks::{By, HostClocks};
use crate::iterations::passes;
use crate::moments::Moments;
use crate::standstill::{stage_name, stages};
use crate::trial::Trial;
use crate::units::{error_in_ms, ms_between};

/// A time with a begin and an end, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    /// Whose clocks stamped them.
    by: [By; 2],
}

/// A phase or a pass, in ms after the migrate command.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// As in `stop-and-copy` or `pass 2`.
    pub name: String,
    /// Its begin.
    pub start_ms: f64,
    /// Its end.
    pub end_ms: f64,
}

/// The phases of one migration; absent = a bound was not seen, or they contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Phases {
    storage: Option<Stretch>,
    initialize: Option<Stretch>,
    reserve: Option<Stretch>,
    /// By the number of the pass.
    pre_copy: Vec<(u32, Stretch)>,
    stop_and_copy: Option<Stretch>,
    commit: Option<Stretch>,
    activate: Option<Stretch>,
    post_copy: Option<Stretch>,
    /// Of a VM that stood still, which has no others but `reserve`.
    standstill: Vec<(StandstillStage, Stretch)>,
}

impl Phases {
    /// The phases of a trial's migration.
    pub(crate) fn of(trial: &Trial, moments: &Moments) -> Self {
        if trial.case.strategy.standstill().is_some() {
            return Self { reserve: reserve(trial), standstill: stages(trial, moments), ..Self::default() };
        }
        // A VM suspended before the setup was done has nothing to copy until then.
        let stop_and_copy_from =
            moments.stopped.map(|stopped| stopped.max(moments.set_up.unwrap_or(stopped)));
        let (commit, activate) = hand_over(moments);
        let storage = storage(trial, moments);
        Self {
            storage,
            initialize: stretch(
                Some(storage.map_or(moments.command, |storage| storage.end_ns)),
                moments.set_up,
                [By::Bench, By::Source],
            ),
            reserve: reserve(trial),
            pre_copy: pre_copy(trial, moments),
            stop_and_copy: stretch(stop_and_copy_from, moments.last_byte, [By::Source; 2]),
            commit,
            activate,
            post_copy: stretch(moments.running, moments.completed, [By::Destination, By::Bench])
                .filter(|_| moments.post_copy),
            standstill: Vec::new(),
        }
    }

    /// Their lengths.
    pub(crate) fn lengths(&self) -> PhasesMs {
        self.of_each(|stretch| Some(ms_between(stretch.start_ns, stretch.end_ns)))
    }

    /// By how much the hosts' clocks may make each wrong.
    pub(crate) fn errors(&self, clocks: &HostClocks) -> PhasesMs {
        self.of_each(|Stretch { start_ns, end_ns, by: [from, to] }| {
            clocks.error_between_ns((start_ns, from), (end_ns, to)).map(error_in_ms)
        })
    }

    /// A figure of each phase; of the passes all or none.
    fn of_each(&self, figure: impl Fn(Stretch) -> Option<f64>) -> PhasesMs {
        let passes = self.pre_copy.iter().map(|(_, stretch)| figure(*stretch));
        PhasesMs {
            storage: self.storage.and_then(&figure),
            initialize: self.initialize.and_then(&figure),
            reserve: self.reserve.and_then(&figure),
            pre_copy: passes.collect::<Option<_>>().unwrap_or_default(),
            stop_and_copy: self.stop_and_copy.and_then(&figure),
            commit: self.commit.and_then(&figure),
            activate: self.activate.and_then(&figure),
            post_copy: self.post_copy.and_then(&figure),
        }
    }

    /// Each with its name, in the order of their begin.
    pub(crate) fn named(&self) -> Vec<(String, Stretch)> {
        let whole = [
            ("storage", self.storage),
            ("initialize", self.initialize),
            ("reserve", self.reserve),
            ("stop-and-copy", self.stop_and_copy),
            ("commit", self.commit),
            ("activate", self.activate),
            ("post-copy", self.post_copy),
        ];
        let whole = whole.into_iter().filter_map(|(name, stretch)| Some((name.to_owned(), stretch?)));
        let passes = self.pre_copy.iter().map(|(number, stretch)| (format!("pass {number}"), *stretch));
        let standstill = self.standstill.iter().map(|(stage, part)| (stage_name(*stage).to_owned(), *part));
        let mut named: Vec<_> = whole.chain(passes).chain(standstill).collect();
        named.sort_by_key(|(_, stretch)| (stretch.start_ns, stretch.end_ns));
        named
    }

    /// Them as spans in the order of their begin, in ms after `zero_ns`.
    pub(crate) fn spans(&self, zero_ns: i64) -> Vec<Span> {
        let span = |(name, stretch): (String, Stretch)| Span {
            name,
            start_ms: ms_between(zero_ns, stretch.start_ns),
            end_ms: ms_between(zero_ns, stretch.end_ns),
        };
        self.named().into_iter().map(span).collect()
    }
}

/// From one moment to another; absent where either is, or the second is the earlier.
pub(crate) fn stretch(from: Option<i64>, to: Option<i64>, by: [By; 2]) -> Option<Stretch> {
    let (start_ns, end_ns) = (from?, to?);
    (end_ns >= start_ns).then_some(Stretch { start_ns, end_ns, by })
}

/// From the begin of the disks' copy to both hosts' being even; in two steps, to the VM running on with the destination's.
/// What is copied after that shares the memory's phases.
pub(crate) fn storage(trial: &Trial, moments: &Moments) -> Option<Stretch> {
    let first = |wanted: fn(&EventKind) -> bool| {
        let mut events = trial.events_on(trial.source).filter(|event| event.t_ns >= moments.command);
        events.find(|event| wanted(&event.kind)).map(|event| event.t_ns)
    };
    let moved = first(|kind| matches!(kind, EventKind::StorageMoved { .. }));
    let even = || first(|kind| matches!(kind, EventKind::StorageMirrored { .. }));
    stretch(
        first(|kind| matches!(kind, EventKind::StorageMirrorStarted { .. })),
        if trial.case.storage.two_steps { moved } else { even() },
        [By::Bench; 2],
    )
}

fn reserve(trial: &Trial) -> Option<Stretch> {
    let first = |kind: EventKind| trial.events().find(|event| event.kind == kind).map(|event| event.t_ns);
    stretch(first(EventKind::DestinationLaunched), first(EventKind::DestinationListening), [By::Bench; 2])
}

/// The passes that began while the VM ran at the source. The first begins within the setup; what it shares with that
/// counts as setup.
fn pre_copy(trial: &Trial, moments: &Moments) -> Vec<(u32, Stretch)> {
    let while_it_ran = passes(trial, moments)
        .into_iter()
        .filter(|pass| moments.stopped.is_none_or(|stopped| pass.start_ns < stopped));
    while_it_ran
        .map(|pass| {
            let start_ns = pass.start_ns.max(moments.set_up.unwrap_or(pass.start_ns)).min(pass.end_ns);
            (pass.number, Stretch { start_ns, end_ns: pass.end_ns, by: [By::Source; 2] })
        })
        .collect()
}

/// Commit and activate. Both follow the last byte; which comes first depends on whether the destination acknowledges
/// before it runs the vCPUs or (as QEMU does) after, and each begins where the one before it ends. With post-copy the
/// acknowledgement belongs to the last page, not to the start, so there is no commit.
fn hand_over(moments: &Moments) -> (Option<Stretch>, Option<Stretch>) {
    let Moments { last_byte, running, acknowledged, .. } = *moments;
    let starts = [By::Source, By::Destination];
    match (acknowledged, running) {
        (Some(acknowledged), Some(running)) if moments.post_copy || running < acknowledged => {
            let commit = stretch(Some(running), Some(acknowledged), [By::Destination, By::Source]);
            (commit.filter(|_| !moments.post_copy), stretch(last_byte, Some(running), starts))
        }
        (Some(acknowledged), running) => (
            stretch(last_byte, Some(acknowledged), [By::Source; 2]),
            stretch(Some(acknowledged), running, starts),
        ),
        (None, running) => (None, stretch(last_byte, running, starts)),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::MigrationState;

    use super::*;
    use crate::fixture::{Fixture, mirror_started, saved, status};

    #[test]
    fn pre_copy_runs_the_vm_and_then_acknowledges() {
        let phases = PhasesMs {
            storage: None,
            initialize: Some(2.0),
            reserve: Some(100.0),
            pre_copy: vec![398.0, 100.0],
            stop_and_copy: Some(30.0),
            commit: Some(2.0),
            activate: Some(10.0),
            post_copy: None,
        };
        assert_eq!(Fixture::pre_copy().outcome().phases_ms, phases);
    }

    #[test]
    fn disks_that_move_are_copied_before_the_setup_begins() {
        let copied = |ended: bool| {
            let fixture = Fixture::pre_copy()
                .without(|kind| *kind == EventKind::MigrateCommand)
                .with(-300.5, "host-a", EventKind::MigrateCommand)
                .with(-300.0, "host-a", mirror_started());
            let mirrored = EventKind::StorageMirrored { copied_bytes: Some(7) };
            if ended { fixture.with(-10.0, "host-a", mirrored) } else { fixture }
        };
        let phases = copied(true).outcome().phases_ms;
        assert_eq!((phases.storage, phases.initialize), (Some(290.0), Some(12.0)));
        assert_eq!(phases.pre_copy, vec![398.0, 100.0]);
        assert_eq!(copied(false).outcome().phases_ms.storage, None);
        assert_eq!(Fixture::pre_copy().outcome().phases_ms.storage, None);
    }

    #[test]
    fn an_acknowledgement_before_the_start_puts_commit_before_activate() {
        let early = Fixture::pre_copy().with(533.0, "host-a", status(MigrationState::Completed));
        let phases = early.outcome().phases_ms;
        assert_eq!((phases.commit, phases.activate), (Some(3.0), Some(7.0)));
    }

    #[test]
    fn hybrid_has_a_post_copy_and_no_commit() {
        let phases = PhasesMs {
            storage: None,
            initialize: Some(2.0),
            reserve: Some(100.0),
            pre_copy: vec![398.0, 100.0],
            stop_and_copy: Some(5.0),
            commit: None,
            activate: Some(5.0),
            post_copy: Some(190.0),
        };
        assert_eq!(Fixture::hybrid().outcome().phases_ms, phases);
    }

    #[test]
    fn a_hybrid_that_never_switched_is_a_pre_copy() {
        let phases =
            Fixture::hybrid().without(|kind| *kind == status(MigrationState::PostCopy)).outcome().phases_ms;
        assert_eq!((phases.commit, phases.activate, phases.post_copy), (Some(189.0), Some(5.0), None));
    }

    #[test]
    fn suspend_copies_all_while_stopped() {
        let phases = PhasesMs {
            storage: None,
            initialize: Some(2.0),
            reserve: Some(100.0),
            pre_copy: Vec::new(),
            stop_and_copy: Some(308.0),
            commit: Some(10.0),
            activate: Some(5.0),
            post_copy: None,
        };
        assert_eq!(Fixture::suspend().outcome().phases_ms, phases);
    }

    #[test]
    fn a_migration_that_was_given_up_has_the_phases_it_reached() {
        let phases = PhasesMs {
            initialize: Some(2.0),
            reserve: Some(100.0),
            pre_copy: vec![398.0, 500.0],
            ..PhasesMs::default()
        };
        assert_eq!(Fixture::not_converged().outcome().phases_ms, phases);
    }

    #[test]
    fn the_phases_after_the_command_fill_the_time_up_to_the_hand_over() {
        for fixture in [Fixture::pre_copy(), Fixture::hybrid(), Fixture::suspend()] {
            let phases = Phases::of(&Trial::each_vm(&fixture.record).unwrap()[0], &moments(&fixture));
            let spans: Vec<_> = phases
                .spans(crate::fixture::ns(0.0))
                .into_iter()
                .filter(|span| span.start_ms >= 0.0)
                .collect();
            for pair in spans.windows(2) {
                assert_eq!(pair[0].end_ms, pair[1].start_ms, "{} to {}", pair[0].name, pair[1].name);
            }
        }
    }

    #[test]
    fn bounds_that_contradict_each_other_leave_a_phase_absent() {
        let moved = Fixture::pre_copy().without(|kind| *kind == saved()).with(541.5, "host-a", saved());
        let phases = moved.outcome().phases_ms;
        assert_eq!((phases.stop_and_copy, phases.commit, phases.activate), (None, Some(2.0), None));
    }

    fn moments(fixture: &Fixture) -> Moments {
        Moments::of(&Trial::each_vm(&fixture.record).unwrap()[0]).unwrap()
    }
}
