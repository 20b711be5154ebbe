//! A process on a host: watched, ended and never left behind.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Result, TestbedError};

/// How often a wait looks.
const STEP: Duration = Duration::from_millis(5);

/// A process launched on a host, the leader of its process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self { child, ended: None }
    }

    /// Its id on its host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, as in "exit status 1" or "signal 9"; absent while it runs.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn try_wait(&mut self) -> Result<Option<String>> {
        if self.ended.is_none() {
            let doing = format!("ask how process {} is", self.pid());
            self.ended = self.child.try_wait().map_err(TestbedError::io(doing))?;
        }
        Ok(self.ended.map(describe))
    }

    /// Waits for its end; absent if it still runs at the deadline.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Option<String>> {
        loop {
            let ended = self.try_wait()?;
            if ended.is_some() || deadline.passed() {
                return Ok(ended);
            }
            std::thread::sleep(deadline.step(STEP));
        }
    }

    /// Ends it and what it started, at once. Nothing happens if it has ended already.
    pub fn kill(&mut self) {
        // A process that was waited for has given its id back: it may be another's by now.
        if self.ended.is_some() {
            return;
        }
        if let Ok(pid) = i32::try_from(self.pid()) {
            // Fails only where nobody is left in the group.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // A killed process ends without its own doing, so this wait is short.
        self.ended = self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn sh(script: &str) -> Process {
        Process::new(Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap())
    }

    #[test]
    fn an_end_is_told_as_status_or_signal_and_again_when_asked_again() {
        let limit = || Deadline::after(Duration::from_secs(20));
        let mut ended = sh("exit 3");
        assert_eq!(ended.wait(limit()).unwrap().unwrap(), "exit status 3");
        assert_eq!(ended.try_wait().unwrap().unwrap(), "exit status 3");
        assert_eq!(sh("kill -TERM $$").wait(limit()).unwrap().unwrap(), "signal 15");
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_a_kill_ends_the_process() {
        let mut process = sh("sleep 600");
        assert_eq!(process.wait(Deadline::after(Duration::from_millis(20))).unwrap(), None);
        process.kill();
        assert_eq!(process.try_wait().unwrap().unwrap(), "signal 9");
    }
}
