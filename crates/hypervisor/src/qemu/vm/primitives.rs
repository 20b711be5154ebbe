//! What can be asked of a QEMU process, in the words of all drivers.

use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{HostId, HypervisorIdentity, HypervisorReport, VmId};
use serde_json::json;

use super::{QemuVm, UNLIMITED_BANDWIDTH, ended};
use crate::qemu::features::{PAUSE, QemuFeatures};
use crate::qemu::progress;
use crate::qemu::transport::{self, Credentials};
use crate::{
    HypervisorError, MigrationNeeds, MigrationSettings, MirrorProgress, Progress, Result, RunState, Vm,
};

impl Vm for QemuVm {
    fn id(&self) -> &VmId {
        &self.spec.id
    }

    fn host(&self) -> &HostId {
        self.host.id()
    }

    fn identity(&self) -> &HypervisorIdentity {
        &self.identity
    }

    fn prepare(&mut self, needs: &MigrationNeeds) -> Result<()> {
        let mut settings = settings_for(needs, &self.features);
        if let Some(certificates) = &needs.certificates {
            let credentials = Credentials::write(certificates, needs.role, &*self.host)?;
            self.execute("object-add", credentials.object())?;
            settings.parameters.extend(credentials.parameters());
            self.credentials = Some(credentials);
        }
        self.transport = needs.transport.kind;
        self.configure(&settings)
    }

    fn listen(&mut self) -> Result<String> {
        let address = transport::listening_address(self.transport, &*self.host)?;
        self.execute("migrate-incoming", json!({ "uri": address }))?;
        self.listens_at.clone_from(&address);
        let answer = self.execute("query-migrate", json!({}))?;
        transport::source_address(self.transport, &address, &answer).ok_or_else(|| HypervisorError::Answer {
            host: self.host.id().clone(),
            command: "query-migrate".into(),
            expected: "a listening socket's address",
        })
    }

    fn start(&mut self, address: &str) -> Result<()> {
        self.execute("migrate", json!({ "uri": address })).map(drop)
    }

    fn switch_to_post_copy(&mut self) -> Result<()> {
        self.execute("migrate-start-postcopy", json!({})).map(drop)
    }

    fn continue_switchover(&mut self) -> Result<()> {
        self.execute("migrate-continue", json!({ "state": "pre-switchover" })).map(drop)
    }

    fn cancel(&mut self) -> Result<()> {
        self.execute("migrate_cancel", json!({})).map(drop)
    }

    fn break_connections(&mut self) -> Result<()> {
        self.break_off(&json!({ "type": "migration" }))
    }

    fn export_disks(&mut self) -> Result<String> {
        self.export_all()
    }

    fn withdraw_disks(&mut self) -> Result<()> {
        self.execute("nbd-server-stop", json!({})).map(drop)
    }

    fn start_mirrors(&mut self, address: &str) -> Result<()> {
        self.start_all_mirrors(address)
    }

    fn mirrors(&mut self) -> Result<MirrorProgress> {
        self.mirror_progress()
    }

    fn mirror_in_step(&mut self) -> Result<bool> {
        self.mirror_all_in_step()
    }

    fn finish_mirrors(&mut self) -> Result<()> {
        self.finish_all_mirrors()
    }

    fn release_mirrors(&mut self) -> Result<()> {
        self.release_all_mirrors()
    }

    fn abandon_mirrors(&mut self, limit: Duration) -> Result<()> {
        self.abandon_all_mirrors(limit)
    }

    fn stop(&mut self) -> Result<()> {
        self.execute("stop", json!({})).map(drop)
    }

    fn resume(&mut self) -> Result<()> {
        self.execute("cont", json!({})).map(drop)
    }

    fn progress(&mut self) -> Result<Progress> {
        Ok(progress::progress(&self.execute("query-migrate", json!({}))?))
    }

    fn run_state(&mut self) -> Result<RunState> {
        let answer = self.execute("query-status", json!({}))?;
        match (answer["running"].as_bool(), answer["status"].as_str()) {
            (Some(running), Some(word)) => Ok(RunState { running, word: word.to_owned() }),
            _ => Err(HypervisorError::Answer {
                host: self.host.id().clone(),
                command: "query-status".into(),
                expected: "a run state",
            }),
        }
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        Ok(progress::report(&self.execute("query-migrate", json!({}))?))
    }

    fn check_alive(&mut self) -> Result<()> {
        self.check_guest()?;
        match self.process.try_wait()? {
            None => Ok(()),
            Some(how) => Err(ended(how, &self.spec, &self.host, &self.stderr)),
        }
    }

    fn allocated_bytes(&self) -> Option<i64> {
        let mapping_bytes = u64::from(self.spec.memory_mib) << 20;
        self.host.resident_bytes(self.process.pid(), mapping_bytes).ok().flatten()
    }

    fn quit(&mut self, limit: Duration) -> Result<()> {
        self.expected_end = true;
        // A QEMU that is stuck or gone does not answer; its process is ended below all the same.
        let _ = self.qmp.execute("quit", json!({}), limit.min(Duration::from_secs(2)));
        if self.process.wait(Deadline::after(limit))?.is_none() {
            self.process.kill();
        }
        Ok(())
    }
}

/// The settings of a migration by QEMU's names.
///
/// `return-path` is not optional: without it a source can complete while its destination is dead. The default cap of
/// 128 MiB/s is lifted: the link's rate is the testbed's to set.
fn settings_for(needs: &MigrationNeeds, features: &QemuFeatures) -> MigrationSettings {
    let mut settings = MigrationSettings::default();
    settings.parameters.insert("max-bandwidth".into(), UNLIMITED_BANDWIDTH.into());
    if let Some(preempt) = needs.post_copy {
        settings.capabilities.insert("postcopy-ram".into(), true);
        if preempt && features.has("postcopy-preempt") {
            settings.capabilities.insert("postcopy-preempt".into(), true);
        }
    }
    for more in [transport::settings(&needs.transport), needs.own.clone()] {
        settings.capabilities.extend(more.capabilities);
        settings.parameters.extend(more.parameters);
    }
    // Nor is the pause, where the disks must be there before the VM is.
    let pause = needs.moves_disks.then_some(PAUSE);
    for name in ["events", "return-path"].into_iter().chain(pause) {
        settings.capabilities.insert(name.into(), true);
    }
    settings
}
