//! The sequence of one migration: start, decide again and again, end.

use std::time::Duration;

use dunlin_hypervisor::{Act, Side};
use dunlin_policy::{Action, SourceJob, decide};
use dunlin_record::{EventKind, Place, Seen, Status, Strategy};

use crate::run::{GaveUp, Job, PROGRESS_EVERY, Run};
use crate::storage::{Course, Disks};
use crate::surroundings::Surroundings;
use crate::watch::Watch;

/// How long the other end may take to complete after the first has, before both are asked.
const OTHER_END_LIMIT: Duration = Duration::from_secs(10);

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// Why not well.
    pub error: Option<String>,
    /// Where the VM is now, as both ends were asked.
    pub place: Place,
}

/// Does one migration, and whatever comes of it, says where the VM is: exactly one copy of it runs there (or is there,
/// paused, if it was paused before), unless the only end that held it is gone or an end that may hold it does not answer.
/// Then nothing is ended and nothing resumed.
///
/// That the record cannot be kept ends the migration, but not the care for the VM: ask [`Surroundings::failure`].
pub fn migrate(job: Job<'_>, world: &mut dyn Surroundings) -> Ended {
    // What came before, as from restoring the VM, says nothing about this migration.
    while world.next(Duration::ZERO).is_some() {}
    let at_source = job.mover.ask(Side::Source);
    let (vm, host) = (job.mover.vm().clone(), job.mover.host(Side::Source).clone());
    // One that does not answer may have been paused by its owner: what we have not stopped is not resumed.
    let watch = Watch::new(vm, host, at_source.seen == Seen::Runs, world.now_ns());
    let mut run = Run { job, world, watch, disks: Disks::AtRest, cancel_unanswered: false };
    let done = if matches!(at_source.seen, Seen::Runs | Seen::Holds) {
        run.sequence()
    } else {
        run.tell(Side::Source, EventKind::MigrateCommand);
        Err(GaveUp::failed(format!("the VM is not at its source: {}", at_source.word)))
    };
    match done {
        Ok(()) => run.complete(),
        Err(gave_up) => run.give_up(gave_up),
    }
}

impl Run<'_, '_> {
    /// The whole sequence, until both ends say that they are complete.
    fn sequence(&mut self) -> Result<(), GaveUp> {
        let mut course = Course::default();
        self.tell(Side::Source, EventKind::MigrateCommand);
        // While the VM runs, whatever the strategy: it is stopped for its memory, and for its disks only where nothing else helps.
        self.copy_disks(&mut course)?;
        let is_suspended = *self.job.strategy == (Strategy::Suspend { after_passes: None });
        if is_suspended && !self.watch.stopped_before {
            self.act(Act::HoldSource)?;
        }
        self.begin()?;
        let mut progress_due_ns = self.world.now_ns();
        loop {
            self.follow(self.left_until(progress_due_ns).unwrap_or(Duration::ZERO));
            if self.watch.source_completed_ns.is_some() {
                return self.await_destination();
            }
            if let Some(why) = self.watch.failure.clone() {
                return Err(GaveUp::unexplained(why));
            }
            if self.watch.source_job() == SourceJob::Left {
                return Err(GaveUp::failed("somebody else ended the migration"));
            }
            self.check_record()?;
            if self.left_until(progress_due_ns).is_none() {
                self.job.mover.check()?;
                self.count()?;
                self.count_disks()?;
                progress_due_ns = self.after(PROGRESS_EVERY);
            }
            self.decide_and_act(&mut course)?;
        }
    }

    /// Gives the command. It counts as given unless it is refused.
    fn begin(&mut self) -> Result<(), GaveUp> {
        self.watch.begun = true;
        self.job.mover.begin().map_err(|error| {
            self.watch.begun = !error.is_refusal();
            error.into()
        })
    }

    /// Does what has to be done next.
    fn decide_and_act(&mut self, course: &mut Course) -> Result<(), GaveUp> {
        // Once the VM may run at the destination, its way back is cut: the move is seen through.
        if self.job.cancel.is_cancelled() && !self.watch.is_committed() {
            return Err(GaveUp::cancelled());
        }
        if std::mem::take(&mut self.watch.waits_for_switchover) {
            self.hand_over_disks(course)?;
            self.act(Act::ContinueSwitchOver)?;
        }
        let telemetry = self.watch.telemetry(self.world.now_ns());
        match decide(self.job.strategy, self.job.limits, &telemetry) {
            Action::Wait => Ok(()),
            Action::SwitchToPostCopy { reason } => {
                self.note(Act::SwitchToPostCopy.name(), &reason);
                self.switch_to_post_copy()
            }
            Action::StopVm { reason } => {
                self.note(Act::HoldSource.name(), &reason);
                match self.act(Act::HoldSource) {
                    // It is on its way over already, which is as good.
                    Err(error) if !error.is_refusal() => Err(error.into()),
                    _ => Ok(()),
                }
            }
            Action::GiveUp { reason } => Err(GaveUp::not_converged(reason)),
            Action::Fail { reason } => Err(GaveUp::failed(reason)),
        }
    }

    /// Asks for the switch to post-copy. One that is refused because the VM is on its way over already needs no more.
    fn switch_to_post_copy(&mut self) -> Result<(), GaveUp> {
        if !self.watch.should_run && !self.job.mover.is_managed() {
            // It would run there by itself, though its owner has paused it.
            self.act(Act::HoldDestination)?;
        }
        let Err(error) = self.act(Act::SwitchToPostCopy) else { return Ok(()) };
        self.follow(Duration::ZERO);
        self.count()?;
        let is_late = self.watch.has_gone_over() || self.watch.is_switching_over();
        if error.is_refusal() && is_late { Ok(()) } else { Err(error.into()) }
    }

    /// The source completes on the destination's word; the destination's own event may come after, or, where the product
    /// has only one job for both, never: then both are asked.
    fn await_destination(&mut self) -> Result<(), GaveUp> {
        let until = self.after(OTHER_END_LIMIT);
        while self.watch.destination_completed_ns.is_none() && !self.job.mover.is_managed() {
            let Some(left) = self.left_until(until) else {
                return Err(GaveUp::failed("the destination did not complete after the source had"));
            };
            if let Some(why) = self.watch.failure.clone() {
                return Err(GaveUp::unexplained(why));
            }
            self.job.mover.check()?;
            self.follow(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}
