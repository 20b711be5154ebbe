//! The parts of a move for which one of our guests stands still, as a trial does them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline};
use dunlin_hypervisor::{Presence, Side, Vm};
use dunlin_migrate::{Fault, Standstill};
use dunlin_record::{Event, EventKind, HostId, Seen, Strategy, Transfer, VmId, Workload};
use dunlin_testbed::{Carry, Host, NamelessFile, carry};

use super::disk_file::{DiskFile, Ground};
use super::streams::Streams;
use super::{Guest, Run, TrialContext};
use crate::{Observer, Result};

/// How long a guest may take to shut itself down once its agent has said that it does.
const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(60);
/// How long a hypervisor may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
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
            Ok::<_, crate::BenchError>([here, ground.hole(0)?])
        });
        let has_disks = case.vm.disk.is_some() || case.vm.swap_mib.is_some();
        let shares_disks = has_disks && !case.vm.moves_disks();
        Ok(Self { there: None, state: state.transpose()?, shares_disks })
    }

    /// The VM at the destination, once it was started there.
    pub(super) fn there(&self) -> Option<&dyn Vm> {
        self.there.as_deref()
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
}

impl Parts<'_> {
    /// Lets the VM run at the destination.
    fn wake_there(&mut self) -> Result<()> {
        let side = Side::Destination;
        let Some([_, state]) = &self.still.state else {
            let vm = self.guest.boot_at(self.context, side, self.events.clone())?;
            let vm = &**self.still.there.insert(vm);
            return self.guest.come_up(self.context, vm, self.workload, self.streams);
        };
        let state = state.path(side);
        let vm = self.guest.make_of_state(self.context, side, &state, self.events.clone())?;
        self.guest.go_on(&**self.still.there.insert(vm))
    }

    /// Lets it run at the source again: where it still stands there it goes on, else it is made again.
    fn wake_here(&mut self) -> Result<()> {
        let side = Side::Source;
        let stands = Presence::of(&*self.guest.source).seen == Seen::Holds;
        if stands {
            self.guest.source.resume()?;
            return self.guest.go_on(&*self.guest.source);
        }
        if let Some([state, _]) = &self.still.state {
            let state = state.path(side);
            self.guest.source = self.guest.make_of_state(self.context, side, &state, self.events.clone())?;
            return self.guest.go_on(&*self.guest.source);
        }
        self.guest.source = self.guest.boot_at(self.context, side, self.events.clone())?;
        let vm = Arc::clone(&self.guest.source);
        self.guest.come_up(self.context, &*vm, self.workload, self.streams)
    }

    /// What has to be brought, by name, from where to where.
    fn files(&self) -> Vec<(&'static str, PathBuf, PathBuf)> {
        let state = self
            .still
            .state
            .iter()
            .map(|[here, there]| (STATE, here.path(Side::Source), there.path(Side::Destination)));
        let disks = self.guest.disks_to_carry().into_iter().map(|disk| (disk.serial, disk.from, disk.to));
        state.chain(disks).collect()
    }
}

impl Standstill for Parts<'_> {
    fn vm(&self) -> &VmId {
        &self.guest.id
    }

    fn host(&self, side: Side) -> &HostId {
        self.hosts[usize::from(side == Side::Destination)].id()
    }

    fn ask(&mut self, side: Side) -> Presence {
        let vm = match side {
            Side::Source => Some(&*self.guest.source),
            Side::Destination => self.still.there(),
        };
        vm.map_or_else(|| Presence { seen: Seen::Gone, word: "not started".into() }, Presence::of)
    }

    fn can_return_after_it_ran(&self) -> bool {
        self.still.state.is_none() || !self.still.shares_disks
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
        for (file, source, destination) in self.files() {
            let order = Carry {
                from: &self.hosts[0],
                source: &source,
                to: &self.hosts[1],
                destination: &destination,
                file,
                transfer: self.transfer,
                cancel,
                limit: deadline.left(),
            };
            let mut stage = None;
            let carried = carry(&order, &mut |progress| {
                if stage.replace(progress.stage) != Some(progress.stage) {
                    tell(EventKind::StandstillStage { stage: progress.stage });
                    self.observer.stage(&format!("migrating: bringing {file} to {}", self.hosts[1].id()));
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
        let vm = match side {
            Side::Source => Some(&*self.guest.source),
            Side::Destination => self.still.there(),
        };
        Ok(vm.map_or(Ok(()), |vm| vm.end(END_LIMIT))?)
    }

    fn clear_away(&mut self) -> Result<(), Fault> {
        // What carries files leaves none half; those that came whole go with their handles at the end of the trial.
        Ok(())
    }
}
