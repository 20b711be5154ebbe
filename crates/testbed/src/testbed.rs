//! What a testbed is, whoever it is made of: hosts, networks, and where the bench stands.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin_record::{HostFingerprint, HostId, Links};
use dunlin_wire::SnmpAgent;

use crate::{Host, MacAddress, ManagedSwitch, Network, Result, TestbedError};

/// Hosts, the networks between them, and the bench from which VMs are observed.
///
/// What a testbed does not have is absent, and so are the figures that need it.
pub trait Testbed: Send {
    /// Its hosts, in a fixed order. VMs move from the first to the second where nothing else is said.
    fn hosts(&self) -> Vec<Arc<dyn Host>>;

    /// The host that serves storage to the others, which is none of them; absent where there is none.
    fn storage_host(&self) -> Option<Arc<dyn Host>> {
        None
    }

    /// The bench's address on a network; absent where it is not in it.
    fn bench_address(&self, network: Network) -> Option<Ipv4Addr>;

    /// The bench's device on a network; absent where it has none of its own there.
    fn bench_interface(&self, network: Network) -> Option<&str>;

    /// The bench's hardware address on a network; absent where it has none.
    fn bench_mac(&self, network: Network) -> Option<MacAddress>;

    /// The address on the service network of the VM with this number, from 0, and its network's prefix length; absent where
    /// there are none to be given.
    fn vm_address(&self, number: u8) -> Option<(Ipv4Addr, u8)>;

    /// Makes a VM's hardware address known to the bench, so that no address resolution is measured as an outage.
    ///
    /// # Errors
    /// Where the system refuses.
    fn introduce_vm(&self, _address: Ipv4Addr, _mac: MacAddress) -> Result<()> {
        Ok(())
    }

    /// Whether hosts and bench are one machine, so that what its CPUs do is counted once.
    fn is_one_machine(&self) -> bool;

    /// Rate and delay to which its links are set; absent where they are as they are.
    fn links(&self) -> Option<&Links>;

    /// Where source and destination have storage that both see; absent where they share none, or are one machine.
    fn shared_folders(&self) -> Option<[PathBuf; 2]> {
        None
    }

    /// The device of the hosts' second link to each other; absent where there is none.
    fn second_link(&self) -> Option<&str> {
        None
    }

    /// The name of the switch's port to a host on a network; absent where it is not known.
    fn switch_port(&self, _host: &HostId, _network: Network) -> Option<String> {
        None
    }

    /// Lets its own switch be asked by SNMP.
    ///
    /// # Errors
    /// Where it has none.
    fn manage_switch(&self, _agent: &SnmpAgent) -> Result<ManagedSwitch> {
        Err(TestbedError::Unsupported {
            what: "an SNMP agent of the testbed's own switch".into(),
            because: "it has no switch of its own: name one by switch.snmp.address".into(),
        })
    }

    /// What machines it is made of.
    fn fingerprints(&self) -> Vec<HostFingerprint>;
}
