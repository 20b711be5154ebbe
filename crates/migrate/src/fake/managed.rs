//! A managed mover over a scripted world: the product gives the commands by itself, and sees to it that one copy runs.

use std::sync::{Arc, Mutex};

use dunlin_hypervisor::{
    Act, HypervisorError, Mover, Presence, Primitives, Progress, Result, Side, Tuning, Vm,
};
use dunlin_record::{HostId, HypervisorReport, Seen, VmId};

use super::ends::FakeEnd;
use super::model::{Away, Model, Phase, index};

pub(super) struct FakeManaged {
    ends: [FakeEnd; 2],
    model: Arc<Mutex<Model>>,
}

impl FakeManaged {
    pub(super) fn new(model: &Arc<Mutex<Model>>) -> Self {
        model.lock().unwrap().is_managed = true;
        let ends = [Side::Source, Side::Destination].map(|side| FakeEnd::new(side, model));
        Self { ends, model: Arc::clone(model) }
    }

    fn unsupported(act: Act) -> HypervisorError {
        HypervisorError::Unsupported {
            what: act.name().into(),
            because: "the product does it by itself".into(),
        }
    }
}

impl FakeManaged {
    fn has_daemons(&self) -> bool {
        self.model.lock().unwrap().has_daemons()
    }

    /// Whether a side's daemon answers, where there is one.
    fn reach(&self, side: Side) -> Result<()> {
        if !self.has_daemons() {
            return Ok(());
        }
        let (vm, host) = (self.ends[0].id().clone(), self.ends[index(side)].host().clone());
        match self.model.lock().unwrap().ask_daemon(side) {
            Ok(()) => Ok(()),
            Err(Away::Dead) => {
                let source = std::io::ErrorKind::ConnectionRefused.into();
                Err(HypervisorError::Monitor { vm, host, doing: "connecting".into(), source })
            }
            Err(Away::Hangs) => {
                Err(HypervisorError::Timeout { host, waiting_for: "an answer".into(), after_s: 3.0 })
            }
        }
    }

    fn refused(&self, why: &str) -> HypervisorError {
        let host = self.ends[0].host().clone();
        HypervisorError::Refused { host, command: "it".into(), description: why.into() }
    }

    /// As long as its job goes on a product lets nobody resume the VM.
    fn why_not_resumed(&self, side: Side) -> Option<&'static str> {
        let model = self.model.lock().unwrap();
        if !model.has_daemons() {
            return None;
        }
        let goes_on = matches!(model.product.phase, Phase::Copying | Phase::Finishing);
        (goes_on && side == Side::Source)
            .then_some("its job goes on")
            .or_else(|| (!model.is_known(side)).then_some("there is no such VM"))
    }

    /// One that is about to arrive may be shown.
    fn unknown_there(&self, side: Side) -> Presence {
        let mut model = self.model.lock().unwrap();
        let is_shown = side == Side::Destination && model.ends[1].alive && model.setting.shows_incoming;
        model.answered(side);
        let seen = if is_shown { Seen::Waits } else { Seen::Gone };
        Presence { seen, word: if is_shown { "incoming" } else { "there is no such VM" }.into() }
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
        let reached = self.reach(Side::Source);
        self.model.lock().unwrap().product.begin_lost = reached.is_err();
        reached?;
        if self.has_daemons() {
            let model = self.model.lock().unwrap();
            let lacks_peer = model.product.away[1].is_some() || !model.ends[1].alive;
            drop(model);
            if lacks_peer {
                return Err(self.refused("nobody takes it there"));
            }
        }
        self.ends[0].start("there")
    }

    fn act(&mut self, act: Act) -> Result<()> {
        let side = if let Act::Resume(side) = act { side } else { Side::Source };
        self.reach(side)?;
        if let Act::Resume(side) = act
            && let Some(why) = self.why_not_resumed(side)
        {
            return Err(self.refused(why));
        }
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
        self.reach(Side::Source)?;
        if self.has_daemons() {
            let model = self.model.lock().unwrap();
            let goes_on = matches!(model.product.phase, Phase::Copying | Phase::Finishing);
            let is_known = goes_on || !model.product.client_lost || model.setting.remembers;
            return Ok(Progress { state: model.job_state().filter(|_| is_known), ..Progress::default() });
        }
        let told = self.ends[0].progress()?;
        Ok(Progress { state: told.state, ..Progress::default() })
    }

    fn check(&mut self) -> Result<()> {
        self.ends[0].check_guest()
    }

    /// A VM that has not arrived is not there at all.
    fn ask(&mut self, side: Side) -> Presence {
        if let Err(error) = self.reach(side) {
            return Presence { seen: Seen::Silent, word: error.to_string() };
        }
        if self.has_daemons() && !self.model.lock().unwrap().is_known(side) {
            return self.unknown_there(side);
        }
        let presence = Presence::of(&self.ends[index(side)]);
        match presence.seen {
            Seen::Waits => Presence { seen: Seen::Gone, ..presence },
            _ => presence,
        }
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        self.reach(Side::Source)?;
        Ok(HypervisorReport::default())
    }
}

impl Model {
    /// What a product does at its job by itself: once the VM is the destination's, the source's copy stays stopped.
    pub(super) fn look_after(&mut self) {
        if self.has_daemons() {
            return self.daemons_look();
        }
        if self.is_managed && self.arrived && self.ends[1].alive && self.ends[0].running {
            self.ends[0].running = false;
        }
    }
}
