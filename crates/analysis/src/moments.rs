//! The moments of a migration from which its times are computed. See `docs/phases.md` for what marks them.

use dunlin_record::{Event, EventKind, HostId, MigrationState, Step, Strategy};

use crate::trial::Trial;

/// A frame that carries nothing but an acknowledgement is no longer than this: Ethernet 14, IPv4 20, TCP 20 bytes and
/// up to 40 of options.
const BARE_FRAME_BYTES: i64 = 94;

/// The moments of a migration, in ns of the bench's clock; absent = not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moments {
    /// From here to the command the service is as usual; what came earlier was its warming up.
    pub(crate) baseline_start: i64,
    /// The migrate command.
    pub(crate) command: i64,
    /// Both ends complete; absent unless the trial completed.
    pub(crate) completed: Option<i64>,
    /// The migration's end, however it ended.
    pub(crate) end: i64,
    /// Until here outages count.
    pub(crate) window_end: i64,
    /// The source's hypervisor is done with its setup.
    pub(crate) set_up: Option<i64>,
    /// The vCPUs stopped at the source, for the move.
    pub(crate) stopped: Option<i64>,
    /// The source has sent all that the VM needs to start.
    pub(crate) last_byte: Option<i64>,
    /// The vCPUs run at the destination.
    pub(crate) running: Option<i64>,
    /// The source knows that the destination has it all (by the return path).
    pub(crate) acknowledged: Option<i64>,
    /// Whether the VM ran at the destination before its memory was there.
    pub(crate) post_copy: bool,
}

impl Moments {
    /// The moments of a trial's migration; absent where none was commanded.
    pub(crate) fn of(trial: &Trial) -> Option<Self> {
        let command = trial.events().find(|event| event.kind == EventKind::MigrateCommand)?.t_ns;
        let after = |event: &&Event| event.t_ns >= command;
        let first_state = |host: &HostId, wanted: fn(MigrationState) -> bool| {
            trial.events_on(host).filter(after).find(|event| is_state(event, wanted)).map(|event| event.t_ns)
        };
        let completed = trial
            .events()
            .filter(after)
            .find(|event| event.kind == EventKind::MigrationCompleted)
            .filter(|_| trial.completed())
            .map(|event| event.t_ns);
        let last_event = trial.events().next_back().map_or(command, |event| event.t_ns);
        let end = completed.unwrap_or_else(|| given_up(trial, command).unwrap_or(last_event));
        let baseline_ns = (trial.case.trials.baseline_s * 1e9).max(0.0) as i64;
        let settle_ns = (trial.case.trials.settle_s * 1e9).max(0.0) as i64;
        let running = trial
            .events_on(trial.destination)
            .filter(after)
            .find(|event| event.kind == EventKind::VcpusRunning)
            .map(|event| event.t_ns);
        let mut moments = Self {
            baseline_start: command.saturating_sub(baseline_ns),
            command,
            completed,
            end,
            window_end: completed.map_or(last_event, |completed| completed.saturating_add(settle_ns)),
            set_up: first_state(trial.source, is_past_setup),
            stopped: stopped(trial, command, running, end),
            last_byte: None,
            running,
            acknowledged: first_state(trial.source, |state| state == MigrationState::Completed),
            post_copy: trial
                .events()
                .filter(after)
                .any(|event| is_state(event, |state| state == MigrationState::PostCopy)),
        };
        moments.last_byte = last_byte(trial, &moments);
        Some(moments)
    }
}

fn is_state(event: &Event, wanted: impl Fn(MigrationState) -> bool) -> bool {
    matches!(&event.kind, EventKind::MigrationStatus { state: Some(state), .. } if wanted(*state))
}

/// Whether a state says that memory was or had been copied.
fn is_past_setup(state: MigrationState) -> bool {
    !matches!(
        state,
        MigrationState::Setup
            | MigrationState::Cancelling
            | MigrationState::Cancelled
            | MigrationState::Failed
            | MigrationState::Other
    )
}

/// When a migration that did not complete was over.
fn given_up(trial: &Trial, command: i64) -> Option<i64> {
    let after = || trial.events_on(trial.source).filter(|event| event.t_ns >= command);
    let is_over = |event: &&Event| {
        is_state(event, |state| matches!(state, MigrationState::Cancelled | MigrationState::Failed))
    };
    // One that was given up before the memory moved has no status of its own.
    let is_back = |event: &&Event| matches!(event.kind, EventKind::SourceChecked { .. });
    let over = after().rfind(is_over).or_else(|| after().rfind(is_back));
    over.map(|event| event.t_ns)
}

/// When the vCPUs stopped at the source for the move: the last time before they ran at the destination. Only a
/// suspended VM may have been stopped before the command.
fn stopped(trial: &Trial, command: i64, running: Option<i64>, end: i64) -> Option<i64> {
    let at_source = || trial.events_on(trial.source).filter(|event| event.t_ns <= running.unwrap_or(end));
    let stop = at_source().rfind(|event| event.kind == EventKind::VcpusStopped)?.t_ns;
    let ran_again = at_source().any(|event| event.kind == EventKind::VcpusRunning && event.t_ns > stop);
    let in_time = stop >= command || matches!(trial.case.strategy, Strategy::Suspend { .. });
    (in_time && !ran_again).then_some(stop)
}

/// When the last byte needed for the VM's start was sent: by the hypervisor's own word, else by the wire's.
fn last_byte(trial: &Trial, moments: &Moments) -> Option<i64> {
    let from = moments.stopped?.max(moments.command);
    let until = [moments.running, moments.acknowledged, Some(moments.end)].into_iter().flatten().min()?;
    let is_last_byte = |event: &&Event| {
        event.t_ns >= from
            && matches!(event.kind, EventKind::Checkpoint { step: Some(Step::LastByteSent), .. })
    };
    match trial.events_on(trial.source).find(is_last_byte) {
        Some(event) => (event.t_ns <= until).then_some(event.t_ns),
        // With post-copy the pages go on after the start, so the wire cannot tell.
        None if moments.post_copy => None,
        // Beside other traffic it tells only to about a tick how much was whose.
        None if trial.shares_wire() => None,
        None => last_payload(trial, from, until),
    }
}

/// The end of the last tick, of those that reach into `from..until`, in which the source sent more than
/// acknowledgements.
fn last_payload(trial: &Trial, from: i64, until: i64) -> Option<i64> {
    let (bytes, packets) = (trial.wire("tx_bytes"), trial.wire("tx_packets"));
    let ticks = bytes.points().windows(2).zip(packets.points().windows(2)).rev();
    let has_payload = |bytes: i64, packets: i64| bytes > packets.saturating_mul(BARE_FRAME_BYTES);
    ticks
        .filter(|(bytes, packets)| bytes[0].0 < until && bytes[1].0 > from && bytes[1].0 == packets[1].0)
        .find(|(bytes, packets)| {
            has_payload(bytes[1].1.saturating_sub(bytes[0].1), packets[1].1.saturating_sub(packets[0].1))
        })
        .map(|(bytes, _)| bytes[1].0.min(until))
}

#[cfg(test)]
mod tests {
    use dunlin_record::{MigrationState, Status};

    use super::*;
    use crate::fixture::{Fixture, ended, ns, saved, status};

    fn moments(fixture: &Fixture) -> Moments {
        Moments::of(&Trial::each_vm(&fixture.record).unwrap()[0]).unwrap()
    }

    #[test]
    fn the_moments_of_a_completed_migration() {
        let expected = Moments {
            baseline_start: ns(-1000.0),
            command: ns(0.0),
            completed: Some(ns(543.0)),
            end: ns(543.0),
            window_end: ns(1543.0),
            set_up: Some(ns(2.0)),
            stopped: Some(ns(500.0)),
            last_byte: Some(ns(530.0)),
            running: Some(ns(540.0)),
            acknowledged: Some(ns(542.0)),
            post_copy: false,
        };
        assert_eq!(moments(&Fixture::pre_copy()), expected);
    }

    #[test]
    fn a_migration_that_was_given_up_has_an_end_but_was_not_completed() {
        let cancelled = moments(&Fixture::not_converged());
        assert_eq!((cancelled.completed, cancelled.end, cancelled.window_end), (None, ns(900.0), ns(1600.0)));
        assert_eq!((cancelled.stopped, cancelled.running, cancelled.last_byte), (None, None, None));
        let without_word =
            Fixture::not_converged().without(|kind| *kind == status(MigrationState::Cancelled));
        assert_eq!(moments(&without_word).end, ns(950.0));
        let unchecked = without_word.without(|kind| matches!(kind, EventKind::SourceChecked { .. }));
        assert_eq!(moments(&unchecked).end, ns(1600.0));
        let failed_after = Fixture::pre_copy()
            .without(|kind| matches!(kind, EventKind::TrialEnded { .. }))
            .with(1700.0, "", ended(Status::Failed, Some("the guest does not answer")));
        assert_eq!(moments(&failed_after).completed, None, "complete is what the trial says");
    }

    #[test]
    fn without_a_command_there_are_no_moments() {
        assert_eq!(Moments::of(&Trial::each_vm(&Fixture::before().record).unwrap()[0]), None);
    }

    #[test]
    fn the_stop_is_the_last_one_before_the_destination_ran() {
        let stops = |fixture: Fixture| moments(&fixture).stopped;
        let stopped = EventKind::VcpusStopped;
        let running = EventKind::VcpusRunning;
        let tried_before =
            Fixture::pre_copy().with(200.0, "host-a", stopped.clone()).with(210.0, "host-a", running.clone());
        assert_eq!(stops(tried_before), Some(ns(500.0)));
        assert_eq!(stops(Fixture::pre_copy().with(560.0, "host-a", stopped.clone())), Some(ns(500.0)));
        assert_eq!(stops(Fixture::pre_copy().with(520.0, "host-b", stopped.clone())), Some(ns(500.0)));
        assert_eq!(
            stops(Fixture::pre_copy().with(520.0, "host-a", running)),
            None,
            "it ran again at the source"
        );
        let none = Fixture::pre_copy().without(|kind| *kind == EventKind::VcpusStopped);
        assert_eq!(stops(none.clone()), None);
        assert_eq!(stops(none.with(-5.0, "host-a", stopped)), None, "only a suspended VM is stopped before");
        assert_eq!(stops(Fixture::suspend()), Some(ns(-5.0)));
    }

    #[test]
    fn without_a_checkpoint_the_wire_tells_the_last_byte() {
        let last_byte = |fixture: Fixture| moments(&fixture.without(|kind| *kind == saved())).last_byte;
        assert_eq!(last_byte(Fixture::pre_copy().with_wire(0.0, 520.0)), Some(ns(520.0)));
        assert_eq!(
            last_byte(Fixture::pre_copy().with_wire(0.0, 570.0)),
            Some(ns(540.0)),
            "never after the start"
        );
        assert_eq!(last_byte(Fixture::pre_copy().with_wire(0.0, 480.0)), None, "nothing after the stop");
        assert_eq!(last_byte(Fixture::pre_copy().without_series("wire-host-a-migration")), None);
        assert_eq!(last_byte(Fixture::hybrid()), None, "pages went on after the start");
    }
}
