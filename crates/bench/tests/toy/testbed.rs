//! Two hosts of which nothing is known but their names.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dunlin_record::{HostFingerprint, HostId, Links};
use dunlin_testbed::{Host, MacAddress, Network, Testbed};

use crate::bare_host::BareHost;

/// Given to no toy, but in the network in which they are.
const GIVEN: Ipv4Addr = Ipv4Addr::new(127, 77, 255, 1);

pub(crate) struct ToyTestbed {
    hosts: [Arc<BareHost>; 2],
}

impl ToyTestbed {
    pub(crate) fn new() -> Self {
        Self { hosts: ["left", "right"].map(|name| Arc::new(BareHost(HostId::new(name)))) }
    }
}

impl Testbed for ToyTestbed {
    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::<BareHost>::clone(host) as Arc<dyn Host>).collect()
    }

    fn bench_address(&self, _: Network) -> Option<Ipv4Addr> {
        None
    }

    fn bench_interface(&self, _: Network) -> Option<&str> {
        None
    }

    fn bench_mac(&self, _: Network) -> Option<MacAddress> {
        None
    }

    fn vm_address(&self, number: u8) -> Option<(Ipv4Addr, u8)> {
        (number == 0).then_some((GIVEN, 8))
    }

    fn is_one_machine(&self) -> bool {
        true
    }

    fn links(&self) -> Option<&Links> {
        None
    }

    fn fingerprints(&self) -> Vec<HostFingerprint> {
        self.hosts.iter().map(|host| host.fingerprint()).collect()
    }
}
