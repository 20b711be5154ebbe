//! A managed mover over a scripted world: the product gives the commands by itself, and sees to it that one copy runs.

use std::sync::{Arc, Mutex};

use dunlin_hypervisor::{
    Act, HypervisorError, Mover, Presence, Primitives, Progress, Result, Side, Tuning, Vm,
};
use dunlin_record::{HostId, HypervisorReport, Seen, VmId};

use super::ends::FakeEnd;
use super::model::{Model, index};

pub(super) struct FakeManaged {
    ends: [FakeEnd; 2],
}

impl FakeManaged {
    pub(super) fn new(model: &Arc<Mutex<Model>>) -> Self {
        model.lock().unwrap().is_managed = true;
        let ends = [Side::Source, Side::Destination].map(|side| FakeEnd::new(side, model));
        Self { ends }
    }

    fn unsupported(act: Act) -> HypervisorError {
        HypervisorError::Unsupported {
            what: act.name().into(),
            because: "the product does it by itself".into(),
        }
    }
}

impl Mover for FakeManaged {
    fn is_managed(&self) -> bool {
        true
    }

    fn vm(&self) -> &VmId {
        self.ends[0].id()
    }

    fn host(&self, side: Side) -> &HostId {
        self.ends[index(side)].host()
    }

    fn handle(&self, side: Side) -> Option<&dyn Vm> {
        Some(&self.ends[index(side)])
    }

    fn begin(&mut self) -> Result<()> {
        self.ends[0].start("there")
    }

    fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::SetDowntimeLimit { limit } => self.ends[0].tune(Tuning::DowntimeLimit(limit)),
            Act::SetBandwidth { bytes_s } => self.ends[0].tune(Tuning::Bandwidth(bytes_s)),
            Act::Cancel => self.ends[0].cancel(),
            Act::Resume(side) => self.ends[index(side)].resume(),
            Act::StopSource => self.ends[0].stop(),
            Act::HoldSource => self.ends[0].stop_for_move(),
            other => Err(Self::unsupported(other)),
        }
    }

    /// It tells where its job is, and counts nothing.
    fn progress(&mut self) -> Result<Progress> {
        let told = self.ends[0].progress()?;
        Ok(Progress { state: told.state, ..Progress::default() })
    }

    fn check(&mut self) -> Result<()> {
        self.ends[0].check_guest()
    }

    /// A VM that has not arrived is not there at all.
    fn ask(&mut self, side: Side) -> Presence {
        let presence = Presence::of(&self.ends[index(side)]);
        match presence.seen {
            Seen::Waits => Presence { seen: Seen::Gone, ..presence },
            _ => presence,
        }
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        Ok(HypervisorReport::default())
    }
}

impl Model {
    /// What a product does at its job by itself: once the VM is the destination's, the source's copy stays stopped.
    pub(super) fn look_after(&mut self) {
        if self.is_managed && self.arrived && self.ends[1].alive && self.ends[0].running {
            self.ends[0].running = false;
        }
    }
}
