//! A world on a testbed that is there and has next to nothing: no helper, no tap, no address, no switch.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;

use dunlin_record::Link;
use dunlin_testbed::{ClockReading, Launch, MacAddress, Output, Process, Taps};

use super::*;

type Told<T> = Result<T, TestbedError>;

fn lacks<T>(what: &str) -> Told<T> {
    Err(TestbedError::Unsupported { what: what.into(), because: "this host is bare".into() })
}

struct BareHost(HostId);

impl Host for BareHost {
    fn id(&self) -> &HostId {
        &self.0
    }

    fn scratch(&self) -> &Path {
        Path::new("/none")
    }

    fn outbox(&self, _: &Path) -> Told<PathBuf> {
        lacks("an outbox")
    }

    fn collect(&self, _: &Path) -> Told<()> {
        lacks("an outbox")
    }

    fn address(&self, _: Network) -> Option<Ipv4Addr> {
        None
    }

    fn interface(&self, _: Network) -> Option<&str> {
        None
    }

    fn run(&self, _: &Path, _: &[OsString], _: Duration) -> Told<Output> {
        lacks("running a program")
    }

    fn launch(&self, _: Launch) -> Told<Process> {
        lacks("a process")
    }

    fn dial(&self, _: &Path, _: Duration) -> Told<UnixStream> {
        lacks("a socket")
    }

    fn copy_to(&self, _: &Path, _: &Path) -> Told<()> {
        lacks("files")
    }

    fn copy_from(&self, _: &Path, _: &Path) -> Told<()> {
        lacks("files")
    }

    fn read(&self, _: &Path) -> Told<Vec<u8>> {
        lacks("files")
    }

    fn write_private(&self, _: &Path, _: &[u8]) -> Told<()> {
        lacks("files")
    }

    fn remove(&self, _: &Path) -> Told<()> {
        lacks("files")
    }

    fn helper(&self) -> Told<Helper> {
        lacks("a helper")
    }

    fn taps(&self) -> Option<&dyn Taps> {
        None
    }

    fn resident_bytes(&self, _: u32, _: u64) -> Told<Option<i64>> {
        Ok(None)
    }

    fn fingerprint(&self) -> HostFingerprint {
        HostFingerprint::default()
    }
}

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

    fn links(&self) -> Option<&Links> {
        None
    }

    fn clock(&self, _: &HostId) -> Told<ClockReading> {
        lacks("a clock")
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
    world.bring_up(&Links::default(), TransportKind::default()).unwrap();
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
    let said = refused(world(2).bring_up(&links, TransportKind::default()));
    assert!(said.contains("as they are"), "{said}");

    let mut world = world(2);
    world.bring_up(&Links::default(), TransportKind::default()).unwrap();
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
    let said = refused(world(1).bring_up(&Links::default(), TransportKind::default()));
    assert!(said.contains("fewer than two hosts"), "{said}");
}
