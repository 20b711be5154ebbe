//! Inventories: a TOML file that names real hosts, and what it comes to.
//!
//! The file is read in three steps: [`toml_file`] keeps every value with its place in the text, [`fields`] makes typed
//! values of them in the [`forms`] that they have, [`rules`] says what must hold between them.

mod fields;
mod forms;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dunlin_hypervisor::{Driver, Registry};
use dunlin_record::HostId;
use dunlin_testbed::{Attachment, BenchPlace, Inventory, InventoryHost, VmAddresses};

use crate::toml_file::{self, Findings, Node, Problem, Value, impossible, in_lines, missing, wrong_type};
use fields::Fields;

/// What `bench` says where the bench stands on none of the hosts.
const HERE: &str = "here";
/// Where the helper's folder is made if nothing is said: what lies there may be run, unlike in many a `/tmp`.
const FOLDER: &str = "/var/tmp";

const FILE_KEYS: &[&str] = &["bench", "vms", "ssh", "host"];
const VMS_KEYS: &[&str] = &["addresses", "prefix"];
const SSH_KEYS: &[&str] = &["config"];
const HOST_KEYS: &[&str] = &[
    "name",
    "ssh",
    "driver",
    "sudo",
    "folder",
    "source",
    "destination",
    "bridge",
    "shared",
    "service",
    "migration",
];
const ATTACHMENT_KEYS: &[&str] = &["address", "interface", "port"];

/// Why an inventory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The file could not be read.
    #[error("cannot read the inventory {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file says what cannot be.
    #[error("{}", in_lines(problems))]
    Invalid {
        /// All that was found, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

/// Reads an inventory from a file, for the drivers there are. A relative path in it is meant from the file's folder.
///
/// # Errors
/// Where the file cannot be read, or as [`parse_inventory`].
pub fn load_inventory(path: &Path, drivers: &Registry) -> Result<Inventory, InventoryError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| InventoryError::Read { path: path.to_owned(), source })?;
    let mut inventory = parse_inventory(&text, &path.display().to_string(), drivers)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    inventory.ssh_config = inventory.ssh_config.map(|config| folder.join(config));
    Ok(inventory)
}

/// Reads an inventory from text. `file_name` is what messages call it; relative paths stay as they are.
///
/// # Errors
/// All that is wrong with the text, by line: a list of what can be told at this stage (syntax first, then keys and
/// values, then what must hold between them).
pub fn parse_inventory(text: &str, file_name: &str, drivers: &Registry) -> Result<Inventory, InventoryError> {
    let mut findings = Findings::new(text, file_name);
    let read = toml_file::parse(text, &mut findings).and_then(|file| {
        let fields = Fields::of_file(&file, FILE_KEYS, &mut findings);
        read(&fields, drivers, &mut findings)
    });
    match read {
        Some(inventory) if findings.is_empty() => Ok(inventory),
        _ => Err(InventoryError::Invalid { problems: findings.into_problems() }),
    }
}

/// A commented inventory to begin with.
#[must_use]
pub fn inventory_starter() -> &'static str {
    include_str!("inventory/starter.toml")
}

/// The inventory; none where something was found wrong that keeps it from being whole.
fn read(file: &Fields<'_>, drivers: &Registry, findings: &mut Findings) -> Option<Inventory> {
    let bench = file.read("bench", forms::bench, findings);
    let vms = file.table("vms", VMS_KEYS, findings);
    let ssh = file.table("ssh", SSH_KEYS, findings);
    let inventory = Inventory {
        bench: bench.map_or(BenchPlace::Apart, |name| {
            if name == HERE { BenchPlace::Apart } else { BenchPlace::OnHost(HostId::new(name)) }
        }),
        vm_addresses: vms.as_ref().and_then(|vms| vm_addresses(vms, findings)),
        ssh_config: ssh.and_then(|ssh| ssh.read("config", forms::path, findings)),
        hosts: Vec::new(),
    };
    let hosts: Vec<(Fields<'_>, Option<InventoryHost>)> = host_nodes(file, findings)
        .iter()
        .filter_map(|node| {
            let Some(fields) = Fields::of(node, "host", HOST_KEYS, findings) else {
                findings.add(node.at, "host", wrong_type("a [[host]] table", node));
                return None;
            };
            let host = host(&fields, drivers, findings);
            Some((fields, host))
        })
        .collect();
    if !findings.is_empty() {
        return None;
    }
    let (places, hosts): (Vec<Fields<'_>>, Vec<InventoryHost>) =
        hosts.into_iter().filter_map(|(fields, host)| Some((fields, host?))).unzip();
    let inventory = Inventory { hosts, ..inventory };
    rules::check(&inventory, file, &places, findings);
    Some(inventory)
}

fn vm_addresses(vms: &Fields<'_>, findings: &mut Findings) -> Option<VmAddresses> {
    if !vms.has("addresses") && !vms.has("prefix") {
        return None;
    }
    let range = vms.require("addresses", "\"192.0.2.100-192.0.2.119\"", forms::range, findings);
    let prefix = vms.require("prefix", "24", forms::prefix, findings);
    let ((first, last), prefix) = range.zip(prefix)?;
    let range = VmAddresses { first, last, prefix };
    rules::range(&range, vms, findings);
    Some(range)
}

fn host_nodes<'a>(file: &Fields<'a>, findings: &mut Findings) -> &'a [Node] {
    const ENOUGH: &str = "at least two [[host]]";
    match file.node("host").map(|node| (node, &node.value)) {
        None => findings.add(0, "host", missing(ENOUGH)),
        Some((node, Value::List(hosts))) if hosts.is_empty() => {
            findings.add(node.at, "host", impossible(ENOUGH, node));
        }
        Some((_, Value::List(hosts))) => return hosts,
        Some((node, _)) => findings.add(node.at, "host", wrong_type("[[host]] tables", node)),
    }
    &[]
}

fn host(fields: &Fields<'_>, drivers: &Registry, findings: &mut Findings) -> Option<InventoryHost> {
    let name = fields.require("name", "\"host-a\"", forms::host_name, findings);
    let ssh = fields.require("ssh", "\"root@host-a.example\"", forms::ssh_destination, findings);
    let known: Vec<&str> = drivers.all().map(Driver::name).collect();
    let driver = fields.read("driver", |node| forms::one_of(node, &known), findings);
    let mut flag = |key, default| fields.read(key, forms::flag, findings).unwrap_or(default);
    let (sudo, source, destination) = (flag("sudo", false), flag("source", true), flag("destination", true));
    let folder = fields.read("folder", forms::plain_folder, findings).unwrap_or_else(|| FOLDER.into());
    let bridge = fields.read("bridge", forms::device, findings);
    let shared = fields.read("shared", forms::absolute_path, findings);
    let service = attachment("service", fields, findings);
    let migration = attachment("migration", fields, findings);
    let (name, ssh) = name.map(HostId::new).zip(ssh)?;
    Some(InventoryHost {
        name,
        ssh,
        driver,
        sudo,
        folder,
        source,
        destination,
        bridge,
        shared,
        service,
        migration,
    })
}

fn attachment(key: &str, host: &Fields<'_>, findings: &mut Findings) -> Option<Attachment> {
    let fields = host.table(key, ATTACHMENT_KEYS, findings)?;
    let address: Option<Ipv4Addr> = fields.require("address", "\"192.0.2.11\"", forms::address, findings);
    let interface = fields.read("interface", forms::device, findings);
    let port = fields.read("port", forms::line, findings);
    Some(Attachment { address: address?, interface, port })
}
