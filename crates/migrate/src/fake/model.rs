//! The truth of a scripted world: what each end really is and does, after QEMU's behaviour.
//!
//! The source sends messages, which take a moment; an end that is frozen takes neither messages nor commands, but will when
//! it goes on, as one that was stopped by a signal does; an end that is dead never does.

mod commands;
mod disks;
mod parts;
mod product;

use std::collections::VecDeque;

use dunlin_hypervisor::{Side, Tuning};
use dunlin_record::{Event, EventKind, HostId, MigrationState, VmId};

pub(super) use commands::{Answer, Command};
use disks::Disks;
pub(super) use disks::NAMES;
pub(super) use parts::{ActFault, Copies, End, Fault, Job, Setting};
use parts::{Happening, Message};
use product::Product;
pub(super) use product::{Away, Phase};

pub(super) const MS: i64 = 1_000_000;
/// When a source that goes on alone has passed over the memory once.
const PASS_NS: i64 = 20 * MS;
/// What a message takes from one end to the other.
const WAY_NS: i64 = MS / 2;
/// How long a source takes from saying that its migration failed to running the VM again.
const RESTART_NS: i64 = MS / 4;
/// How long the device state takes to be saved, and to be loaded.
const DEVICES_NS: i64 = 3 * MS;

pub(super) struct Model {
    pub(super) now_ns: i64,
    pub(super) setting: Setting,
    queue: Vec<(i64, u64, Happening)>,
    order: u64,
    pub(super) ends: [End; 2],
    link_up: bool,
    pub(super) job: Job,
    pub(super) disks: Disks,
    generation: u32,
    passes: u32,
    /// Whether the VM ran when it was stopped for its switch-over.
    was_running: bool,
    /// Whether post-copy follows the switch-over.
    by_post_copy: bool,
    /// The destination has all it needs to run the VM.
    pub(super) arrived: bool,
    pub(super) held: bool,
    destination_left: bool,
    pub(super) reset: bool,
    pub(super) interrupted: bool,
    pub(super) disk_full: bool,
    pub(super) loses_last_word: bool,
    bytes: i64,
    outbox: VecDeque<(i64, Event)>,
    /// What was wrong on the way, by the invariants.
    pub(super) wrongs: Vec<String>,
    /// An end that held the only copy was killed by the script.
    pub(super) holder_died: bool,
    pub(super) post_copy_began: bool,
    /// Post-copy was left in pieces, of which neither end can run the VM for long.
    pub(super) torn: bool,
    /// For how long two copies ran, in all.
    pub(super) two_ran_ns: i64,
    /// What was set otherwise, and in which state of its job.
    pub(super) tunings: Vec<(Job, Tuning)>,
    /// Whether a product looks after both ends by itself.
    pub(super) is_managed: bool,
    /// What such a product's daemons are at.
    pub(super) product: Product,
    /// When each end died, and when it last answered a question.
    died_ns: [Option<i64>; 2],
    answered_ns: [Option<i64>; 2],
}

pub(super) fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Destination => 1,
    }
}

pub(super) fn host(side: Side) -> HostId {
    HostId::new(["a", "b"][index(side)])
}

impl Model {
    pub(super) fn new(
        setting: Setting,
        faults: &[(i64, Fault)],
        act_faults: [Option<(u32, ActFault)>; 2],
    ) -> Self {
        let end = |running, act_fault| End {
            alive: true,
            ended_by_us: false,
            running,
            frozen: 0,
            backlog: VecDeque::new(),
            acts: 0,
            act_fault,
        };
        let ends = [end(setting.runs_at_first, act_faults[0]), end(false, act_faults[1])];
        let mut model = Self {
            now_ns: 1_000 * MS,
            was_running: setting.runs_at_first,
            by_post_copy: false,
            setting,
            queue: Vec::new(),
            order: 0,
            ends,
            link_up: true,
            job: Job::None,
            disks: Disks::new(),
            generation: 0,
            passes: 0,
            arrived: false,
            held: false,
            destination_left: false,
            reset: false,
            interrupted: false,
            disk_full: false,
            loses_last_word: false,
            bytes: 0,
            outbox: VecDeque::new(),
            wrongs: Vec::new(),
            holder_died: false,
            post_copy_began: false,
            torn: false,
            two_ran_ns: 0,
            tunings: Vec::new(),
            is_managed: false,
            product: Product::new(),
            died_ns: [None; 2],
            answered_ns: [None; 2],
        };
        for (after_ns, fault) in faults {
            model.after(*after_ns, Happening::Fault(*fault));
        }
        model
    }

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[index(side)]
    }

    pub(super) fn is_frozen(&self, side: Side) -> bool {
        self.ends[index(side)].frozen > 0
    }

    pub(super) fn running_copies(&self) -> usize {
        self.ends.iter().filter(|end| end.alive && end.running && end.frozen == 0).count()
    }

    /// Whether the destination could be let run.
    pub(super) fn destination_has_it(&self) -> bool {
        self.ends[1].alive && self.arrived
    }

    fn after(&mut self, after_ns: i64, happening: Happening) {
        self.order += 1;
        self.queue.push((self.now_ns + after_ns, self.order, happening));
    }

    /// Lets all happen until a moment.
    pub(super) fn advance(&mut self, until_ns: i64) {
        while let Some(due_ns) = self.next_due().filter(|due_ns| *due_ns <= until_ns) {
            self.pass(due_ns);
            let first = (0..self.queue.len()).min_by_key(|at| (self.queue[*at].0, self.queue[*at].1));
            if let Some(at) = first {
                let (_, _, happening) = self.queue.swap_remove(at);
                self.happens(happening);
                self.look_after();
            }
        }
        self.pass(until_ns);
    }

    /// Nothing happens until a moment.
    fn pass(&mut self, until_ns: i64) {
        if self.running_copies() > 1 {
            self.two_ran_ns += (until_ns - self.now_ns).max(0);
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    /// What an end has said by now is heard: its answer, which comes after it, is.
    pub(super) fn hear(&mut self, side: Side) {
        let now_ns = self.now_ns;
        for (due_ns, event) in &mut self.outbox {
            if event.host.as_ref() == Some(&host(side)) {
                *due_ns = now_ns.min(*due_ns);
            }
        }
    }

    fn next_due(&self) -> Option<i64> {
        self.queue.iter().map(|(due_ns, ..)| *due_ns).min()
    }

    /// The next event that has reached the bench by a moment, having let all happen until it does.
    pub(super) fn next_event(&mut self, until_ns: i64) -> Option<Event> {
        loop {
            let heard = (0..self.outbox.len()).min_by_key(|at| self.outbox[*at].0);
            let heard =
                heard.filter(|at| self.outbox[*at].0 <= until_ns.min(self.next_due().unwrap_or(i64::MAX)));
            if let Some(at) = heard {
                let (due_ns, event) = self.outbox.remove(at)?;
                self.advance(due_ns);
                return Some(event);
            }
            match self.next_due().filter(|due_ns| *due_ns <= until_ns) {
                Some(due_ns) => self.advance(due_ns),
                None => {
                    self.advance(until_ns);
                    return None;
                }
            }
        }
    }

    fn tell(&mut self, side: Side, kind: EventKind) {
        // Nobody hears what a process says whose daemon is away.
        if self.has_daemons() && self.product.away[index(side)].is_some() {
            return;
        }
        let late_ns = self.setting.events_late_ns[index(side)];
        let event = Event { t_ns: self.now_ns, host: Some(host(side)), vm: Some(VmId::new("vm0")), kind };
        self.outbox.push_back((self.now_ns + late_ns, event));
    }

    fn tell_state(&mut self, side: Side, state: MigrationState) {
        // Of a product's job its daemon tells.
        if self.has_daemons() {
            return;
        }
        self.tell(side, EventKind::MigrationStatus { status: format!("{state:?}"), state: Some(state) });
    }

    fn enter(&mut self, job: Job) {
        self.job = job;
        if let Some(state) = self.state()
            && (!matches!(job, Job::SwitchOver | Job::Switching) || self.setting.tells_switch_over)
            && job != Job::Switched
        {
            self.tell_state(Side::Source, state);
        }
    }

    /// The migration's state as the source says it.
    pub(super) fn state(&self) -> Option<MigrationState> {
        Some(match self.job {
            Job::None => return None,
            Job::Setup => MigrationState::Setup,
            Job::PreCopy => MigrationState::PreCopy,
            Job::Waiting => MigrationState::AwaitingSwitchOver,
            Job::SwitchOver | Job::Switching | Job::Switched if !self.setting.tells_switch_over => {
                MigrationState::PreCopy
            }
            Job::SwitchOver | Job::Switching | Job::Switched => MigrationState::SwitchOver,
            Job::PostCopy => MigrationState::PostCopy,
            Job::PostCopyPaused => MigrationState::PostCopyPaused,
            Job::Completed => MigrationState::Completed,
            Job::Failed => MigrationState::Failed,
            Job::Cancelled => MigrationState::Cancelled,
        })
    }

    pub(super) fn bytes(&self) -> i64 {
        self.bytes
    }

    pub(super) fn passes(&self) -> u32 {
        self.passes
    }

    fn set_running(&mut self, side: Side, running: bool) {
        if self.end(side).running == running {
            return;
        }
        self.end(side).running = running;
        if running && let Some(wrong) = self.wrong_with_disks(side) {
            self.wrongs.push(wrong);
        }
        self.tell(side, if running { EventKind::VcpusRunning } else { EventKind::VcpusStopped });
    }

    fn happens(&mut self, happening: Happening) {
        let whose = match happening {
            Happening::Step(..)
            | Happening::Copied(_)
            | Happening::Changed(_)
            | Happening::Switches
            | Happening::RunsAgain
            | Happening::Fault(Fault::FailAtSource) => Some(Side::Source),
            Happening::Loaded(_) => Some(Side::Destination),
            Happening::Arrives(side, _) | Happening::Broken(side) | Happening::Late(side, _) => Some(side),
            Happening::Fault(_) | Happening::Thaw(_) | Happening::Daemon(_) => None,
        };
        if let Some(side) = whose {
            if !self.ends[index(side)].alive {
                return;
            }
            if self.is_frozen(side) {
                return self.end(side).backlog.push_back(happening);
            }
        }
        match happening {
            Happening::Fault(fault) => self.strike(fault),
            Happening::Thaw(side) => self.thaw(side),
            Happening::Daemon(turn) => self.daemon_turn(turn),
            Happening::Step(job, generation) if generation == self.generation && job == self.job => {
                self.step();
            }
            Happening::Step(..) => {}
            Happening::Copied(stage) => self.copied(stage),
            Happening::Changed(which) => self.changed(which),
            Happening::Switches => self.switch_to_post_copy(),
            Happening::RunsAgain => self.set_running(Side::Source, true),
            Happening::Arrives(side, message) => self.arrives(side, message),
            Happening::Loaded(message) => self.loaded(message),
            Happening::Broken(side) => self.broken(side),
            Happening::Late(side, command) => drop(self.obey(side, command)),
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(side) => {
                let only_holder = match side {
                    Side::Source if self.has_daemons() => !self.product.handed,
                    Side::Destination if self.has_daemons() => self.product.handed || !self.ends[0].alive,
                    Side::Source => !self.destination_has_it() && !self.on_its_way(),
                    Side::Destination if !self.ends[0].alive => true,
                    // Where both run, as after a failure that the source alone has seen, this copy is ahead.
                    Side::Destination => self.arrived && (self.ends[1].running || !self.ends[0].running),
                };
                self.holder_died |= self.ends[index(side)].alive && only_holder;
                self.kill(side);
            }
            Fault::Freeze(side, for_ns) => {
                self.end(side).frozen += 1;
                self.after(for_ns, Happening::Thaw(side));
            }
            Fault::CutLink => {
                self.link_up = false;
                self.after(200 * MS, Happening::Broken(Side::Source));
                self.after(200 * MS, Happening::Broken(Side::Destination));
            }
            Fault::Reset => self.reset = true,
            Fault::Interrupt => self.interrupted = true,
            Fault::FullDisk => self.disk_full = true,
            Fault::FailCopy => self.break_copies(),
            Fault::LoseLastWord => self.loses_last_word = true,
            Fault::SwitchByOthers => self.after(0, Happening::Switches),
            Fault::DaemonDies(side, for_ns) => self.daemon_goes(side, Away::Dead, for_ns),
            Fault::DaemonHangs(side, for_ns) => self.daemon_goes(side, Away::Hangs, for_ns),
            Fault::LoseClient => self.product.client_lost = true,
            Fault::CancelByOthers => self.after(0, Happening::Late(Side::Source, Command::Cancel)),
            Fault::StopByOthers => {
                if self.ends[0].alive && self.ends[0].running && !self.is_frozen(Side::Source) {
                    self.product.stopped_by_others = true;
                    self.set_running(Side::Source, false);
                }
            }
            Fault::FailAtSource => {
                if self.job.switches_over() || matches!(self.job, Job::Setup | Job::PreCopy) {
                    self.fail();
                    self.after(WAY_NS, Happening::Broken(Side::Destination));
                }
            }
        }
    }

    /// Whether all of the VM was sent and will arrive.
    fn on_its_way(&self) -> bool {
        self.ends[1].alive && self.queue.iter().any(|(_, _, happening)| happening.makes_it_whole())
    }

    pub(super) fn kill(&mut self, side: Side) {
        self.tears();
        let now_ns = self.now_ns;
        self.died_ns[index(side)].get_or_insert(now_ns);
        let end = self.end(side);
        end.alive = false;
        end.running = false;
        end.backlog.clear();
        let other = if side == Side::Source { Side::Destination } else { Side::Source };
        self.after(WAY_NS, Happening::Broken(other));
    }

    fn thaw(&mut self, side: Side) {
        let end = self.end(side);
        end.frozen = end.frozen.saturating_sub(1);
        if end.frozen == 0 {
            for happening in std::mem::take(&mut self.end(side).backlog) {
                self.after(0, happening);
            }
        }
    }

    fn send(&mut self, to: Side, message: Message) {
        if self.link_up && self.ends[index(to)].alive {
            self.after(WAY_NS, Happening::Arrives(to, message));
        }
    }

    fn next_step(&mut self, after_ns: i64) {
        self.generation += 1;
        self.after(after_ns, Happening::Step(self.job, self.generation));
    }

    /// The source goes on by itself.
    fn step(&mut self) {
        self.bytes += 1;
        match self.job {
            Job::Setup => {
                self.enter(Job::PreCopy);
                self.passes = 1;
                self.tell(Side::Source, EventKind::MigrationPass { pass: 1 });
                self.next_step(PASS_NS);
            }
            Job::PreCopy => {
                let fits = self.setting.converges_after.is_some_and(|passes| self.passes >= passes);
                // Nothing goes to an end that takes nothing.
                if self.is_frozen(Side::Destination) || !self.link_up {
                    self.bytes -= 1;
                    return self.next_step(PASS_NS);
                }
                if fits || !self.ends[0].running {
                    return self.switch_over();
                }
                self.passes += 1;
                let pass = self.passes;
                self.tell(Side::Source, EventKind::MigrationPass { pass });
                self.next_step(PASS_NS);
            }
            Job::SwitchOver => self.send(Side::Destination, Message::Whole { running: self.was_running }),
            Job::Switching => {
                self.post_copy_began = true;
                self.send(Side::Destination, Message::Run);
                self.enter(Job::Switched);
                self.next_step(WAY_NS);
            }
            Job::Switched => {
                self.enter(Job::PostCopy);
                self.next_step(self.setting.post_copy_ns);
            }
            Job::PostCopy => self.send(Side::Destination, Message::Pages),
            _ => {}
        }
    }

    fn switch_over(&mut self) {
        self.was_running = self.ends[0].running;
        self.set_running(Side::Source, false);
        if self.setting.waits || self.has_daemons() {
            self.enter(Job::Waiting);
        } else {
            self.go_on_over();
        }
    }

    /// Saves the device state, with nothing left to wait for.
    fn go_on_over(&mut self) {
        self.enter(if self.by_post_copy { Job::Switching } else { Job::SwitchOver });
        self.next_step(DEVICES_NS);
    }

    /// What the source was asked to do as soon as it can; one that cannot any more never does.
    fn switch_to_post_copy(&mut self) {
        if self.job != Job::PreCopy {
            return;
        }
        if self.is_frozen(Side::Destination) || !self.link_up {
            return self.after(MS, Happening::Switches);
        }
        self.was_running = self.ends[0].running;
        self.set_running(Side::Source, false);
        self.by_post_copy = true;
        if self.setting.waits {
            self.enter(Job::Waiting);
        } else {
            self.go_on_over();
        }
    }

    fn arrives(&mut self, side: Side, message: Message) {
        match (side, message) {
            (Side::Destination, _) if self.destination_left => {}
            (Side::Destination, message) => self.after(DEVICES_NS, Happening::Loaded(message)),
            (Side::Source, Message::Done)
                if matches!(self.job, Job::SwitchOver | Job::PostCopy | Job::PostCopyPaused) =>
            {
                self.enter(Job::Completed);
            }
            (Side::Source, _) => {}
        }
    }

    fn loaded(&mut self, message: Message) {
        if self.destination_left {
            return;
        }
        match message {
            Message::Whole { running } => {
                self.arrived = true;
                self.set_running(Side::Destination, running && !self.held);
                self.done();
            }
            // Whatever it did at the source.
            Message::Run => {
                self.arrived = true;
                self.set_running(Side::Destination, !self.held);
                self.tell_state(Side::Destination, MigrationState::PostCopy);
            }
            Message::Pages if self.arrived => self.done(),
            // They follow it on the same connection.
            Message::Pages => self.after(MS, Happening::Loaded(message)),
            Message::Done => {}
        }
    }

    fn done(&mut self) {
        self.tell_state(Side::Destination, MigrationState::Completed);
        self.destination_left = true;
        if !self.loses_last_word {
            self.send(Side::Source, Message::Done);
        }
    }

    fn broken(&mut self, side: Side) {
        if side == Side::Source {
            self.break_copies_between_hosts();
        }
        match side {
            Side::Source => match self.job {
                Job::Switched | Job::PostCopy => {
                    self.tears();
                    if self.job == Job::Switched { self.fail() } else { self.enter(Job::PostCopyPaused) }
                }
                Job::Setup | Job::PreCopy => self.fail(),
                job if job.switches_over() => self.fail(),
                _ => {}
            },
            // An incoming QEMU ends where its migration fails; one that has all of the VM goes on with it.
            Side::Destination if !self.arrived && !self.loading() => {
                self.tell_state(Side::Destination, MigrationState::Failed);
                self.destination_left = true;
                let end = self.end(Side::Destination);
                end.alive = false;
            }
            Side::Destination => {}
        }
    }

    /// Whether the destination already has in its buffers what makes the VM whole.
    fn loading(&self) -> bool {
        self.queue.iter().any(|(_, _, happening)| happening.makes_it_whole())
            || self.ends[1].backlog.iter().any(Happening::makes_it_whole)
    }

    /// The migration fails at the source, which goes on with the VM by itself.
    fn fail(&mut self) {
        let over = self.job.switches_over();
        self.tears();
        self.generation += 1;
        self.enter(Job::Failed);
        if over && self.was_running {
            self.after(RESTART_NS, Happening::RunsAgain);
        }
    }

    /// What happens now leaves a post-copy that has begun in pieces.
    fn tears(&mut self) {
        self.torn |= self.post_copy_began && self.job != Job::Completed;
    }
}
