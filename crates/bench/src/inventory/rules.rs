//! What must hold between the values of an inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use dunlin_testbed::{BenchPlace, Inventory, InventoryHost, Network, VmAddresses};

use super::fields::Fields;
use crate::toml_file::{Findings, missing};

/// The most addresses that VMs may get.
const ADDRESSES_MAX: u32 = 200;

/// Checks an inventory as a whole. `places` are the hosts' own.
pub(super) fn check(
    inventory: &Inventory,
    file: &Fields<'_>,
    places: &[Fields<'_>],
    findings: &mut Findings,
) {
    names(&inventory.hosts, places, findings);
    addresses(inventory, places, findings);
    if let BenchPlace::OnHost(name) = &inventory.bench
        && !inventory.hosts.iter().any(|host| host.name == *name)
    {
        let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
        let expected = format!("\"here\" or the name of a host: {}", names.join(", "));
        file.contradiction(&["bench"], &expected, findings);
    }
    let at = file.node("host").map_or(0, |node| node.at);
    if inventory.hosts.len() < 2 {
        findings.add(at, "host", missing("at least two [[host]]"));
    } else if findings.is_empty() && inventory.route().is_none() {
        let expected =
            "a host that is a source (source = true) and another that is a destination (destination = true)";
        findings.add(at, "host", missing(expected));
    }
}

/// Checks that a range is one: of a network's own addresses, ascending, not too many.
pub(super) fn range(range: &VmAddresses, vms: &Fields<'_>, findings: &mut Findings) {
    let VmAddresses { first, last, prefix } = *range;
    let host_bits = u32::MAX >> prefix;
    let network = |address: Ipv4Addr| u32::from(address) & !host_bits;
    let is_hosts = |address: Ipv4Addr| ![0, host_bits].contains(&(u32::from(address) & host_bits));
    let expected = if last < first {
        "the lower address of the range first".to_owned()
    } else if range.count() > ADDRESSES_MAX {
        format!("at most {ADDRESSES_MAX} addresses")
    } else if network(first) != network(last) {
        format!("addresses of one network (vms.prefix = {prefix})")
    } else if !is_hosts(first) || !is_hosts(last) {
        format!("neither the network's own address nor its broadcast (vms.prefix = {prefix})")
    } else {
        return;
    };
    vms.contradiction(&["addresses"], &expected, findings);
}

fn names(hosts: &[InventoryHost], places: &[Fields<'_>], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (host, place) in hosts.iter().zip(places) {
        if !seen.insert(host.name.as_str()) {
            place.contradiction(&["name"], "a name that no other host has", findings);
        }
    }
}

/// One host may have the same address in both networks, which are one then; no other host may have it, nor a VM.
fn addresses(inventory: &Inventory, places: &[Fields<'_>], findings: &mut Findings) {
    let mut owners: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    for (index, (host, place)) in inventory.hosts.iter().zip(places).enumerate() {
        for network in Network::USUAL {
            let Some(address) = host.attachment(network).map(|attachment| attachment.address) else {
                continue;
            };
            let keys = [network.as_str(), "address"];
            if *owners.entry(address).or_insert(index) != index {
                place.contradiction(&keys, "an address that no other host has", findings);
            }
            if inventory.vm_addresses.is_some_and(|vms| (vms.first..=vms.last).contains(&address)) {
                place.contradiction(&keys, "an address that is none of vms.addresses", findings);
            }
        }
    }
}
