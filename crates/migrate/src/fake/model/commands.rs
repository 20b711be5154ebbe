//! What the bench's commands and questions do at an end of a scripted world, and how they are answered.

use dunlin_hypervisor::{Side, Tuning};

use super::{ActFault, Copies, Happening, Job, MS, Model, Phase, WAY_NS, index};

/// How long an answer is waited for.
pub(super) const ANSWER_NS: i64 = 3_000 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Command {
    Start,
    Switch,
    Continue,
    Tune(Tuning),
    Cancel,
    /// The same, by a product that knows that it is in time.
    CancelCopy,
    Break,
    Hold,
    StopForMove,
    Stop,
    Resume,
    Quit,
    Copy,
    KeepInStep,
    Finish,
    Compare,
    Change,
    LetGo,
    Release,
    Withdraw,
    Abandon,
}

/// How an end answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Answer {
    Done,
    Refused(&'static str),
    Silence,
    Closed,
}

impl Model {
    /// Does a command at an end that takes it; says whether it is refused.
    pub(super) fn obey(&mut self, side: Side, command: Command) -> Result<(), &'static str> {
        match (side, command) {
            (Side::Source, Command::Start) => {
                if self.has_daemons() {
                    self.product.phase = Phase::Copying;
                    self.held = true;
                }
                self.enter(Job::Setup);
                self.next_step(2 * MS);
            }
            (Side::Source, Command::Switch) if self.job == Job::PreCopy => {
                self.after(self.setting.switch_ns, Happening::Switches);
            }
            (Side::Source, Command::Switch) => return Err("there is no migration to switch"),
            (Side::Source, Command::Continue) if self.job == Job::Waiting => {
                self.go_on_over();
            }
            (Side::Source, Command::Continue) => return Err("it does not wait"),
            (Side::Source, Command::Tune(tuning)) => self.tunings.push((self.job, tuning)),
            (Side::Source, Command::Cancel) if self.has_daemons() => return self.cancel_job(),
            (Side::Source, Command::Cancel | Command::CancelCopy) => return self.cancel(),
            (Side::Source, Command::Break) => {
                if self.job == Job::PostCopy {
                    self.wrongs.push("post-copy was torn apart".into());
                }
                self.broken(Side::Source);
            }
            (Side::Source, Command::StopForMove) => {
                let is_over = matches!(self.job, Job::PostCopy | Job::PostCopyPaused | Job::Completed);
                if is_over || self.job.switches_over() {
                    return Err("the switch-over has begun");
                }
                self.set_running(side, false);
            }
            (_, Command::Stop) => self.set_running(side, false),
            (Side::Source, Command::Resume) => {
                if self.job.switches_over() || matches!(self.job, Job::PostCopy | Job::PostCopyPaused) {
                    return Err("Migration is not finalized yet");
                }
                self.set_running(side, true);
            }
            (Side::Destination, Command::Resume) => {
                self.held = false;
                if self.arrived {
                    self.set_running(side, true);
                }
            }
            (Side::Destination, Command::Hold) => {
                self.held = true;
                self.set_running(side, false);
            }
            (_, Command::Quit) => self.end_by_us(side),
            (Side::Source, Command::Copy) => self.begin_copies(),
            (Side::Source, Command::KeepInStep) => self.keep_in_step(),
            (Side::Source, Command::Finish) => return self.finish_copies(),
            (Side::Source, Command::Compare) => return self.compare().map(drop),
            (Side::Source, Command::Change) => return self.change_disks(),
            (Side::Source, Command::LetGo) => return self.let_go(),
            (Side::Source, Command::Release) if self.disks.copies == Copies::Ended => {
                self.disks.copies = Copies::Released;
            }
            (Side::Destination, Command::Withdraw) if self.disks.copies == Copies::Released => {
                self.disks.copies = Copies::HandedOver;
            }
            (Side::Source, Command::Abandon) => self.abandon_copies(),
            _ => return Err("not here"),
        }
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), &'static str> {
        match self.job {
            Job::Setup | Job::PreCopy => {}
            Job::SwitchOver if self.is_managed => return Err("it is too late to cancel"),
            Job::Waiting | Job::SwitchOver | Job::Switching => {
                if self.was_running {
                    self.set_running(Side::Source, true);
                }
            }
            // It has the VM, but does not run it again.
            Job::Switched | Job::PostCopy if self.setting.cancels_post_copy => self.tears(),
            Job::Switched | Job::PostCopy | Job::PostCopyPaused => {
                return Err("post-copy cannot be cancelled");
            }
            _ => return Ok(()),
        }
        self.generation += 1;
        self.enter(Job::Cancelled);
        self.after(WAY_NS, Happening::Broken(Side::Destination));
        Ok(())
    }

    /// Where the product itself has made a second copy run, ending one is right; the only one is never ended.
    fn end_by_us(&mut self, side: Side) {
        let other = &self.ends[1 - index(side)];
        let is_only = !(other.alive && other.running);
        if self.ends[index(side)].running && is_only {
            self.wrongs.push(format!("the only running copy was ended at the {side:?}"));
        }
        self.end(side).ended_by_us |= self.ends[index(side)].alive;
        self.kill(side);
    }

    /// A command of ours and how it is answered: done, refused, or not answered in time, as by an end that is frozen.
    pub(in crate::fake) fn command(&mut self, side: Side, command: Command) -> Answer {
        self.advance(self.now_ns + MS / 5);
        if !self.ends[index(side)].alive {
            return if command == Command::Quit { Answer::Done } else { Answer::Closed };
        }
        if command == Command::Quit {
            // By a signal, where it does not listen.
            self.end_by_us(side);
            return Answer::Done;
        }
        self.end(side).acts += 1;
        let acts = self.ends[index(side)].acts;
        let fault =
            self.ends[index(side)].act_fault.filter(|(which, _)| *which == acts).map(|(_, fault)| fault);
        if fault == Some(ActFault::Refused) {
            return Answer::Refused("not now");
        }
        if !self.await_thaw(side) {
            if !self.ends[index(side)].alive {
                return Answer::Closed;
            }
            self.after(0, Happening::Late(side, command));
            self.advance(self.now_ns);
            return Answer::Silence;
        }
        let before = self.running_copies();
        let obeyed = self.obey(side, command);
        if before < 2 && self.running_copies() > 1 {
            self.wrongs.push(format!("{command:?} at the {side:?} made a second running copy"));
        }
        self.hear(side);
        match obeyed {
            Ok(()) if fault == Some(ActFault::Unanswered) => {
                self.advance(self.now_ns + ANSWER_NS);
                Answer::Silence
            }
            Ok(()) => Answer::Done,
            Err(why) => Answer::Refused(why),
        }
    }

    /// A question: answered, unless the end is frozen or gone.
    pub(in crate::fake) fn question(&mut self, side: Side) -> Answer {
        self.advance(self.now_ns + MS / 5);
        let is_in_time = self.await_thaw(side);
        if !self.ends[index(side)].alive {
            Answer::Closed
        } else if !is_in_time {
            Answer::Silence
        } else {
            self.answered(side);
            Answer::Done
        }
    }

    /// An end, or who speaks for it, has just answered a question.
    pub(in crate::fake) fn answered(&mut self, side: Side) {
        self.hear(side);
        self.answered_ns[index(side)] = Some(self.now_ns);
    }

    /// Waits for an end that is frozen to go on, as long as is waited for an answer; whether it does in time. What came before
    /// is done then.
    fn await_thaw(&mut self, side: Side) -> bool {
        let until_ns = self.now_ns + ANSWER_NS;
        while self.ends[index(side)].alive && self.is_frozen(side) && self.now_ns < until_ns {
            let next_ns = self.next_due().unwrap_or(until_ns);
            self.advance(next_ns.clamp(self.now_ns, until_ns));
        }
        let now_ns = self.now_ns;
        self.advance(now_ns);
        self.ends[index(side)].alive && !self.is_frozen(side)
    }

    /// Whether an end died after it had last answered: what was told of it was true then.
    pub(in crate::fake) fn died_since_asked(&self, side: Side) -> bool {
        let (died, answered) = (self.died_ns[index(side)], self.answered_ns[index(side)]);
        died.zip(answered).is_some_and(|(died_ns, answered_ns)| died_ns >= answered_ns)
    }
}
