//! The disks that move with a VM: copied before its memory, kept even while that moves, handed over before it runs there.

use std::time::Duration;

use dunlin_hypervisor::{DiskCopies, HypervisorError, MirrorProgress, MirrorStage, Side};
use dunlin_policy::{Action, DisksCopied, Stage, decide, keep_in_step};
use dunlin_record::{EventKind, in_one_line};

use crate::run::{GaveUp, PROGRESS_EVERY, Run};

/// How often the copies are asked while the VM stands still for them, at least: their events come sooner.
const HAND_OVER_EVERY: Duration = Duration::from_millis(20);
/// How long copies that are abandoned may take to end.
const ABANDON_LIMIT: Duration = Duration::from_secs(5);

/// When the guest's writes have to wait for both hosts.
#[derive(Default)]
pub(crate) struct Step {
    /// What there was to copy at first; absent until the hypervisor says it.
    first_total_bytes: Option<i64>,
    /// Whether the hypervisor was asked to let them.
    asked: bool,
}

impl Run<'_, '_> {
    /// Copies the disks until both hosts' are even.
    pub(crate) fn copy_disks(&mut self, step: &mut Step) -> Result<(), GaveUp> {
        let Some(address) = self.job.mover.disks().map(|disks| disks.address().to_owned()) else {
            return Ok(());
        };
        self.watch.enter(Stage::Storage, self.world.now_ns());
        self.tell(Side::Source, EventKind::StorageMirrorStarted { address });
        self.disks_under_way = true;
        let started = self.copies().and_then(DiskCopies::start);
        started.map_err(|error| Self::failed_copy(&error))?;
        self.until(MirrorStage::Even, PROGRESS_EVERY, step)?;
        let copied_bytes = self.watch.storage_bytes();
        self.tell(Side::Source, EventKind::StorageMirrored { copied_bytes });
        self.watch.enter(Stage::Setup, self.world.now_ns());
        Ok(())
    }

    /// With the VM stopped before its switch-over: copies the last, and takes the source's hands off the destination's
    /// disks.
    pub(crate) fn hand_over_disks(&mut self, step: &mut Step) -> Result<(), GaveUp> {
        if !self.disks_under_way {
            return Ok(());
        }
        self.watch.enter(Stage::Storage, self.world.now_ns());
        self.copies()?.finish()?;
        self.until(MirrorStage::Ended, HAND_OVER_EVERY, step)?;
        self.copies()?.hand_over()?;
        self.disks_under_way = false;
        let copied_bytes = self.watch.storage_bytes();
        self.tell(Side::Source, EventKind::StorageHandedOver { copied_bytes });
        self.watch.enter(Stage::SwitchOver, self.world.now_ns());
        Ok(())
    }

    /// Reads how far the copies are, if any are under way.
    pub(crate) fn count_disks(&mut self) -> Result<Option<MirrorProgress>, GaveUp> {
        if !self.disks_under_way {
            return Ok(None);
        }
        let progress = match self.copies().and_then(DiskCopies::progress) {
            Ok(progress) => progress,
            // No answer in time is none: whether bytes move decides.
            Err(HypervisorError::Timeout { .. }) => return Ok(None),
            Err(error) => return Err(Self::failed_copy(&error)),
        };
        let read_ns = self.world.now_ns();
        self.watch.count_storage(progress.copied_bytes, read_ns);
        if let Err(error) = (self.job.on_mirrors)(read_ns, &progress) {
            self.world.fail(error);
        }
        Ok(Some(progress))
    }

    /// Gives copies up that are under way: from now on the source's disks are the VM's only ones.
    pub(crate) fn abandon_disks(&mut self) {
        if std::mem::take(&mut self.disks_under_way)
            && let Err(error) = self.copies().and_then(|copies| copies.abandon(ABANDON_LIMIT))
        {
            // The VM is still to be brought back.
            self.warn("the copies of its disks did not end", &error);
        }
    }

    /// Waits for the copies to get somewhere.
    fn until(&mut self, wanted: MirrorStage, every: Duration, step: &mut Step) -> Result<(), GaveUp> {
        loop {
            self.job.mover.check()?;
            if let Some(progress) = self.count_disks()? {
                self.hold_back(step, &progress)?;
                if progress.stage >= wanted {
                    return Ok(());
                }
            }
            self.check_record()?;
            if let Some(why) = self.watch.failure.clone() {
                return Err(GaveUp::unexplained(why));
            }
            if self.job.cancel.is_cancelled() {
                return Err(GaveUp::cancelled());
            }
            let telemetry = self.watch.telemetry(self.world.now_ns());
            match decide(self.job.strategy, self.job.limits, &telemetry) {
                Action::GiveUp { reason } => {
                    return Err(GaveUp::not_converged(reason));
                }
                Action::Fail { reason } => return Err(GaveUp::failed(reason)),
                Action::Wait | Action::SwitchToPostCopy { .. } | Action::StopVm { .. } => {}
            }
            self.follow(every);
        }
    }

    /// Lets the guest's writes wait for both hosts where that is due and the hypervisor can.
    fn hold_back(&mut self, step: &mut Step, progress: &MirrorProgress) -> Result<(), GaveUp> {
        if step.asked {
            return Ok(());
        }
        step.first_total_bytes = step.first_total_bytes.or(progress.total_bytes.filter(|total| *total > 0));
        let copied = DisksCopied {
            first_total_bytes: step.first_total_bytes,
            copied_bytes: progress.copied_bytes,
            even: progress.stage == MirrorStage::Even,
        };
        let Some(reason) = keep_in_step(&copied) else { return Ok(()) };
        step.asked = true;
        if self.copies()?.keep_in_step()? {
            self.note("mirror-in-step", &reason);
        }
        Ok(())
    }

    /// A copy that failed, in the words of whoever is to blame: a destination that is gone, else the copy itself.
    fn failed_copy(error: &HypervisorError) -> GaveUp {
        GaveUp::unexplained(in_one_line(error))
    }

    fn copies(&mut self) -> Result<&mut dyn DiskCopies, HypervisorError> {
        self.job.mover.disks().ok_or_else(|| HypervisorError::Unsupported {
            what: "copying a VM's disks step by step".into(),
            because: "none of them move, or the product moves them itself".into(),
        })
    }
}
