//! What a host of a testbed can be asked to do, wherever it is.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_record::{HostFingerprint, HostId};

use crate::{Process, Result};

/// One of the testbed's two networks (Hu et al., section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// Where the VM is reached.
    Service,
    /// Where migrations travel.
    Migration,
}

impl Network {
    /// Both networks.
    pub const ALL: [Self; 2] = [Self::Service, Self::Migration];

    /// Its name: `service` or `migration`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Migration => "migration",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A program to be run on a host.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program: a path, or a name to be looked for in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The file that gets its standard output; replaced if there.
    pub stdout: PathBuf,
    /// The file that gets its standard error; replaced if there.
    pub stderr: PathBuf,
}

/// A machine that runs a hypervisor, as the testbed sees it.
pub trait Host: Send + Sync {
    /// Its name.
    fn id(&self) -> &HostId;

    /// A folder on the host for sockets and other things that need not stay.
    fn scratch(&self) -> &Path;

    /// Its address on a network.
    fn address(&self, network: Network) -> Ipv4Addr;

    /// The device whose counters show what passes between the host and a network.
    fn interface(&self, network: Network) -> &str;

    /// Runs a program on the host, with nothing to read and in a process group of its own. It dies with the testbed.
    ///
    /// # Errors
    /// Where a file cannot be opened or the program cannot be started.
    fn launch(&self, launch: Launch) -> Result<Process>;

    /// Connects to a socket on the host; tries again until the limit if it is not there yet.
    ///
    /// # Errors
    /// Where nobody listens there in time.
    fn connect(&self, socket: &Path, limit: Duration) -> Result<UnixStream>;

    /// Makes a tap on the service network for a VM and sets it up; it stays until removed.
    ///
    /// # Errors
    /// Where the system refuses, or the name is taken.
    fn add_tap(&self, name: &str) -> Result<()>;

    /// Removes a tap.
    ///
    /// # Errors
    /// Where there is none of this name.
    fn remove_tap(&self, name: &str) -> Result<()>;

    /// Resident bytes of a process's mapping of exactly `mapping_bytes` (a guest's memory); absent if it has none.
    ///
    /// # Errors
    /// Where the process is gone or may not be looked at.
    fn resident_bytes(&self, pid: u32, mapping_bytes: u64) -> Result<Option<i64>>;

    /// What machine it is.
    fn fingerprint(&self) -> HostFingerprint;
}
