//! A world on a testbed that is there and has next to nothing: no helper, no tap, no address, no switch.

#[path = "../../tests/toy/bare_host.rs"]
mod bare_host;

use dunlin_record::Link;
use dunlin_testbed::MacAddress;

use super::*;
use bare_host::BareHost;

/// As many bare hosts as this says.
struct Bare(usize);

impl Testbed for Bare {
    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        let host = |number| Arc::new(BareHost(HostId::new(format!("bare-{number}")))) as Arc<dyn Host>;
        (1..=self.0).map(host).collect()
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

    fn vm_address(&self, _: u8) -> Option<(Ipv4Addr, u8)> {
        None
    }

    fn is_one_machine(&self) -> bool {
        true
    }

    fn links(&self) -> Option<&Links> {
        None
    }

    fn fingerprints(&self) -> Vec<HostFingerprint> {
        Vec::new()
    }
}

fn world(hosts: usize) -> World {
    World::new(Ground::Testbed(Box::new(Bare(hosts))), PathBuf::new())
}

fn refused<T>(result: Result<T>) -> String {
    match result {
        Err(error) if error.is_unsupported() => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn what_a_testbed_does_not_have_is_absent_and_no_failure() {
    let mut world = world(2);
    world.bring_up_plain(&Links::default()).unwrap();
    assert_eq!(world.host_ids().unwrap().map(|id| id.to_string()), ["bare-1", "bare-2"]);
    assert!(world.helpers().unwrap().iter().all(Option::is_none));
    assert!(world.goodput().unwrap().is_none() && world.second_link().unwrap().is_none());
    assert!(world.switch().unwrap().is_none());
    let testbed = world.testbed().unwrap();
    assert!(testbed.bench_address(Network::Service).is_none() && testbed.vm_address(0).is_none());
}

#[test]
fn what_a_case_asks_of_a_testbed_that_does_not_have_it_is_refused_before_anything_boots() {
    let shaped = Link { rate_mbit: Some(100.0), delay_ms: 0.0 };
    let links = Links { migration: shaped, ..Links::default() };
    let said = refused(world(2).bring_up_plain(&links));
    assert!(said.contains("as they are"), "{said}");

    let mut world = world(2);
    world.bring_up_plain(&Links::default()).unwrap();
    world.check_transport(TransportKind::Tls).unwrap();
    // Over one link it would be a migration by MPTCP in name only.
    let said = refused(world.check_transport(TransportKind::Mptcp));
    assert!(said.contains("second link"), "{said}");

    // Who has no switch of its own and is told of no other cannot be asked about it.
    let switch = Switch { snmp: Some(Snmp::default()) };
    refused(world.check_switch(&switch));
}

#[test]
fn one_host_is_not_enough() {
    let said = refused(world(1).bring_up_plain(&Links::default()));
    assert!(said.contains("fewer than two hosts"), "{said}");
}
