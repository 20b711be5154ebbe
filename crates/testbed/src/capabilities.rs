//! What this machine lets a testbed do, found out by doing it.
#![expect(
    unsafe_code,
    reason = "each trial is done between fork and exec, so that it leaves nothing in this process"
)]

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::geteuid;

use crate::netlink::Netlink;
use crate::{TestbedError, device, mend};

/// Something a testbed needs or likes to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What, as in `namespaces`.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether a lab cannot do without.
    pub required: bool,
    /// Why it is not there, if it is not.
    pub lack: Option<Lack>,
}

/// Why something is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What the system said.
    pub because: String,
    /// What mends it: a command, where there is one.
    pub mend: String,
}

/// Tries everything a lab needs or likes to have. Must be called before any thread exists, as the trials fork.
#[must_use]
pub fn capabilities() -> Vec<Capability> {
    let capability =
        |name, purpose, required, lack: Option<Lack>| Capability { name, purpose, required, lack };
    vec![
        capability("namespaces", "the lab's hosts and networks", true, try_namespaces()),
        capability("tap", "the network devices of VMs", true, try_tap()),
        capability("packet-sockets", "seeing which host's VM answers", true, try_packet_sockets()),
        capability("netem", "delays made by the kernel", false, try_netem()),
        capability("userfaultfd", "post-copy", false, try_userfaultfd()),
        capability(
            "loop devices",
            "folders of images that leave nothing, for servers of disks",
            false,
            try_loop(),
        ),
        programs("qcow2", "images in QEMU's own layout", &[("qemu-img", "qemu-utils")]),
        programs("nbd server", "disks by NBD, and in two steps", &[("qemu-storage-daemon", "qemu-utils")]),
        programs("nfs server", "disks by NFS", &NFS),
        programs("iscsi server", "disks by iSCSI", &[("tgtd", "tgt"), ("tgtadm", "tgt")]),
        programs("scp", "cold and offline moves by scp", &SCP),
    ]
}

const NFS: [(&str, &str); 2] = [("ganesha.nfsd", "nfs-ganesha nfs-ganesha-vfs"), ("rpcbind", "rpcbind")];
const SCP: [(&str, &str); 3] =
    [("scp", "openssh-client"), ("ssh-keygen", "openssh-client"), ("sshd", "openssh-server")];
/// Debian keeps servers out of an ordinary user's `PATH`.
const MORE_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Whether programs are installed, each given with its package in Debian.
fn programs(name: &'static str, purpose: &'static str, wanted: &[(&str, &str)]) -> Capability {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain(MORE_PATHS.map(Into::into)).collect::<Vec<_>>();
    let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing: Vec<_> = wanted.iter().filter(|(program, _)| !is_there(program)).collect();
    let list = |which: fn(&(&str, &str)) -> String, between: &str| {
        let mut all: Vec<String> = missing.iter().map(|one| which(one)).collect();
        all.dedup();
        all.join(between)
    };
    let lack = (!missing.is_empty()).then(|| Lack {
        because: format!("{} not installed", list(|(program, _)| (*program).to_owned(), ", ")),
        mend: format!("apt-get install {}", list(|(_, package)| (*package).to_owned(), " ")),
    });
    Capability { name, purpose, required: false, lack }
}

fn try_loop() -> Option<Lack> {
    let opened = File::options().read(true).write(true).open("/dev/loop-control").map(drop);
    lack(opened, |error| match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root".into(),
        _ => "sudo modprobe loop (in a container: docker run --privileged -v /dev:/dev)".into(),
    })
}

fn try_namespaces() -> Option<Lack> {
    lack(in_scratch_world(|| Ok(())), |_| mend::namespaces())
}

fn try_tap() -> Option<Lack> {
    let add = || {
        File::options().read(true).write(true).open(device::TUN)?;
        device::add_tap("try0").map_err(|error| cause(&error))
    };
    lack(in_scratch_world(add), |error| mend::tap(error.kind()))
}

fn try_packet_sockets() -> Option<Lack> {
    let open = || {
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(())
    };
    lack(in_scratch_world(open), |_| mend::packet_sockets())
}

fn try_netem() -> Option<Lack> {
    let delay = || match Netlink::open_here("scratch").and_then(|mut netlink| netlink.has_netem()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::ENOENT.into()),
        Err(error) => Err(cause(&error)),
    };
    lack(in_scratch_world(delay), |_| mend::netem())
}

fn try_userfaultfd() -> Option<Lack> {
    let open = || {
        // SAFETY: takes an integer, no pointer. The descriptor ends with the process.
        Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) })?;
        Ok(())
    };
    lack(in_scratch_world(open), |_| mend::userfaultfd())
}

fn lack(tried: io::Result<()>, mend: impl FnOnce(&io::Error) -> String) -> Option<Lack> {
    let error = tried.err()?;
    Some(Lack { because: error.to_string(), mend: mend(&error) })
}

/// Does something in a child process with namespaces like the lab's, which are gone when it ends.
fn in_scratch_world(mut work: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> io::Result<()> {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let mut child = Command::new("true");
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let try_it = move || {
        unshare(flags)?;
        work()
    };
    // SAFETY: the work opens sockets and devices, and may allocate: this process has no other thread whose locks the
    // fork could have caught.
    unsafe { child.pre_exec(try_it) };
    child.status().map(drop)
}

/// The system's own error; only its number crosses from the child to us.
fn cause(error: &TestbedError) -> io::Error {
    let source = match error {
        TestbedError::Io { source, .. } | TestbedError::Netlink { source, .. } => Some(source),
        _ => None,
    };
    source
        .and_then(io::Error::raw_os_error)
        .map_or_else(|| Errno::EINVAL.into(), io::Error::from_raw_os_error)
}
