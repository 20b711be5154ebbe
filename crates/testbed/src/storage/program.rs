//! Programs of servers of storage: found, run for a moment, launched, and stopped for a while.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;

use crate::{Host, Launch, Output, Process, Result, TestbedError};

/// How long a short program may take.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// How often a wait for a server looks.
const STEP: Duration = Duration::from_millis(50);
/// Debian keeps most of them out of an ordinary user's `PATH`.
const FIND: &str = "PATH=$PATH:/usr/sbin:/sbin; command -v \"$1\"";
/// How much of what a server said last is told.
const SAID_LINES: usize = 4;

/// Where a server runs.
pub(super) struct Ground {
    pub(super) host: Arc<dyn Host>,
    pub(super) at: std::net::Ipv4Addr,
    /// The folder of the images.
    pub(super) images: PathBuf,
    /// A folder of its own, for sockets and logs.
    pub(super) work: PathBuf,
    /// What it is, as in "NBD server".
    pub(super) what: &'static str,
}

/// A program of a server's, as long as it runs.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Ground {
    /// Where a program lies on the host.
    pub(super) fn find(&self, program: &'static str, package: &str) -> Result<PathBuf> {
        let args = ["-c", FIND, "sh", program].map(OsString::from);
        let output = self.host.run(Path::new("/bin/sh"), &args, RUN_LIMIT)?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.success && path.starts_with('/') {
            return Ok(path.into());
        }
        Err(TestbedError::Unsupported {
            what: format!("an {} on {}", self.what, self.host.id()),
            because: format!("{program} is not installed there (Debian: {package})"),
        })
    }

    /// Runs a program to its end.
    pub(super) fn run(&self, program: &Path, args: &[OsString]) -> Result<Output> {
        self.host.run(program, args, RUN_LIMIT)
    }

    /// The same, where it must succeed; gives what it said.
    pub(super) fn succeed(&self, program: &Path, args: &[OsString]) -> Result<String> {
        let output = self.run(program, args)?;
        if output.success {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
        Err(self.failed(format!("{} {}: {}: {said}", program.display(), words.join(" "), output.how)))
    }

    /// Starts a program that goes on in the foreground.
    pub(super) fn launch(&self, name: &'static str, program: &Path, args: Vec<OsString>) -> Result<Daemon> {
        let log = self.work.join(format!("{name}.log"));
        let launch =
            Launch { program: program.to_owned(), args, stdout: "/dev/null".into(), stderr: log.clone() };
        Ok(Daemon { name, process: self.host.launch(launch)?, log })
    }

    /// Waits until something has come; where a server ends meanwhile, it will not.
    pub(super) fn await_answer<T>(
        &self,
        daemons: &mut [Daemon],
        deadline: Deadline,
        mut ask: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            self.check(daemons)?;
            if deadline.passed() {
                let said = daemons.iter().map(|daemon| self.said(daemon)).collect::<Vec<_>>().join("; ");
                return Err(self.failed(format!("it does not answer in time: {said}")));
            }
            std::thread::sleep(deadline.step(STEP));
        }
    }

    /// Fails where one of them has ended.
    pub(super) fn check(&self, daemons: &mut [Daemon]) -> Result<()> {
        for daemon in daemons {
            if let Some(how) = daemon.process.try_wait()? {
                return Err(self.failed(format!("{} has ended ({how}): {}", daemon.name, self.said(daemon))));
            }
        }
        Ok(())
    }

    /// What it said last.
    fn said(&self, daemon: &Daemon) -> String {
        let log = self.host.read(&daemon.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(SAID_LINES)..).unwrap_or_default();
        if last.is_empty() { "it said nothing".into() } else { last.join(" / ") }
    }

    pub(super) fn failed(&self, why: String) -> TestbedError {
        TestbedError::StorageServer { server: self.what.into(), host: self.host.id().to_string(), why }
    }

    /// Sends a signal to a program and what it started, by its name as kill(1) knows it.
    pub(super) fn signal(&self, daemon: &Daemon, signal: &str) -> Result<()> {
        let Some(pid) = daemon.process.pid() else {
            return Err(self.failed(format!("its host does not tell the process of {}", daemon.name)));
        };
        // kill is a shell's own word: the program of the name is not on every host.
        let script = "kill -s \"$1\" -- \"-$2\"";
        let args = ["-c", script, "sh", signal, &pid.to_string()].map(OsString::from);
        self.succeed(Path::new("/bin/sh"), &args).map(drop)
    }
}

impl Daemon {
    /// What the log of a program that writes one itself is.
    pub(super) fn with_log(self, log: PathBuf) -> Self {
        Self { log, ..self }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process on its host; absent where that does not tell.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
    }
}
