//! What speaks against moving VMs that exist on the hosts of an inventory.

use std::path::Path;

use dunlin_bench::{BenchError, Existing, examine_vms, plain_case};
use dunlin_hypervisor::{HypervisorError, Registry};
use dunlin_record::{Case, in_one_line};
use dunlin_testbed::{Inventory, Testbed};

use super::{Finding, State, bench_failure};
use crate::commands::{hosts, load_scenario_for};
use crate::failure::Result;

const PURPOSE: &str = "moving this VM";

/// Which VMs are looked at, and how they are to be moved.
pub(super) struct VmOrder {
    pub(super) existing: Vec<Existing>,
    cases: Vec<Case>,
    registry: Registry,
}

impl VmOrder {
    /// Reads the scenario, before any host is asked.
    pub(super) fn of(
        inventory: &Inventory,
        existing: Vec<Existing>,
        scenario: Option<&Path>,
    ) -> Result<Self> {
        let registry = hosts::drivers(inventory, Registry::builtin());
        let cases = match scenario {
            Some(file) => {
                let mut scenario = load_scenario_for(file, &registry)?;
                // They are as they are, whatever it says of them.
                hosts::fit(&mut scenario, inventory, true)?;
                scenario.cases
            }
            None => registry
                .all()
                .take(1)
                .map(|driver| plain_case(driver.name()))
                .collect::<Result<_, _>>()
                .map_err(|error| bench_failure(&error))?,
        };
        Ok(Self { existing, cases, registry })
    }

    /// What is found of each on a testbed.
    pub(super) fn look(&self, testbed: &dyn Testbed) -> Result<Vec<Finding>> {
        let examined = examine_vms(testbed, &self.registry, &self.cases, &self.existing)
            .map_err(|error| bench_failure(&error))?;
        let mut findings = Vec::new();
        for vm in examined {
            let finding = |state| Finding::new(&vm.name, PURPOSE, true, state);
            findings.push(finding(match &vm.found {
                Ok(words) => State::There(words.clone()),
                Err(error) => State::Lacking { because: in_one_line(error), mend: mend(error) },
            }));
            findings.extend(vm.obstacles.iter().map(|obstacle| {
                finding(State::Lacking { because: obstacle.what.clone(), mend: obstacle.mend.clone() })
            }));
        }
        Ok(findings)
    }
}

/// What mends that a VM cannot be moved at all.
fn mend(error: &BenchError) -> String {
    match error {
        BenchError::VmNotThere { vm, host, elsewhere, .. } => elsewhere.mend(vm, host),
        BenchError::Hypervisor(HypervisorError::Start { mend, .. }) => mend.clone(),
        error if error.is_unsupported() => {
            "name a driver that can, by `driver` in the inventory, or another scenario".into()
        }
        _ => "see that the hypervisors of both hosts run and answer".into(),
    }
}

/// A VM that could not be looked at.
pub(super) fn untried(name: &str, because: &str) -> Finding {
    Finding::new(name, PURPOSE, true, State::Untried { because: because.into() })
}
