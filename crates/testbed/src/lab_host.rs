//! A host of the lab: a network namespace of the process that owns the lab, alone or with a world of its own (a node).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::{Deadline, HostClock};
use dunlin_image::{Extent, data_extents};
use dunlin_record::{HostFingerprint, HostId};

use crate::local_process::LocalProcess;
use crate::namespace::Namespace;
use crate::netlink::Netlink;
use crate::node::Node;
use crate::{
    Helper, Host, ImageFolder, LastWill, Launch, Network, Output, Process, Result, Taps, TestbedError,
};
use crate::{device, files, fingerprint, lab, memory_map, process};

/// How long to wait before connecting again to a socket that is not there yet.
const CONNECT_STEP: Duration = Duration::from_millis(2);

/// A host of the lab.
#[derive(Debug)]
pub struct LabHost {
    pub(crate) id: HostId,
    pub(crate) namespace: Namespace,
    /// What else it has of its own, where it is a node.
    pub(crate) node: Option<Node>,
    pub(crate) scratch: PathBuf,
    /// The last byte of its addresses.
    pub(crate) last: u8,
    /// Those it is in.
    pub(crate) networks: Vec<Network>,
    /// The bridge that joins the taps of VMs to the service network.
    pub(crate) bridge: &'static str,
    pub(crate) tap_queue_frames: u32,
    pub(crate) congestion_control: String,
}

impl LabHost {
    /// Starts a program on the host with its standard input and output on pipes; its standard error is ours.
    fn spawn_piped(&self, program: &Path, args: &[OsString]) -> Result<Child> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        self.spawn(command)
    }

    /// Starts a program where the host's programs run.
    fn spawn(&self, command: Command) -> Result<Child> {
        match &self.node {
            Some(node) => node.spawn(command, &self.namespace),
            None => self.namespace.spawn(command),
        }
    }

    fn has_own_clocks(&self) -> bool {
        self.node.as_ref().is_some_and(Node::has_own_clocks)
    }

    /// Its address on a network; where it is not in it, the one that is kept for it there.
    #[must_use]
    pub fn address(&self, network: Network) -> Ipv4Addr {
        lab::address(network, self.last)
    }

    /// Does work on the host's files.
    fn on_files<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.node {
            Some(node) => node.within(work),
            None => work(),
        }
    }

    /// Where a node's programs write what is to end up in a local folder that they do not see: below the node's own scratch
    /// folder, under the local folder's whole path.
    fn own_outbox(&self, local: &Path) -> Result<PathBuf> {
        let doing = || TestbedError::io(format!("find {}", local.display()));
        let local = std::path::absolute(local).map_err(doing())?;
        Ok(self.scratch.join("outbox").join(local.strip_prefix("/").unwrap_or(&local)))
    }

    fn io(&self, doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> TestbedError + use<> {
        TestbedError::io(format!("{doing} {} on {}", path.display(), self.id))
    }

    /// The process that is the first one of the host's own pid namespace; absent where it has none of its own.
    #[must_use]
    pub fn first_process(&self) -> Option<u32> {
        self.node.as_ref().map(Node::pid)
    }

    /// Does work in the host's network namespace, on a thread made for it. Sockets made there stay there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or the work fails.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
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

    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    fn outbox(&self, local: &Path) -> Result<PathBuf> {
        if self.sees(local)? {
            return Ok(local.to_owned());
        }
        let own = self.own_outbox(local)?;
        self.on_files(|| fs::create_dir_all(&own).map_err(self.io("create", &own)))?;
        Ok(own)
    }

    fn collect(&self, local: &Path) -> Result<()> {
        if self.sees(local)? {
            return Ok(());
        }
        let own = self.own_outbox(local)?;
        let names = self.on_files(|| files::list(&own).map_err(self.io("list", &own)))?;
        for name in names {
            self.copy_from(&own.join(&name), &local.join(&name))?;
        }
        Ok(())
    }

    fn sees(&self, local: &Path) -> Result<bool> {
        let which = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let here = fs::metadata(local).map_err(TestbedError::io(format!("look at {}", local.display())))?;
        let there = self.on_files(|| Ok(fs::metadata(local).ok()))?;
        Ok(there.map(which) == Some(which(here)))
    }

    fn place(&self, local: &Path) -> Result<PathBuf> {
        if self.sees(local)? {
            return Ok(local.to_owned());
        }
        // Under its own path: another file of that name is another.
        let own = self.own_outbox(local)?;
        if let Some(folder) = own.parent() {
            self.on_files(|| fs::create_dir_all(folder).map_err(self.io("create", folder)))?;
        }
        self.copy_to(local, &own)?;
        Ok(own)
    }

    fn address(&self, network: Network) -> Option<Ipv4Addr> {
        self.networks.contains(&network).then(|| self.address(network))
    }

    fn interface(&self, network: Network) -> Option<&str> {
        self.networks.contains(&network).then(|| lab::interface(network))
    }

    fn run(&self, program: &Path, args: &[OsString], limit: Duration) -> Result<Output> {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        process::run_to_end(LocalProcess::new(self.spawn(command)?), &program.display().to_string(), limit)
    }

    fn launch(&self, launch: Launch) -> Result<Process> {
        let create = |path: &Path| File::create(path).map_err(self.io("create", path));
        let (stdout, stderr) = self.on_files(|| Ok((create(&launch.stdout)?, create(&launch.stderr)?)))?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        Ok(Process::new(LocalProcess::new(self.spawn(command)?)))
    }

    fn converse(&self, program: &Path, args: &[OsString], stderr: &Path) -> Result<(Process, UnixStream)> {
        let stderr = self.on_files(|| File::create(stderr).map_err(self.io("create", stderr)))?;
        let ends = UnixStream::pair().and_then(|(ours, its)| Ok((ours, its.try_clone()?, its)));
        let (ours, stdin, stdout) = ends.map_err(self.io("make a stream to", program))?;
        let mut command = Command::new(program);
        command.args(args).stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout)).stderr(stderr);
        command.process_group(0);
        let process = LocalProcess::new(self.spawn(command)?).whose_group_ends_with_it();
        Ok((Process::new(process), ours))
    }

    /// All that is there dies with the lab.
    fn at_end(&self, _program: &Path, _args: &[OsString]) -> Result<LastWill> {
        Ok(LastWill::needless())
    }

    fn dial(&self, socket: &Path, limit: Duration) -> Result<UnixStream> {
        let deadline = Deadline::after(limit);
        let dial = || loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if !may_come(&error) => return Err(self.io("connect to", socket)(error)),
                Err(_) if deadline.passed() => {
                    let waiting_for = format!("a connection to {} on {}", socket.display(), self.id);
                    return Err(TestbedError::Timeout { waiting_for, after_s: limit.as_secs_f64() });
                }
                Err(_) => std::thread::sleep(deadline.step(CONNECT_STEP)),
            }
        };
        self.on_files(dial)
    }

    fn copy_to(&self, local: &Path, there: &Path) -> Result<()> {
        let from = File::open(local).map_err(TestbedError::io(format!("open {}", local.display())))?;
        self.on_files(|| copy(&from, there).map_err(self.io(&format!("copy {} to", local.display()), there)))
    }

    fn copy_from(&self, there: &Path, local: &Path) -> Result<()> {
        let from = self.on_files(|| File::open(there).map_err(self.io("open", there)))?;
        copy(&from, local).map_err(self.io(&format!("copy to {} from", local.display()), there))
    }

    fn read(&self, there: &Path) -> Result<Vec<u8>> {
        self.on_files(|| fs::read(there).map_err(self.io("read", there)))
    }

    fn write_private(&self, there: &Path, bytes: &[u8]) -> Result<()> {
        self.on_files(|| files::write_private(there, bytes).map_err(self.io("write", there)))
    }

    fn remove(&self, there: &Path) -> Result<()> {
        self.on_files(|| files::remove(there).map_err(self.io("remove", there)))
    }

    fn helper(&self) -> Result<Helper> {
        if self.has_own_clocks() {
            return Err(TestbedError::Unsupported {
                what: format!("a helper on {}", self.id),
                because:
                    "it would stamp by the node's own clock, which the lab does not compare with the bench's"
                        .into(),
            });
        }
        let child = self.spawn_piped(Path::new("/proc/self/exe"), &["helper".into()])?;
        Helper::start(self.id.clone(), child, self.clock())
    }

    fn taps(&self) -> Option<&dyn Taps> {
        self.networks.contains(&Network::Service).then_some(self as &dyn Taps)
    }

    fn image_folder(&self, on: &Path, bytes: u64) -> Result<ImageFolder> {
        let mounts = self.node.as_ref().map(Node::mounts).transpose()?;
        ImageFolder::mount(on, bytes, mounts, &self.scratch, &self.id)
    }

    fn is_disposable(&self) -> bool {
        self.node.is_some()
    }

    fn resident_bytes(&self, pid: u32, mapping_bytes: u64) -> Result<Option<i64>> {
        self.on_files(|| memory_map::resident_bytes(pid, mapping_bytes))
    }

    /// All hosts of a lab are this machine, but some do not have its clock.
    fn clock(&self) -> HostClock {
        if self.has_own_clocks() { HostClock::of_another() } else { HostClock::own() }
    }

    fn fingerprint(&self) -> HostFingerprint {
        fingerprint::read(self.id.to_string(), &self.congestion_control)
    }
}

impl Taps for LabHost {
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
}

/// Copies an open file to a path, with its mode, as `fs::copy` does between paths; holes stay holes.
fn copy(from: &File, to: &Path) -> std::io::Result<()> {
    let metadata = from.metadata()?;
    let mut to = File::create(to)?;
    if metadata.is_file() {
        for extent in data_extents(from) {
            let Extent { begin, end } = extent.map_err(std::io::Error::other)?;
            // The extents move the position of the one they are of.
            let mut part = from.try_clone()?;
            part.seek(SeekFrom::Start(begin))?;
            to.seek(SeekFrom::Start(begin))?;
            std::io::copy(&mut part.take(end - begin), &mut to)?;
        }
        to.set_len(metadata.len())?;
    } else {
        std::io::copy(&mut &*from, &mut to)?;
    }
    to.set_permissions(metadata.permissions())
}

/// Whether a socket that refuses like this may be about to be opened.
fn may_come(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, Interrupted, NotFound, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock | Interrupted)
}
