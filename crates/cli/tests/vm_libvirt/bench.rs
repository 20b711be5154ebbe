//! `dunlin bench` and `dunlin doctor` on the bench beside the nodes, started, watched and ended.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::ground::{ADDRESS, Ground, Vm};

/// Far above what a run here takes.
const LIMIT: Duration = Duration::from_secs(240);

/// What all scenarios here have in common; the table `[libvirt]` is open at its end.
pub(crate) const HEAD: &str = r#"
name = "libvirt"
[run]
shuffle = false
[vm]
memory_mib = 256
[probes]
icmp = { interval_ms = 2.0 }
udp = false
[trials]
count = 1
limit_s = 40
baseline_s = 0.4
settle_s = 0.3
[libvirt]
connect = "tcp"
"#;

/// A run, in a folder of its own.
pub(crate) struct Bench {
    pub(crate) folder: PathBuf,
    child: Child,
    dir: tempfile::TempDir,
}

/// How a run ended.
pub(crate) struct Ended {
    /// Absent where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) folder: PathBuf,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Begins one with guests of ours.
    pub(crate) fn start(ground: &Ground<'_>, scenario: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scenario.toml");
        fs::write(&file, scenario).unwrap();
        let folder = dir.path().join("run");
        let said = fs::File::create(dir.path().join("said")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.arg("bench").arg(file).arg("--inventory").arg(&ground.inventory).arg("--out").arg(&folder);
        command.args(more).stdin(Stdio::null());
        command.stdout(said.try_clone().unwrap()).stderr(said);
        Self { folder, child: command.spawn().unwrap(), dir }
    }

    /// Begins one with a domain that exists.
    pub(crate) fn of(ground: &Ground<'_>, scenario: &str, vm: &Vm) -> Self {
        let (name, address) = (format!("--vm={}", vm.name), ADDRESS.to_string());
        Self::start(ground, scenario, &[&name, "--vm-address", &address])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }

    pub(crate) fn finish(mut self) -> Ended {
        let deadline = Deadline::after(LIMIT);
        while !self.has_ended() {
            assert!(!deadline.passed(), "the run does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let code = self.child.wait().unwrap().code();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let said = fs::read_to_string(dir.path().join("said")).unwrap_or_default();
        Ended { code, said, folder: self.folder.clone(), _dir: dir }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Of a test that failed half-way; one that has ended already is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub(crate) fn outcomes(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("trials.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All outcomes, which must be completed.
    pub(crate) fn completed(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.said);
        let outcomes = self.outcomes();
        for outcome in &outcomes {
            assert_eq!(outcome["status"], "completed", "{}\n{outcome:#}", self.said);
        }
        outcomes
    }

    /// What a trial recorded, whole or not.
    pub(crate) fn events(&self, trial: &str) -> Vec<Value> {
        let path = self.folder.join("events").join(format!("{trial}.jsonl.zst"));
        let Ok(read) = dunlin_record::read_events(&path) else { return Vec::new() };
        read.events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
    }

    /// Where a trial says that its VM was in the end.
    pub(crate) fn place(&self, trial: &str) -> Option<String> {
        let events = self.events(trial);
        let placed = events.iter().rfind(|event| event["event"] == "vm-placed")?;
        placed["place"].as_str().map(str::to_owned)
    }
}

/// What `dunlin doctor FILE --vm NAME` says to be lacking, a line each.
pub(crate) fn examined(ground: &Ground<'_>, scenario: &str, vm: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.arg("doctor").arg(file).arg("--inventory").arg(&ground.inventory);
    let output = command.arg(format!("--vm={vm}")).arg("--json").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let findings: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?} {said}"));
    let lacking = findings.iter().filter(|finding| finding["ok"] == false && finding["required"] == true);
    lacking.map(|finding| format!("{} -> {}\n", finding["because"], finding["mend"])).collect()
}
