//! A move for which the VM stands still: put to rest at the source, its files brought to the other host, woken there.
//!
//! Here nobody hands the VM over by itself: no copy runs but one that was woken, and none is woken while another may run.
//! So the only doubt is about an end that does not answer, and then nothing is ended and nothing woken.

use std::error::Error;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::{Presence, Side};
use dunlin_record::{Event, EventKind, HostId, Place, Seen, StandstillStage, Status, VmId, in_one_line};

use crate::rescue::{lost, placed};
use crate::run::GaveUp;
use crate::sequence::Ended;
use crate::surroundings::Surroundings;

/// How often an end is asked again that does not answer.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long a guest that did not come to rest in time is watched: it may have been about to.
const LATE_REST: Duration = Duration::from_secs(5);
/// How often it is tried to wake the VM at the source again.
const WAKE_TRIES: u32 = 2;

/// What went wrong with a part of the move.
pub type Fault = Box<dyn Error + Send + Sync>;

/// The parts of a move for which the VM stands still. Every call is bounded, and decides nothing.
pub trait Standstill {
    /// Which VM.
    fn vm(&self) -> &VmId;

    /// On which host a side is.
    fn host(&self, side: Side) -> &HostId;

    /// Asks an end where the VM is. No answer is an answer too; an end at which nothing was started is [`Seen::Gone`].
    fn ask(&mut self, side: Side) -> Presence;

    /// Whether it can be woken out of what lies at the source after it has run on a side since it was put to rest: not where a
    /// saved state would meet disks that have been written since.
    fn can_return_after_it_ran(&self, side: Side) -> bool;

    /// Puts the VM to rest at the source: shuts it down, or saves its state and leaves it stopped.
    ///
    /// # Errors
    /// Where it did not come to rest. It may have stopped all the same, or be about to.
    fn rest(&mut self) -> Result<(), Fault>;

    /// Brings its files to the destination within a limit, or until the user has had enough, and tells stages and files as
    /// they come.
    ///
    /// # Errors
    /// Where one could not be brought.
    fn bring(
        &mut self,
        limit: Duration,
        cancel: &Cancel,
        tell: &mut dyn FnMut(EventKind),
    ) -> Result<(), Fault>;

    /// Lets the VM run on a side out of what lies there, and returns when it is up. At the source, where it may still stand
    /// stopped, that one goes on.
    ///
    /// # Errors
    /// Where it is not up. It may run all the same.
    fn wake(&mut self, side: Side) -> Result<(), Fault>;

    /// Ends what there is of the VM on a side, and waits until it is gone.
    ///
    /// # Errors
    /// Where it is not known to be gone.
    fn end(&mut self, side: Side) -> Result<(), Fault>;

    /// Removes what was brought to the destination.
    ///
    /// # Errors
    /// Where something of it may be left.
    fn clear_away(&mut self) -> Result<(), Fault>;
}

/// A move to be done.
pub struct StandstillJob<'a> {
    /// Its parts.
    pub parts: &'a mut dyn Standstill,
    /// How long it may take until the files are there.
    pub limit: Duration,
    /// How long ends are waited for that do not answer.
    pub patience: Duration,
    /// The user's wish to end it.
    pub cancel: &'a Cancel,
}

/// Moves a VM that stands still meanwhile, and whatever comes of it, says where it is: exactly one copy of it runs there,
/// unless it could not be woken again or an end does not answer.
pub fn stand_still(job: StandstillJob<'_>, world: &mut dyn Surroundings) -> Ended {
    while world.next(Duration::ZERO).is_some() {}
    let until_ns = world.after(job.limit);
    let mut run =
        Run { job, world, until_ns, may_run_there: false, has_run_there: false, has_run_here: false };
    run.tell(Side::Source, EventKind::MigrateCommand);
    match run.there() {
        Ok(()) => run.conclude(Place::Destination, Status::Completed, None),
        Err(gave_up) => run.back(gave_up),
    }
}

struct Run<'a, 'w> {
    job: StandstillJob<'a>,
    world: &'w mut dyn Surroundings,
    /// When the files have to be there.
    until_ns: i64,
    /// The VM was, or was about to be, woken at the destination.
    may_run_there: bool,
    /// It was seen to run there.
    has_run_there: bool,
    /// It was seen to run at the source since it was put to rest there.
    has_run_here: bool,
}

impl Run<'_, '_> {
    /// The whole way there.
    fn there(&mut self) -> Result<(), GaveUp> {
        let at_source = self.ask(Side::Source);
        if at_source.seen != Seen::Runs {
            return Err(GaveUp::failed(format!("the VM does not run at its source: {}", at_source.word)));
        }
        self.stage(StandstillStage::Rest);
        let rested = self.job.parts.rest();
        self.follow();
        self.has_run_here = false;
        rested.map_err(|fault| GaveUp::failed(in_one_line(&*fault)))?;
        self.check()?;
        self.bring()?;
        self.check()?;
        // Nobody else may have let it run again meanwhile.
        let at_source = self.ask(Side::Source);
        if !matches!(at_source.seen, Seen::Holds | Seen::Gone) {
            return Err(GaveUp::failed(format!(
                "it is not at rest at its source any more: {}",
                at_source.word
            )));
        }
        self.stage(StandstillStage::Wake);
        self.may_run_there = true;
        if let Err(fault) = self.job.parts.wake(Side::Destination) {
            // Nobody is waited for any more where the user has had enough.
            let is_left = self.job.cancel.is_cancelled();
            return Err(if is_left { GaveUp::cancelled() } else { GaveUp::failed(in_one_line(&*fault)) });
        }
        self.tell(Side::Destination, EventKind::MigrationCompleted);
        Ok(())
    }

    fn bring(&mut self) -> Result<(), GaveUp> {
        let Self { job: StandstillJob { parts, cancel, limit, .. }, world, until_ns, .. } = self;
        let (vm, host) = (parts.vm().clone(), parts.host(Side::Source).clone());
        let left = world.left_until(*until_ns).unwrap_or(Duration::ZERO);
        let mut tell = |kind| {
            let t_ns = world.now_ns();
            world.keep(&Event { t_ns, host: Some(host.clone()), vm: Some(vm.clone()), kind });
        };
        let brought = parts.bring(left, cancel, &mut tell);
        let Err(fault) = brought else { return Ok(()) };
        let reason = in_one_line(&*fault);
        if self.job.cancel.is_cancelled() {
            return Err(GaveUp::cancelled());
        }
        if self.world.now_ns() >= self.until_ns {
            let reason = format!("its files were not there within {:.1} s: {reason}", limit.as_secs_f64());
            return Err(GaveUp::not_converged(reason));
        }
        Err(GaveUp::failed(reason))
    }

    /// Whether to go on, as long as that can be chosen.
    fn check(&mut self) -> Result<(), GaveUp> {
        self.follow();
        GaveUp::if_unkept(self.world)?;
        if self.job.cancel.is_cancelled() { Err(GaveUp::cancelled()) } else { Ok(()) }
    }

    /// The way back, unless the VM runs at the destination.
    fn back(mut self, GaveUp { status, reason, .. }: GaveUp) -> Ended {
        self.note("go-back", &reason);
        if self.may_run_there && !self.is_out_of_there() {
            let place = match self.ask(Side::Destination).seen {
                Seen::Runs => Place::Destination,
                _ => Place::Unknown,
            };
            return self.conclude(place, status, Some(reason));
        }
        if let Err(fault) = self.job.parts.clear_away() {
            self.warn("what was brought to the destination is still there", &*fault);
        }
        let place = if self.has_run_there && !self.job.parts.can_return_after_it_ran(Side::Destination) {
            self.leave_at_rest()
        } else {
            self.wake_at_source()
        };
        self.conclude(place, status, Some(reason))
    }

    /// Its state is older than its disks.
    fn leave_at_rest(&mut self) -> Place {
        let why =
            "it has written to its disks since its state was saved: woken of that, it would destroy them";
        self.note("leave-at-rest", why);
        Place::Nowhere
    }

    /// Sees to it that the VM does not run at the destination; says whether that is known. One that runs there is left alone:
    /// it may have written to its disks.
    fn is_out_of_there(&mut self) -> bool {
        let is_gone = match self.answer_of(Side::Destination).seen {
            Seen::Gone => true,
            Seen::Runs => false,
            // What does not answer may be ended all the same: it was started for this, and it is seen whether it is gone.
            Seen::Holds | Seen::Waits | Seen::Silent => {
                if let Err(fault) = self.job.parts.end(Side::Destination) {
                    self.warn("the destination was not ended", &*fault);
                }
                self.ask(Side::Destination).seen == Seen::Gone
            }
        };
        if is_gone {
            // That it ran before its end may still be on its way to us.
            self.pause();
        }
        is_gone
    }

    /// Sees to it that the VM runs at the source, and says where it is.
    fn wake_at_source(&mut self) -> Place {
        for _ in 0..WAKE_TRIES {
            match self.settled_source().seen {
                Seen::Runs => return Place::Source,
                Seen::Silent => return Place::Unknown,
                Seen::Holds | Seen::Waits => {}
                Seen::Gone => {
                    // That it ran before its end may still be on its way to us.
                    self.pause();
                    if self.has_run_here && !self.job.parts.can_return_after_it_ran(Side::Source) {
                        return self.leave_at_rest();
                    }
                }
            }
            let why = if self.has_run_there {
                "it is to run again where it was, and as it was: what it did at the destination is lost to it"
            } else {
                "it is to run again where it was"
            };
            self.note("wake-source", why);
            if let Err(fault) = self.job.parts.wake(Side::Source) {
                self.warn("it could not be woken at the source", &*fault);
            }
        }
        match self.answer_of(Side::Source).seen {
            Seen::Runs => Place::Source,
            Seen::Silent => Place::Unknown,
            Seen::Holds | Seen::Waits | Seen::Gone => Place::Nowhere,
        }
    }

    /// The source's answer when it is not about to become another: a guest may still be shutting down.
    fn settled_source(&mut self) -> Presence {
        let until_ns = self.world.after(LATE_REST);
        loop {
            let presence = self.answer_of(Side::Source);
            if presence.seen != Seen::Runs || self.world.now_ns() >= until_ns {
                return presence;
            }
            self.pause();
        }
    }

    /// An end's answer, waited for with patience.
    fn answer_of(&mut self, side: Side) -> Presence {
        let until_ns = self.world.after(self.job.patience);
        loop {
            let presence = self.ask(side);
            if presence.seen != Seen::Silent || self.world.now_ns() >= until_ns {
                return presence;
            }
            self.pause();
        }
    }

    /// Records the end; takes away what is left at the source of a VM that runs at the destination.
    fn conclude(mut self, place: Place, mut status: Status, mut error: Option<String>) -> Ended {
        if place == Place::Destination
            && let Err(fault) = self.job.parts.end(Side::Source)
        {
            self.warn("what is left of it at the source was not ended", &*fault);
        }
        let (destination, source) = (self.ask(Side::Destination), self.ask(Side::Source));
        if place == Place::Source {
            let running = source.seen == Seen::Runs;
            self.tell(Side::Source, EventKind::SourceChecked { running, state: source.word.clone() });
        }
        if matches!(place, Place::Nowhere | Place::Unknown) {
            error = Some(lost(place, &source, &destination, "woken", error.as_deref()));
            status = Status::Failed;
        }
        self.tell(Side::Source, placed(place, &source, &destination));
        Ended { status, error, place }
    }

    fn ask(&mut self, side: Side) -> Presence {
        let presence = self.job.parts.ask(side);
        if presence.seen == Seen::Runs {
            self.saw_it_run(side);
        }
        self.follow();
        presence
    }

    /// Records what has happened by now.
    fn follow(&mut self) {
        while let Some(event) = self.world.next(Duration::ZERO) {
            self.see(&event);
        }
    }

    fn see(&mut self, event: &Event) {
        let is_at = |side| event.host.as_ref() == Some(self.job.parts.host(side));
        let side = [Side::Source, Side::Destination].into_iter().find(|side| is_at(*side));
        if let Some(side) = side.filter(|_| event.kind == EventKind::VcpusRunning) {
            self.saw_it_run(side);
        }
    }

    fn saw_it_run(&mut self, side: Side) {
        match side {
            Side::Source => self.has_run_here = true,
            Side::Destination => self.has_run_there = true,
        }
    }

    fn pause(&mut self) {
        let until_ns = self.world.after(ASK_EVERY);
        while self.world.now_ns() < until_ns {
            if let Some(event) = self.world.next(ASK_EVERY) {
                self.see(&event);
            }
        }
    }

    fn stage(&mut self, stage: StandstillStage) {
        self.tell(Side::Source, EventKind::StandstillStage { stage });
    }

    fn note(&mut self, action: &str, reason: &str) {
        let (action, reason) = (action.to_owned(), reason.to_owned());
        self.tell(Side::Source, EventKind::Decision { action, reason });
    }

    fn warn(&mut self, what: &str, fault: &(dyn Error + Send + Sync)) {
        let text = format!("{what}: {}", in_one_line(fault));
        self.tell(Side::Source, EventKind::Warning { text });
    }

    fn tell(&mut self, side: Side, kind: EventKind) {
        let (host, vm) = (self.job.parts.host(side).clone(), self.job.parts.vm().clone());
        let t_ns = self.world.now_ns();
        self.world.keep(&Event { t_ns, host: Some(host), vm: Some(vm), kind });
    }
}

#[cfg(test)]
mod tests;
