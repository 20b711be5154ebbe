//! `dunlin inventory check|new`.

use std::path::{Path, PathBuf};

use dunlin_bench::inventory_starter;
use dunlin_hypervisor::Registry;
use dunlin_report::Table;
use dunlin_testbed::{Inventory, InventoryHost};

use super::{hosts, write_new};
use crate::failure::Result;
use crate::terminal;

/// Check an inventory of real hosts, or begin a new one.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Print an inventory's hosts, and between which of them VMs will move; no host is asked
    Check {
        /// The inventory's file (TOML)
        file: PathBuf,
    },
    /// Write a commented inventory to begin with
    New {
        /// The file to be made; an existing one is not touched
        file: PathBuf,
    },
}

pub(crate) fn run(action: Action) -> Result {
    match action {
        Action::Check { file } => check(&file),
        Action::New { file } => {
            let next = format!("dunlin doctor --inventory {}", file.display());
            write_new(&file, inventory_starter(), &next)
        }
    }
}

fn check(file: &Path) -> Result {
    let inventory = hosts::load(file, &Registry::builtin())?;
    let width = terminal::width();
    terminal::print(&format!("{}{}", table(&inventory).text(width), sentence(&inventory)))
}

fn table(inventory: &Inventory) -> Table {
    let mut table = Table::new().key("host").words("ssh").words("service").words("migration").words("bridge");
    let dash = || "–".to_owned();
    for InventoryHost { name, ssh, service, migration, bridge, .. } in &inventory.hosts {
        let address = |at: &Option<dunlin_testbed::Attachment>| {
            at.as_ref().map_or_else(|| "found".to_owned(), |at| at.address.to_string())
        };
        table.row([
            name.to_string(),
            ssh.clone(),
            address(service),
            address(migration),
            bridge.clone().unwrap_or_else(dash),
        ]);
    }
    table
}

fn sentence(inventory: &Inventory) -> String {
    let moves = inventory.route().map_or_else(
        || "No VM can move.".to_owned(),
        |(from, to)| format!("VMs move from {} to {}.", from.name, to.name),
    );
    let addresses = inventory.vm_addresses.as_ref().map_or_else(
        || "VMs are given no addresses: no probe will be measured.".to_owned(),
        |range| format!("They are given {} to {} /{}.", range.first, range.last, range.prefix),
    );
    format!("{moves} {addresses}\n")
}
