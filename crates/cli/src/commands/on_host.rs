//! What is done on one host of an inventory instead of on this machine: how it is asked for, and how the host is reached.

use std::path::PathBuf;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::Registry;
use dunlin_record::in_one_line;
use dunlin_testbed::{Helper, Host, Inventory, InventoryHost, SshHost, TestbedError, reach_all};

use super::{hosts, testbed_failure};
use crate::failure::{Exit, Failure, Result};
use crate::progress::wait_while;
use crate::terminal;

/// How long a helper may take to end what it does: a probe may just be connecting, and a load waits 5 s for its answers.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Where it is to be done.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct OnHost {
    /// Do it on this host of an inventory, reached through ssh, instead of on this machine
    #[arg(long, value_name = "HOST", requires = "inventory")]
    on: Option<String>,
    /// The inventory (see docs/inventory.md)
    #[arg(long, value_name = "FILE", requires = "on")]
    inventory: Option<PathBuf>,
}

/// A host that was reached, with a helper of ours on it. Dropping it ends all that was started there.
pub(crate) struct Reached {
    // Before the connection on which it depends.
    pub(crate) helper: Helper,
    pub(crate) host: SshHost,
}

impl OnHost {
    /// Whether it is to be done on a host.
    pub(crate) fn is_asked(&self) -> bool {
        self.on.is_some()
    }

    /// Reaches the host; absent where it is to be done on this machine.
    pub(crate) fn reach(&self, cancel: &Cancel) -> Result<Option<Reached>> {
        let Some((name, path)) = self.on.as_deref().zip(self.inventory.as_deref()) else { return Ok(None) };
        let inventory = hosts::load(path, &Registry::builtin())?;
        let host = find(&inventory, name)?;
        terminal::say(&format!("connecting to {name}"));
        let reached = reach_all(&inventory, &[host], hosts::program()).into_iter().next();
        let nobody = || Failure::says(Exit::Failed, format!("{name} was not reached"));
        let host = reached.ok_or_else(nobody)?.map_err(|error| testbed_failure(&error))?;
        let helper = host.helper().map_err(|error| testbed_failure(&error))?;
        if cancel.is_cancelled() {
            return Err(Failure::says(Exit::Interrupted, "ended by the user before it had begun"));
        }
        Ok(Some(Reached { helper, host }))
    }
}

fn find<'a>(inventory: &'a Inventory, name: &str) -> Result<&'a InventoryHost> {
    inventory.hosts.iter().find(|host| host.name.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
        let message = format!("--on: expected a host of the inventory, found {name:?}");
        Failure::says(Exit::BadInput, message).hint(format!("it has {}", names.join(", ")))
    })
}

impl Reached {
    pub(crate) fn name(&self) -> &str {
        self.host.id().as_str()
    }

    /// Lets a time pass and shows a person how much of it is left; ends early when it is cancelled, or the helper is gone.
    pub(crate) fn wait(&self, what: &str, time: Duration, cancel: &Cancel) {
        let what = format!("{what} on {}", self.name());
        wait_while(&what, time, || !cancel.is_cancelled() && self.helper.is_well());
    }

    /// Something did not begin: because it was refused, or because nobody is there any more.
    pub(crate) fn refused(&self, doing: &str, error: &TestbedError) -> Failure {
        let exit = if self.helper.is_well() { Exit::BadInput } else { Exit::Failed };
        Failure::says(exit, format!("cannot {doing} on {}: {}", self.name(), why(error)))
    }

    /// Something that went on broke off.
    pub(crate) fn broke_off(&self, what: &str, error: &TestbedError) -> Failure {
        Failure::says(Exit::Failed, format!("{what} on {} broke off: {}", self.name(), why(error)))
    }
}

/// The reason alone, where the rest is said otherwise.
pub(crate) fn why(error: &TestbedError) -> String {
    match error {
        TestbedError::Helper { why, .. } => why.clone(),
        other => in_one_line(other),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use dunlin_testbed::BenchPlace;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        at: OnHost,
    }

    fn parse(words: &[&str]) -> Result<OnHost, clap::error::ErrorKind> {
        let words = ["x"].iter().chain(words);
        Words::try_parse_from(words).map(|words| words.at).map_err(|error| error.kind())
    }

    #[test]
    fn a_host_is_named_with_the_inventory_that_has_it_or_not_at_all() {
        let missing = clap::error::ErrorKind::MissingRequiredArgument;
        assert_eq!(parse(&["--on", "host-a"]).unwrap_err(), missing);
        assert_eq!(parse(&["--inventory", "hosts.toml"]).unwrap_err(), missing);
        assert!(parse(&["--on", "host-a", "--inventory", "hosts.toml"]).is_ok());
        assert!(parse(&[]).unwrap().reach(&Cancel::new()).unwrap().is_none());
    }

    #[test]
    fn a_host_that_is_not_there_is_told_with_those_that_are() {
        let host = |name: &str| InventoryHost {
            name: dunlin_record::HostId::new(name),
            ssh: name.into(),
            driver: None,
            sudo: false,
            folder: "/var/tmp".into(),
            source: true,
            destination: true,
            bridge: None,
            shared: None,
            service: None,
            migration: None,
        };
        let inventory = Inventory {
            bench: BenchPlace::Apart,
            vm_addresses: None,
            ssh_config: None,
            hosts: vec![host("host-a"), host("host-b")],
        };
        assert_eq!(find(&inventory, "host-b").unwrap().name.as_str(), "host-b");
        let failure = find(&inventory, "host-c").unwrap_err();
        assert_eq!(failure.exit, Exit::BadInput);
        assert_eq!(
            failure.text(),
            "error: --on: expected a host of the inventory, found \"host-c\"\n hint: it has host-a, host-b\n"
        );
    }
}
