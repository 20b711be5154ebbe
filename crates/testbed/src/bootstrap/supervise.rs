//! The outer process: starts the inner one in fresh namespaces, passes signals on, waits for its end.
#![expect(unsafe_code, reason = "what ties the two processes together is set between fork and exec")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::{Pid, getegid, geteuid, getpid};

use super::{MARK, PROCESS_PREFIX};
use crate::{Result, TestbedError, mend};

/// The signals that ask for an end.
const END_SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Runs this program again inside; returns its exit code.
pub(super) fn run_inside(name: &str, end_limit: Duration) -> Result<i32> {
    check_name(name)?;
    check_threads()?;
    let signals = catch_signals()?;
    separate()?;
    let child = start(name)?;
    supervise(child, &signals, end_limit)
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') {
        let because = "a lab's name must not be empty or hold a NUL".into();
        return Err(TestbedError::Unsupported { what: format!("the name {name:?}"), because });
    }
    Ok(())
}

/// Threads and namespaces do not go together: a user namespace refuses, and a signal or an end may meet the wrong one.
fn check_threads() -> Result<()> {
    let threads =
        fs::read_dir("/proc/self/task").map_err(TestbedError::io("count this process's threads"))?.count();
    if threads > 1 {
        let because = format!("this process has {threads} threads already");
        return Err(TestbedError::Unsupported { what: "entering a lab".into(), because });
    }
    Ok(())
}

fn catch_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.extend(END_SIGNALS);
    set.add(Signal::SIGCHLD);
    set.thread_block().map_err(TestbedError::errno("block signals"))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(TestbedError::errno("listen for signals"))
}

/// Leaves the machine's namespaces. The pid namespace takes effect with the next child, its first process.
fn separate() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EINVAL => TestbedError::NotPermitted {
            what: format!("making namespaces ({errno})"),
            mend: mend::namespaces(),
        },
        _ => TestbedError::errno("make namespaces")(errno),
    })?;
    if !user.is_root() {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("0 {user} 1"))?;
        write("/proc/self/gid_map", &format!("0 {group} 1"))?;
    }
    Ok(())
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).map_err(TestbedError::io(format!("write {path}")))
}

/// Starts the inner process, in our process group: a terminal that interrupts us interrupts it too.
fn start(name: &str) -> Result<Child> {
    let own_life = pidfd(getpid()).map_err(TestbedError::io("watch this process"))?;
    let watched = own_life.as_raw_fd();
    let tie = move || {
        SigSet::empty().thread_set_mask()?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // SAFETY: the descriptor is the parent's, which the fork has copied.
        let parent = unsafe { BorrowedFd::borrow_raw(watched) };
        // The parent may have died before its death could mean anything to us. Its id cannot tell: seen from the new
        // pid namespace it is always 0.
        if poll(&mut [PollFd::new(parent, PollFlags::POLLIN)], PollTimeout::ZERO)? > 0 {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0(format!("{PROCESS_PREFIX}{name}")).args(std::env::args_os().skip(1)).env(MARK, "1");
    // SAFETY: after the fork this only makes system calls.
    unsafe { command.pre_exec(tie) };
    command.spawn().map_err(TestbedError::io("start again inside the lab's namespaces"))
}

fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes integers, no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as all of them).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn supervise(mut child: Child, signals: &SignalFd, end_limit: Duration) -> Result<i32> {
    let mut end: Option<Deadline> = None;
    loop {
        if let Some(status) = child.try_wait().map_err(TestbedError::io("ask how the lab is"))? {
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
        }
        if end.is_some_and(|end| end.passed()) {
            // Fails only where it has ended already; the next turn then sees it.
            let _ = child.kill();
            end = None;
        }
        wait(signals, end)?;
        while let Some(signal) = signals.read_signal().map_err(TestbedError::errno("read a signal"))? {
            if let Some(asked) = END_SIGNALS.into_iter().find(|known| *known as u32 == signal.ssi_signo) {
                end = end.or_else(|| Some(Deadline::after(end_limit)));
                if !is_from_terminal(&signal) {
                    pass_on(&child, asked);
                }
            }
        }
    }
}

fn wait(signals: &SignalFd, end: Option<Deadline>) -> Result<()> {
    let timeout = end.map_or(PollTimeout::NONE, |end| {
        // Rounded up: a wait that ends just before the deadline would spin.
        PollTimeout::try_from(end.left() + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(TestbedError::errno("wait for the lab")(errno)),
    }
}

/// Whether the kernel sent it itself, as it does for a key or a hang-up: then to the whole process group.
fn is_from_terminal(signal: &siginfo) -> bool {
    signal.ssi_code == libc::SI_KERNEL
}

fn pass_on(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // Fails only where it has ended already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
