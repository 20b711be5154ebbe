//! A product with a daemon on each side, after libvirt's behaviour: the source's daemon does the job (peer to peer), and the
//! client's command only waits for it.
//!
//! The processes are the product's hands: they copy by themselves, but neither goes over nor runs there unless a daemon says so.
//! Once all has arrived the source's daemon orders the other one to let the VM run, waits for its reply, and then ends the
//! source's process.

use dunlin_hypervisor::Side;
use dunlin_record::{EventKind, MigrationState};

use super::{Happening, Job, MS, Model, WAY_NS, index};

/// After how long a daemon that does not answer is given up by whoever is connected to it.
const KEEPALIVE_NS: i64 = 30_000 * MS;
/// How often a daemon that hangs is looked at by what waits for it.
const STEP_NS: i64 = 100 * MS;

/// Where the product's job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Phase {
    Idle,
    Copying,
    /// The other daemon was ordered to let the VM run, and has not replied.
    Finishing,
    Done,
    Failed,
    Cancelled,
    /// It is not known whether the other daemon let it run: the source's copy is left stopped.
    InDoubt,
}

/// How a daemon is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Away {
    /// It has died; another one comes in its place.
    Dead,
    /// It stands still and goes on.
    Hangs,
}

/// What is said between daemons, and what happens to them.
#[derive(Debug, Clone, Copy)]
pub(in crate::fake) enum DaemonTurn {
    /// The order to let the VM run arrives at the destination's, the reply at the source's.
    Order,
    Reply(bool),
    /// One is there again, unless it has gone again meanwhile.
    Back(Side, u32),
    /// Somebody's patience has an end.
    Look,
}

/// The truth about a product.
#[derive(Debug)]
pub(in crate::fake) struct Product {
    pub(in crate::fake) phase: Phase,
    /// How each side's daemon is away, and since when.
    pub(in crate::fake) away: [Option<(Away, i64)>; 2],
    absences: [u32; 2],
    /// The destination's daemon has let the VM run there, or left it as it was: it is that side's.
    pub(in crate::fake) handed: bool,
    replied: bool,
    /// A new daemon waits for the end of what its predecessor let go over, to take it back.
    takes_back: bool,
    /// The client's command has lost its connection, and hears nothing of the job any more.
    pub(in crate::fake) client_lost: bool,
    /// The command to begin was not answered: it may have been heard or not.
    pub(in crate::fake) begin_lost: bool,
    /// Somebody else has stopped the VM.
    pub(in crate::fake) stopped_by_others: bool,
}

impl Product {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            away: [None; 2],
            absences: [0; 2],
            handed: false,
            replied: false,
            takes_back: false,
            client_lost: false,
            begin_lost: false,
            stopped_by_others: false,
        }
    }
}

impl Model {
    /// Whether nobody can know how a product's job stands, or ended.
    pub(in crate::fake) fn is_unclear(&self) -> bool {
        let product = &self.product;
        // It waits for a daemon that it does not reach, and has not given it up yet.
        let waits_in_vain = product.phase == Phase::Finishing && !self.link_up;
        product.away.iter().any(Option::is_some)
            || product.phase == Phase::InDoubt
            || product.begin_lost
            || waits_in_vain
            || (product.client_lost && !self.setting.remembers)
    }

    /// Whether a product with daemons does it all.
    pub(in crate::fake) fn has_daemons(&self) -> bool {
        self.is_managed && self.setting.daemons
    }

    fn is_there(&self, side: Side) -> bool {
        self.product.away[index(side)].is_none()
    }

    /// Whether who is connected to a daemon has given it up.
    fn is_given_up(&self, side: Side) -> bool {
        self.product.away[index(side)]
            .is_some_and(|(away, since_ns)| away == Away::Dead || self.now_ns - since_ns >= KEEPALIVE_NS)
    }

    pub(super) fn daemon_goes(&mut self, side: Side, away: Away, for_ns: i64) {
        let at = index(side);
        // One that is away already stays so.
        if self.product.away[at].is_some() {
            return;
        }
        self.product.away[at] = Some((away, self.now_ns));
        self.product.absences[at] += 1;
        let absence = self.product.absences[at];
        self.after(for_ns, Happening::Daemon(DaemonTurn::Back(side, absence)));
        self.after(KEEPALIVE_NS, Happening::Daemon(DaemonTurn::Look));
    }

    pub(super) fn daemon_turn(&mut self, turn: DaemonTurn) {
        match turn {
            DaemonTurn::Look => {}
            DaemonTurn::Back(side, absence) if self.product.absences[index(side)] == absence => {
                let died = matches!(self.product.away[index(side)], Some((Away::Dead, _)));
                self.product.away[index(side)] = None;
                if died {
                    self.recover(side);
                }
            }
            DaemonTurn::Back(..) => {}
            DaemonTurn::Order => self.ordered(),
            DaemonTurn::Reply(well) => self.replied(well),
        }
    }

    /// What a new daemon does about a job that its predecessor did.
    fn recover(&mut self, side: Side) {
        match (side, self.product.phase) {
            // What is being sent can no longer be called back.
            (Side::Source, Phase::Copying) if self.job == Job::SwitchOver => self.product.takes_back = true,
            (Side::Source, Phase::Copying) => self.give_back(Phase::Cancelled),
            (Side::Source, Phase::Finishing) => self.product.phase = Phase::InDoubt,
            (Side::Destination, phase)
                if phase != Phase::Idle && !self.product.handed && self.ends[1].alive =>
            {
                self.kill(side);
            }
            _ => {}
        }
    }

    fn ordered(&mut self) {
        match self.product.away[1] {
            Some((Away::Dead, _)) => return,
            Some((Away::Hangs, _)) => return self.after(STEP_NS, Happening::Daemon(DaemonTurn::Order)),
            None if self.ends[1].alive && self.is_frozen(Side::Destination) => {
                return self.after(STEP_NS, Happening::Daemon(DaemonTurn::Order));
            }
            None => {}
        }
        let well = self.destination_has_it();
        if well {
            self.product.handed = true;
            self.held = false;
            let runs = self.was_running;
            self.set_running(Side::Destination, runs);
        }
        if self.link_up {
            self.product.replied = true;
            self.after(WAY_NS, Happening::Daemon(DaemonTurn::Reply(well)));
        }
    }

    fn replied(&mut self, well: bool) {
        match self.product.away[0] {
            Some((Away::Dead, _)) => return,
            Some((Away::Hangs, _)) => {
                return self.after(STEP_NS, Happening::Daemon(DaemonTurn::Reply(well)));
            }
            None => {}
        }
        if self.product.phase != Phase::Finishing {
            return;
        }
        if !well {
            return self.give_back(Phase::Failed);
        }
        self.end_job(Phase::Done);
        if self.ends[0].alive {
            self.kill(Side::Source);
        }
    }

    /// The job ends in a way that the client is told, if it still hears.
    fn end_job(&mut self, phase: Phase) {
        self.product.phase = phase;
        if !self.product.client_lost
            && let Some(state) = self.job_state()
        {
            let kind = EventKind::MigrationStatus { status: format!("{phase:?}"), state: Some(state) };
            self.tell(Side::Source, kind);
        }
    }

    /// The job ends with the VM at its source.
    fn give_back(&mut self, phase: Phase) {
        self.end_job(phase);
        match self.job {
            Job::Setup | Job::PreCopy | Job::Waiting => {
                self.after(0, Happening::Late(Side::Source, super::Command::CancelCopy));
            }
            Job::Completed if self.was_running => self.after(0, Happening::RunsAgain),
            _ => {}
        }
    }

    /// By the user's wish, ours or another's.
    pub(super) fn cancel_job(&mut self) -> Result<(), &'static str> {
        if self.product.phase != Phase::Copying {
            return Err("there is no job to cancel");
        }
        match self.job {
            Job::Setup | Job::PreCopy | Job::Waiting => {
                self.give_back(Phase::Cancelled);
                Ok(())
            }
            _ => Err("it is too late to cancel"),
        }
    }

    /// What both daemons do when they see what has happened.
    pub(in crate::fake) fn daemons_look(&mut self) {
        if self.is_there(Side::Source) {
            self.source_daemon_looks();
        }
        if self.is_there(Side::Destination) {
            self.destination_daemon_looks();
        }
        // The client is connected to the source's.
        self.product.client_lost |= self.product.phase != Phase::Idle && self.is_given_up(Side::Source);
    }

    fn source_daemon_looks(&mut self) {
        let is_alone = self.is_given_up(Side::Destination);
        match (self.product.phase, self.job) {
            (Phase::Copying, Job::Failed) => self.end_job(Phase::Failed),
            (Phase::Copying, Job::Cancelled) => self.end_job(Phase::Cancelled),
            (Phase::Copying, _) if !self.ends[0].alive => self.end_job(Phase::Failed),
            // What is being sent can no longer be called back: it is waited for.
            (Phase::Copying, Job::Setup | Job::PreCopy | Job::Waiting | Job::Completed) if is_alone => {
                self.give_back(Phase::Failed);
            }
            (Phase::Copying, Job::Waiting) if !self.is_frozen(Side::Source) => self.go_on_over(),
            (Phase::Copying, Job::Completed) if self.product.takes_back => self.give_back(Phase::Cancelled),
            (Phase::Copying, Job::Completed) => {
                self.product.phase = Phase::Finishing;
                if self.link_up {
                    self.after(WAY_NS, Happening::Daemon(DaemonTurn::Order));
                }
                self.after(KEEPALIVE_NS, Happening::Daemon(DaemonTurn::Look));
            }
            (Phase::Finishing, _) if (is_alone || !self.link_up) && !self.product.replied => {
                self.end_job(Phase::InDoubt);
            }
            _ => {}
        }
    }

    /// What never was to run here is ended once its job is over, or has nobody any more.
    fn destination_daemon_looks(&mut self) {
        let goes_on = matches!(self.product.phase, Phase::Idle | Phase::Copying | Phase::Finishing);
        let is_left = self.setting.ends_what_is_left && self.is_given_up(Side::Source);
        // An order that it has not read yet comes first.
        let is_ordered = self.is_queued(|turn| matches!(turn, DaemonTurn::Order));
        let is_incomplete = !self.product.handed && !is_ordered && (!goes_on || is_left);
        if is_incomplete && self.ends[1].alive {
            self.kill(Side::Destination);
        }
    }

    fn is_queued(&self, is_it: impl Fn(DaemonTurn) -> bool) -> bool {
        self.queue
            .iter()
            .any(|(_, _, happening)| matches!(happening, Happening::Daemon(turn) if is_it(*turn)))
    }

    /// Whether a daemon knows of the VM on its side.
    pub(in crate::fake) fn is_known(&self, side: Side) -> bool {
        match side {
            Side::Source => self.ends[0].alive,
            Side::Destination => self.ends[1].alive && self.product.handed,
        }
    }

    /// Where the job is, as the product says it.
    pub(in crate::fake) fn job_state(&self) -> Option<MigrationState> {
        Some(match (self.product.phase, self.job) {
            (Phase::Idle, _) => return None,
            (Phase::Done, _) => MigrationState::Completed,
            (Phase::Cancelled, _) => MigrationState::Cancelled,
            (Phase::Failed | Phase::InDoubt, _) => MigrationState::Failed,
            (_, Job::None | Job::Setup) => MigrationState::Setup,
            (Phase::Copying, Job::PreCopy) => MigrationState::PreCopy,
            _ if !self.setting.tells_switch_over => MigrationState::PreCopy,
            _ => MigrationState::SwitchOver,
        })
    }

    /// A question to a daemon: how it is away where it does not answer in time.
    pub(in crate::fake) fn ask_daemon(&mut self, side: Side) -> Result<(), Away> {
        self.advance(self.now_ns + MS / 5);
        let until_ns = self.now_ns + super::commands::ANSWER_NS;
        loop {
            match self.product.away[index(side)] {
                None => return Ok(()),
                Some((Away::Dead, _)) => return Err(Away::Dead),
                Some((Away::Hangs, _)) if self.now_ns >= until_ns => return Err(Away::Hangs),
                Some(_) => {}
            }
            let next_ns = self.next_due().unwrap_or(until_ns);
            self.advance(next_ns.clamp(self.now_ns, until_ns));
        }
    }
}
