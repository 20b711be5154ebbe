//! A testbed of machines that are reached through ssh, as an inventory describes them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin_record::{HostFingerprint, HostId, Links};

use super::fit::{check_addresses, check_bridges, is_in, places, prove_shared};
use super::host::SshHost;
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
            (Some(source), Some(destination)) => {
                let testbed = Self::of(inventory, [source?, destination?])?;
                testbed.hosts.iter().try_for_each(|host| host.claim())?;
                Ok(testbed)
            }
            _ => Err(no_route()),
        }
    }

    /// The testbed of two hosts that have been reached: those of [`Inventory::route`], in that order.
    ///
    /// # Errors
    /// Where they are not what the inventory says.
    pub fn of(inventory: &Inventory, mut hosts: [SshHost; 2]) -> Result<Self> {
        let ends = route(inventory)?;
        for network in Network::USUAL {
            let places = places([(ends[0], &hosts[0]), (ends[1], &hosts[1])], network)?;
            for (host, place) in hosts.iter_mut().zip(places) {
                host.places[network as usize] = place;
            }
        }
        check_bridges(inventory, [(ends[0], &hosts[0]), (ends[1], &hosts[1])])?;
        check_bench(inventory, &hosts)?;
        hosts.iter().try_for_each(SshHost::check_taps)?;
        let bench = bench_devices(inventory, &hosts)?;
        check_addresses(inventory, &hosts, bench[Network::Service as usize].as_ref())?;
        prove_shared([(ends[0], &hosts[0]), (ends[1], &hosts[1])])?;
        Ok(Self { inventory: inventory.clone(), hosts: hosts.map(Arc::new), bench })
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

    fn bench_device(&self, network: Network) -> Option<&Device> {
        self.bench.get(network as usize)?.as_ref()
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
        let tell = |host: &Arc<SshHost>| {
            let mut fingerprint = host.fingerprint();
            let said = self.inventory.hosts.iter().find(|said| said.name == *host.id());
            let reached = said.map(|said| ("ssh", Some(said.ssh.clone()))).into_iter();
            let at = |network: Network| {
                let address = host.address(network)?;
                Some(format!("{address} on {}", host.interface(network).unwrap_or("?")))
            };
            let networks = Network::USUAL.map(|network| (network.as_str(), at(network)));
            let bridge = [("bridge", host.bridge.clone())];
            let all = reached.chain(networks).chain(bridge);
            fingerprint.more.extend(all.filter_map(|(what, told)| Some((what.to_owned(), told?))));
            fingerprint
        };
        self.hosts.iter().map(tell).chain([bench]).collect()
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
                folder: host.folder.clone(),
            };
            let bridge = host.bridge.clone();
            scope.spawn(move || SshHost::connect(target, program, bridge))
        };
        let reaching: Vec<_> = hosts.iter().map(reach).collect();
        let panicked = || TestbedError::io("connect to a host")(std::io::Error::other("its thread panicked"));
        reaching.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(panicked()))).collect()
    })
}

/// The bench is where dunlin runs: what the inventory says of it must be so.
fn check_bench(inventory: &Inventory, hosts: &[SshHost]) -> Result<()> {
    let BenchPlace::OnHost(name) = &inventory.bench else { return Ok(()) };
    let Some(host) = hosts.iter().find(|host| host.id() == name) else { return Ok(()) };
    if host.machine.boot_id == services::boot_id() {
        return Ok(());
    }
    Err(TestbedError::Mismatch {
        what: format!(
            "the bench is not on {name}: this is another machine; run dunlin on {name} itself, or write bench = \"here\""
        ),
    })
}

/// The bench's own devices on the networks: those from which the routing would have it reach the hosts, where these are in
/// its subnet.
fn bench_devices(inventory: &Inventory, hosts: &[SshHost]) -> Result<[Option<Device>; 2]> {
    let own = services::devices().map_err(|error| {
        TestbedError::io("list this machine's network devices")(std::io::Error::other(error.to_string()))
    })?;
    let first_vm = inventory.vm_addresses.as_ref().and_then(|addresses| addresses.get(0));
    Ok(Network::USUAL.map(|network| {
        let of_host = hosts.first().and_then(|host| host.places[network as usize].address);
        let peer = first_vm.filter(|_| network == Network::Service).or(of_host)?;
        let from = services::source_for(peer).ok()?;
        own.iter().find(|device| device.address == from && is_in(device, peer)).cloned()
    }))
}
