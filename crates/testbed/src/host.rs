//! What a host of a testbed can be asked to do, wherever it is.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::HostClock;
use dunlin_record::{HostFingerprint, HostId};

use crate::{Helper, ImageFolder, LastWill, Process, Result, TestbedError};

/// One of the testbed's networks: the two of Hu et al., section 3, and that of shared storage, which few testbeds have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// Where the VM is reached.
    Service,
    /// Where migrations travel.
    Migration,
    /// Where hosts reach the server of shared storage.
    Storage,
}

impl Network {
    /// Those that every testbed has.
    pub const USUAL: [Self; 2] = [Self::Service, Self::Migration];
    /// All that a testbed can have.
    pub const ALL: [Self; 3] = [Self::Service, Self::Migration, Self::Storage];

    /// Its name: `service`, `migration` or `storage`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Migration => "migration",
            Self::Storage => "storage",
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
    /// The program: a path on the host, or a name to be looked for in its `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The file on the host that gets its standard output; replaced if there.
    pub stdout: PathBuf,
    /// The file on the host that gets its standard error; replaced if there.
    pub stderr: PathBuf,
}

/// What a program that was run to its end came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// As in "exit status 1" or "signal 9".
    pub how: String,
    /// Whether it ended with exit status 0.
    pub success: bool,
    /// The begin of its standard output, at most [`OUTPUT_BYTES`].
    pub stdout: Vec<u8>,
    /// The begin of its standard error, at most [`OUTPUT_BYTES`].
    pub stderr: Vec<u8>,
}

/// How much of what a program says is kept.
pub const OUTPUT_BYTES: usize = 1 << 20;

/// A machine that runs a hypervisor, as the testbed sees it.
///
/// Paths are the host's own. Nothing that is only good on this machine (a local path, a child process) comes out of it.
pub trait Host: Send + Sync {
    /// Its name.
    fn id(&self) -> &HostId;

    /// A folder on the host for sockets and other things that need not stay.
    fn scratch(&self) -> PathBuf;

    /// A folder on the host for what its programs write that is to end up in a local folder; `collect` brings it there.
    /// Where the host has the same files as this machine it is that folder itself.
    ///
    /// # Errors
    /// Where it cannot be made.
    fn outbox(&self, local: &Path) -> Result<PathBuf>;

    /// Brings what lies in the outbox of a local folder there.
    ///
    /// # Errors
    /// Where it cannot be brought.
    fn collect(&self, local: &Path) -> Result<()>;

    /// Whether the host's programs find a local file or folder under the same name.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    fn sees(&self, local: &Path) -> Result<bool>;

    /// Where a local file lies on the host, for its programs to read; it is brought there if need be, and goes with the
    /// testbed.
    ///
    /// # Errors
    /// Where it cannot be read or brought.
    fn place(&self, local: &Path) -> Result<PathBuf>;

    /// Its address on a network; absent where it is not in it.
    fn address(&self, network: Network) -> Option<Ipv4Addr>;

    /// The device whose counters show what passes between the host and a network; absent where it is not known.
    fn interface(&self, network: Network) -> Option<&str>;

    /// Runs a program on the host to its end, with nothing to read. It is ended at the limit.
    ///
    /// # Errors
    /// Where it cannot be started, or has not ended in time.
    fn run(&self, program: &Path, args: &[OsString], limit: Duration) -> Result<Output>;

    /// Starts a program on the host, with nothing to read and in a process group of its own. It dies with the testbed.
    ///
    /// # Errors
    /// Where a file cannot be opened or the program cannot be started.
    fn launch(&self, launch: Launch) -> Result<Process>;

    /// Starts a program on the host, in a process group of its own, whose standard input and output are a stream here; its
    /// standard error goes to a file on the host, replaced if there. It dies with the testbed, and when the [`Process`] is
    /// dropped. Where the stream is closed, or shut down for writing, the program has read all; where the program has ended,
    /// or the host is lost, so has whoever reads the stream. What it leaves in its group ends once its end was seen.
    ///
    /// # Errors
    /// Where the file cannot be opened or the program cannot be started.
    fn converse(&self, program: &Path, args: &[OsString], stderr: &Path) -> Result<(Process, UnixStream)>;

    /// Runs a program on the host when the testbed ends, however that comes about: for what the host would else keep though all
    /// that was launched there has ended, as what a daemon was asked for. Dropping the [`LastWill`] revokes it: it is then not
    /// run, nor ever without this having returned one.
    ///
    /// It is run as by [`Self::run`], once, after all others that were started there have ended and before the files there go;
    /// all such programs at the same time, each for 10 s at most, and nobody hears what they say. Behind ssh it is our helper
    /// there that runs it, when it is asked to end, by the bench or by a signal, and when it has not heard of the bench for a
    /// while: also where the bench was killed, and where the connection is lost and made anew later, with another helper. A
    /// helper that is itself killed runs nothing, nor does a host that goes down. On a host where nothing outlives the testbed
    /// nothing is run at all.
    ///
    /// # Errors
    /// Where the host does not take it on.
    fn at_end(&self, program: &Path, args: &[OsString]) -> Result<LastWill>;

    /// Connects to a socket on the host; tries again until the limit if it is not there yet.
    ///
    /// # Errors
    /// Where nobody listens there in time.
    fn dial(&self, socket: &Path, limit: Duration) -> Result<UnixStream>;

    /// Copies a local file to the host.
    ///
    /// # Errors
    /// Where either cannot be read or written.
    fn copy_to(&self, local: &Path, there: &Path) -> Result<()>;

    /// Copies a file of the host here.
    ///
    /// # Errors
    /// Where either cannot be read or written.
    fn copy_from(&self, there: &Path, local: &Path) -> Result<()>;

    /// A small file of the host.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, there: &Path) -> Result<Vec<u8>>;

    /// Writes a small file on the host that nobody else there may read; its folder is made if need be, likewise.
    ///
    /// # Errors
    /// Where it is there already, or cannot be written.
    fn write_private(&self, there: &Path, bytes: &[u8]) -> Result<()>;

    /// Removes a file or a whole folder of the host; well where there is none.
    ///
    /// # Errors
    /// Where it cannot be removed.
    fn remove(&self, there: &Path) -> Result<()>;

    /// Runs our own binary there, which does on the host what has to be done there.
    ///
    /// # Errors
    /// Where it cannot be started, does not answer, or is of another version.
    fn helper(&self) -> Result<Helper>;

    /// What makes network devices for VMs there; absent where that is not ours to do.
    fn taps(&self) -> Option<&dyn Taps>;

    /// Makes a folder there for images of disks, with room for so many bytes and on the file system of a local folder, that goes
    /// with what is given, or with the testbed, however that ends. Only what is written there takes room.
    ///
    /// # Errors
    /// Where the host does not make such folders, or the system refuses.
    fn image_folder(&self, _on: &Path, _bytes: u64) -> Result<ImageFolder> {
        Err(TestbedError::Unsupported {
            what: format!("a folder for images on {} that goes with the testbed", self.id()),
            because: "only hosts of a lab have them".into(),
        })
    }

    /// Whether its `/run` and its processes are its own and go with the testbed, so that daemons that take a machine for
    /// granted can live there and leave nothing.
    fn is_disposable(&self) -> bool {
        false
    }

    /// Resident bytes of a process's mapping of exactly `mapping_bytes` (a guest's memory); absent if it has none.
    ///
    /// # Errors
    /// Where the process is gone or may not be looked at.
    fn resident_bytes(&self, pid: u32, mapping_bytes: u64) -> Result<Option<i64>>;

    /// How its clocks stand to the bench's.
    fn clock(&self) -> HostClock;

    /// What machine it is.
    fn fingerprint(&self) -> HostFingerprint;
}

/// Makes network devices for VMs on a host.
pub trait Taps {
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
}
