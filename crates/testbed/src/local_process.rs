//! A process on this machine: of the lab's own hosts.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::process::{End, ProcessHandle};
use crate::{Result, TestbedError};

/// A child of this process, the leader of its process group.
#[derive(Debug)]
pub(crate) struct LocalProcess {
    child: Child,
    pid: u32,
    /// Whether what is left of its group is ended when it has ended itself.
    ends_its_group: bool,
}

impl LocalProcess {
    /// A child that has just been started.
    pub(crate) fn new(child: Child) -> Self {
        // Where it is in a pid namespace below ours it has another id there. Before it is waited for, `/proc` knows it,
        // even if it has ended.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        Self { pid: innermost_pid(&status).unwrap_or(child.id()), child, ends_its_group: false }
    }

    /// What it says, where that was piped.
    pub(crate) fn take_pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// The same with what is left of its group ended when it has ended itself.
    pub(crate) fn whose_group_ends_with_it(self) -> Self {
        Self { ends_its_group: true, ..self }
    }

    fn own_pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().map(Pid::from_raw)
    }
}

impl ProcessHandle for LocalProcess {
    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn try_end(&mut self) -> Result<Option<End>> {
        let pid = self.pid;
        let doing = || TestbedError::io(format!("ask how process {pid} is"));
        if self.ends_its_group
            && let Some(pid) = self.own_pid()
        {
            // As long as it is not waited for, its id and its group's are nobody else's.
            let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            match waitid(Id::Pid(pid), look) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return Ok(None),
                Ok(_) => self.kill(),
                Err(errno) => return Err(doing()(errno.into())),
            }
        }
        let status = self.child.try_wait().map_err(doing())?;
        Ok(status.map(|status| End { how: describe(status), success: status.success() }))
    }

    fn kill(&mut self) {
        if let Some(pid) = self.own_pid() {
            // Fails only where nobody is left in the group.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last of the ids that a process has, from our pid namespace down to its own (`NSpid` of proc_pid_status(5)).
fn innermost_pid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_goes_by_the_id_it_has_in_its_own_namespace() {
        assert_eq!(innermost_pid("Name:\tqemu\nPid:\t4711\nNSpid:\t4711\t12\t3\n"), Some(3));
        assert_eq!(innermost_pid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost_pid("NSpid:\n"), None);
        assert_eq!(innermost_pid(""), None);
    }
}
