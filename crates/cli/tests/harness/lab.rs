//! A lab of `dunlin lab up` that lives as long as a test needs it.

use std::fs;
use std::process::{Child, Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{LIMIT, dunlin, now, send};

/// A lab that is up, with its first VM. Ended with this, whatever happens.
pub(crate) struct HeldLab {
    name: String,
    process: Child,
    dir: tempfile::TempDir,
}

impl HeldLab {
    /// Makes the lab of a scenario's text (without its name) and waits for its VM.
    pub(crate) fn up(name: &str, scenario: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lab.toml");
        fs::write(&file, format!("name = \"{name}\"\n{scenario}")).unwrap();
        let said = fs::File::create(dir.path().join("said")).unwrap();
        let process = dunlin().args(["lab", "up"]).arg(&file).stderr(said).spawn().unwrap();
        let mut lab = Self { name: name.to_owned(), process, dir };
        let began = now();
        while !lab.said().contains("vm0 runs on host-a at 10.77.0.100") {
            assert!(lab.is_up(), "{}", lab.said());
            assert!(began.elapsed() < LIMIT, "{}", lab.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        lab
    }

    /// What it has said on standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap()
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// A command on one of its hosts, to be run.
    pub(crate) fn on(&self, host: &str, command: &[&str]) -> Command {
        let mut shell = dunlin();
        shell.args(["lab", "shell", "--lab", &self.name, host, "--"]).args(command);
        shell
    }

    /// Runs a command on one of its hosts.
    pub(crate) fn run(&self, host: &str, command: &[&str]) -> Output {
        self.on(host, command).output().unwrap()
    }

    /// Ends it well; its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        send(self.process.id(), Signal::SIGINT);
        self.process.wait().unwrap().code()
    }
}

impl Drop for HeldLab {
    fn drop(&mut self) {
        // Of a test that failed half-way; one that has ended already is not there to be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
