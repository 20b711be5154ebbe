//! What can be asked of a QEMU process, in the words of all drivers.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{HostId, HypervisorIdentity, HypervisorReport, MechanismSeen, Strategy, Transport, VmId};
use serde_json::{Value, json};

use super::features::{PAUSE, QemuFeatures};
use super::mechanisms::{Noticed, mechanisms_seen};
use super::progress;
use super::settings::QemuSettings;
use super::transport::{self, Credentials, MigrationSettings};
use super::tuning;
use super::vm::{ACT_LIMIT, ASK_LIMIT, QemuVm, UNLIMITED_BANDWIDTH};
use crate::certificates::Certificates;
use crate::{
    Condition, CopyOrder, DiskCompared, HypervisorError, MirrorProgress, MoveOrder, Primitives, Progress,
    Result, RunState, Side, Tuning, Vm,
};

/// The capability by which a destination takes its disks only when it runs.
const LATE_DISKS: &str = "late-block-activate";
/// How long a source that has completed may take to fill in its account.
const FINAL_LIMIT: Duration = Duration::from_secs(1);

impl QemuVm {
    /// Prepares this side for the next migration: what the order needs, then the user's own settings.
    pub(super) fn prepare(
        &self,
        side: Side,
        order: &MoveOrder<'_>,
        certificates: Option<&Certificates>,
        own: &QemuSettings,
    ) -> Result<()> {
        let mut settings = settings_for(
            side,
            (order.strategy, order.transport, order.copies.is_some_and(|how| !how.two_steps)),
            own,
            &self.features,
        );
        if let Some(certificates) = certificates {
            let credentials = Credentials::write(certificates, side, &self.host)?;
            self.execute("object-add", credentials.object())?;
            settings.parameters.extend(credentials.parameters());
            self.state().credentials = Some(credentials);
        }
        self.configure(&settings)?;
        let stale = self.execute("query-migrate", json!({}))?;
        let mut state = self.state();
        state.transport = order.transport.kind;
        state.asked = settings;
        state.stale = stale;
        state.noticed = Noticed::default();
        Ok(())
    }

    /// Lets a destination listen; says the address that the source must be told.
    pub(super) fn listen(&self) -> Result<String> {
        let transport = self.transport();
        let address = transport::listening_address(transport, &*self.host)?;
        self.execute("migrate-incoming", json!({ "uri": address }))?;
        self.state().listens_at.clone_from(&address);
        let answer = self.execute("query-migrate", json!({}))?;
        transport::source_address(transport, &address, &answer).ok_or_else(|| HypervisorError::Answer {
            host: self.host.id().clone(),
            command: "query-migrate".into(),
            expected: "a listening socket's address",
        })
    }

    /// Does something to a migration under way.
    fn command(&self, command: &str, arguments: Value) -> Result<()> {
        self.execute_within(ACT_LIMIT, command, arguments).map(drop)
    }
}

impl Vm for QemuVm {
    fn id(&self) -> &VmId {
        &self.machine.spec.id
    }

    fn host(&self) -> &HostId {
        self.host.id()
    }

    fn identity(&self) -> &HypervisorIdentity {
        self.own_identity()
    }

    fn run_state(&self) -> Result<RunState> {
        let answer = self.execute_within(ASK_LIMIT, "query-status", json!({}))?;
        match (answer["running"].as_bool(), answer["status"].as_str()) {
            (Some(running), Some(word)) => {
                Ok(RunState { condition: condition(running, word), word: word.to_owned() })
            }
            _ => Err(HypervisorError::Answer {
                host: self.host.id().clone(),
                command: "query-status".into(),
                expected: "a run state",
            }),
        }
    }

    fn stop(&self) -> Result<()> {
        self.command("stop", json!({}))
    }

    fn resume(&self) -> Result<()> {
        self.command("cont", json!({}))
    }

    fn check_alive(&self) -> Result<()> {
        self.check_process()
    }

    fn check_guest(&self) -> Result<()> {
        self.check_reset()?;
        self.check_disks()
    }

    fn pid(&self) -> Option<u32> {
        self.process_id()
    }

    fn vcpu_threads(&self) -> Result<Option<Vec<u32>>> {
        self.threads_of_vcpus().map(Some)
    }

    fn tap(&self) -> Option<&str> {
        self.machine.spec.tap.as_deref()
    }

    fn console_tail(&self) -> Option<String> {
        Some(self.last_of_console())
    }

    fn agent_stream(&self) -> Result<Option<UnixStream>> {
        self.connect_agent().map(Some)
    }

    fn allocated_bytes(&self) -> Option<i64> {
        let mapping_bytes = u64::from(self.machine.spec.memory_mib) << 20;
        self.host.resident_bytes(self.process_id()?, mapping_bytes).ok().flatten()
    }

    fn await_shut_down(&self, limit: Duration) -> Result<()> {
        self.await_own_end(limit)
    }

    fn end(&self, limit: Duration) -> Result<()> {
        self.end_process(limit)
    }
}

impl Primitives for QemuVm {
    fn start(&self, address: &str) -> Result<()> {
        self.command("migrate", json!({ "uri": address }))
    }

    fn switch_to_post_copy(&self) -> Result<()> {
        self.command("migrate-start-postcopy", json!({}))
    }

    fn continue_switchover(&self) -> Result<()> {
        self.command("migrate-continue", json!({ "state": "pre-switchover" }))
    }

    /// QEMU takes it where no migration is under way, too.
    fn tune(&self, tuning: Tuning) -> Result<()> {
        let parameters = tuning::parameters(tuning).ok_or_else(|| HypervisorError::Refused {
            host: self.host.id().clone(),
            command: "migrate-set-parameters".into(),
            description: "at 0 bytes a second nothing would ever arrive".into(),
        })?;
        self.command("migrate-set-parameters", parameters)
    }

    fn cancel(&self) -> Result<()> {
        self.command("migrate_cancel", json!({}))
    }

    fn break_connections(&self) -> Result<()> {
        self.break_off(&json!({ "type": "migration" }))
    }

    /// A QEMU that waits for a VM takes `stop` as the wish not to start it (`qmp_stop`, `autostart`).
    fn hold_incoming(&self) -> Result<()> {
        self.execute_within(ASK_LIMIT, "stop", json!({})).map(drop)
    }

    /// The state that the VM is to arrive in is taken when its switch-over begins.
    fn stop_for_move(&self) -> Result<()> {
        self.stop()?;
        let state = self.run_state()?;
        let is_on_its_way = matches!(state.word.as_str(), "finish-migrate" | "postmigrate");
        if state.running() || is_on_its_way {
            return Err(HypervisorError::Refused {
                host: self.host.id().clone(),
                command: "stop before the switch-over".into(),
                description: format!("the VM is {}", state.word),
            });
        }
        Ok(())
    }

    fn progress(&self) -> Result<Progress> {
        let answer = self.execute_within(ASK_LIMIT, "query-migrate", json!({}))?;
        let mut progress = progress::progress(&answer);
        if answer == self.state().stale {
            progress.state = None;
        }
        if let Some(percent) = progress.throttle_percent {
            let noticed = &mut self.state().noticed;
            noticed.throttle_percent = noticed.throttle_percent.max(percent);
        }
        Ok(progress)
    }

    fn report(&self) -> Result<HypervisorReport> {
        progress::final_report(
            || self.execute_within(ACT_LIMIT, "query-migrate", json!({})),
            Deadline::after(FINAL_LIMIT),
        )
    }

    fn mechanisms(&self) -> Result<Vec<MechanismSeen>> {
        let ask = |question| self.execute_within(ACT_LIMIT, question, json!({}));
        let (answer, parameters) = (ask("query-migrate")?, ask("query-migrate-parameters")?);
        let state = self.state();
        Ok(mechanisms_seen(&state.asked, &answer, &parameters, &state.noticed))
    }

    fn withdraw_disks(&self) -> Result<()> {
        self.withdraw_all()
    }

    fn start_mirrors(&self, order: &CopyOrder) -> Result<()> {
        self.start_all_mirrors(order)
    }

    fn mirrors(&self) -> Result<MirrorProgress> {
        self.mirror_progress()
    }

    fn mirror_in_step(&self) -> Result<bool> {
        self.mirror_all_in_step()
    }

    fn finish_mirrors(&self) -> Result<()> {
        self.finish_all_mirrors()
    }

    fn compare_mirrored(&self) -> Result<Option<Vec<DiskCompared>>> {
        self.compare_all()
    }

    fn change_to_mirrors(&self) -> Result<()> {
        self.change_to_all_mirrors()
    }

    fn changed_to_mirrors(&self) -> Result<Vec<String>> {
        self.all_changed()
    }

    fn release_originals(&self) -> Result<()> {
        self.release_all_originals()
    }

    fn release_mirrors(&self) -> Result<()> {
        self.release_all_mirrors()
    }

    fn abandon_mirrors(&self, limit: Duration) -> Result<()> {
        self.abandon_all_mirrors(limit)
    }
}

/// What QEMU's run state (`qapi/run-state.json`, `RunState`) means to all. A guest that panicked or a VM in error is there
/// all the same.
fn condition(running: bool, word: &str) -> Condition {
    match word {
        _ if running => Condition::Running,
        "inmigrate" => Condition::Incoming,
        "shutdown" => Condition::Ended,
        _ => Condition::Stopped,
    }
}

/// The settings of a migration by QEMU's names.
///
/// `return-path` is not optional: without it a source can complete while its destination is dead. The default cap of
/// 128 MiB/s is lifted: the link's rate is the testbed's to set.
pub(super) fn settings_for(
    side: Side,
    (strategy, transport, keeps_disks_even): (&Strategy, &Transport, bool),
    own: &QemuSettings,
    features: &QemuFeatures,
) -> MigrationSettings {
    let mut settings = MigrationSettings::default();
    settings.parameters.insert("max-bandwidth".into(), UNLIMITED_BANDWIDTH.into());
    if let Some(preempt) = strategy.post_copy() {
        settings.capabilities.insert("postcopy-ram".into(), true);
        if preempt && features.has("postcopy-preempt") {
            settings.capabilities.insert("postcopy-preempt".into(), true);
        }
    }
    let transport = transport::settings(transport);
    settings.capabilities.extend(transport.capabilities);
    settings.parameters.extend(transport.parameters);
    settings.capabilities.extend(own.capabilities.clone());
    settings.parameters.extend(own.parameters.clone());
    // Nor is the pause, where the disks must be there before the VM is.
    let pause = keeps_disks_even.then_some(PAUSE);
    for name in ["events", "return-path"].into_iter().chain(pause) {
        settings.capabilities.insert(name.into(), true);
    }
    if side == Side::Destination && features.has(LATE_DISKS) {
        // Else a destination that is held takes the locks of shared disks all the same (up to QEMU 9), and the source does
        // not get them back: it cannot run again, or ends at its first write.
        settings.capabilities.insert(LATE_DISKS.into(), true);
    }
    settings
}
