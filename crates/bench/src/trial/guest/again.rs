//! A guest that comes up again, out of its images or of its saved state, here or at the other host.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use dunlin_clock::now_ns;
use dunlin_hypervisor::{Hypervisor, Side, Vm, VmSpec};
use dunlin_record::{Event, Workload};

use super::{ANSWER_LIMIT, BOOT_LIMIT, Guest, await_agent, maker_of, no_agent, order};
use crate::trial::TrialContext;
use crate::trial::storage::FileToCarry;
use crate::trial::streams::Streams;
use crate::{BenchError, Result};

impl Guest {
    /// Has it shut itself down: its workload ends first. Gives what that found damaged, in words. Its disk, if it has one, is
    /// left with a seal, by which it is known when the guest comes up again.
    pub(in crate::trial) fn shut_down(&mut self, workload: Option<&Workload>) -> Result<Option<String>> {
        let damage = workload.map(|workload| self.stop_workload(workload)).transpose()?;
        let agent = self.agent.as_ref().ok_or_else(no_agent)?;
        let has_disk = self.made.as_ref().is_some_and(|made| made.storage.has_disk());
        let seal = has_disk.then(|| now_ns().unsigned_abs());
        agent.shut_down(seal, ANSWER_LIMIT)?;
        self.seal = seal;
        Ok(damage.and_then(|achieved| achieved.damage()))
    }

    /// Saves its state to a file of the source.
    pub(in crate::trial) fn store(&self, product: &dyn Hypervisor, file: &Path) -> Result<()> {
        Ok(maker_of(product)?.store(&self.source, file)?)
    }

    /// Makes the VM again on a side out of a saved state, which then runs.
    pub(in crate::trial) fn make_of_state(
        &self,
        context: TrialContext<'_>,
        side: Side,
        state: &Path,
        events: Sender<Event>,
    ) -> Result<Arc<dyn Vm>> {
        let spec = self.spec_at(side)?;
        Ok(maker_of(product_at(context, side))?.wake(&order(context, &spec, events), state)?)
    }

    /// Makes the VM again on a side out of its images: its kernel boots.
    pub(in crate::trial) fn boot_at(
        &self,
        context: TrialContext<'_>,
        side: Side,
        events: Sender<Event>,
    ) -> Result<Arc<dyn Vm>> {
        let spec = self.spec_at(side)?;
        Ok(maker_of(product_at(context, side))?.boot(&order(context, &spec, events))?)
    }

    /// Waits for the agent of a guest that boots, and gives it back its address, its disks and its workload.
    pub(in crate::trial) fn come_up(
        &mut self,
        context: TrialContext<'_>,
        vm: &dyn Vm,
        workload: Option<&Workload>,
        streams: &Streams,
    ) -> Result<()> {
        // Another session: this guest has never heard of the old one.
        self.agent = Some(await_agent(context, vm, BOOT_LIMIT)?);
        self.settle_in(context)?;
        if let (Some(seal), Some(agent)) = (self.seal, &self.agent) {
            agent.check_seal(seal, ANSWER_LIMIT)?;
        }
        workload.map_or(Ok(()), |workload| self.start_workload(workload, streams))
    }

    /// Waits for the agent of a guest that goes on from where it was.
    pub(in crate::trial) fn go_on(&self, vm: &dyn Vm) -> Result<()> {
        self.follow(vm)?;
        let agent = self.agent.as_ref().ok_or_else(no_agent)?;
        Ok(agent.ping(now_ns().unsigned_abs(), ANSWER_LIMIT)?)
    }

    /// Its disks that have to be brought to the other host.
    pub(in crate::trial) fn disks_to_carry(&self) -> Vec<FileToCarry> {
        self.made.as_ref().map(|made| made.storage.to_carry()).unwrap_or_default()
    }

    fn spec_at(&self, side: Side) -> Result<VmSpec> {
        let made = self.made.as_ref().ok_or_else(|| BenchError::from(no_maker()))?;
        Ok(VmSpec { disks: made.storage.devices(side), ..made.spec.clone() })
    }
}

fn product_at(context: TrialContext<'_>, side: Side) -> &dyn Hypervisor {
    match side {
        Side::Source => &*context.plan.source,
        Side::Destination => &*context.plan.destination,
    }
}

fn no_maker() -> dunlin_testbed::TestbedError {
    dunlin_testbed::TestbedError::Unsupported {
        what: "starting the VM again".into(),
        because: "it exists already, and was not made by us".into(),
    }
}
