//! A node's first process: makes the world it wakes up in the node's own, and buries its dead.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::getpid;

use super::{READY, Settings};
use crate::{Result, TestbedError};

/// File systems that are empty in a new node, with their modes: where daemons put sockets, locks and shared memory.
const OWN: [(&str, &str); 4] =
    [("/run", "mode=0755"), ("/tmp", "mode=1777"), ("/var/tmp", "mode=1777"), ("/dev/shm", "mode=1777")];
/// Where the node's own versions of files lie that else are the machine's.
const ETC: &str = "/run/dunlin/etc";

/// Serves as a node's first process until whoever made it is gone; returns the exit code. This is what the binary's hidden
/// subcommand [`super::NODE_ROLE`] runs.
#[must_use]
pub fn serve() -> i32 {
    let (ready, word) = match wake_up() {
        Ok(children) => (Some(children), READY.to_owned()),
        Err(error) => (None, dunlin_record::in_one_line(&error)),
    };
    let told = writeln!(io::stdout(), "{word}").and_then(|()| io::stdout().flush());
    match (ready, told) {
        (Some(children), Ok(())) => watch(&children),
        _ => 1,
    }
}

/// Makes the world the node's own; gives what tells of ended children.
fn wake_up() -> Result<SignalFd> {
    // Else it would change the mounts and the host name of whoever started it by hand.
    if getpid().as_raw() != 1 {
        let because = "it is the first process of a lab's node, started by the lab alone".into();
        return Err(TestbedError::Unsupported { what: "this program here".into(), because });
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(TestbedError::io("read what the node is to be"))?;
    let settings: Settings = serde_json::from_str(&line)
        .map_err(|error| TestbedError::io("read what the node is to be")(error.into()))?;
    settle(&settings)?;
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    let watch = || {
        ended.thread_block()?;
        SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
    };
    watch().map_err(TestbedError::errno("listen for ended children"))
}

fn settle(settings: &Settings) -> Result<()> {
    let Settings { name, hosts, scratch } = settings;
    nix::unistd::sethostname(name).map_err(TestbedError::errno("set the node's host name"))?;
    let own = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, own, None::<&str>)
        .map_err(TestbedError::errno("keep the node's mounts to itself"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), plain | MsFlags::MS_NOEXEC, None::<&str>)
        .map_err(TestbedError::errno("mount the node's /proc"))?;
    // It shows the devices of the network namespace of whoever mounts it. Where that is refused, those of the machine are seen.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), plain | MsFlags::MS_NOEXEC, None::<&str>);
    for (folder, mode) in OWN.into_iter().filter(|(folder, _)| Path::new(folder).is_dir()) {
        mount(Some("dunlin"), folder, Some("tmpfs"), plain, Some(mode))
            .map_err(TestbedError::errno(format!("mount the node's {folder}")))?;
    }
    for folder in [Path::new(ETC), scratch] {
        fs::create_dir_all(folder).map_err(TestbedError::io(format!("create {}", folder.display())))?;
    }
    replace("hosts", hosts)?;
    replace("hostname", &format!("{name}\n"))
}

/// Puts a text in the place of a file of `/etc`, for the node alone. A file that is not there cannot be covered.
fn replace(name: &str, text: &str) -> Result<()> {
    let (own, machines) = (Path::new(ETC).join(name), Path::new("/etc").join(name));
    fs::write(&own, text).map_err(TestbedError::io(format!("write {}", own.display())))?;
    if machines.exists() {
        mount(Some(&own), &machines, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(TestbedError::errno(format!("replace {} in the node", machines.display())))?;
    }
    Ok(())
}

/// Buries ended children until the lifeline breaks. It wakes up for nothing else: what is measured shares its processors.
fn watch(children: &SignalFd) -> i32 {
    let lifeline = io::stdin();
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        let mut both = [
            PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return 1,
        }
        // Nothing more is ever written to it.
        if both[0].revents().is_some_and(|events| !events.is_empty()) {
            return 0;
        }
        while matches!(children.read_signal(), Ok(Some(_))) {}
    }
}
