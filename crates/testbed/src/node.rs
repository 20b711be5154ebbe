//! What a host of kind *node* has of its own besides its network: pid, mount, uts and ipc namespaces, so that daemons which
//! take a machine for granted (their own `/run`, `/tmp`, host name, process list) can live in it beside others.
//!
//! A node is held together by its first process, a tiny init of ours: whoever kills it kills all in the node, as a power cut
//! would. It ends with the lab. Where asked, its monotonic clock is another than the machine's, as a real host's is.
#![expect(unsafe_code, reason = "namespaces are entered and made between fork and exec")]

mod clock;
mod init;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

use self::clock::Offsets;
use crate::local_process::LocalProcess;
use crate::namespace::{Namespace, on_own_thread};
use crate::{Process, Result, TestbedError};
pub(crate) use clock::check as check_own_clocks;
pub use init::serve as serve_node;

/// By which the program knows that it is to be a node's first process: its hidden subcommand.
pub const NODE_ROLE: &str = "node";
/// How long a node may take to be up.
const UP_LIMIT: Duration = Duration::from_secs(10);
/// What a node's first process says when the world is ready.
const READY: &str = "ready";

/// What a node's first process is told, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// The node's host name.
    name: String,
    /// The text of its `/etc/hosts`.
    hosts: String,
    /// Its folder for sockets and the like.
    scratch: std::path::PathBuf,
}

/// A node's namespaces, kept by its first process. Dropping it ends all that runs in it.
#[derive(Debug)]
pub(crate) struct Node {
    init: Process,
    /// The first process as the lab sees it.
    pid: u32,
    namespaces: [(File, CloneFlags); 4],
    /// Where it has clocks of its own.
    time: Option<File>,
    /// Its end tells the first process that nobody needs the node any more.
    _lifeline: ChildStdin,
}

impl Node {
    /// Makes a node's world around a network namespace of its own, with clocks that are off by so many seconds.
    pub(crate) fn make(
        network: &Namespace,
        hosts: &str,
        scratch: &std::path::Path,
        clock_offset_s: i64,
    ) -> Result<Self> {
        let name = network.name();
        let doing = || format!("start the node {name}");
        let mut command = Command::new("/proc/self/exe");
        command.arg(NODE_ROLE).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let net = network.as_fd().as_raw_fd();
        let clocks = Offsets::new(clock_offset_s);
        let has_own_clocks = clocks.is_some();
        let separate = move || {
            // SAFETY: the descriptor is the parent's open namespace, which the fork has copied.
            setns(unsafe { BorrowedFd::borrow_raw(net) }, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
            clocks.as_ref().map_or(Ok(()), Offsets::separate)
        };
        // SAFETY: after the fork this only makes system calls.
        unsafe { command.pre_exec(separate) };
        let mut child = on_own_thread(|| {
            // Takes effect with this thread's next child, which is the first process in it.
            unshare(CloneFlags::CLONE_NEWPID).map_err(TestbedError::errno(doing()))?;
            command.spawn().map_err(TestbedError::io(doing()))
        })?;
        let pid = child.id();
        let pipes = child.stdin.take().zip(child.stdout.take());
        // From here on it ends with this.
        let init = Process::new(LocalProcess::new(child));
        let failed = |why: String| TestbedError::Node { node: name.to_owned(), why };
        let Some((mut lifeline, said)) = pipes else { return Err(failed("it has no pipes".into())) };
        let settings =
            Settings { name: name.to_owned(), hosts: hosts.to_owned(), scratch: scratch.to_owned() };
        let mut line = serde_json::to_string(&settings).map_err(|error| failed(error.to_string()))?;
        line.push('\n');
        // Less than a pipe holds, so that this does not wait for the reader.
        lifeline.write_all(line.as_bytes()).map_err(TestbedError::io(doing()))?;
        match first_line(said, Deadline::after(UP_LIMIT)).as_str() {
            READY => {}
            "" => return Err(failed(format!("it was not up within {} s", UP_LIMIT.as_secs()))),
            why => return Err(failed(why.to_owned())),
        }
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            File::open(&path).map_err(TestbedError::io(format!("open {path}")))
        };
        let namespaces = [
            (open("pid")?, CloneFlags::CLONE_NEWPID),
            (open("uts")?, CloneFlags::CLONE_NEWUTS),
            (open("ipc")?, CloneFlags::CLONE_NEWIPC),
            (open("mnt")?, CloneFlags::CLONE_NEWNS),
        ];
        let time = has_own_clocks.then(|| open(clock::KIND)).transpose()?;
        Ok(Self { init, pid, namespaces, time, _lifeline: lifeline })
    }

    /// Its first process, as the lab sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether its monotonic clock is another than the machine's.
    pub(crate) fn has_own_clocks(&self) -> bool {
        self.time.is_some()
    }

    /// Does work on its files, on a thread made for it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let [.., (mounts, _)] = &self.namespaces;
        within(mounts, work)
    }

    /// The namespace of its mounts, which lives as long as the file is open.
    pub(crate) fn mounts(&self) -> Result<File> {
        let [.., (mounts, _)] = &self.namespaces;
        mounts.try_clone().map_err(TestbedError::io("hold a node's mounts"))
    }

    /// Starts a program in it.
    pub(crate) fn spawn(&self, mut command: Command, network: &Namespace) -> Result<Child> {
        let [pid, inner @ ..] = &self.namespaces;
        let inner = inner.each_ref().map(|(file, kind)| (file.as_raw_fd(), *kind));
        let net = network.as_fd().as_raw_fd();
        let time = self.time.as_ref().map(|file| (file.as_raw_fd(), clock::NEW_TIME));
        let enter = move || {
            for (fd, kind) in [(net, CloneFlags::CLONE_NEWNET)].into_iter().chain(inner).chain(time) {
                // SAFETY: the descriptor is the parent's open namespace, which the fork has copied.
                setns(unsafe { BorrowedFd::borrow_raw(fd) }, kind)?;
            }
            Ok(())
        };
        // SAFETY: after the fork this only makes system calls.
        unsafe { command.pre_exec(enter) };
        let program = command.get_program().to_owned();
        let doing = || format!("start {} on {}", program.display(), network.name());
        on_own_thread(|| {
            // For this thread's children only.
            setns(&pid.0, pid.1).map_err(TestbedError::errno(doing()))?;
            command.spawn().map_err(TestbedError::io(doing()))
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The kernel ends all others in its pid namespace with it.
        self.init.kill();
    }
}

/// Does work on the files that a namespace of mounts shows, on a thread made for it.
pub(crate) fn within<T: Send>(mounts: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_own_thread(|| {
        // Threads share where they stand in the tree of files; whoever does may not go elsewhere.
        unshare(CloneFlags::CLONE_FS)
            .and_then(|()| setns(mounts, CloneFlags::CLONE_NEWNS))
            .map_err(TestbedError::errno("enter a node"))?;
        work()
    })
}

/// The first line that comes within the time, without its end; empty where none does.
fn first_line(mut from: ChildStdout, deadline: Deadline) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let wait = PollTimeout::try_from(deadline.left()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], wait) {
            Err(Errno::EINTR) if !deadline.passed() => continue,
            Ok(1..) => {}
            _ => break,
        }
        let mut byte = [0];
        match std::io::Read::read(&mut from, &mut byte) {
            Ok(1) => line.extend(byte),
            _ => break,
        }
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}
