//! Two hosts of which nothing is known but their names.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{HostFingerprint, HostId, Links};
use dunlin_testbed::{
    ClockReading, Helper, Host, Launch, MacAddress, Network, Output, Process, Result, Taps, Testbed,
    TestbedError,
};

/// Where the toys' VM answers, wherever it runs.
pub(crate) const VM_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

pub(crate) struct ToyTestbed {
    hosts: [Arc<ToyHost>; 2],
}

impl ToyTestbed {
    pub(crate) fn new() -> Self {
        Self { hosts: ["left", "right"].map(|name| Arc::new(ToyHost(HostId::new(name)))) }
    }
}

impl Testbed for ToyTestbed {
    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::<ToyHost>::clone(host) as Arc<dyn Host>).collect()
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
        (number == 0).then_some((VM_ADDRESS, 8))
    }

    fn links(&self) -> Option<&Links> {
        None
    }

    fn clock(&self, _: &HostId) -> Result<ClockReading> {
        Ok(ClockReading { offset_ns: 0, error_ns: 0, realtime: dunlin_clock::Mapping::read() })
    }

    fn fingerprints(&self) -> Vec<HostFingerprint> {
        self.hosts.iter().map(|host| host.fingerprint()).collect()
    }
}

struct ToyHost(HostId);

fn lacks<T>(what: &str) -> Result<T> {
    Err(TestbedError::Unsupported { what: what.into(), because: "a toy host has none".into() })
}

impl Host for ToyHost {
    fn id(&self) -> &HostId {
        &self.0
    }

    fn scratch(&self) -> &Path {
        Path::new("/nonexistent")
    }

    fn outbox(&self, _: &Path) -> Result<PathBuf> {
        lacks("an outbox")
    }

    fn collect(&self, _: &Path) -> Result<()> {
        lacks("an outbox")
    }

    fn address(&self, _: Network) -> Option<Ipv4Addr> {
        None
    }

    fn interface(&self, _: Network) -> Option<&str> {
        None
    }

    fn run(&self, _: &Path, _: &[OsString], _: Duration) -> Result<Output> {
        lacks("a shell")
    }

    fn launch(&self, _: Launch) -> Result<Process> {
        lacks("a process")
    }

    fn dial(&self, _: &Path, _: Duration) -> Result<UnixStream> {
        lacks("a socket")
    }

    fn copy_to(&self, _: &Path, _: &Path) -> Result<()> {
        lacks("a file")
    }

    fn copy_from(&self, _: &Path, _: &Path) -> Result<()> {
        lacks("a file")
    }

    fn read(&self, _: &Path) -> Result<Vec<u8>> {
        lacks("a file")
    }

    fn write_private(&self, _: &Path, _: &[u8]) -> Result<()> {
        lacks("a file")
    }

    fn remove(&self, _: &Path) -> Result<()> {
        lacks("a file")
    }

    fn helper(&self) -> Result<Helper> {
        lacks("a helper")
    }

    fn taps(&self) -> Option<&dyn Taps> {
        None
    }

    fn resident_bytes(&self, _: u32, _: u64) -> Result<Option<i64>> {
        Ok(None)
    }

    fn fingerprint(&self) -> HostFingerprint {
        HostFingerprint { hosts: self.0.to_string(), ..HostFingerprint::default() }
    }
}
