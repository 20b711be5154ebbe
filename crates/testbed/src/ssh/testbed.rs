//! A testbed of machines that are reached through ssh, as an inventory describes them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin_record::{HostFingerprint, HostId, Links};

use super::host::{Place, SshHost};
use super::{HelperProgram, Target};
use crate::helper::host_protocol::Device;
use crate::helper::services;
use crate::inventory::{BenchPlace, Inventory, InventoryHost};
use crate::{Host, MacAddress, Network, Result, Testbed, TestbedError, this_machine};

/// Machines that are reached through ssh. Dropping it ends all that was started there, and nothing of ours stays.
#[derive(Debug)]
pub struct SshTestbed {
    inventory: Inventory,
    hosts: [Arc<SshHost>; 2],
    bench: [Option<Device>; 2],
}

impl SshTestbed {
    /// Connects to those hosts of an inventory between which VMs are moved, and finds out how they are in the networks.
    ///
    /// # Errors
    /// Where a host cannot be reached or used, or is not what the inventory says.
    pub fn connect(inventory: &Inventory, program: HelperProgram) -> Result<Self> {
        let ends = route(inventory)?;
        let mut hosts = reach_all(inventory, &ends, program).into_iter();
        match (hosts.next(), hosts.next()) {
            (Some(source), Some(destination)) => Self::of(inventory, [source?, destination?]),
            _ => Err(no_route()),
        }
    }

    /// The testbed of two hosts that have been reached: those of [`Inventory::route`], in that order.
    ///
    /// # Errors
    /// Where they are not what the inventory says.
    pub fn of(inventory: &Inventory, mut hosts: [SshHost; 2]) -> Result<Self> {
        let ends = route(inventory)?;
        for network in Network::ALL {
            let places = places([(ends[0], &hosts[0]), (ends[1], &hosts[1])], network)?;
            for (host, place) in hosts.iter_mut().zip(places) {
                host.places[network as usize] = place;
            }
        }
        check_bench(inventory, &hosts)?;
        hosts.iter().try_for_each(SshHost::check_taps)?;
        let bench = bench_devices(inventory, &hosts)?;
        let testbed = Self { inventory: inventory.clone(), hosts: hosts.map(Arc::new), bench };
        testbed.prove_shared(ends)?;
        Ok(testbed)
    }

    /// Source and destination.
    #[must_use]
    pub fn ends(&self) -> [&SshHost; 2] {
        self.hosts.each_ref().map(|host| &**host)
    }

    /// Largest frames, in bytes, of the hosts' devices on the migration network; absent where one is not known.
    #[must_use]
    pub fn migration_mtu(&self) -> Option<u32> {
        let mtu = |host: &Arc<SshHost>| {
            let place = &host.places[Network::Migration as usize];
            let devices = host.devices().ok()?;
            devices.iter().find(|device| Some(device.address) == place.address)?.mtu
        };
        self.hosts.iter().map(mtu).min().flatten()
    }

    /// Proves, from both ends, that storage which is said to be shared is.
    fn prove_shared(&self, ends: [&InventoryHost; 2]) -> Result<()> {
        let [Some(source), Some(destination)] = ends.map(|end| end.shared.as_ref()) else { return Ok(()) };
        let name = format!(".dunlin-{}-{}", std::process::id(), dunlin_clock::now_ns());
        for (number, (writer, to), (reader, at)) in [
            (0, (&self.hosts[0], source), (&self.hosts[1], destination)),
            (1, (&self.hosts[1], destination), (&self.hosts[0], source)),
        ] {
            let name = format!("{name}-{number}");
            let (written, read) = (to.join(&name), at.join(&name));
            writer.write_private(&written, name.as_bytes())?;
            let found = reader.read(&read);
            let removed = writer.remove(&written);
            if !found.is_ok_and(|bytes| bytes == name.as_bytes()) {
                return Err(TestbedError::Unsupported {
                    what: format!(
                        "shared storage at {} of {} and {} of {}",
                        to.display(),
                        writer.id(),
                        at.display(),
                        reader.id()
                    ),
                    because: format!("{} does not read what {} wrote there", reader.id(), writer.id()),
                });
            }
            removed?;
        }
        Ok(())
    }

    fn bench_device(&self, network: Network) -> Option<&Device> {
        self.bench[network as usize].as_ref()
    }
}

impl Testbed for SshTestbed {
    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::<SshHost>::clone(host) as Arc<dyn Host>).collect()
    }

    fn bench_address(&self, network: Network) -> Option<Ipv4Addr> {
        self.bench_device(network).map(|device| device.address)
    }

    fn bench_interface(&self, network: Network) -> Option<&str> {
        self.bench_device(network).map(|device| device.name.as_str())
    }

    fn bench_mac(&self, network: Network) -> Option<MacAddress> {
        self.bench_device(network).and_then(|device| device.mac).map(MacAddress::new)
    }

    fn vm_address(&self, number: u8) -> Option<(Ipv4Addr, u8)> {
        let addresses = self.inventory.vm_addresses.as_ref()?;
        Some((addresses.get(number)?, addresses.prefix))
    }

    fn is_one_machine(&self) -> bool {
        false
    }

    /// They are as they are.
    fn links(&self) -> Option<&Links> {
        None
    }

    fn shared_folders(&self) -> Option<[PathBuf; 2]> {
        let (source, destination) = self.inventory.route()?;
        Some([source.shared.clone()?, destination.shared.clone()?])
    }

    fn switch_port(&self, host: &HostId, network: Network) -> Option<String> {
        let host = self.inventory.hosts.iter().find(|known| known.name == *host)?;
        host.attachment(network)?.port.clone()
    }

    fn fingerprints(&self) -> Vec<HostFingerprint> {
        let bench = HostFingerprint { hosts: "bench".into(), ..this_machine() };
        self.hosts.iter().map(|host| host.fingerprint()).chain([bench]).collect()
    }
}

/// Source and destination.
fn route(inventory: &Inventory) -> Result<[&InventoryHost; 2]> {
    inventory.route().map(|(source, destination)| [source, destination]).ok_or_else(no_route)
}

fn no_route() -> TestbedError {
    TestbedError::Unsupported {
        what: "a migration".into(),
        because: "the inventory has no source with another host as destination".into(),
    }
}

/// Connects to hosts of an inventory, to all at once, and starts our program on each.
#[must_use]
pub fn reach_all(
    inventory: &Inventory,
    hosts: &[&InventoryHost],
    program: HelperProgram,
) -> Vec<Result<SshHost>> {
    std::thread::scope(|scope| {
        let reach = |host: &&InventoryHost| {
            let target = Target {
                id: host.name.clone(),
                destination: host.ssh.clone(),
                config: inventory.ssh_config.clone(),
                sudo: host.sudo,
                folder: Some(host.folder.clone()),
            };
            let bridge = host.bridge.clone();
            scope.spawn(move || SshHost::connect(target, program, bridge))
        };
        let reaching: Vec<_> = hosts.iter().map(reach).collect();
        let panicked = || TestbedError::io("connect to a host")(std::io::Error::other("its thread panicked"));
        reaching.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(panicked()))).collect()
    })
}

/// Where two hosts are in a network: as the inventory says, else in the one subnet that both have.
fn places(ends: [(&InventoryHost, &SshHost); 2], network: Network) -> Result<[Place; 2]> {
    let devices = [ends[0].1.devices()?, ends[1].1.devices()?];
    let mut known = [None, None];
    for (number, (said, host)) in ends.iter().enumerate() {
        if let Some(attachment) = said.attachment(network) {
            let device = device_of(host, &devices[number], attachment.address)?;
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
            let near = near.cloned().ok_or_else(|| TestbedError::Unsupported {
                what: format!("the {network} network on {}", ends[number].1.id()),
                because: format!(
                    "it has no address in the subnet of {}: name one by `address` in [host.{network}]; it has {}",
                    other.address,
                    list(&devices[number]),
                ),
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
    devices.iter().find(|device| device.address == address).cloned().ok_or_else(|| {
        TestbedError::Unsupported {
            what: format!("{address} as an address of {}", host.id()),
            because: format!("it has {}", list(devices)),
        }
    })
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
        _ => Err(TestbedError::Unsupported {
            what: format!("the {network} network between {} and {}", hosts[0].id(), hosts[1].id()),
            because: format!(
                "they have {} subnets in common: name it by `address` in [host.{network}]; {} has {}, {} has {}",
                pairs.len(),
                hosts[0].id(),
                list(one),
                hosts[1].id(),
                list(other),
            ),
        }),
    }
}

fn list(devices: &[Device]) -> String {
    let words: Vec<String> =
        devices.iter().map(|one| format!("{}/{} on {}", one.address, one.prefix, one.name)).collect();
    if words.is_empty() { "no IPv4 address".into() } else { words.join(", ") }
}

/// Whether an address is in a device's subnet.
fn is_in(device: &Device, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(device.prefix.min(32))).unwrap_or(0);
    u32::from(device.address) & mask == u32::from(address) & mask
}

/// The bench is where dunlin runs: what the inventory says of it must be so.
fn check_bench(inventory: &Inventory, hosts: &[SshHost]) -> Result<()> {
    let BenchPlace::OnHost(name) = &inventory.bench else { return Ok(()) };
    let Some(host) = hosts.iter().find(|host| host.id() == name) else { return Ok(()) };
    if host.machine.boot_id == services::boot_id() {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: format!("a bench on {name}"),
        because: format!("this is another machine: run dunlin on {name} itself, or write bench = \"here\""),
    })
}

/// The bench's own devices on the networks: those from which the routing would have it reach the hosts, where these are in
/// its subnet.
fn bench_devices(inventory: &Inventory, hosts: &[SshHost]) -> Result<[Option<Device>; 2]> {
    let own = services::devices().map_err(|error| {
        TestbedError::io("list this machine's network devices")(std::io::Error::other(error.to_string()))
    })?;
    let first_vm = inventory.vm_addresses.as_ref().and_then(|addresses| addresses.get(0));
    Ok(Network::ALL.map(|network| {
        let of_host = hosts.first().and_then(|host| host.places[network as usize].address);
        let peer = first_vm.filter(|_| network == Network::Service).or(of_host)?;
        let from = services::source_for(peer).ok()?;
        own.iter().find(|device| device.address == from && is_in(device, peer)).cloned()
    }))
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
