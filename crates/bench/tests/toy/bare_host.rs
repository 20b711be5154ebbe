//! A host that has next to nothing: no address, no files, no helper, no tap. For the tests of the world too.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_record::{HostFingerprint, HostId};
use dunlin_testbed::{Helper, Host, LastWill, Launch, Network, Output, Process, Result, Taps, TestbedError};

/// A host of which nothing is known but its name.
pub(crate) struct BareHost(pub(crate) HostId);

pub(crate) fn lacks<T>(what: &str) -> Result<T> {
    Err(TestbedError::Unsupported { what: what.into(), because: "this host is bare".into() })
}

impl Host for BareHost {
    fn id(&self) -> &HostId {
        &self.0
    }

    fn scratch(&self) -> PathBuf {
        "/nonexistent".into()
    }

    fn sees(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    fn place(&self, _: &Path) -> Result<PathBuf> {
        lacks("a file")
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

    fn converse(&self, _: &Path, _: &[OsString], _: &Path) -> Result<(Process, UnixStream)> {
        lacks("a process")
    }

    fn at_end(&self, _: &Path, _: &[OsString]) -> Result<LastWill> {
        lacks("a last will")
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

    fn clock(&self) -> dunlin_clock::HostClock {
        dunlin_clock::HostClock::own()
    }

    fn fingerprint(&self) -> HostFingerprint {
        HostFingerprint { hosts: self.0.to_string(), ..HostFingerprint::default() }
    }
}
