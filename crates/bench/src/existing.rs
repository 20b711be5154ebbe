//! VMs that exist already: what may be asked of them, and how they are found at the source.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use dunlin_guest::AgentClient;
use dunlin_hypervisor::{Condition, Hypervisor, HypervisorError, KnownAddress, Presence, Vm};
use dunlin_record::{Case, Event, EventKind, ExistingVm, Workload, in_one_line};
use dunlin_testbed::{Testbed, TestbedError};

use crate::{BenchError, Elsewhere, Result, Scenario};

/// Limit of the first answer of an agent in a VM that was found: it runs there, or it does not.
const AGENT_LIMIT: Duration = Duration::from_secs(5);
/// Who told an address that the user gave.
const BY_USER: &str = "--vm-address";

/// Refuses a run that leaves its VMs where they were moved to, and would have to move one that is not back.
///
/// # Errors
/// Where it has more than one trial.
pub fn check_stay(scenario: &Scenario, stay: bool) -> Result<()> {
    let trials = scenario.cases.iter().map(|case| u64::from(*case.trials.range().end())).sum();
    if stay && trials != 1 { Err(BenchError::StaysOnce { trials }) } else { Ok(()) }
}

/// A VM that exists, as it was found at the source.
pub(crate) struct FoundVm {
    pub(crate) vm: Arc<dyn Vm>,
    /// Whether its owner has paused it: then it is moved as it is, and answers nobody.
    pub(crate) paused: bool,
    pub(crate) address: Option<Ipv4Addr>,
    /// Who told the address.
    pub(crate) told_by: Option<String>,
}

/// What can be observed of a VM that was found, as far as is known before it is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observable {
    pub(crate) name: String,
    pub(crate) paused: bool,
    pub(crate) address: Option<(Ipv4Addr, String)>,
    pub(crate) has_agent: bool,
    pub(crate) has_tap: bool,
}

impl FoundVm {
    /// Looks for a VM at the source, where it must run, or be paused. It is never started.
    ///
    /// # Errors
    /// Where it is not there; with what the destination says of it.
    pub(crate) fn look_for(
        [source, destination]: [&dyn Hypervisor; 2],
        asked: &ExistingVm,
        testbed: &dyn Testbed,
        events: Sender<Event>,
    ) -> Result<Self> {
        let not_there = |said: String| BenchError::VmNotThere {
            vm: asked.name.clone(),
            host: source.host().id().to_string(),
            said,
            elsewhere: Box::new(Elsewhere::ask(&asked.name, destination)),
        };
        let vm = source.find(&asked.name, events).map_err(|error| match error {
            // Of the VM that says nothing.
            HypervisorError::Testbed(error) if error.may_pass() => error.into(),
            error @ (HypervisorError::Timeout { .. } | HypervisorError::Monitor { .. }) => error.into(),
            error if error.is_unsupported() => error.into(),
            error => not_there(in_one_line(&error)),
        })?;
        let state = vm.run_state()?;
        let paused = match state.condition {
            Condition::Running => false,
            Condition::Stopped => true,
            Condition::Incoming | Condition::Ended => return Err(not_there(format!("it is {}", state.word))),
        };
        let known = match asked.address {
            Some(address) => Some((address, BY_USER.to_owned())),
            None => nearest(&vm.addresses()?, testbed).map(|known| (known.address, known.told_by.to_owned())),
        };
        let (address, told_by) = known.unzip();
        Ok(Self { vm, paused, address, told_by })
    }

    /// Where it is reached, for people.
    pub(crate) fn in_words(&self) -> String {
        match (self.paused, self.address, &self.told_by) {
            (true, ..) => "paused: it is moved as it is, and nothing probes it".into(),
            (false, Some(address), Some(told_by)) => {
                format!("runs; reached at {address} (told by {told_by})")
            }
            (false, ..) => "runs; no address is known, so nothing probes it (--vm-address)".into(),
        }
    }

    /// What the record says of it.
    pub(crate) fn event(&self) -> EventKind {
        EventKind::VmFound { address: self.address, told_by: self.told_by.clone(), paused: self.paused }
    }

    /// What can be observed of it.
    pub(crate) fn observable(&self, name: &str) -> Observable {
        Observable {
            name: name.to_owned(),
            paused: self.paused,
            address: self.address.zip(self.told_by.clone()),
            has_agent: !self.paused && agent_in(&*self.vm).is_ok_and(|agent| agent.is_some()),
            has_tap: self.vm.tap().is_some(),
        }
    }
}

/// Refuses a workload that fills more memory than a VM that was found has. What nobody tells refuses nothing.
pub(crate) fn check_room(case: &Case, name: &str, configured_bytes: Option<i64>) -> Result<()> {
    let fills_mib = case.workload.as_ref().and_then(Workload::allocated_mib);
    let has_mib = configured_bytes.map(|bytes| bytes >> 20);
    match fills_mib.zip(has_mib) {
        Some((fills_mib, has_mib)) if i64::from(fills_mib) >= has_mib => Err(TestbedError::Unsupported {
            what: format!("a workload that fills {fills_mib} MiB in {name}"),
            because: format!("it has {has_mib} MiB"),
        }
        .into()),
        _ => Ok(()),
    }
}

/// The agent in a VM that was found; absent where the VM has no channel for one. Where it has one and no agent answers, says
/// why.
pub(crate) fn agent_in(vm: &dyn Vm) -> Result<Option<AgentClient>, String> {
    let Some(stream) = vm.agent_stream().map_err(|error| in_one_line(&error))? else { return Ok(None) };
    let agent = AgentClient::new(stream).map_err(|error| in_one_line(&error))?;
    agent.identify(AGENT_LIMIT).map_err(|error| in_one_line(&error))?;
    Ok(Some(agent))
}

/// The address through which the service network reaches a VM: one in that network, else the one that is most certain.
fn nearest<'a>(known: &'a [KnownAddress], testbed: &dyn Testbed) -> Option<&'a KnownAddress> {
    let of_service = |known: &&KnownAddress| {
        testbed.vm_address(0).is_some_and(|(ours, prefix)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (u32::from(ours) ^ u32::from(known.address)) & mask == 0
        })
    };
    known.iter().find(of_service).or(known.first())
}

/// What both ends say of a VM, in their own words.
pub(crate) fn said_of(name: &str, ends: [&dyn Hypervisor; 2]) -> String {
    let said = ends.map(|end| {
        let host = end.host().id();
        let (events, _) = std::sync::mpsc::channel();
        match end.find(name, events) {
            Ok(vm) => format!("{host} says of it: {}", Presence::of(&*vm).word),
            Err(error) => format!("{host} says: {}", in_one_line(&error)),
        }
    });
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_must_fit_into_the_memory_that_the_vm_has_and_not_into_the_scenarios() {
        let text = "name = \"s\"\n[[case]]\nname = \"c\"\nvm.memory_mib = 1024\n\
                    workload = { kind = \"memory-write\", working_set_mib = 256 }\n";
        let case = Scenario::parse(text, "s.toml").unwrap().cases.remove(0);
        let refused = |mib: Option<i64>| check_room(&case, "db", mib.map(|mib| mib << 20));
        let error = refused(Some(256)).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        assert_eq!(error.to_string(), "a workload that fills 256 MiB in db is not supported: it has 256 MiB");
        for fits in [Some(512), None] {
            assert!(refused(fits).is_ok(), "{fits:?}");
        }
    }
}
