//! The disks that move with a VM: copied before its memory, kept even while that moves, handed over before it runs there.

use std::time::Duration;

use dunlin_clock::now_ns;
use dunlin_hypervisor::{MirrorProgress, MirrorStage};
use dunlin_policy::{Action, DisksCopied, Stage, decide, keep_in_step};
use dunlin_record::{EventKind, Journal, Status, in_one_line};

use crate::rescue::{keep, note};
use crate::sequence::{Job, Outcome, PROGRESS_EVERY_NS, failure_text};
use crate::watch::Watch;
use crate::{MigrateError, Result};

/// How often the copies are asked while the VM stands still for them, at least: their events come sooner.
const HAND_OVER_EVERY: Duration = Duration::from_millis(20);
/// How long copies that are abandoned may take to end.
const ABANDON_LIMIT: Duration = Duration::from_secs(5);

/// The disks of a VM, on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disks {
    /// Where the destination takes them.
    pub(crate) address: String,
    /// Whether their copies are under way: from their begin to the hand-over, or to their being given up.
    pub(crate) under_way: bool,
    /// What there was to copy at first; 0 until the hypervisor says it.
    first_total_bytes: i64,
    /// Whether the hypervisor was asked to let the guest's writes wait for both hosts.
    step_asked: bool,
}

impl Disks {
    pub(crate) fn new(address: String) -> Self {
        Self { address, under_way: false, first_total_bytes: 0, step_asked: false }
    }
}

/// Copies the disks until both hosts' are even; an outcome if the migration is to be given up.
pub(crate) fn copy(
    job: &mut Job<'_>,
    disks: &mut Disks,
    watch: &mut Watch,
    journal: &mut Journal,
) -> Result<Option<Outcome>> {
    watch.enter(Stage::Storage, now_ns());
    let address = disks.address.clone();
    keep(journal, &*job.source, EventKind::StorageMirrorStarted { address })?;
    disks.under_way = true;
    if let Err(error) = job.source.start_mirrors(&disks.address) {
        return Ok(Some(failed(job, &error.into())));
    }
    let every = Duration::from_nanos(PROGRESS_EVERY_NS.unsigned_abs());
    if let Some(outcome) = until(MirrorStage::Even, every, job, disks, watch, journal)? {
        return Ok(Some(outcome));
    }
    let copied_bytes = watch.storage_bytes();
    keep(journal, &*job.source, EventKind::StorageMirrored { copied_bytes })?;
    watch.enter(Stage::Setup, now_ns());
    Ok(None)
}

/// With the VM stopped before its switch-over: copies the last, and takes the source's hands off the destination's disks;
/// an outcome if the migration is to be given up.
pub(crate) fn hand_over(
    job: &mut Job<'_>,
    disks: &mut Disks,
    watch: &mut Watch,
    journal: &mut Journal,
) -> Result<Option<Outcome>> {
    watch.enter(Stage::Storage, now_ns());
    job.source.finish_mirrors()?;
    if let Some(outcome) = until(MirrorStage::Ended, HAND_OVER_EVERY, job, disks, watch, journal)? {
        return Ok(Some(outcome));
    }
    job.source.release_mirrors()?;
    disks.under_way = false;
    // Nobody else writes to them when the VM does.
    job.destination.withdraw_disks()?;
    let copied_bytes = watch.storage_bytes();
    keep(journal, &*job.source, EventKind::StorageHandedOver { copied_bytes })?;
    watch.enter(Stage::SwitchOver, now_ns());
    Ok(None)
}

/// Takes note of how far the copies are, and says it.
pub(crate) fn count(job: &mut Job<'_>, watch: &mut Watch) -> Result<MirrorProgress> {
    let progress = job.source.mirrors()?;
    let read_ns = now_ns();
    watch.count_storage(progress.copied_bytes, read_ns);
    (job.on_mirrors)(read_ns, &progress)?;
    Ok(progress)
}

/// Gives copies up that are under way: from now on the source's disks are the VM's only ones.
pub(crate) fn abandon(job: &mut Job<'_>, disks: &mut Disks, journal: &mut Journal) {
    if !std::mem::take(&mut disks.under_way) {
        return;
    }
    if let Err(error) = job.source.abandon_mirrors(ABANDON_LIMIT) {
        // The VM is still to be brought back, and the record may be what failed.
        let text = in_one_line(&MigrateError::from(error));
        let _ = keep(journal, &*job.source, EventKind::Warning { text });
    }
}

/// Waits for the copies to get somewhere.
fn until(
    wanted: MirrorStage,
    every: Duration,
    job: &mut Job<'_>,
    disks: &mut Disks,
    watch: &mut Watch,
    journal: &mut Journal,
) -> Result<Option<Outcome>> {
    loop {
        job.source.check_alive()?;
        let progress = match count(job, watch) {
            Ok(progress) => progress,
            Err(error) => return Ok(Some(failed(job, &error))),
        };
        hold_back(job, disks, &progress, journal)?;
        if progress.stage >= wanted {
            return Ok(None);
        }
        if let Some(why) = watch.failure.clone() {
            return Ok(Some(Outcome::GaveUp(Status::Failed, failure_text(job, &why))));
        }
        if job.cancel.is_cancelled() {
            return Ok(Some(Outcome::GaveUp(Status::Cancelled, "ended by the user".into())));
        }
        match decide(job.strategy, job.limits, &watch.telemetry(now_ns())) {
            Action::GiveUp { reason } => return Ok(Some(Outcome::GaveUp(Status::NotConverged, reason))),
            Action::Fail { reason } => return Ok(Some(Outcome::GaveUp(Status::Failed, reason))),
            Action::Wait | Action::SwitchToPostCopy { .. } | Action::StopVm { .. } => {}
        }
        if let Some(event) = journal.next(every)? {
            watch.see(&event);
        }
    }
}

/// Lets the guest's writes wait for both hosts where that is due and the hypervisor can.
fn hold_back(
    job: &mut Job<'_>,
    disks: &mut Disks,
    progress: &MirrorProgress,
    journal: &mut Journal,
) -> Result<()> {
    if disks.step_asked {
        return Ok(());
    }
    if disks.first_total_bytes == 0 {
        disks.first_total_bytes = progress.total_bytes;
    }
    let copied = DisksCopied {
        first_total_bytes: disks.first_total_bytes,
        copied_bytes: progress.copied_bytes,
        even: progress.stage == MirrorStage::Even,
    };
    let Some(reason) = keep_in_step(&copied) else { return Ok(()) };
    disks.step_asked = true;
    if job.source.mirror_in_step()? {
        note(journal, &*job.source, "mirror-in-step", &reason)?;
    }
    Ok(())
}

/// A copy that failed, in the words of whoever is to blame: a destination that is gone, else the copy itself.
pub(crate) fn failed(job: &mut Job<'_>, error: &MigrateError) -> Outcome {
    let why = in_one_line(error);
    Outcome::GaveUp(Status::Failed, failure_text(job, &why))
}
