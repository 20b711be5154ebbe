//! The moments of a migration from which its times are computed. See `docs/qemu-phases.md` for what marks them.

use dunlin_record::{Event, EventKind, HostId, Strategy};

use crate::samples::Samples;
use crate::trial::Trial;

/// After this checkpoint the source has nothing more to send for the VM's start (QEMU >= 8.2).
const LAST_BYTE: &str = "src-non-iterable-saved";
/// A frame that carries nothing but an acknowledgement is no longer than this: Ethernet 14, IPv4 20, TCP 20 bytes and
/// up to 40 of options.
const BARE_FRAME_BYTES: i64 = 94;

/// The moments of a migration, in ns of the bench's clock; absent = not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moments {
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
        let first_status = |host: &HostId, wanted: fn(&str) -> bool| {
            trial.events_on(host).filter(after).find(|event| is_status(event, wanted)).map(|event| event.t_ns)
        };
        let completed = trial
            .events()
            .filter(after)
            .find(|event| event.kind == EventKind::MigrationCompleted)
            .filter(|_| trial.completed())
            .map(|event| event.t_ns);
        let last_event = trial.events().next_back().map_or(command, |event| event.t_ns);
        let end = completed.unwrap_or_else(|| given_up(trial, command).unwrap_or(last_event));
        let settle_ns = (trial.case.trials.settle_s * 1e9).max(0.0) as i64;
        let running = trial
            .events_on(trial.destination)
            .filter(after)
            .find(|event| event.kind == EventKind::VcpusRunning)
            .map(|event| event.t_ns);
        let mut moments = Self {
            command,
            completed,
            end,
            window_end: completed.map_or(last_event, |completed| completed.saturating_add(settle_ns)),
            set_up: first_status(trial.source, is_past_setup),
            stopped: stopped(trial, command, running, end),
            last_byte: None,
            running,
            acknowledged: first_status(trial.source, |status| status == "completed"),
            post_copy: trial
                .events()
                .filter(after)
                .any(|event| is_status(event, |status| status == "postcopy-active")),
        };
        moments.last_byte = last_byte(trial, &moments);
        Some(moments)
    }
}

fn is_status(event: &Event, wanted: impl Fn(&str) -> bool) -> bool {
    matches!(&event.kind, EventKind::MigrationStatus { status } if wanted(status))
}

/// Whether a status, by QEMU's names, says that memory was or had been copied.
fn is_past_setup(status: &str) -> bool {
    !matches!(status, "none" | "setup" | "wait-unplug" | "cancelling" | "cancelled" | "failed")
}

/// When a migration that did not complete was over.
fn given_up(trial: &Trial, command: i64) -> Option<i64> {
    let is_over = |event: &&Event| is_status(event, |status| matches!(status, "cancelled" | "failed"));
    trial.events_on(trial.source).filter(|event| event.t_ns >= command).rfind(is_over).map(|event| event.t_ns)
}

/// When the vCPUs stopped at the source for the move: the last time before they ran at the destination. Only a
/// suspended VM may have been stopped before the command.
fn stopped(trial: &Trial, command: i64, running: Option<i64>, end: i64) -> Option<i64> {
    let at_source = || trial.events_on(trial.source).filter(|event| event.t_ns <= running.unwrap_or(end));
    let stop = at_source().rfind(|event| event.kind == EventKind::VcpusStopped)?.t_ns;
    let ran_again = at_source().any(|event| event.kind == EventKind::VcpusRunning && event.t_ns > stop);
    let in_time = stop >= command || trial.case.strategy == Strategy::Suspend;
    (in_time && !ran_again).then_some(stop)
}

/// When the last byte needed for the VM's start was sent: by the hypervisor's own word, else by the wire's.
fn last_byte(trial: &Trial, moments: &Moments) -> Option<i64> {
    let from = moments.stopped?.max(moments.command);
    let until = [moments.running, moments.acknowledged, Some(moments.end)].into_iter().flatten().min()?;
    let is_last_byte = |event: &&Event| {
        event.t_ns >= from && matches!(&event.kind, EventKind::Checkpoint { name } if name == LAST_BYTE)
    };
    match trial.events_on(trial.source).find(is_last_byte) {
        Some(event) => (event.t_ns <= until).then_some(event.t_ns),
        // With post-copy the pages go on after the start, so the wire cannot tell.
        None if moments.post_copy => None,
        None => last_payload(trial, from, until),
    }
}

/// The end of the last tick, of those that reach into `from..until`, in which the source sent more than
/// acknowledgements.
fn last_payload(trial: &Trial, from: i64, until: i64) -> Option<i64> {
    let wire = trial.migration_wire();
    let (bytes, packets) = (Samples::of(wire, "tx_bytes"), Samples::of(wire, "tx_packets"));
    let ticks = bytes.points().windows(2).zip(packets.points().windows(2)).rev();
    let has_payload = |bytes: i64, packets: i64| bytes > packets.saturating_mul(BARE_FRAME_BYTES);
    ticks
        .filter(|(bytes, packets)| bytes[0].0 < until && bytes[1].0 > from && bytes[1].0 == packets[1].0)
        .find(|(bytes, packets)| {
            has_payload(bytes[1].1.saturating_sub(bytes[0].1), packets[1].1.saturating_sub(packets[0].1))
        })
        .map(|(bytes, _)| bytes[1].0.min(until))
}
