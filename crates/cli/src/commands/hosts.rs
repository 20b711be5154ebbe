//! Real hosts of an inventory: how subcommands get at them.

use std::path::Path;

use dunlin_bench::{InventoryError, Scenario, load_inventory};
use dunlin_hypervisor::Registry;
use dunlin_record::Links;
use dunlin_testbed::{HelperProgram, Inventory, SshTestbed};

use super::testbed_failure;
use crate::failure::{Exit, Failure, Result};
use crate::helper_binary::{helper_binary, helper_sha256};
use crate::terminal;

/// Reads an inventory.
pub(crate) fn load(path: &Path, registry: &Registry) -> Result<Inventory> {
    load_inventory(path, registry).map_err(|error| {
        let failure = Failure::new(Exit::BadInput, &error);
        match error {
            InventoryError::Read { .. } => failure,
            _ => failure.hint("docs/inventory.md says what may stand in it"),
        }
    })
}

/// The drivers there are, first the one that all hosts have, if all say so: scenarios that name none are for that.
pub(crate) fn drivers(inventory: &Inventory, registry: Registry) -> Registry {
    let mut named = inventory.hosts.iter().map(|host| host.driver.as_deref());
    match named.next().flatten() {
        Some(first) if named.all(|driver| driver == Some(first)) => registry.preferring(first),
        _ => registry,
    }
}

/// Refuses a scenario that asks for what real hosts are not made to be; links are as they are. With `as_they_are` what it
/// says of links is passed over.
pub(crate) fn fit(scenario: &mut Scenario, inventory: &Inventory, as_they_are: bool) -> Result {
    if let Some(line) = scenario.links_at.filter(|_| !as_they_are) {
        let message = format!(
            "{}:{line}: link: shapes the links of a lab; those of real hosts are as they are, and are measured",
            scenario.file
        );
        return Err(Failure::says(Exit::BadInput, message)
            .hint("leave link.* out of scenarios for an inventory, or pass it over by --links-as-they-are"));
    }
    scenario.cases.iter_mut().for_each(|case| case.link = Links::default());
    let other = |driver: &str| {
        inventory.hosts.iter().find(|host| host.driver.as_deref().is_some_and(|has| has != driver))
    };
    for case in &scenario.cases {
        if let Some(host) = other(&case.hypervisor.driver) {
            let message = format!(
                "{}: {}: is for the driver {}, and {} has {}",
                scenario.file,
                case.title(),
                case.hypervisor.driver,
                host.name,
                host.driver.as_deref().unwrap_or_default()
            );
            return Err(Failure::says(Exit::BadInput, message));
        }
    }
    Ok(())
}

/// Connects to the hosts between which VMs move.
pub(crate) fn connect(inventory: &Inventory) -> Result<SshTestbed> {
    terminal::say("connecting to the hosts");
    SshTestbed::connect(inventory, program()).map_err(|error| testbed_failure(&error))
}

/// What is copied to hosts.
pub(crate) fn program() -> HelperProgram {
    HelperProgram { bytes: helper_binary(), sha256: helper_sha256().leak() }
}
