//! Whether hosts are what an inventory says: their addresses, devices, bridges, and the storage that they share.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::host::{Place, SshHost};
use crate::helper::host_protocol::Device;
use crate::inventory::{Inventory, InventoryHost};
use crate::{Host, Network, Result, TestbedError};

/// How long a short program on a host may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A host with what the inventory says of it.
type End<'a> = (&'a InventoryHost, &'a SshHost);

/// Where two hosts are in a network: as the inventory says, else in the one subnet that both have.
pub(super) fn places(ends: [End<'_>; 2], network: Network) -> Result<[Place; 2]> {
    let devices = [ends[0].1.devices()?, ends[1].1.devices()?];
    let mut known = [None, None];
    for (number, (said, host)) in ends.iter().enumerate() {
        if let Some(attachment) = said.attachment(network) {
            let device = device_of(host, &devices[number], attachment.address)?;
            if let Some(interface) = &attachment.interface {
                check_device(host, interface, "interface")?;
            }
            known[number] = Some((device, attachment.interface.clone()));
        }
    }
    if known.iter().all(Option::is_none) {
        let (one, other) = common_subnet(&devices, [ends[0].1, ends[1].1], network)?;
        known = [Some((one, None)), Some((other, None))];
    }
    for number in [0, 1] {
        if known[number].is_none()
            && let Some((other, _)) = &known[1 - number]
        {
            let near = devices[number].iter().find(|device| is_in(other, device.address));
            let near = near.cloned().ok_or_else(|| {
                mismatch(format!(
                    "{} has no address in the subnet of {}: name one by `address` in [host.{network}]; it has {}",
                    ends[number].1.id(),
                    other.address,
                    list(&devices[number]),
                ))
            })?;
            known[number] = Some((near, None));
        }
    }
    Ok(known.map(|known| {
        let Some((device, interface)) = known else { return Place::default() };
        Place { address: Some(device.address), interface: interface.or(Some(device.name)) }
    }))
}

/// The device of a host that has an address.
fn device_of(host: &SshHost, devices: &[Device], address: Ipv4Addr) -> Result<Device> {
    devices
        .iter()
        .find(|device| device.address == address)
        .cloned()
        .ok_or_else(|| mismatch(format!("{} has no address {address}; it has {}", host.id(), list(devices))))
}

fn common_subnet(
    devices: &[Vec<Device>; 2],
    hosts: [&SshHost; 2],
    network: Network,
) -> Result<(Device, Device)> {
    let [one, other] = devices;
    let pairs: Vec<(&Device, &Device)> = one
        .iter()
        .flat_map(|device| other.iter().map(move |there| (device, there)))
        // What has the same address on both is each one's own, as a container engine's bridge is.
        .filter(|(device, there)| device.address != there.address)
        .filter(|(device, there)| device.prefix == there.prefix && is_in(device, there.address))
        .collect();
    match pairs.as_slice() {
        [(device, there)] => Ok(((*device).clone(), (*there).clone())),
        _ => Err(mismatch(format!(
            "which is the {network} network cannot be told, as {} and {} have {} subnets in common: name it by `address` \
             in [host.{network}]; {} has {}, {} has {}",
            hosts[0].id(),
            hosts[1].id(),
            pairs.len(),
            hosts[0].id(),
            list(one),
            hosts[1].id(),
            list(other),
        ))),
    }
}

fn list(devices: &[Device]) -> String {
    let words: Vec<String> =
        devices.iter().map(|one| format!("{}/{} on {}", one.address, one.prefix, one.name)).collect();
    if words.is_empty() { "no IPv4 address".into() } else { words.join(", ") }
}

/// Whether an address is in a device's subnet.
pub(super) fn is_in(device: &Device, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(device.prefix.min(32))).unwrap_or(0);
    u32::from(device.address) & mask == u32::from(address) & mask
}

/// A device that the inventory names must be there.
fn check_device(host: &SshHost, name: &str, key: &str) -> Result<()> {
    if is_folder(host, &Path::new("/sys/class/net").join(name))? {
        return Ok(());
    }
    Err(mismatch(format!("{} has no device {name} (`{key}`)", host.id())))
}

fn is_folder(host: &SshHost, path: &Path) -> Result<bool> {
    let args: [OsString; 2] = ["-d".into(), path.into()];
    Ok(host.run(Path::new("test"), &args, LIMIT)?.success)
}

/// The bridges that taps are to join must be there, and be bridges.
pub(super) fn check_bridges(inventory: &Inventory, ends: [End<'_>; 2]) -> Result<()> {
    for (said, host) in ends {
        let Some(bridge) = &said.bridge else {
            if inventory.vm_addresses.is_some() {
                let why = "VMs are given addresses, and have no network there";
                return Err(mismatch(format!("{} has no `bridge`: {why}", host.id())));
            }
            continue;
        };
        check_device(host, bridge, "bridge")?;
        if !is_folder(host, &Path::new("/sys/class/net").join(bridge).join("bridge"))? {
            return Err(mismatch(format!("{bridge} of {} is no bridge", host.id())));
        }
    }
    Ok(())
}

/// What VMs are given must be free, and in the network in which hosts and bench are.
pub(super) fn check_addresses(
    inventory: &Inventory,
    hosts: &[SshHost; 2],
    bench: Option<&Device>,
) -> Result<()> {
    let Some(range) = &inventory.vm_addresses else { return Ok(()) };
    let Some(bench) = bench else {
        return Err(mismatch(format!(
            "this machine has no device in the network of {}: probes go straight to the VMs; run dunlin on a machine of the \
             service network",
            range.first
        )));
    };
    if bench.prefix != range.prefix {
        return Err(mismatch(format!(
            "vms.prefix is {}, and that of {} on this machine's {} is {}",
            range.prefix, bench.address, bench.name, bench.prefix
        )));
    }
    let is_given = |address: &Ipv4Addr| (range.first..=range.last).contains(address);
    if is_given(&bench.address) {
        return Err(mismatch(format!("vms.addresses: {} is this machine's own", bench.address)));
    }
    for host in hosts {
        if let Some(device) = host.devices()?.iter().find(|device| is_given(&device.address)) {
            return Err(mismatch(format!("vms.addresses: {} is {}'s own", device.address, host.id())));
        }
    }
    Ok(())
}

/// Proves, from both ends, that storage which is said to be shared is.
pub(super) fn prove_shared(ends: [End<'_>; 2]) -> Result<()> {
    let [Some(_), Some(_)] = ends.map(|(said, _)| said.shared.as_ref()) else { return Ok(()) };
    let name = format!(".dunlin-{}-{}", std::process::id(), dunlin_clock::now_ns());
    for (number, (writer, reader)) in [(ends[0], ends[1]), (ends[1], ends[0])].into_iter().enumerate() {
        let ((said, writer), (also, reader)) = (writer, reader);
        let (Some(to), Some(at)) = (&said.shared, &also.shared) else { continue };
        // Never made: where it is not there, what is meant is not mounted.
        if !is_folder(writer, to)? {
            return Err(mismatch(format!(
                "{} has no folder {} (`shared`): is it mounted?",
                writer.id(),
                to.display()
            )));
        }
        let name = format!("{name}-{number}");
        let written = to.join(&name);
        writer.write_private(&written, name.as_bytes())?;
        let found = reader.read(&at.join(&name));
        let removed = writer.remove(&written);
        if !found.is_ok_and(|bytes| bytes == name.as_bytes()) {
            return Err(mismatch(format!(
                "{} and {} do not share {} and {} (`shared`): {} does not read what {} wrote there",
                writer.id(),
                reader.id(),
                to.display(),
                at.display(),
                reader.id(),
                writer.id(),
            )));
        }
        removed?;
    }
    Ok(())
}

fn mismatch(what: String) -> TestbedError {
    TestbedError::Mismatch { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(address: [u8; 4], prefix: u8) -> Device {
        Device { name: "eth0".into(), address: address.into(), prefix, mtu: None, mac: None }
    }

    #[test]
    fn an_address_is_in_the_subnet_of_its_prefix() {
        let host = device([192, 0, 2, 11], 24);
        assert!(is_in(&host, [192, 0, 2, 200].into()) && !is_in(&host, [192, 0, 3, 11].into()));
        assert!(is_in(&device([10, 0, 0, 1], 0), [192, 0, 2, 1].into()));
        assert!(!is_in(&device([10, 0, 0, 1], 32), [10, 0, 0, 2].into()));
    }
}
