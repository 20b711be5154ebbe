//! A host of the lab: a network namespace of the process that owns the lab.

use std::ffi::OsString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{HostFingerprint, HostId};

use crate::namespace::Namespace;
use crate::netlink::Netlink;
use crate::{Host, Launch, Network, Process, Result, TestbedError};
use crate::{device, fingerprint, memory_map};

/// How long to wait before connecting again to a socket that is not there yet.
const CONNECT_STEP: Duration = Duration::from_millis(2);

/// A host of the lab.
#[derive(Debug)]
pub struct LabHost {
    pub(crate) id: HostId,
    pub(crate) namespace: Namespace,
    pub(crate) scratch: PathBuf,
    pub(crate) addresses: [Ipv4Addr; 2],
    pub(crate) interfaces: [&'static str; 2],
    /// The bridge that joins the taps of VMs to the service network.
    pub(crate) bridge: &'static str,
    pub(crate) tap_queue_frames: u32,
    pub(crate) congestion_control: String,
}

impl LabHost {
    /// Starts a program on the host with its standard input and output on pipes; its standard error is ours.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn_piped(&self, program: &Path, args: &[OsString]) -> Result<Child> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        self.namespace.spawn(command)
    }

    /// Does work in the host's network namespace, on a thread made for it. Sockets made there stay there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or the work fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.run(work)
    }

    /// Where the host's network namespace has its name.
    #[must_use]
    pub fn namespace_path(&self) -> PathBuf {
        self.namespace.path()
    }
}

impl Host for LabHost {
    fn id(&self) -> &HostId {
        &self.id
    }

    fn scratch(&self) -> &Path {
        &self.scratch
    }

    fn address(&self, network: Network) -> Ipv4Addr {
        self.addresses[network as usize]
    }

    fn interface(&self, network: Network) -> &str {
        self.interfaces[network as usize]
    }

    fn launch(&self, launch: Launch) -> Result<Process> {
        let create =
            |path: &Path| File::create(path).map_err(TestbedError::io(format!("create {}", path.display())));
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(create(&launch.stdout)?)
            .stderr(create(&launch.stderr)?)
            .process_group(0);
        self.namespace.spawn(command).map(Process::new)
    }

    fn connect(&self, socket: &Path, limit: Duration) -> Result<UnixStream> {
        let deadline = Deadline::after(limit);
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if !may_come(&error) => {
                    return Err(TestbedError::io(format!("connect to {}", socket.display()))(error));
                }
                Err(_) if deadline.passed() => {
                    let waiting_for = format!("a connection to {} on {}", socket.display(), self.id);
                    return Err(TestbedError::Timeout { waiting_for, after_s: limit.as_secs_f64() });
                }
                Err(_) => std::thread::sleep(deadline.step(CONNECT_STEP)),
            }
        }
    }

    fn add_tap(&self, name: &str) -> Result<()> {
        self.namespace.run(|| {
            device::add_tap(name)?;
            device::switch_offloads_off(name)
        })?;
        let mut netlink = Netlink::open(&self.namespace)?;
        netlink.set_queue(name, self.tap_queue_frames)?;
        netlink.join_bridge(name, self.bridge)?;
        netlink.set_up(name)
    }

    fn remove_tap(&self, name: &str) -> Result<()> {
        Netlink::open(&self.namespace)?.delete(name)
    }

    fn resident_bytes(&self, pid: u32, mapping_bytes: u64) -> Result<Option<i64>> {
        memory_map::resident_bytes(pid, mapping_bytes)
    }

    fn fingerprint(&self) -> HostFingerprint {
        fingerprint::read(self.id.to_string(), &self.congestion_control)
    }
}

/// Whether a socket that refuses like this may be about to be opened.
fn may_come(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, Interrupted, NotFound, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock | Interrupted)
}
