//! The two ends of a scripted world as a stepwise driver offers them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dunlin_hypervisor::{
    Condition, CopyOrder, DiskCompared, HypervisorError, MirrorProgress, MirrorStage, Primitives, Progress,
    Result, RunState, Side, Tuning, Vm,
};
use dunlin_record::{HostId, HypervisorIdentity, HypervisorReport, MigrationState, VmId};

use super::model::{Answer, Command, Copies, Job, Model, NAMES, host, index};

pub(super) struct FakeEnd {
    side: Side,
    id: VmId,
    host: HostId,
    identity: HypervisorIdentity,
    model: Arc<Mutex<Model>>,
}

impl FakeEnd {
    pub(super) fn new(side: Side, model: &Arc<Mutex<Model>>) -> Self {
        let identity = HypervisorIdentity {
            name: "fake".into(),
            version: "1".into(),
            accelerator: String::new(),
            emulated: None,
        };
        Self { side, id: VmId::new("vm0"), host: host(side), identity, model: Arc::clone(model) }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    fn command(&self, command: Command) -> Result<()> {
        let answer = self.model().command(self.side, command);
        self.result(answer)
    }

    fn question(&self) -> Result<()> {
        let answer = self.model().question(self.side);
        self.result(answer)
    }

    fn result(&self, answer: Answer) -> Result<()> {
        let host = self.host.clone();
        match answer {
            Answer::Done => Ok(()),
            Answer::Refused(why) => {
                Err(HypervisorError::Refused { host, command: "it".into(), description: why.into() })
            }
            Answer::Silence => {
                Err(HypervisorError::Timeout { host, waiting_for: "an answer".into(), after_s: 3.0 })
            }
            Answer::Closed => Err(HypervisorError::Ended {
                vm: self.id.clone(),
                host,
                how: "signal 9".into(),
                words: String::new(),
                by_us: self.model().ends[index(self.side)].ended_by_us,
            }),
        }
    }
}

impl Vm for FakeEnd {
    fn id(&self) -> &VmId {
        &self.id
    }

    fn host(&self) -> &HostId {
        &self.host
    }

    fn identity(&self) -> &HypervisorIdentity {
        &self.identity
    }

    fn run_state(&self) -> Result<RunState> {
        self.question()?;
        let model = self.model();
        let condition = if model.ends[index(self.side)].running {
            Condition::Running
        } else if self.side == Side::Destination && !model.arrived {
            Condition::Incoming
        } else {
            Condition::Stopped
        };
        Ok(RunState { condition, word: format!("{condition:?}") })
    }

    fn stop(&self) -> Result<()> {
        self.command(Command::Stop)
    }

    fn resume(&self) -> Result<()> {
        self.command(Command::Resume)
    }

    fn check_alive(&self) -> Result<()> {
        let alive = self.model().ends[index(self.side)].alive;
        self.result(if alive { Answer::Done } else { Answer::Closed })
    }

    fn check_guest(&self) -> Result<()> {
        let is_reset = self.side == Side::Source && self.model().reset;
        if is_reset {
            return Err(HypervisorError::GuestReset {
                vm: self.id.clone(),
                host: self.host.clone(),
                words: String::new(),
            });
        }
        Ok(())
    }

    fn end(&self, _limit: Duration) -> Result<()> {
        self.command(Command::Quit)
    }
}

impl Primitives for FakeEnd {
    fn start(&self, _address: &str) -> Result<()> {
        self.command(Command::Start)
    }

    fn switch_to_post_copy(&self) -> Result<()> {
        self.command(Command::Switch)
    }

    fn continue_switchover(&self) -> Result<()> {
        self.command(Command::Continue)
    }

    fn tune(&self, tuning: Tuning) -> Result<()> {
        self.command(Command::Tune(tuning))
    }

    fn cancel(&self) -> Result<()> {
        self.command(Command::Cancel)
    }

    fn break_connections(&self) -> Result<()> {
        self.command(Command::Break)
    }

    fn hold_incoming(&self) -> Result<()> {
        self.command(Command::Hold)
    }

    fn stop_for_move(&self) -> Result<()> {
        self.command(Command::StopForMove)
    }

    fn progress(&self) -> Result<Progress> {
        self.question()?;
        let model = self.model();
        Ok(Progress {
            // As a source says whose VM was restored from a template: that has arrived.
            state: model.state().or(Some(MigrationState::Completed)),
            transferred_bytes: (model.job != Job::None).then(|| model.bytes()),
            pass: Some(i64::from(model.passes())),
            ..Progress::default()
        })
    }

    fn report(&self) -> Result<HypervisorReport> {
        self.question()?;
        Ok(HypervisorReport::default())
    }

    fn withdraw_disks(&self) -> Result<()> {
        self.command(Command::Withdraw)
    }

    fn start_mirrors(&self, _order: &CopyOrder) -> Result<()> {
        self.command(Command::Copy)
    }

    fn mirrors(&self) -> Result<MirrorProgress> {
        self.question()?;
        let model = self.model();
        let stage = match model.disks.copies {
            Copies::Copying => MirrorStage::Copying,
            Copies::Even | Copies::Finishing | Copies::Changing => MirrorStage::Even,
            Copies::Ended => MirrorStage::Ended,
            Copies::None | Copies::LetGo | Copies::Released | Copies::HandedOver | Copies::Failed => {
                return Err(HypervisorError::Mirror {
                    vm: self.id.clone(),
                    host: self.host.clone(),
                    disk: "data".into(),
                    why: "its job is gone".into(),
                });
            }
        };
        let copied_bytes = Some(i64::from(model.disks.once_over));
        Ok(MirrorProgress { stage, copied_bytes, total_bytes: Some(1) })
    }

    fn mirror_in_step(&self) -> Result<bool> {
        let can = self.model().setting.keeps_step;
        if can {
            self.command(Command::KeepInStep)?;
        }
        Ok(can)
    }

    fn compare_mirrored(&self) -> Result<Option<Vec<DiskCompared>>> {
        self.command(Command::Compare)?;
        let mut model = self.model();
        let differs = model.setting.differs;
        let compared = |name: &str| DiskCompared {
            disk: name.to_owned(),
            compared_bytes: 9,
            differs_at_bytes: differs.then_some(9),
        };
        let has_ended = model.compare().unwrap_or(false);
        Ok(has_ended.then(|| NAMES.map(compared).to_vec()))
    }

    fn change_to_mirrors(&self) -> Result<()> {
        self.command(Command::Change)
    }

    fn changed_to_mirrors(&self) -> Result<Vec<String>> {
        self.question()?;
        let on_new = self.model().disks.on_new;
        let changed = NAMES.iter().zip(on_new).filter(|(_, on_new)| *on_new);
        Ok(changed.map(|(name, _)| (*name).to_owned()).collect())
    }

    fn release_originals(&self) -> Result<()> {
        self.command(Command::LetGo)
    }

    fn finish_mirrors(&self) -> Result<()> {
        self.command(Command::Finish)
    }

    fn release_mirrors(&self) -> Result<()> {
        self.command(Command::Release)
    }

    fn abandon_mirrors(&self, _limit: Duration) -> Result<()> {
        self.command(Command::Abandon)
    }
}
