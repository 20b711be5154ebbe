//! The sequence of one migration: prepare, start, decide again and again, end.

use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, MILLISECOND_NS, now_ns};
use dunlin_hypervisor::{
    Certificates, HypervisorError, MigrationNeeds, MigrationSettings, MirrorProgress, Progress, Role, Vm,
};
use dunlin_policy::{Action, Limits, decide};
use dunlin_record::{Event, EventKind, Journal, Status, Strategy, Transport, TransportKind, in_one_line};

use crate::rescue::{cancel, keep, note, secure};
use crate::storage::{self, Disks};
use crate::watch::Watch;
use crate::{MigrateError, Result};

/// How often the source's counters are read.
pub(crate) const PROGRESS_EVERY_NS: i64 = 50 * MILLISECOND_NS;
/// How long the other end may take to complete after the first has.
const OTHER_END_LIMIT: Duration = Duration::from_secs(10);

/// A migration to be done.
pub struct Job<'a> {
    /// Where the VM runs.
    pub source: &'a mut dyn Vm,
    /// Where it shall run: launched, waiting.
    pub destination: &'a mut dyn Vm,
    /// Where the destination listens, as [`reserve`] said.
    pub reserved: &'a Reserved,
    /// How.
    pub strategy: &'a Strategy,
    /// How long it may take.
    pub limits: Limits,
    /// The user's wish to end it.
    pub cancel: &'a Cancel,
    /// Takes the source's counters each time they are read.
    pub on_progress: &'a mut dyn FnMut(i64, &Progress) -> dunlin_record::Result<()>,
    /// Takes the counters of the disks' copies each time they are read.
    pub on_mirrors: &'a mut dyn FnMut(i64, &MirrorProgress) -> dunlin_record::Result<()>,
}

/// What a destination has ready for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Where it listens for the memory.
    pub address: String,
    /// Where it takes the disks, if they move.
    pub disks_address: Option<String>,
}

/// How long a process may take from closing its sockets to its end.
const DYING_LIMIT: Duration = Duration::from_millis(300);

/// Where the one running copy of a VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the source.
    Source,
    /// At the destination.
    Destination,
}

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// Why not well.
    pub error: Option<String>,
    /// Where the VM runs now, as checked.
    pub place: Place,
}

/// Why the loop was left.
pub(crate) enum Outcome {
    Completed,
    GaveUp(Status, String),
}

/// Prepares both sides and lets the destination listen, for the disks too if they move; says where.
///
/// # Errors
/// Where a hypervisor cannot do what the strategy needs, refuses a setting, or cannot listen.
pub fn reserve(
    source: &mut dyn Vm,
    destination: &mut dyn Vm,
    strategy: &Strategy,
    transport: &Transport,
    moves_disks: bool,
    own: &MigrationSettings,
    journal: &mut Journal,
) -> Result<Reserved> {
    let with_tls = transport.kind == TransportKind::Tls;
    let needs = MigrationNeeds {
        role: Role::Destination,
        post_copy: strategy.post_copy(),
        transport: *transport,
        moves_disks,
        certificates: with_tls.then(Certificates::make).transpose()?,
        own: own.clone(),
    };
    destination.prepare(&needs)?;
    source.prepare(&MigrationNeeds { role: Role::Source, ..needs })?;
    let disks_address = moves_disks.then(|| destination.export_disks()).transpose()?;
    let address = destination.listen()?;
    keep(journal, destination, EventKind::DestinationListening)?;
    Ok(Reserved { address, disks_address })
}

/// Does one migration. Whatever happens, exactly one copy of the VM runs afterwards, or the error says that none does.
///
/// # Errors
/// Where a hypervisor fails in a way that leaves nothing to say, the record cannot be kept, or the VM is lost.
pub fn migrate(mut job: Job<'_>, journal: &mut Journal) -> Result<Ended> {
    // What came before, as from restoring the VM, says nothing about this migration.
    journal.drain()?;
    let mut watch = Watch::new(job.source.id().clone(), job.source.host().clone(), now_ns());
    let mut disks = job.reserved.disks_address.clone().map(Disks::new);
    let outcome = match run(&mut job, &mut disks, &mut watch, journal) {
        Ok(outcome) => outcome,
        // A dead hypervisor or a full disk ends the migration, not the VM.
        Err(error) => Outcome::GaveUp(Status::Failed, in_one_line(&error)),
    };
    match outcome {
        Outcome::Completed => completed(&mut job, &watch, journal),
        Outcome::GaveUp(status, reason) => give_up(&mut job, disks, &mut watch, journal, status, reason),
    }
}

fn run(
    job: &mut Job<'_>,
    disks: &mut Option<Disks>,
    watch: &mut Watch,
    journal: &mut Journal,
) -> Result<Outcome> {
    keep(journal, &*job.source, EventKind::MigrateCommand)?;
    // While the VM runs, whatever the strategy: it is stopped for its memory, not for its disks.
    if let Some(disks) = disks
        && let Some(outcome) = storage::copy(job, disks, watch, journal)?
    {
        return Ok(outcome);
    }
    if *job.strategy == (Strategy::Suspend { after_passes: None }) {
        watch.stop_asked = true;
        job.source.stop()?;
    }
    job.source.start(&job.reserved.address)?;
    let mut progress_due_ns = now_ns();
    loop {
        let step = Duration::from_nanos(u64::try_from(progress_due_ns - now_ns()).unwrap_or(0));
        if let Some(event) = journal.next(step)? {
            watch.see(&event);
        }
        if watch.source_completed_ns.is_some() {
            return wait_for_destination(job, watch, journal);
        }
        if let Some(why) = &watch.failure {
            return Ok(Outcome::GaveUp(Status::Failed, failure_text(job, why)));
        }
        if now_ns() >= progress_due_ns {
            job.source.check_alive()?;
            job.destination.check_alive()?;
            let progress = job.source.progress()?;
            let read_ns = now_ns();
            watch.count(&progress, read_ns);
            (job.on_progress)(read_ns, &progress)?;
            if disks.as_ref().is_some_and(|disks| disks.under_way)
                && let Err(error) = storage::count(job, watch)
            {
                return Ok(storage::failed(job, &error));
            }
            progress_due_ns = read_ns + PROGRESS_EVERY_NS;
        }
        if let Some(outcome) = act(job, disks.as_mut(), watch, journal)? {
            return Ok(outcome);
        }
    }
}

/// Does what has to be done next; an outcome if the migration is to be given up.
fn act(
    job: &mut Job<'_>,
    disks: Option<&mut Disks>,
    watch: &mut Watch,
    journal: &mut Journal,
) -> Result<Option<Outcome>> {
    // Once the VM may run at the destination, its way back is cut: the move is seen through.
    if job.cancel.is_cancelled() && !watch.switch_asked {
        return Ok(Some(Outcome::GaveUp(Status::Cancelled, "ended by the user".into())));
    }
    if watch.waits_for_switchover {
        watch.waits_for_switchover = false;
        if let Some(disks) = disks
            && let Some(outcome) = storage::hand_over(job, disks, watch, journal)?
        {
            return Ok(Some(outcome));
        }
        job.source.continue_switchover()?;
    }
    match decide(job.strategy, job.limits, &watch.telemetry(now_ns())) {
        Action::Wait => Ok(None),
        Action::SwitchToPostCopy { reason } => {
            watch.switch_asked = true;
            note(journal, &*job.source, "switch-to-post-copy", &reason)?;
            job.source.switch_to_post_copy()?;
            Ok(None)
        }
        Action::StopVm { reason } => {
            watch.stop_asked = true;
            note(journal, &*job.source, "stop-vm", &reason)?;
            job.source.stop()?;
            Ok(None)
        }
        Action::GiveUp { reason } => Ok(Some(Outcome::GaveUp(Status::NotConverged, reason))),
        Action::Fail { reason } => Ok(Some(Outcome::GaveUp(Status::Failed, reason))),
    }
}

/// With a return path the source completes on the destination's word; the destination's own event may come after.
fn wait_for_destination(job: &mut Job<'_>, watch: &mut Watch, journal: &mut Journal) -> Result<Outcome> {
    let deadline = Deadline::after(OTHER_END_LIMIT);
    while watch.destination_completed_ns.is_none() {
        if let Some(why) = &watch.failure {
            return Ok(Outcome::GaveUp(Status::Failed, failure_text(job, why)));
        }
        if deadline.passed() {
            return Ok(Outcome::GaveUp(
                Status::Failed,
                "the destination did not complete after the source had".into(),
            ));
        }
        job.destination.check_alive()?;
        if let Some(event) = journal.next(deadline.step(Duration::from_millis(100)))? {
            watch.see(&event);
        }
    }
    Ok(Outcome::Completed)
}

fn completed(job: &mut Job<'_>, watch: &Watch, journal: &mut Journal) -> Result<Ended> {
    let mut resumed_ns = None;
    // A VM that was stopped while it was being handed over anyway may run there already.
    if watch.stop_asked && !job.destination.run_state()?.running {
        job.destination.resume()?;
        resumed_ns = Some(now_ns());
    }
    let ends = [watch.source_completed_ns, watch.destination_completed_ns, resumed_ns];
    let t_ns = ends.into_iter().flatten().max().unwrap_or_else(now_ns);
    let (host, vm) = (Some(job.destination.host().clone()), Some(job.destination.id().clone()));
    journal.keep(&Event { t_ns, host, vm, kind: EventKind::MigrationCompleted })?;
    // The counters' last word: of a short last pass there may be none yet.
    let progress = job.source.progress()?;
    (job.on_progress)(now_ns(), &progress)?;
    let report = job.source.report()?;
    keep(journal, &*job.source, EventKind::HypervisorReport(report))?;
    let state = job.destination.run_state()?;
    if state.running {
        return Ok(Ended { status: Status::Completed, error: None, place: Place::Destination });
    }
    Err(MigrateError::Lost { state: state.word })
}

fn give_up(
    job: &mut Job<'_>,
    disks: Option<Disks>,
    watch: &mut Watch,
    journal: &mut Journal,
    status: Status,
    reason: String,
) -> Result<Ended> {
    // The disk may be full: what follows must be done all the same, so its notes are not worth an error.
    let _ = note(journal, &*job.source, "cancel", &reason);
    if let Err(error) = job.source.check_alive() {
        return source_died(job, error);
    }
    // First, as the source may be waiting for them; they cannot be under way once the VM may run there.
    if let Some(mut disks) = disks {
        storage::abandon(job, &mut disks, journal);
    }
    // A post-copy cannot be cancelled: half of the memory is on each side.
    if !watch.post_copy_began {
        let left = cancel(job.source, watch, journal);
        let completed_meanwhile = matches!(left, Ok(false)) && status != Status::Failed;
        if completed_meanwhile && matches!(wait_for_destination(job, watch, journal), Ok(Outcome::Completed))
        {
            return completed(job, watch, journal);
        }
    }
    let place = match secure(job.source, job.destination, watch.post_copy_began, journal) {
        Err(MigrateError::Record(_)) => Place::Source,
        other => other?,
    };
    Ok(Ended { status, error: Some(reason), place })
}

/// Without its source a migration that had not reached the destination is the end of the VM.
fn source_died(job: &mut Job<'_>, error: HypervisorError) -> Result<Ended> {
    match job.destination.run_state() {
        Ok(state) if state.running => Ok(Ended {
            status: Status::Failed,
            error: Some(in_one_line(&MigrateError::from(error))),
            place: Place::Destination,
        }),
        _ => Err(error.into()),
    }
}

/// The failure in the hypervisors' own words, where they have some.
pub(crate) fn failure_text(job: &mut Job<'_>, why: &str) -> String {
    if let Err(error) = lives_on(job.destination) {
        return in_one_line(&MigrateError::from(error));
    }
    let words =
        job.source.report().ok().and_then(|report| report.raw.get("error-desc")?.as_str().map(str::to_owned));
    match words {
        Some(words) => format!("{why}: {words}"),
        None => why.to_owned(),
    }
}

/// Fails if a hypervisor has ended. Its socket says so a moment before its process does.
fn lives_on(vm: &mut dyn Vm) -> Result<(), HypervisorError> {
    let deadline = Deadline::after(DYING_LIMIT);
    while !deadline.passed() {
        vm.check_alive()?;
        std::thread::sleep(deadline.step(Duration::from_millis(20)));
    }
    Ok(())
}
