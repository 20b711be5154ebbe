//! The parts of a move for which one of our guests stands still, as a trial does them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline};
use dunlin_guest::GuestError;
use dunlin_hypervisor::{HypervisorError, Presence, Side, Vm};
use dunlin_migrate::{Fault, Standstill};
use dunlin_record::{Event, EventKind, HostId, Seen, Strategy, Transfer, VmId, Workload, in_one_line};
use dunlin_testbed::{Carry, Host, NamelessFile, carry};

use super::disk_file::{DiskFile, Ground};
use super::storage::FileToCarry;
use super::streams::Streams;
use super::{Guest, Run, TrialContext};
use crate::{BenchError, Observer, Result};

/// How long a guest may take to shut itself down once its agent has said that it does.
const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(60);
/// How long a hypervisor may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long a host may take to answer at all.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// The saved state's name in the record.
const STATE: &str = "state";

/// What there is of a move for which a guest stands still besides the guest.
pub(super) struct Still {
    /// The VM at the destination, once it was started there.
    there: Option<Arc<dyn Vm>>,
    /// Where its state is saved, at the source and then at the destination; absent where it is shut down.
    state: Option<[DiskFile; 2]>,
    /// Whether both hosts see its disks.
    shares_disks: bool,
}

impl Still {
    /// Makes room for what is to be brought to the other host.
    pub(super) fn prepare(run: &Run<'_>) -> Result<Self> {
        let case = run.trial.case;
        let ground = Ground::of(run.world.testbed()?, &run.logs, false)?;
        let saves = matches!(case.strategy, Strategy::Offline(_));
        let state = saves.then(|| {
            let here = ground.put(NamelessFile::make_in(ground.work())?, Side::Source)?;
            Ok::<_, BenchError>([here, ground.hole(0)?])
        });
        let has_disks = case.vm.disk.is_some() || case.vm.swap_mib.is_some();
        let shares_disks = has_disks && !case.vm.moves_disks();
        Ok(Self { there: None, state: state.transpose()?, shares_disks })
    }

    /// The VM on a side; absent at the destination until it was started there.
    pub(super) fn handle<'a>(&'a self, guest: &'a Guest, side: Side) -> Option<&'a dyn Vm> {
        match side {
            Side::Source => Some(&*guest.source),
            Side::Destination => self.there.as_deref(),
        }
    }
}

/// The parts of the move, done by the agent in the guest, by both hosts' drivers and by their helpers.
pub(super) struct Parts<'a> {
    pub(super) context: TrialContext<'a>,
    pub(super) transfer: &'a Transfer,
    pub(super) workload: Option<&'a Workload>,
    pub(super) hosts: [Arc<dyn Host>; 2],
    pub(super) guest: &'a mut Guest,
    pub(super) still: &'a mut Still,
    pub(super) streams: &'a Streams,
    /// Where changes of the VM's state go.
    pub(super) events: Sender<Event>,
    pub(super) observer: &'a mut dyn Observer,
    /// What was started on a side without coming up.
    pub(super) remains: [Remains; 2],
}

/// What may be left on a host of a VM that did not come up there, and that nobody has in hand any more.
#[derive(Default)]
pub(super) struct Remains {
    why: Option<String>,
}

impl Remains {
    /// The host's word where what was started is not known to be gone. It was ordered to be ended when it did not come up, which
    /// a host that answers has done; one that is lost may still run it.
    fn presence(&mut self, ask_host: impl FnOnce() -> Result<()>) -> Option<Presence> {
        let why = self.why.as_ref()?;
        let Err(error) = ask_host() else {
            self.why = None;
            return None;
        };
        let lost = in_one_line(&error);
        let word = format!("what was started there is not known to be gone ({lost}), after: {why}");
        Some(Presence { seen: Seen::Silent, word })
    }
}

impl Parts<'_> {
    /// Lets the VM run at the destination.
    fn wake_there(&mut self) -> Result<()> {
        let vm = self.make(Side::Destination)?;
        let vm = &**self.still.there.insert(vm);
        if self.still.state.is_some() {
            return self.guest.go_on(vm);
        }
        let up = self.guest.come_up(self.context, vm, self.workload, self.streams);
        if let Err(BenchError::Guest(GuestError::Refused { .. })) = &up {
            // Its agent found its disk or its room other than it was: the source's images are whole.
            vm.end(END_LIMIT)?;
        }
        up
    }

    /// Makes the VM on a side out of what lies there, which then runs.
    fn make(&mut self, side: Side) -> Result<Arc<dyn Vm>> {
        let events = self.events.clone();
        let made = match &self.still.state {
            Some(states) => {
                let state = states[side as usize].path(side);
                self.guest.make_of_state(self.context, side, &state, events)
            }
            None => self.guest.boot_at(self.context, side, events),
        };
        self.remains[side as usize].why = made.as_ref().err().map(|error| in_one_line(error));
        made
    }

    /// Lets it run at the source again: where it still stands there it goes on, else it is made again.
    fn wake_here(&mut self) -> Result<()> {
        match self.ask(Side::Source) {
            Presence { seen: Seen::Holds, .. } => {
                self.guest.source.resume()?;
                return self.guest.go_on(&*self.guest.source);
            }
            Presence { seen: Seen::Gone, .. } => {}
            // Beside what is not known to be gone nothing is made.
            Presence { word, .. } => {
                return Err(HypervisorError::Refused {
                    host: self.host(Side::Source).clone(),
                    command: "to wake the VM".into(),
                    description: format!("what there is of it says {word:?}"),
                }
                .into());
            }
        }
        self.guest.source = self.make(Side::Source)?;
        let vm = Arc::clone(&self.guest.source);
        if self.still.state.is_some() {
            return self.guest.go_on(&*vm);
        }
        // Also where the user has had enough: the VM is to run again, and to be heard.
        let never = Cancel::new();
        let context = TrialContext { cancel: &never, ..self.context };
        self.guest.come_up(context, &*vm, self.workload, self.streams)
    }

    /// What has to be brought.
    fn files(&self) -> Vec<FileToCarry> {
        let state = self.still.state.iter().map(|[here, there]| FileToCarry {
            name: STATE,
            from: here.path(Side::Source),
            to: there.path(Side::Destination),
        });
        state.chain(self.guest.disks_to_carry()).collect()
    }
}

impl Standstill for Parts<'_> {
    fn vm(&self) -> &VmId {
        &self.guest.id
    }

    fn host(&self, side: Side) -> &HostId {
        self.hosts[side as usize].id()
    }

    fn ask(&mut self, side: Side) -> Presence {
        let host = &self.hosts[side as usize];
        let answers = || Ok(host.run(Path::new("true"), &[], ANSWER_LIMIT).map(drop)?);
        if let Some(presence) = self.remains[side as usize].presence(answers) {
            return presence;
        }
        let vm = self.still.handle(self.guest, side);
        vm.map_or_else(|| Presence { seen: Seen::Gone, word: "not started".into() }, Presence::of)
    }

    fn can_return_after_it_ran(&self, side: Side) -> bool {
        self.still.state.is_none() || (side == Side::Destination && !self.still.shares_disks)
    }

    fn rest(&mut self) -> Result<(), Fault> {
        if let Some([here, _]) = &self.still.state {
            return Ok(self.guest.store(&*self.context.plan.source, &here.path(Side::Source))?);
        }
        let damage = self.guest.shut_down(self.workload)?;
        self.guest.source.await_shut_down(SHUT_DOWN_LIMIT)?;
        damage.map_or(Ok(()), |damage| Err(damage.into()))
    }

    fn bring(
        &mut self,
        limit: Duration,
        cancel: &Cancel,
        tell: &mut dyn FnMut(EventKind),
    ) -> Result<(), Fault> {
        let deadline = Deadline::after(limit);
        for FileToCarry { name, from, to } in self.files() {
            let order = Carry {
                from: &self.hosts[0],
                source: &from,
                to: &self.hosts[1],
                destination: &to,
                file: name,
                transfer: self.transfer,
                cancel,
                limit: deadline.left(),
            };
            let mut stage = None;
            let carried = carry(&order, &mut |progress| {
                if stage.replace(progress.stage) != Some(progress.stage) {
                    tell(EventKind::StandstillStage { stage: progress.stage });
                    self.observer.stage(&format!("migrating: bringing {name} to {}", self.hosts[1].id()));
                }
            })?;
            tell(EventKind::FileCarried(carried));
        }
        Ok(())
    }

    fn wake(&mut self, side: Side) -> Result<(), Fault> {
        self.observer.stage(&format!("migrating: waking the VM at {}", self.host(side)));
        Ok(match side {
            Side::Source => self.wake_here(),
            Side::Destination => self.wake_there(),
        }?)
    }

    fn end(&mut self, side: Side) -> Result<(), Fault> {
        let vm = self.still.handle(self.guest, side);
        Ok(vm.map_or(Ok(()), |vm| vm.end(END_LIMIT))?)
    }

    fn clear_away(&mut self) -> Result<(), Fault> {
        // What carries files leaves none half; those that came whole go with their handles at the end of the trial.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_up_on_a_host_that_is_lost_is_not_told_as_gone() {
        let mut remains = Remains::default();
        assert!(remains.presence(|| Err(BenchError::Cancelled)).is_none(), "nothing was started");
        remains.why = Some("its monitor was closed".into());
        for _ in 0..2 {
            let presence = remains.presence(|| Err(BenchError::Cancelled)).unwrap();
            assert_eq!(presence.seen, Seen::Silent);
            assert!(presence.word.ends_with("after: its monitor was closed"), "{}", presence.word);
        }
        assert!(remains.presence(|| Ok(())).is_none(), "its host has ended it");
        assert!(remains.presence(|| Err(BenchError::Cancelled)).is_none());
    }
}
