//! The lab: a testbed of hosts, a switch and a bench, made of namespaces on one machine.
//!
//! A host is a network namespace, or a *node*, which has all else of its own too.
//!
//! ```text
//!                    switch
//!   host-a ──────┬─ service ──┬────── host-b         taps of VMs are ports of each host's own bridge "service"
//!          ──────┼─ migration ┼──────
//!                └── bench ───┘                      the network namespace of the process that owns the lab
//! ```
//!
//! Where storage is asked for, the switch joins the hosts to one more, `storage`, by a third network on which nobody else is.

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
use dunlin_wire::SnmpAgent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bootstrap::{Inside, SCRATCH};
use crate::namespace::Namespace;
use crate::netlink::{Netlink, Shape};
use crate::node::Node;
use crate::{
    Host, LabHost, MacAddress, Network, Relay, Result, Testbed, TestbedError, device, fingerprint, node,
    sysctl,
};
pub use managed_switch::ManagedSwitch;
pub use second_link::{SECOND_LINK, check_mptcp};
use wiring::{Cable, Place};

/// The last byte of the first host's addresses.
const FIRST_HOST: u8 = 11;
/// A lab's hosts at most: they are named by letters.
const HOSTS_MAX: u8 = 26;
/// The last byte of the bench's addresses.
const BENCH: u8 = 1;
/// The last byte of the switch's address on the service network, where it can be managed.
const SWITCH: u8 = 2;
/// The last byte of the storage host's address.
const STORAGE: u8 = 3;
/// The storage host's name.
const STORAGE_HOST: &str = "storage";
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
    /// Whether the first two hosts have a second link to each other, like that to the migration network, for MPTCP.
    pub second_link: bool,
    /// Whether there is one more host, a node, that the others reach over a network of its own, to serve them storage.
    pub storage: bool,
    /// How many hosts: `host-a`, `host-b` and so on, from 1 to 26.
    pub hosts: u8,
    /// What they are.
    pub kind: HostKind,
    /// By how many seconds each host's monotonic and boot-time clocks are off from the bench's, in the hosts' order; those
    /// that are not named have the bench's. Only nodes can have clocks of their own, and those then have no helper.
    pub clock_offsets_s: Vec<i64>,
}

/// What a host of a lab is. There is room for more: a *machine*, say, which a QEMU runs whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKind {
    /// A network namespace: its programs share all else with the lab.
    #[default]
    Namespace,
    /// A network namespace with pid, mount, uts and ipc namespaces of its own, so that daemons can live in it.
    Node,
}

impl LabSpec {
    /// A lab of two namespaces with these links, the kernel's usual tap queue, no injector and no second link.
    #[must_use]
    pub fn new(links: Links) -> Self {
        Self {
            links,
            tap_queue_frames: 1000,
            injector: false,
            second_link: false,
            storage: false,
            hosts: 2,
            kind: HostKind::default(),
            clock_offsets_s: Vec::new(),
        }
    }

    /// The networks it has.
    fn networks(&self) -> &'static [Network] {
        if self.storage { &Network::ALL } else { &Network::USUAL }
    }
}

/// A running lab. Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct Lab {
    // First, so that all processes have ended before the relays go.
    _remains: Remains,
    hosts: Vec<Arc<LabHost>>,
    storage_host: Option<Arc<LabHost>>,
    links: Links,
    second_link: bool,
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
        check(spec)?;
        // VMs will need it: better refused now than when the first is to start.
        device::open_tun()?;
        let mut remains = Remains::default();
        let congestion_control = sysctl::congestion_control()?;
        let switch = remains.namespace("switch")?;
        let names = (0..spec.hosts).map(host_name);
        let places = names.map(|name| remains.namespace(&name)).collect::<Result<Vec<_>>>()?;
        let storage = spec.storage.then(|| remains.namespace(STORAGE_HOST)).transpose()?;
        let bench = inside.namespace();
        for namespace in [bench, &switch].into_iter().chain(&places).chain(&storage) {
            sysctl::settle(namespace)?;
            Netlink::open(namespace)?.set_up("lo")?;
        }
        wiring::add_switch_bridges(&switch, spec.networks(), &congestion_control)?;

        let netem = Netlink::open(&switch)?.has_netem()?;
        let mut relays = Vec::new();
        let mut injector = None;
        for &network in spec.networks() {
            let shape = shape(link_of(&spec.links, network));
            let cable = |shape, relayed| Cable {
                network,
                switch: &switch,
                shape,
                relayed,
                congestion_control: &congestion_control,
            };
            let mut on_it: Vec<_> = places.iter().zip(FIRST_HOST..).collect();
            on_it
                .extend(storage.iter().filter(|_| network == Network::Storage).map(|place| (place, STORAGE)));
            for &(namespace, last) in &on_it {
                let relayed = !shape.delay.is_zero() && !netem;
                let place = Place { namespace, last, has_taps: network == Network::Service };
                relays.extend(cable(shape, relayed).connect(place)?);
            }
            if Network::USUAL.contains(&network) {
                remains.bench_devices.push(network.as_str());
                let relayed = spec.injector && network == Network::Service;
                let place = Place { namespace: bench, last: BENCH, has_taps: false };
                injector = cable(Shape::default(), relayed).connect(place)?.or(injector);
                on_it.push((bench, BENCH));
            }
            wiring::introduce(network, &on_it)?;
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
            let ends = [(&places[0], FIRST_HOST), (&places[1], FIRST_HOST + 1)];
            relays.extend(second_link::lay(cable, ends)?);
        }
        let hosts = make_hosts(places, spec, &congestion_control)?;
        let storage_host =
            storage.map(|place| make_storage_host(place, spec, &congestion_control)).transpose()?;
        let lab = Self {
            _remains: remains,
            hosts,
            storage_host,
            links: spec.links.clone(),
            second_link: spec.second_link,
            switch,
            injector,
            _relays: relays,
            congestion_control,
        };
        lab.wait_until_reachable()?;
        Ok(lab)
    }

    /// Its hosts, `host-a` and `host-b` and so on.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<LabHost>] {
        &self.hosts
    }

    /// The host that serves storage, if the lab was made with one.
    #[must_use]
    pub fn storage_host(&self) -> Option<&Arc<LabHost>> {
        self.storage_host.as_ref()
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

    /// The relay between the service network (its end `a`) and the bench (`b`), if the lab was made with one.
    #[must_use]
    pub fn injector(&self) -> Option<&Relay> {
        self.injector.as_ref()
    }

    /// Bridges and carriers come up a moment after they were told to.
    fn wait_until_reachable(&self) -> Result<()> {
        let deadline = Deadline::after(REACH_LIMIT);
        for host in &self.hosts {
            for network in Network::USUAL {
                wait_until_it_answers(host, network, deadline)?;
            }
            if let Some(storage) = &self.storage_host {
                host.inside(|| wait_until_it_answers(storage, Network::Storage, deadline))?;
            }
        }
        Ok(())
    }
}

impl Testbed for Lab {
    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::<LabHost>::clone(host) as Arc<dyn Host>).collect()
    }

    fn storage_host(&self) -> Option<Arc<dyn Host>> {
        self.storage_host.as_ref().map(|host| Arc::<LabHost>::clone(host) as Arc<dyn Host>)
    }

    fn bench_address(&self, network: Network) -> Option<Ipv4Addr> {
        Network::USUAL.contains(&network).then(|| self.bench_address(network))
    }

    fn bench_interface(&self, network: Network) -> Option<&str> {
        Network::USUAL.contains(&network).then_some(network.as_str())
    }

    fn bench_mac(&self, network: Network) -> Option<MacAddress> {
        Network::USUAL.contains(&network).then(|| wiring::mac(network, BENCH))
    }

    fn vm_address(&self, number: u8) -> Option<(Ipv4Addr, u8)> {
        Some((address(Network::Service, FIRST_VM.checked_add(number)?), PREFIX))
    }

    fn introduce_vm(&self, address: Ipv4Addr, mac: MacAddress) -> Result<()> {
        Netlink::open_here("bench")?.set_neighbour(Network::Service.as_str(), address, mac)
    }

    fn is_one_machine(&self) -> bool {
        true
    }

    fn links(&self) -> Option<&Links> {
        Some(&self.links)
    }

    fn second_link(&self) -> Option<&str> {
        self.second_link.then_some(SECOND_LINK)
    }

    fn switch_port(&self, host: &HostId, network: Network) -> Option<String> {
        let known = self.hosts.iter().chain(&self.storage_host).find(|known| known.id == *host)?;
        known.networks.contains(&network).then(|| wiring::port(network, known.last))
    }

    fn manage_switch(&self, agent: &SnmpAgent) -> Result<ManagedSwitch> {
        self.manage_switch(agent)
    }

    /// One machine is them all.
    fn fingerprints(&self) -> Vec<HostFingerprint> {
        let hosts = self.hosts.iter().chain(&self.storage_host).map(|host| host.id.as_str());
        let names: Vec<&str> = hosts.chain(["bench"]).collect();
        vec![fingerprint::read(names.join(", "), &self.congestion_control)]
    }
}

/// What must be taken away by hand at the end; the rest goes with the last process or descriptor.
#[derive(Debug, Default)]
struct Remains {
    names: Vec<String>,
    bench_devices: Vec<&'static str>,
}

impl Remains {
    fn namespace(&mut self, name: &str) -> Result<Namespace> {
        let namespace = Namespace::create(name)?;
        self.names.push(name.to_owned());
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

fn make_hosts(places: Vec<Namespace>, spec: &LabSpec, congestion_control: &str) -> Result<Vec<Arc<LabHost>>> {
    let names = hosts_file(spec);
    let offsets = spec.clock_offsets_s.iter().copied().chain(std::iter::repeat(0));
    let make = |((namespace, last), offset_s): ((Namespace, u8), i64)| {
        let scratch = Path::new(SCRATCH).join(namespace.name());
        let node = match spec.kind {
            HostKind::Namespace => {
                let doing = format!("create {}", scratch.display());
                fs::create_dir_all(&scratch).map_err(TestbedError::io(doing))?;
                None
            }
            HostKind::Node => Some(Node::make(&namespace, &names, &scratch, offset_s)?),
        };
        Ok(Arc::new(LabHost {
            id: HostId::new(namespace.name()),
            namespace,
            node,
            scratch,
            last,
            networks: spec.networks().to_vec(),
            bridge: Network::Service.as_str(),
            tap_queue_frames: spec.tap_queue_frames,
            congestion_control: congestion_control.to_owned(),
        }))
    };
    places.into_iter().zip(FIRST_HOST..).zip(offsets).map(make).collect()
}

/// Always a node: its servers take a machine for granted.
fn make_storage_host(namespace: Namespace, spec: &LabSpec, congestion_control: &str) -> Result<Arc<LabHost>> {
    let scratch = Path::new(SCRATCH).join(namespace.name());
    let node = Node::make(&namespace, &hosts_file(spec), &scratch, 0)?;
    Ok(Arc::new(LabHost {
        id: HostId::new(namespace.name()),
        namespace,
        node: Some(node),
        scratch,
        last: STORAGE,
        networks: vec![Network::Storage],
        bridge: Network::Service.as_str(),
        tap_queue_frames: spec.tap_queue_frames,
        congestion_control: congestion_control.to_owned(),
    }))
}

/// The name of the host of this number, from 0.
fn host_name(number: u8) -> String {
    format!("host-{}", char::from(b'a' + number % HOSTS_MAX))
}

/// By which names a node knows the others (hosts(5)): a host's own name is where hosts speak with each other.
fn hosts_file(spec: &LabSpec) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    if spec.storage {
        text.push_str(&format!("{} {STORAGE_HOST}\n", address(Network::Storage, STORAGE)));
    }
    for (number, last) in (0..spec.hosts).zip(FIRST_HOST..) {
        let name = host_name(number);
        let [service, migration] = Network::USUAL.map(|network| address(network, last));
        text.push_str(&format!("{migration} {name} {name}.migration\n{service} {name}.service\n"));
        if spec.storage {
            text.push_str(&format!("{} {name}.storage\n", address(Network::Storage, last)));
        }
    }
    text
}

pub(crate) fn address(network: Network, last: u8) -> Ipv4Addr {
    match network {
        Network::Service => Ipv4Addr::new(10, 77, 0, last),
        Network::Migration => Ipv4Addr::new(10, 78, 0, last),
        // 10.79.0.0 is the second link's.
        Network::Storage => Ipv4Addr::new(10, 80, 0, last),
    }
}

/// The device through which a host is in a network.
pub(crate) fn interface(network: Network) -> &'static str {
    match network {
        Network::Service => wiring::UPLINK,
        Network::Migration | Network::Storage => network.as_str(),
    }
}

fn link_of(links: &Links, network: Network) -> &Link {
    match network {
        Network::Service => &links.service,
        Network::Migration => &links.migration,
        Network::Storage => &links.storage,
    }
}

fn shape(link: &Link) -> Shape {
    Shape { rate_mbit: link.rate_mbit, delay: Duration::from_secs_f64(link.delay_ms / 1e3) }
}

/// Scenarios are checked when they are read; this keeps a figure made elsewhere from a panic.
fn check(spec: &LabSpec) -> Result<()> {
    let links = &spec.links;
    let fewest = if spec.second_link { 2 } else { 1 };
    if !(fewest..=HOSTS_MAX).contains(&spec.hosts) {
        return Err(TestbedError::Unsupported {
            what: format!("a lab of {} hosts", spec.hosts),
            because: format!("it can have from {fewest} to {HOSTS_MAX}"),
        });
    }
    if spec.clock_offsets_s.iter().any(|offset| *offset != 0) {
        if spec.kind != HostKind::Node {
            return Err(TestbedError::Unsupported {
                what: "a host with clocks of its own".into(),
                because: "only a node can have them".into(),
            });
        }
        node::check_own_clocks()?;
    }
    for &network in spec.networks() {
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

/// Waits until a host answers over a network of the calling thread's namespace.
fn wait_until_it_answers(host: &LabHost, network: Network, deadline: Deadline) -> Result<()> {
    let address = SocketAddr::from((host.address(network), 1));
    while !answers(address, deadline.step(Duration::from_millis(200))) {
        if deadline.passed() {
            let waiting_for = format!("an answer of {} over the {network} network", host.id());
            return Err(TestbedError::Timeout { waiting_for, after_s: REACH_LIMIT.as_secs_f64() });
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
