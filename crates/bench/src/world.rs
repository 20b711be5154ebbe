//! What the trials of a run share: the testbed, its helpers, and what its migration network carries.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_hypervisor::Driver;
use dunlin_record::{
    Case, HostFingerprint, HostId, Links, Snmp, StorageServer, Switch, TransportKind, VmSettings, in_one_line,
};
use dunlin_testbed::{
    Goodput, Helper, Host, Inside, Lab, LabSpec, ManagedSwitch, Network, Testbed, TestbedError, check_mptcp,
    measure_goodput,
};
use dunlin_wire::SnmpAgent;

use crate::Result;

/// Limit of trying what a network carries.
const GOODPUT_LIMIT: Duration = Duration::from_secs(20);

/// How often it is tried.
const GOODPUT_TRIES: u32 = 2;

/// Where a run takes place.
pub enum Ground {
    /// In a lab, made anew for each set of links.
    Lab(Inside),
    /// On a testbed that is there, whose links are as they are.
    Testbed(Box<dyn Testbed>),
}

/// The testbed of a run.
pub(crate) struct World {
    ground: Ground,
    cache: PathBuf,
    up: Option<Up>,
}

/// A testbed that is up, with a helper on each host that can have one.
struct Up {
    // Before the lab, so that these end in peace.
    switch: Option<SwitchAgent>,
    helpers: [Option<Helper>; 2],
    /// Absent where the testbed is the ground itself.
    lab: Option<Lab>,
    links: Option<Links>,
    extras: Extras,
    goodput: Option<Goodput>,
}

/// What a lab has for some cases only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extras {
    second_link: bool,
    /// A host that serves storage to the others.
    storage: bool,
}

impl Extras {
    fn of(case: &Case) -> Self {
        Self {
            second_link: case.transport.kind == TransportKind::Mptcp,
            storage: case.storage.server != StorageServer::Folder,
        }
    }

    fn covers(self, wanted: Self) -> bool {
        self.second_link >= wanted.second_link && self.storage >= wanted.storage
    }
}

impl World {
    /// A world without a testbed yet; fetched and built things are kept in `cache`.
    #[must_use]
    pub(crate) fn new(ground: Ground, cache: PathBuf) -> Self {
        Self { ground, cache, up: None }
    }

    /// Makes the lab that a case needs, unless it is there already. A second link or a host of storage, once made, stays for
    /// the cases that do not need it. A testbed that is there is taken as it is.
    ///
    /// # Errors
    /// Where a link cannot be had, or the system refuses anything.
    pub(crate) fn bring_up(&mut self, case: &Case) -> Result<()> {
        self.bring_up_with(&case.link, Extras::of(case))
    }

    /// The same for no case yet: with such links, and nothing that only some cases need.
    ///
    /// # Errors
    /// As of [`Self::bring_up`].
    pub(crate) fn bring_up_plain(&mut self, links: &Links) -> Result<()> {
        self.bring_up_with(links, Extras { second_link: false, storage: false })
    }

    fn bring_up_with(&mut self, links: &Links, extras: Extras) -> Result<()> {
        let fits =
            |up: &Up| up.lab.is_none() || (up.links.as_ref() == Some(links) && up.extras.covers(extras));
        // A helper whose connection broke is started anew: its host may be back.
        let is_well = |up: &Up| up.helpers.iter().flatten().all(Helper::is_well);
        if self.up.as_ref().is_some_and(|up| fits(up) && is_well(up)) {
            return Ok(());
        }
        self.up = None;
        let lab = match &self.ground {
            Ground::Lab(inside) => {
                let Extras { second_link, storage } = extras;
                let spec = LabSpec { second_link, storage, ..LabSpec::new(links.clone()) };
                Some(Lab::up(inside, &spec)?)
            }
            Ground::Testbed(testbed) => {
                check_as_they_are(testbed.as_ref(), links)?;
                None
            }
        };
        let testbed: &dyn Testbed = match (&lab, &self.ground) {
            (Some(lab), _) => lab,
            (None, Ground::Testbed(testbed)) => testbed.as_ref(),
            (None, Ground::Lab(_)) => return Err(not_up().into()),
        };
        let hosts = ends(testbed)?;
        let [source, destination] = hosts.each_ref().map(|host| helper_if_any(&**host));
        let helpers = [source?, destination?];
        let goodput = goodput(&helpers, &*hosts[1])?;
        let links = testbed.links().cloned();
        self.up = Some(Up { switch: None, extras, helpers, lab, links, goodput });
        Ok(())
    }

    /// Whether what went wrong is about a machine that may be there again in a while.
    pub(crate) fn may_be_back(&self, error: &TestbedError) -> bool {
        matches!(self.ground, Ground::Testbed(_)) && error.may_pass()
    }

    /// Refuses VMs for which the testbed has no room: addresses for some of them only, or a disk that both hosts must see
    /// where they share nothing.
    ///
    /// # Errors
    /// Where it has not.
    pub(crate) fn check_vms(&self, vm: &VmSettings) -> Result<()> {
        let testbed = self.testbed()?;
        let given = (0..vm.count).take_while(|number| {
            u8::try_from(*number).is_ok_and(|number| testbed.vm_address(number).is_some())
        });
        let given = given.count();
        if given > 0 && (given as u64) < u64::from(vm.count) {
            return Err(TestbedError::Unsupported {
                what: format!("{} VMs at once", vm.count),
                because: format!("there are {given} addresses for them"),
            }
            .into());
        }
        let has_disk = vm.disk.is_some() || vm.swap_mib.is_some();
        if has_disk && !vm.moves_disks() && !testbed.is_one_machine() && testbed.shared_folders().is_none() {
            return Err(unshared_disk().into());
        }
        Ok(())
    }

    /// Refuses storage that the testbed cannot have, before anything boots.
    ///
    /// # Errors
    /// Where it cannot.
    pub(crate) fn check_storage(&self, case: &Case) -> Result<()> {
        let server = case.storage.server;
        if server == StorageServer::Folder || matches!(self.ground, Ground::Lab(_)) {
            return Ok(());
        }
        Ok(storage_host(self.testbed()?, server).map(drop)?)
    }

    /// Refuses a product that the testbed's hosts cannot have.
    ///
    /// # Errors
    /// Where they cannot.
    pub(crate) fn check_driver(&self, driver: &dyn Driver) -> Result<()> {
        if driver.fits_labs() || matches!(self.ground, Ground::Testbed(_)) {
            return Ok(());
        }
        Err(TestbedError::Unsupported {
            what: format!("{} in a lab", driver.name()),
            because: "a lab's hosts have no daemons: name hosts that have it by --inventory".into(),
        }
        .into())
    }

    /// Refuses a transport that the testbed does not have, before anything boots.
    ///
    /// # Errors
    /// Where it has not.
    pub(crate) fn check_transport(&self, transport: TransportKind) -> Result<()> {
        if transport == TransportKind::Unix
            && let Ground::Testbed(testbed) = &self.ground
            && !testbed.is_one_machine()
        {
            return Err(TestbedError::Unsupported {
                what: "a migration through a Unix socket".into(),
                because: "the hosts are machines apart".into(),
            }
            .into());
        }
        if transport != TransportKind::Mptcp {
            return Ok(());
        }
        match &self.ground {
            // It is made with a second link for the cases that need one.
            Ground::Lab(_) => Ok(check_mptcp()?),
            Ground::Testbed(testbed) if testbed.second_link().is_some() => Ok(()),
            Ground::Testbed(_) => Err(TestbedError::Unsupported {
                what: "MPTCP over two links".into(),
                because: "the testbed's hosts have no second link to each other".into(),
            }
            .into()),
        }
    }

    /// The device of the links that a migration may use on a host, besides that to the migration network.
    pub(crate) fn second_link(&self) -> Result<Option<&str>> {
        Ok(self.testbed()?.second_link())
    }

    /// Refuses what the switch cannot be asked, before anything boots.
    ///
    /// # Errors
    /// Where a secret or a program is missing, or a host's port is not known.
    pub(crate) fn check_switch(&self, switch: &Switch) -> Result<()> {
        let Some(snmp) = &switch.snmp else { return Ok(()) };
        agent(snmp)?;
        self.ports(snmp)?;
        if snmp.address.is_none() {
            ManagedSwitch::check()?;
        }
        Ok(())
    }

    /// Sees to it that the switch can be asked as a case wants it.
    ///
    /// # Errors
    /// As [`Self::check_switch`], or where the lab's own agent does not come up.
    pub(crate) fn manage_switch(&mut self, switch: &Switch) -> Result<()> {
        let wanted = switch.snmp.as_ref();
        let Some(up) = &mut self.up else { return Ok(()) };
        if up.switch.as_ref().map(|it| &it.settings) == wanted {
            return Ok(());
        }
        up.switch = None;
        let Some(settings) = wanted else { return Ok(()) };
        let mut agent = agent(settings)?;
        let mut managed = None;
        if settings.address.is_none() {
            let switch = self.testbed()?.manage_switch(&agent)?;
            agent = switch.agent().clone();
            managed = Some(switch);
        }
        if let Some(up) = &mut self.up {
            up.switch = Some(SwitchAgent { settings: settings.clone(), agent, _managed: managed });
        }
        Ok(())
    }

    /// Whom to ask about the switch, and its port of each host; absent where the case does not want to know.
    pub(crate) fn switch(&self) -> Result<Option<(&SnmpAgent, HostPorts)>> {
        let Some(switch) = &self.up()?.switch else { return Ok(None) };
        Ok(Some((&switch.agent, self.ports(&switch.settings)?)))
    }

    /// The switch's port of each host.
    fn ports(&self, snmp: &Snmp) -> Result<HostPorts> {
        let testbed = self.testbed()?;
        let port_of = |host: HostId| {
            // Those of a lab's own switch are no other switch's; a switch that an inventory speaks of is asked at an address.
            let is_meant = snmp.address.is_none() == testbed.is_one_machine();
            let own = || testbed.switch_port(&host, Network::Migration).filter(|_| is_meant);
            let port = snmp.ports.get(&host).cloned().or_else(own);
            port.map(|port| (host.clone(), port)).ok_or_else(|| TestbedError::Unsupported {
                what: format!("SNMP on the switch's port of {host}"),
                because: "neither switch.snmp.ports nor the inventory names it".into(),
            })
        };
        Ok(self.host_ids()?.into_iter().map(port_of).collect::<Result<_, _>>()?)
    }

    /// The folder of fetched and built things.
    #[must_use]
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// What machines the testbed is.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn fingerprints(&self) -> Result<Vec<HostFingerprint>> {
        Ok(self.testbed()?.fingerprints())
    }

    /// Source and destination.
    pub(crate) fn hosts(&self) -> Result<[Arc<dyn Host>; 2]> {
        Ok(ends(self.testbed()?)?)
    }

    /// Source's and destination's names.
    pub(crate) fn host_ids(&self) -> Result<[HostId; 2]> {
        Ok(self.hosts()?.map(|host| host.id().clone()))
    }

    /// The helpers on source and destination; absent where a host can have none.
    pub(crate) fn helpers(&self) -> Result<&[Option<Helper>; 2]> {
        Ok(&self.up()?.helpers)
    }

    pub(crate) fn testbed(&self) -> Result<&dyn Testbed> {
        let up = self.up()?;
        match (&up.lab, &self.ground) {
            (Some(lab), _) => Ok(lab),
            (None, Ground::Testbed(testbed)) => Ok(testbed.as_ref()),
            (None, Ground::Lab(_)) => Err(not_up().into()),
        }
    }

    /// What the migration network carried when tried; absent where nobody could try.
    pub(crate) fn goodput(&self) -> Result<Option<Goodput>> {
        Ok(self.up()?.goodput)
    }

    fn up(&self) -> Result<&Up, TestbedError> {
        self.up.as_ref().ok_or_else(not_up)
    }
}

/// The host that serves disks of a kind.
pub(crate) fn storage_host(
    testbed: &dyn Testbed,
    kind: StorageServer,
) -> Result<Arc<dyn Host>, TestbedError> {
    testbed.storage_host().ok_or_else(|| TestbedError::Unsupported {
        what: format!("disks by {}", kind.name()),
        because: "the testbed has no host that serves storage: only labs have one today".into(),
    })
}

/// Why a VM cannot have a disk that both hosts see.
pub(crate) fn unshared_disk() -> TestbedError {
    TestbedError::Unsupported {
        what: "a disk that both hosts see".into(),
        because: "the inventory names no storage that they share (`shared`); with vm.shared_storage = false the disk \
                  moves along"
            .into(),
    }
}

fn not_up() -> TestbedError {
    TestbedError::Unsupported { what: "work in a testbed".into(), because: "it was not brought up".into() }
}

/// Links that are as they are cannot be shaped.
fn check_as_they_are(testbed: &dyn Testbed, asked: &Links) -> Result<(), TestbedError> {
    if testbed.links().is_some_and(|links| links == asked) || *asked == Links::default() {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: "a link of this rate or delay".into(),
        because: "the testbed's links are as they are".into(),
    })
}

pub(crate) fn ends(testbed: &dyn Testbed) -> Result<[Arc<dyn Host>; 2], TestbedError> {
    let mut hosts = testbed.hosts().into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(source), Some(destination)) => Ok([source, destination]),
        _ => Err(TestbedError::Unsupported {
            what: "a migration".into(),
            because: "the testbed has fewer than two hosts".into(),
        }),
    }
}

/// A host's helper; absent where it can have none.
fn helper_if_any(host: &dyn Host) -> Result<Option<Helper>, TestbedError> {
    match host.helper() {
        Ok(helper) => Ok(Some(helper)),
        Err(TestbedError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn goodput(helpers: &[Option<Helper>; 2], sink: &dyn Host) -> Result<Option<Goodput>, TestbedError> {
    let [Some(source), Some(destination)] = helpers else { return Ok(None) };
    let Some(address) = sink.address(Network::Migration) else { return Ok(None) };
    let measure = || measure_goodput(source, destination, SocketAddrV4::new(address, 0), GOODPUT_LIMIT);
    // Whatever else the machines do only makes it less: the best of some counts.
    let mut best = measure()?;
    for _ in 1..GOODPUT_TRIES {
        let Goodput { goodput_mbit, rtt_ms } = measure()?;
        best.goodput_mbit = best.goodput_mbit.max(goodput_mbit);
        best.rtt_ms = best.rtt_ms.min(rtt_ms);
    }
    Ok(Some(best))
}

/// The switch's port of each host.
pub(crate) type HostPorts = Vec<(HostId, String)>;

/// Whom to ask about the switch.
struct SwitchAgent {
    settings: Snmp,
    agent: SnmpAgent,
    /// Kept alive where it is the lab's own.
    _managed: Option<ManagedSwitch>,
}

/// The agent of settings; where they name none, at an address that the lab's own will replace.
fn agent(snmp: &Snmp) -> Result<SnmpAgent> {
    let address = snmp.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let agent = SnmpAgent::of(snmp, address, |name| std::env::var(name).ok());
    Ok(agent.map_err(|error| TestbedError::Unsupported {
        what: "SNMP on the switch".into(),
        because: in_one_line(&error),
    })?)
}

#[cfg(test)]
mod tests;
