//! The disks that move with a VM: copied before its memory; then either kept even while that moves and handed over before it
//! runs there, or changed for by the VM where it is, in two steps.

mod compare;

use std::time::Duration;

use dunlin_hypervisor::{Act, DiskCopies, HypervisorError, MirrorProgress, MirrorStage, Side};
use dunlin_policy::{
    Action, CopiesBehind, DisksCopied, InStep, Stage, decide, keep_in_step, pause_for_copies,
};
use dunlin_record::{EventKind, StorageSettings, Writes, in_one_line};

use crate::run::{GaveUp, PROGRESS_EVERY, Run};

/// How often the copies are asked while the VM stands still for them, at least: their events come sooner.
const HAND_OVER_EVERY: Duration = Duration::from_millis(20);
/// How long copies that are abandoned may take to end.
const ABANDON_LIMIT: Duration = Duration::from_secs(5);

/// How the VM's disks stand to its move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    /// None are being copied: those at the source are the VM's, or they have been handed over.
    AtRest,
    /// Copies are under way.
    Copied,
    /// The same, and the VM was asked to change for them: each is the old or the new one.
    Changing,
    /// The VM has changed for them, at the source.
    Changed,
}

/// The copies' own course.
pub(crate) struct Course {
    how: StorageSettings,
    began_ns: i64,
    /// What there was to copy at first; absent until the hypervisor says it.
    first_total_bytes: Option<i64>,
    /// Whether the guest's writes wait for both hosts.
    in_step: InStep,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            how: StorageSettings::default(),
            began_ns: 0,
            first_total_bytes: None,
            in_step: InStep::NotYet,
        }
    }
}

impl Run<'_, '_> {
    /// Copies the disks until both hosts' are even; in two steps until the VM goes on with the new ones.
    pub(crate) fn copy_disks(&mut self, course: &mut Course) -> Result<(), GaveUp> {
        let asked = self.job.mover.disks().map(|disks| (disks.address().to_owned(), disks.how().clone()));
        let Some((address, how)) = asked else { return Ok(()) };
        *course = Course {
            began_ns: self.world.now_ns(),
            first_total_bytes: None,
            in_step: match how.writes {
                Writes::WhenDue => InStep::NotYet,
                Writes::Background => InStep::NotAsked,
                Writes::InStep => InStep::Yes,
            },
            how,
        };
        self.watch.enter(Stage::Storage, self.world.now_ns());
        self.tell(Side::Source, EventKind::StorageMirrorStarted { address });
        self.disks = Disks::Copied;
        let started = self.copies().and_then(DiskCopies::start);
        started.map_err(|error| Self::failed_copy(&error))?;
        self.until(MirrorStage::Even, PROGRESS_EVERY, course)?;
        if course.how.two_steps {
            self.change_disks(course)?;
        } else {
            let copied_bytes = self.watch.storage_bytes();
            self.tell(Side::Source, EventKind::StorageMirrored { copied_bytes });
        }
        self.watch.enter(Stage::Setup, self.world.now_ns());
        Ok(())
    }

    /// Has the VM go on with the new disks, where it is. From then on these are its own, whatever becomes of its memory.
    fn change_disks(&mut self, course: &mut Course) -> Result<(), GaveUp> {
        self.disks = Disks::Changing;
        self.copies()?.change_over()?;
        self.until(MirrorStage::Ended, HAND_OVER_EVERY, course)?;
        self.copies()?.let_go()?;
        self.disks = Disks::Changed;
        let copied_bytes = self.watch.storage_bytes();
        self.tell(Side::Source, EventKind::StorageMoved { copied_bytes });
        Ok(())
    }

    /// With the VM stopped before its switch-over: copies the last, and takes the source's hands off the destination's
    /// disks.
    pub(crate) fn hand_over_disks(&mut self, course: &mut Course) -> Result<(), GaveUp> {
        if self.disks != Disks::Copied {
            return Ok(());
        }
        self.watch.enter(Stage::Storage, self.world.now_ns());
        self.copies()?.finish()?;
        self.until(MirrorStage::Ended, HAND_OVER_EVERY, course)?;
        if course.how.compare {
            self.compare_disks()?;
        }
        self.copies()?.hand_over()?;
        self.disks = Disks::AtRest;
        let copied_bytes = self.watch.storage_bytes();
        self.tell(Side::Source, EventKind::StorageHandedOver { copied_bytes });
        self.watch.enter(Stage::SwitchOver, self.world.now_ns());
        Ok(())
    }

    /// Reads how far the copies are, if any are under way.
    pub(crate) fn count_disks(&mut self) -> Result<Option<MirrorProgress>, GaveUp> {
        if !matches!(self.disks, Disks::Copied | Disks::Changing) {
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

    /// Gives copies up that are under way: from now on those disks that the VM has are its only ones.
    pub(crate) fn abandon_disks(&mut self) {
        if !matches!(self.disks, Disks::Copied | Disks::Changing) {
            return;
        }
        if let Err(error) = self.copies().and_then(|copies| copies.abandon(ABANDON_LIMIT)) {
            // The VM is still to be brought back.
            self.warn("the copies of its disks did not end", &error);
        }
        if self.disks == Disks::Copied {
            self.disks = Disks::AtRest;
        }
    }

    /// Which disks a VM has that did not get where it was to go, where these may be others than before.
    pub(crate) fn disks_told(&mut self) -> Option<String> {
        if !matches!(self.disks, Disks::Changing | Disks::Changed) {
            return None;
        }
        let address = self.copies().map(|copies| copies.address().to_owned()).unwrap_or_default();
        if self.disks == Disks::Changed {
            return Some(format!("it has its new disks since then, at {address}"));
        }
        Some(match self.copies().and_then(DiskCopies::changed) {
            Ok(changed) if changed.is_empty() => "it has the disks that it had".into(),
            Ok(changed) => {
                format!("of its disks these are new since then, at {address}: {}", changed.join(", "))
            }
            Err(error) => format!(
                "it is not known which of its disks are the new ones, at {address}: {}",
                in_one_line(&error)
            ),
        })
    }

    /// Waits for the copies to get somewhere.
    fn until(&mut self, wanted: MirrorStage, every: Duration, course: &mut Course) -> Result<(), GaveUp> {
        loop {
            self.job.mover.check()?;
            if let Some(progress) = self.count_disks()? {
                self.hold_back(course, &progress)?;
                if progress.stage >= wanted {
                    return Ok(());
                }
                if progress.stage == MirrorStage::Copying {
                    self.pause_for_copies(course)?;
                }
            }
            self.go_on()?;
            self.follow(every);
        }
    }

    /// Fails where the move is not to go on, while it waits for something else than its memory.
    fn go_on(&mut self) -> Result<(), GaveUp> {
        self.check_record()?;
        if let Some(why) = self.watch.failure.clone() {
            return Err(GaveUp::unexplained(why));
        }
        if self.job.cancel.is_cancelled() {
            return Err(GaveUp::cancelled());
        }
        let telemetry = self.watch.telemetry(self.world.now_ns());
        match decide(self.job.strategy, self.job.limits, &telemetry) {
            Action::GiveUp { reason } => Err(GaveUp::not_converged(reason)),
            Action::Fail { reason } => Err(GaveUp::failed(reason)),
            Action::Wait | Action::SwitchToPostCopy { .. } | Action::StopVm { .. } => Ok(()),
        }
    }

    /// Lets the guest's writes wait for both hosts where that is due and the hypervisor can.
    fn hold_back(&mut self, course: &mut Course, progress: &MirrorProgress) -> Result<(), GaveUp> {
        // Disks that are even are changed for at once where that is a step of its own, and a copy that has ended takes no word.
        let are_done = course.how.two_steps && progress.stage >= MirrorStage::Even;
        if course.in_step != InStep::NotYet || are_done {
            return Ok(());
        }
        course.first_total_bytes =
            course.first_total_bytes.or(progress.total_bytes.filter(|total| *total > 0));
        let copied = DisksCopied {
            first_total_bytes: course.first_total_bytes,
            copied_bytes: progress.copied_bytes,
            even: progress.stage == MirrorStage::Even,
        };
        let Some(reason) = keep_in_step(course.how.writes, &copied) else { return Ok(()) };
        course.in_step = InStep::Cannot;
        if self.copies()?.keep_in_step()? {
            course.in_step = InStep::Yes;
            self.note("mirror-in-step", &reason);
        }
        Ok(())
    }

    /// Stops the VM where its copies do not catch up otherwise: then its memory follows, and it is resumed there.
    fn pause_for_copies(&mut self, course: &Course) -> Result<(), GaveUp> {
        let behind = CopiesBehind {
            elapsed_ms: (self.world.now_ns() - course.began_ns) as f64 / 1e6,
            pause_after_s: course.how.pause_after_s,
            in_step: course.in_step,
            running: !self.watch.stopped_before,
        };
        let Some(reason) = pause_for_copies(&behind) else { return Ok(()) };
        self.note(Act::HoldSource.name(), &reason);
        self.act(Act::HoldSource)?;
        // For as long as it takes the VM to stop, its hypervisor tells nothing of the copies.
        self.watch.enter(Stage::Storage, self.world.now_ns());
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
