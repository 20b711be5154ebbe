//! The lab: a testbed of two hosts, a switch and a bench, made of network namespaces on one machine.
//!
//! ```text
//!                    switch
//!   host-a ──────┬─ service ──┬────── host-b         taps of VMs are ports of each host's own bridge "service"
//!          ──────┼─ migration ┼──────
//!                └── bench ───┘                      the network namespace of the process that owns the lab
//! ```

mod managed_switch;
mod second_link;
mod wiring;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{HostFingerprint, HostId, Link, Links};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bootstrap::{Inside, SCRATCH};
use crate::namespace::Namespace;
use crate::netlink::{Netlink, Shape};
use crate::{Host, LabHost, MacAddress, Network, Relay, Result, TestbedError, device, fingerprint, sysctl};
pub use managed_switch::ManagedSwitch;
pub use second_link::{SECOND_LINK, check_mptcp};
use wiring::{Cable, Place};

/// The hosts' names and the last byte of their addresses.
const HOSTS: [(&str, u8); 2] = [("host-a", 11), ("host-b", 12)];
/// The last byte of the bench's addresses.
const BENCH: u8 = 1;
/// The last byte of the switch's address on the service network, where it can be managed.
const SWITCH: u8 = 2;
/// The last byte of the first VM's address.
const FIRST_VM: u8 = 100;
/// Every network's prefix.
const PREFIX: u8 = 24;
/// How long a new lab may take until frames pass.
const REACH_LIMIT: Duration = Duration::from_secs(10);

/// A lab to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct LabSpec {
    /// Rate and delay of each host's link to each network.
    pub links: Links,
    /// How many frames may wait at a VM's tap for the VM to take them.
    pub tap_queue_frames: u32,
    /// Whether the bench reaches the service network through a relay on which outages can be injected.
    pub injector: bool,
    /// Whether the hosts have a second link to each other, like that to the migration network, for MPTCP.
    pub second_link: bool,
}

impl LabSpec {
    /// A lab with these links, the kernel's usual tap queue, no injector and no second link.
    #[must_use]
    pub fn new(links: Links) -> Self {
        Self { links, tap_queue_frames: 1000, injector: false, second_link: false }
    }
}

/// A running lab. Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct Lab {
    // First, so that all processes have ended before the relays go.
    _remains: Remains,
    hosts: [Arc<LabHost>; 2],
    switch: Namespace,
    injector: Option<Relay>,
    /// Kept alive for the links they carry.
    _relays: Vec<Relay>,
    congestion_control: String,
}

impl Lab {
    /// Makes the lab and waits until its hosts can be reached. There can be one at a time.
    ///
    /// # Errors
    /// Where a link cannot be had as asked, or the system refuses anything; nothing of the lab then remains.
    pub fn up(inside: &Inside, spec: &LabSpec) -> Result<Self> {
        check(&spec.links)?;
        // VMs will need it: better refused now than when the first is to start.
        device::open_tun()?;
        let mut remains = Remains::default();
        let congestion_control = sysctl::congestion_control()?;
        let switch = remains.namespace("switch")?;
        let names = HOSTS.map(|(name, _)| name);
        let [a, b] = names.map(|name| remains.namespace(name));
        let places = [a?, b?];
        let bench = inside.namespace();
        for namespace in [bench, &switch, &places[0], &places[1]] {
            sysctl::settle(namespace)?;
            Netlink::open(namespace)?.set_up("lo")?;
        }
        wiring::add_switch_bridges(&switch, &congestion_control)?;

        let netem = Netlink::open(&switch)?.has_netem()?;
        let mut relays = Vec::new();
        let mut injector = None;
        for network in Network::ALL {
            let shape = shape(link_of(&spec.links, network));
            let cable = |shape, relayed| Cable {
                network,
                switch: &switch,
                shape,
                relayed,
                congestion_control: &congestion_control,
            };
            for (place, (_, last)) in places.iter().zip(HOSTS) {
                let relayed = !shape.delay.is_zero() && !netem;
                let place = Place { namespace: place, last, has_taps: network == Network::Service };
                relays.extend(cable(shape, relayed).connect(place)?);
            }
            remains.bench_devices.push(network.as_str());
            let relayed = spec.injector && network == Network::Service;
            let place = Place { namespace: bench, last: BENCH, has_taps: false };
            injector = cable(Shape::default(), relayed).connect(place)?.or(injector);
        }
        if spec.second_link {
            let mut shape = shape(&spec.links.migration);
            let relayed = !shape.delay.is_zero() && !netem;
            // The way over the switch is two cables long.
            shape.delay *= 2;
            let cable = Cable {
                network: Network::Migration,
                switch: &switch,
                shape,
                relayed,
                congestion_control: &congestion_control,
            };
            let ends = [(&places[0], HOSTS[0].1), (&places[1], HOSTS[1].1)];
            relays.extend(second_link::lay(cable, ends)?);
        }
        wiring::introduce(bench, &places, &HOSTS.map(|(_, last)| last))?;

        let hosts = make_hosts(places, spec, &congestion_control)?;
        let lab = Self { _remains: remains, hosts, switch, injector, _relays: relays, congestion_control };
        lab.wait_until_reachable()?;
        Ok(lab)
    }

    /// Its hosts, `host-a` and `host-b`.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<LabHost>; 2] {
        &self.hosts
    }

    /// The name of the switch's port to a host on a network; absent where the host is not of this lab.
    #[must_use]
    pub fn switch_port(&self, host: &HostId, network: Network) -> Option<String> {
        let (_, last) = HOSTS.iter().find(|(name, _)| *name == host.as_str())?;
        Some(wiring::port(network, *last))
    }

    /// The bench's address on a network.
    #[must_use]
    pub fn bench_address(&self, network: Network) -> Ipv4Addr {
        address(network, BENCH)
    }

    /// The bench's hardware address on a network.
    #[must_use]
    pub fn bench_mac(&self, network: Network) -> MacAddress {
        wiring::mac(network, BENCH)
    }

    /// The address on the service network of the VM with this number, from 0; and its network's prefix length.
    #[must_use]
    pub fn vm_address(&self, number: u8) -> (Ipv4Addr, u8) {
        (address(Network::Service, FIRST_VM.saturating_add(number)), PREFIX)
    }

    /// Fixes a VM's hardware address at the bench, so that no address resolution is measured as an outage.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn introduce_vm(&self, address: Ipv4Addr, mac: MacAddress) -> Result<()> {
        Netlink::open_here("bench")?.set_neighbour(Network::Service.as_str(), address, mac)
    }

    /// The bench's device on a network.
    #[must_use]
    pub fn bench_interface(&self, network: Network) -> &'static str {
        network.as_str()
    }

    /// The relay between the service network (its end `a`) and the bench (`b`), if the lab was made with one.
    #[must_use]
    pub fn injector(&self) -> Option<&Relay> {
        self.injector.as_ref()
    }

    /// What machine the whole lab is.
    #[must_use]
    pub fn fingerprint(&self) -> HostFingerprint {
        let names: Vec<&str> = HOSTS.iter().map(|(name, _)| *name).chain(["bench"]).collect();
        fingerprint::read(names.join(", "), &self.congestion_control)
    }

    /// Bridges and carriers come up a moment after they were told to.
    fn wait_until_reachable(&self) -> Result<()> {
        let deadline = Deadline::after(REACH_LIMIT);
        for host in &self.hosts {
            for network in Network::ALL {
                let address = SocketAddr::from((host.address(network), 1));
                while !answers(address, deadline.step(Duration::from_millis(200))) {
                    if deadline.passed() {
                        let waiting_for = format!("an answer of {} over the {network} network", host.id());
                        return Err(TestbedError::Timeout {
                            waiting_for,
                            after_s: REACH_LIMIT.as_secs_f64(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// What must be taken away by hand at the end; the rest goes with the last process or descriptor.
#[derive(Debug, Default)]
struct Remains {
    names: Vec<&'static str>,
    bench_devices: Vec<&'static str>,
}

impl Remains {
    fn namespace(&mut self, name: &'static str) -> Result<Namespace> {
        let namespace = Namespace::create(name)?;
        self.names.push(name);
        Ok(namespace)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // Each step can only fail where there is nothing left to do.
        if nix::unistd::getpid().as_raw() == 1 {
            // As the first process of its own pid namespace: everybody else in it.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
        if let Ok(mut bench) = Netlink::open_here("bench") {
            for device in &self.bench_devices {
                let _ = bench.delete(device);
            }
        }
        for name in &self.names {
            crate::namespace::unname(name);
            let _ = fs::remove_dir_all(Path::new(SCRATCH).join(name));
        }
    }
}

fn make_hosts(places: [Namespace; 2], spec: &LabSpec, congestion_control: &str) -> Result<[Arc<LabHost>; 2]> {
    let make = |namespace: Namespace, last: u8| {
        let scratch = Path::new(SCRATCH).join(namespace.name());
        fs::create_dir_all(&scratch).map_err(TestbedError::io(format!("create {}", scratch.display())))?;
        Ok(Arc::new(LabHost {
            id: HostId::new(namespace.name()),
            namespace,
            scratch,
            addresses: Network::ALL.map(|network| address(network, last)),
            interfaces: [wiring::UPLINK, Network::Migration.as_str()],
            bridge: Network::Service.as_str(),
            tap_queue_frames: spec.tap_queue_frames,
            congestion_control: congestion_control.to_owned(),
        }))
    };
    let [a, b] = places;
    Ok([make(a, HOSTS[0].1)?, make(b, HOSTS[1].1)?])
}

fn address(network: Network, last: u8) -> Ipv4Addr {
    match network {
        Network::Service => Ipv4Addr::new(10, 77, 0, last),
        Network::Migration => Ipv4Addr::new(10, 78, 0, last),
    }
}

fn link_of(links: &Links, network: Network) -> &Link {
    match network {
        Network::Service => &links.service,
        Network::Migration => &links.migration,
    }
}

fn shape(link: &Link) -> Shape {
    Shape { rate_mbit: link.rate_mbit, delay: Duration::from_secs_f64(link.delay_ms / 1e3) }
}

/// Scenarios are checked when they are read; this keeps a figure made elsewhere from a panic.
fn check(links: &Links) -> Result<()> {
    for network in Network::ALL {
        let link = link_of(links, network);
        let rate_is_sane = link.rate_mbit.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        if !rate_is_sane || !(0.0..=60_000.0).contains(&link.delay_ms) {
            return Err(TestbedError::Unsupported {
                what: format!("a {network} link of {:?} Mbit/s and {} ms", link.rate_mbit, link.delay_ms),
                because: "a rate must be above 0, a delay between 0 and 60000 ms".into(),
            });
        }
    }
    Ok(())
}

/// Whether somebody answers there: a refused connection is an answer.
fn answers(address: SocketAddr, limit: Duration) -> bool {
    // A limit of zero is no limit but an error.
    match TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1))) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}
