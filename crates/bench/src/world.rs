//! What the trials of a run share: the lab, its helpers, and what its migration network carries.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{HostFingerprint, HostId, Links, Snmp, Switch, TransportKind, in_one_line};
use dunlin_testbed::{
    Goodput, Helper, Host, Inside, Lab, LabHost, LabSpec, ManagedSwitch, Network, SECOND_LINK, TestbedError,
    check_mptcp, measure_goodput,
};

use dunlin_wire::SnmpAgent;

use crate::Result;

/// Limit of trying what a network carries.
const GOODPUT_LIMIT: Duration = Duration::from_secs(20);

/// The testbed of a run.
pub(crate) struct World {
    inside: Inside,
    cache: PathBuf,
    up: Option<Up>,
}

/// A lab that is up, with a helper on each host.
struct Up {
    // Before the lab, so that these end in peace.
    switch: Option<SwitchAgent>,
    helpers: [Helper; 2],
    lab: Lab,
    links: Links,
    second_link: bool,
    goodput: Goodput,
}

impl World {
    /// A world without a lab yet; fetched and built things are kept in `cache`.
    #[must_use]
    pub(crate) fn new(inside: Inside, cache: PathBuf) -> Self {
        Self { inside, cache, up: None }
    }

    /// Makes the lab that a case needs, unless it is there already. A second link, once made, stays for the cases that do
    /// not need it.
    ///
    /// # Errors
    /// Where a link cannot be had, or the system refuses anything.
    pub(crate) fn bring_up(&mut self, links: &Links, transport: TransportKind) -> Result<()> {
        let second_link = transport == TransportKind::Mptcp;
        if self.up.as_ref().is_some_and(|up| up.links == *links && up.second_link >= second_link) {
            return Ok(());
        }
        self.up = None;
        let lab = Lab::up(&self.inside, &LabSpec { second_link, ..LabSpec::new(links.clone()) })?;
        let helpers = [start_helper(&lab.hosts()[0])?, start_helper(&lab.hosts()[1])?];
        let sink = SocketAddrV4::new(lab.hosts()[1].address(Network::Migration), 0);
        let goodput = measure_goodput(&helpers[0], &helpers[1], sink, GOODPUT_LIMIT)?;
        self.up = Some(Up { switch: None, second_link, helpers, lab, links: links.clone(), goodput });
        Ok(())
    }

    /// Refuses a transport that this machine does not have, before anything boots.
    ///
    /// # Errors
    /// Where it has not.
    pub(crate) fn check_transport(&self, transport: TransportKind) -> Result<()> {
        if transport == TransportKind::Mptcp {
            check_mptcp()?;
        }
        Ok(())
    }

    /// The devices of the links that a migration may use on a host, besides that to the migration network.
    pub(crate) fn second_link(&self) -> Result<Option<&'static str>> {
        Ok(self.up()?.second_link.then_some(SECOND_LINK))
    }

    /// Refuses what the lab's switch cannot be asked, before anything boots.
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
        let up = self.up.as_mut().filter(|up| up.switch.as_ref().map(|it| &it.settings) != wanted);
        let Some(up) = up else { return Ok(()) };
        up.switch = None;
        let Some(settings) = wanted else { return Ok(()) };
        let mut agent = agent(settings)?;
        let mut managed = None;
        if settings.address.is_none() {
            let switch = up.lab.manage_switch(&agent)?;
            agent = switch.agent().clone();
            managed = Some(switch);
        }
        up.switch = Some(SwitchAgent { settings: settings.clone(), agent, _managed: managed });
        Ok(())
    }

    /// Whom to ask about the switch, and its port of each host; absent where the case does not want to know.
    pub(crate) fn switch(&self) -> Result<Option<(&SnmpAgent, HostPorts)>> {
        let Some(switch) = &self.up()?.switch else { return Ok(None) };
        Ok(Some((&switch.agent, self.ports(&switch.settings)?)))
    }

    /// The switch's port of each host.
    fn ports(&self, snmp: &Snmp) -> Result<HostPorts> {
        let lab = self.lab()?;
        let port_of = |host: HostId| {
            let own = || lab.switch_port(&host, Network::Migration).filter(|_| snmp.address.is_none());
            let port = snmp.ports.get(&host).cloned().or_else(own);
            port.map(|port| (host.clone(), port)).ok_or_else(|| TestbedError::Unsupported {
                what: format!("SNMP on the switch's port of {host}"),
                because: "switch.snmp.ports does not name it".into(),
            })
        };
        Ok(self.host_ids()?.into_iter().map(port_of).collect::<Result<_, _>>()?)
    }

    /// The folder of fetched and built things.
    #[must_use]
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// What machines the lab is.
    ///
    /// # Errors
    /// Where there is no lab.
    pub(crate) fn fingerprint(&self) -> Result<HostFingerprint> {
        Ok(self.up()?.lab.fingerprint())
    }

    /// Source and destination.
    pub(crate) fn hosts(&self) -> Result<[Arc<dyn Host>; 2]> {
        let [a, b] = self.up()?.lab.hosts();
        Ok([Arc::<LabHost>::clone(a) as Arc<dyn Host>, Arc::<LabHost>::clone(b) as Arc<dyn Host>])
    }

    /// Source's and destination's names.
    pub(crate) fn host_ids(&self) -> Result<[HostId; 2]> {
        Ok(self.hosts()?.map(|host| host.id().clone()))
    }

    /// The helpers on source and destination.
    pub(crate) fn helpers(&self) -> Result<&[Helper; 2]> {
        Ok(&self.up()?.helpers)
    }

    pub(crate) fn lab(&self) -> Result<&Lab> {
        Ok(&self.up()?.lab)
    }

    /// What the migration network carried when tried.
    pub(crate) fn goodput(&self) -> Result<Goodput> {
        Ok(self.up()?.goodput)
    }

    fn up(&self) -> Result<&Up, TestbedError> {
        self.up.as_ref().ok_or_else(|| TestbedError::Unsupported {
            what: "work in a lab".into(),
            because: "it was not brought up".into(),
        })
    }
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

/// Runs our own binary on a host as its helper.
pub(crate) fn start_helper(host: &LabHost) -> Result<Helper> {
    let program = Path::new("/proc/self/exe");
    let child = host.spawn_piped(program, &[OsString::from("helper")])?;
    Ok(Helper::start(host.id().clone(), child)?)
}
