//! A process on a host: watched, ended and never left behind.

use std::fmt;
use std::io::Read;
use std::process::{ChildStderr, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dunlin_clock::Deadline;

use crate::host::OUTPUT_BYTES;
use crate::local_process::LocalProcess;
use crate::{Output, Result, TestbedError};

/// How often a wait looks.
const STEP: Duration = Duration::from_millis(5);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long the rest of what an ended program said may take to be read.
const SAID_LIMIT: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// As in "exit status 1" or "signal 9".
    pub how: String,
    /// Whether it ended with exit status 0.
    pub success: bool,
}

/// A process as its host knows it. Neither question nor order waits for the process.
pub trait ProcessHandle: fmt::Debug + Send + Sync {
    /// Its id on its host, by which others there can ask about it; absent where the host does not tell.
    fn pid(&self) -> Option<u32>;

    /// How it ended; absent while it runs. Not asked again once it has been told.
    ///
    /// # Errors
    /// Where the host does not say.
    fn try_end(&mut self) -> Result<Option<End>>;

    /// Orders the end of it and of what it started in its group. Only asked of one whose end was not told yet.
    fn kill(&mut self);
}

/// A process launched on a host, the leader of its process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    handle: Box<dyn ProcessHandle>,
    ended: Option<End>,
}

impl Process {
    /// The process that a host knows.
    #[must_use]
    pub fn new(handle: impl ProcessHandle + 'static) -> Self {
        Self { handle: Box::new(handle), ended: None }
    }

    /// Its id on its host; absent where that does not tell.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.handle.pid()
    }

    /// How it ended, as in "exit status 1" or "signal 9"; absent while it runs.
    ///
    /// # Errors
    /// Where the host does not say.
    pub fn try_wait(&mut self) -> Result<Option<String>> {
        Ok(self.try_end()?.map(|end| end.how.clone()))
    }

    /// Waits for its end; absent if it still runs at the deadline.
    ///
    /// # Errors
    /// Where the host does not say.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Option<String>> {
        Ok(self.wait_end(deadline)?.map(|end| end.how.clone()))
    }

    /// Ends it and what it started, at once. Nothing happens if it has ended already. One that the kernel holds, as for a
    /// disk that does not answer, ends when it is let go: after a while it is no longer waited for, and
    /// [`Self::try_wait`] says that it still runs.
    pub fn kill(&mut self) {
        self.kill_within(KILL_LIMIT);
    }

    fn kill_within(&mut self, limit: Duration) {
        if self.ended.is_some() {
            return;
        }
        self.handle.kill();
        // Where the host does not say how it is, there is nothing more to be done about it.
        let _ = self.wait_end(Deadline::after(limit));
    }

    fn try_end(&mut self) -> Result<Option<&End>> {
        if self.ended.is_none() {
            self.ended = self.handle.try_end()?;
        }
        Ok(self.ended.as_ref())
    }

    fn wait_end(&mut self, deadline: Deadline) -> Result<Option<&End>> {
        while self.try_end()?.is_none() && !deadline.passed() {
            std::thread::sleep(deadline.step(STEP));
        }
        Ok(self.ended.as_ref())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of a program and takes what it says meanwhile; ends it at the limit. What it leaves behind in its
/// group goes with it: that would hold the pipes open.
pub(crate) fn run_to_end(mut local: LocalProcess, program: &str, limit: Duration) -> Result<Output> {
    let pipes = local.take_pipes();
    hear_to_end(pipes, local.whose_group_ends_with_it(), program, limit)
}

/// The same of a program that others may end, by its pipes; what is left of its group must end with it.
pub(crate) fn hear_to_end(
    (stdout, stderr): (Option<ChildStdout>, Option<ChildStderr>),
    handle: impl ProcessHandle + 'static,
    program: &str,
    limit: Duration,
) -> Result<Output> {
    // Where its pipes cannot be read it is ended.
    let mut process = Process::new(handle);
    let (stdout, stderr) = (collect(stdout)?, collect(stderr)?);
    let Some(End { how, success }) = process.wait_end(Deadline::after(limit))?.cloned() else {
        process.kill();
        let waiting_for = format!("{program} to end");
        return Err(TestbedError::Timeout { waiting_for, after_s: limit.as_secs_f64() });
    };
    let said = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(SAID_LIMIT).unwrap_or_default();
    Ok(Output { how, success, stdout: said(stdout), stderr: said(stderr) })
}

/// Reads a pipe to its end, on a thread of its own; what is too much is read and dropped.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("program-output".into());
    let read = move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(OUTPUT_BYTES as u64).read_to_end(&mut said);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = sender.send(said);
    };
    thread.spawn(read).map_err(TestbedError::io("start the thread that reads a program's output"))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn sh(script: &str) -> Process {
        let child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        Process::new(LocalProcess::new(child))
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
    fn a_program_is_run_to_its_end_or_its_limit_and_its_first_words_are_kept() {
        let run = |script: &str, limit| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(std::process::Stdio::null()).process_group(0);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            run_to_end(LocalProcess::new(command.spawn().unwrap()), "sh", limit)
        };
        let limit = Duration::from_secs(20);
        let said = run("echo out; echo err >&2; exit 3", limit).unwrap();
        assert_eq!((said.how.as_str(), said.success), ("exit status 3", false));
        assert_eq!((&said.stdout[..], &said.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(run("head -c 3000000 /dev/zero", limit).unwrap().stdout.len(), OUTPUT_BYTES);
        // What it left running does not hold us up.
        assert!(run("sleep 600 & echo gone", limit).unwrap().success);
        let late = run("sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(late, TestbedError::Timeout { .. }), "{late}");
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_a_kill_ends_the_process() {
        let mut process = sh("sleep 600");
        assert_eq!(process.wait(Deadline::after(Duration::from_millis(20))).unwrap(), None);
        process.kill();
        assert_eq!(process.try_wait().unwrap().unwrap(), "signal 9");
    }

    /// A process that the kernel holds, as in a wait for a disk that does not answer: it takes orders and does not end.
    #[derive(Debug)]
    struct Held {
        kills: Arc<AtomicUsize>,
        let_go: Option<End>,
    }

    impl ProcessHandle for Held {
        fn pid(&self) -> Option<u32> {
            None
        }

        fn try_end(&mut self) -> Result<Option<End>> {
            Ok(self.let_go.clone().filter(|_| self.kills.load(Ordering::Relaxed) > 1))
        }

        fn kill(&mut self) {
            self.kills.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_process_that_the_kernel_holds_is_not_waited_for_without_a_limit() {
        let kills = Arc::<AtomicUsize>::default();
        let let_go = Some(End { how: "signal 9".into(), success: false });
        let mut process = Process::new(Held { kills: Arc::clone(&kills), let_go });
        process.kill_within(Duration::from_millis(20));
        assert_eq!(process.try_wait().unwrap(), None, "it still runs, and nobody says otherwise");
        // Dropped, it is told again, and this time it goes.
        drop(process);
        assert_eq!(kills.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_ended_process_is_not_killed_again() {
        let kills = Arc::new(AtomicUsize::new(2));
        let let_go = Some(End { how: "exit status 0".into(), success: true });
        let mut process = Process::new(Held { kills: Arc::clone(&kills), let_go });
        assert!(process.try_wait().unwrap().is_some());
        process.kill();
        drop(process);
        assert_eq!(kills.load(Ordering::Relaxed), 2);
    }
}
