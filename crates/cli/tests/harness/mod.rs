//! Runs of the real program with real VMs, for tests: started, watched from outside, ended whatever happens.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "only tests use it, which should panic")]

pub(crate) mod lab;
pub(crate) mod sockets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Far above what anything here takes; a test that waits longer has found a hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// The second word that the agent fills the first page of memory or of a file with (`content.rs` of the agent):
/// splitmix64 of 0, and once more its constant. Small writes leave it as it is.
pub(crate) const SOUGHT: u64 = 0xe220_a839_7b1d_cdaf_u64.wrapping_add(0x9e37_79b9_7f4a_7c15);

/// The program under test.
pub(crate) fn dunlin() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dunlin"))
}

/// The program that brings up nodes behind ssh: built with the workspace, beside the program under test.
pub(crate) fn ssh_nodes() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_dunlin")).with_file_name("dunlin-ssh-nodes")
}

/// Why no VM can be run here; `None` if one can. Asked once, of the program itself.
pub(crate) fn lack() -> Option<&'static str> {
    static LACK: OnceLock<Option<String>> = OnceLock::new();
    let lack = LACK.get_or_init(|| {
        let fetched = dunlin().args(["guest", "fetch"]).output().unwrap();
        if !fetched.status.success() {
            return Some(format!("no guest kernel: {}", String::from_utf8_lossy(&fetched.stderr)));
        }
        let doctor = dunlin().args(["doctor", "--json"]).output().unwrap();
        (!doctor.status.success()).then(|| required_lacks(&doctor.stdout))
    });
    lack.as_deref()
}

/// What `dunlin doctor --json` says is missing.
fn required_lacks(told: &[u8]) -> String {
    let findings: Vec<Value> = serde_json::from_slice(told).unwrap_or_default();
    let lacks = findings.iter().filter(|finding| finding["required"] == true && finding["ok"] != true);
    lacks.map(|lack| format!("{}: {}", lack["name"], lack["because"])).collect::<Vec<_>>().join("; ")
}

/// Leaves the test, saying why, where no VM can be run.
#[macro_export]
macro_rules! need_vms {
    () => {
        if let Some(lack) = harness::lack() {
            return dunlin_test_support::skip_vms(format!("no VM can be run here: {lack}"));
        }
    };
}

/// A run of a scenario, in a folder of its own.
pub(crate) struct Run {
    /// Where its record is.
    pub(crate) folder: PathBuf,
    child: Child,
    lab: String,
    dir: Option<tempfile::TempDir>,
}

/// How a run ended.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) folder: PathBuf,
    /// Keeps the folder until the test is done with it.
    pub(crate) dir: tempfile::TempDir,
}

impl Run {
    /// Begins `dunlin bench` with a scenario's text (without its name).
    pub(crate) fn start(name: &str, scenario: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        Self::start_in(name, scenario, dir, folder, "--out")
    }

    /// The same in a given folder (`--out` or `--resume`), below a directory that is kept.
    pub(crate) fn start_in(
        name: &str,
        scenario: &str,
        dir: tempfile::TempDir,
        folder: PathBuf,
        how: &str,
    ) -> Self {
        let file = dir.path().join("scenario.toml");
        fs::write(&file, format!("name = \"{name}\"\n{scenario}")).unwrap();
        // To files: a full pipe would hold the program up.
        let output = |kind: &str| fs::File::create(dir.path().join(kind)).unwrap();
        let mut command = dunlin();
        command.arg("bench").arg(&file).arg(how).arg(&folder);
        command.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
        Self { folder, child: command.spawn().unwrap(), lab: format!("bench-{name}"), dir: Some(dir) }
    }

    /// Sends a signal to the outer process.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Runs a command on a host of the run's lab.
    pub(crate) fn on_host(&self, host: &str, command: &[&str]) -> Output {
        dunlin().args(["lab", "shell", "--lab", &self.lab, host, "--"]).args(command).output().unwrap()
    }

    /// Waits for the migration of a trial to be under way: the second pass of a VM that keeps dirtying its memory.
    pub(crate) fn await_migration(&mut self, trial: &str) {
        let log = self.folder.join("logs").join(trial).join("vm0-host-a-qmp.log");
        let under_way = |log: &str| log.contains(r#""event": "MIGRATION_PASS", "data": {"pass": 2}"#);
        self.until("a second pass", || fs::read_to_string(&log).is_ok_and(|log| under_way(&log)));
    }

    /// Waits until something holds; fails if the run ends before.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = now();
        while !holds() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the run ended ({status}) before {what}: {}", self.said("stderr"));
            }
            assert!(began.elapsed() < LIMIT, "no {what}: {}", self.said("stderr"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processes in the lab's pid namespace: all that the run started.
    pub(crate) fn inner_pids(&self) -> Vec<u32> {
        let title = format!("dunlin-lab:{}", self.lab);
        let first = pids().into_iter().find(|pid| cmdline(*pid).first() == Some(&title));
        let Some(world) = first.and_then(|pid| namespace(pid, "pid")) else { return Vec::new() };
        pids().into_iter().filter(|pid| namespace(*pid, "pid").as_ref() == Some(&world)).collect()
    }

    /// The hypervisor's process on a host.
    pub(crate) fn hypervisor(&self, host: &str) -> u32 {
        let mark = format!("vm0-{host}-qmp");
        let is_it = |pid: &u32| cmdline(*pid).iter().any(|word| word.contains(&mark));
        self.inner_pids().into_iter().find(is_it).expect("a hypervisor on the host")
    }

    /// Waits for the end of the run.
    pub(crate) fn finish(mut self) -> Finished {
        let began = now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(began.elapsed() < LIMIT, "the run does not end: {}", self.said("stderr"));
            std::thread::sleep(Duration::from_millis(20));
        };
        let (stdout, stderr) = (self.said("stdout"), self.said("stderr"));
        Finished { code, stdout, stderr, folder: self.folder.clone(), dir: self.dir.take().unwrap() }
    }

    fn said(&self, kind: &str) -> String {
        let dir = self.dir.as_ref().unwrap();
        fs::read_to_string(dir.path().join(kind)).unwrap_or_default()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Of a test that failed half-way; one that has ended already is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The lines of `trials.jsonl`.
    pub(crate) fn outcomes(&self) -> Vec<Value> {
        outcomes(&self.folder)
    }

    /// The events of a trial, which must be whole.
    pub(crate) fn events(&self, trial: &str) -> Vec<Value> {
        let path = self.folder.join("events").join(format!("{trial}.jsonl.zst"));
        let read = dunlin_record::read_events(&path).unwrap();
        assert!(!read.truncated, "{} breaks off", path.display());
        read.events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
    }

    /// What a failing assertion should show.
    pub(crate) fn story(&self) -> String {
        format!("code {:?}\n{}\n{}\n{:#?}", self.code, self.stderr, self.stdout, self.outcomes())
    }
}

/// The lines of a run's `trials.jsonl`, each of which must be valid.
pub(crate) fn outcomes(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A figure of an outcome, by its JSON pointer.
pub(crate) fn number(outcome: &Value, pointer: &str) -> f64 {
    let found = outcome.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{pointer} is absent in {outcome:#}"))
}

/// The downtime that a probe told, if it did: a machine as busy as one of tests may leave a bound, or a probe that was not
/// answered well enough; either is told with its flag.
pub(crate) fn seen(outcome: &Value, probe: &str) -> Option<f64> {
    let has =
        |flag: &str| outcome["flags"].as_array().is_some_and(|flags| flags.contains(&Value::from(flag)));
    let told = |figure: &str| outcome.pointer(&format!("/{figure}/{probe}")).and_then(Value::as_f64);
    let value = told("downtime_ms");
    match (value, told("downtime_at_most_ms"), told("downtime_at_least_ms")) {
        (Some(_), None, None) => assert!(told("downtime_error_ms").is_some(), "{outcome:#}"),
        (None, Some(_), None) => assert!(has("outage-within-noise"), "{outcome:#}"),
        (None, None, Some(_)) => assert!(has("outage-unfinished"), "{outcome:#}"),
        (None, None, None) => {
            assert!(has("probe-unfit"), "{outcome:#}");
            assert!(outcome["probes"][probe]["unfit"].is_string(), "{outcome:#}");
        }
        _ => panic!("more than one of a value and bounds: {outcome:#}"),
    }
    value
}

/// Sends a signal to a process (a bare Debian has no `kill` program).
pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// All processes.
pub(crate) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process's words; none if it is gone.
pub(crate) fn cmdline(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The identity of a namespace of a process.
pub(crate) fn namespace(pid: u32, kind: &str) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok().map(|link| link.to_string_lossy().into_owned())
}

/// Every namespace that some process of the list is in and we are not.
pub(crate) fn foreign_namespaces(of: &[u32]) -> BTreeSet<String> {
    let foreign = |kind: &str| {
        let own = namespace(std::process::id(), kind);
        of.iter()
            .filter_map(|pid| namespace(*pid, kind))
            .filter(|name| own.as_ref() != Some(name))
            .collect::<Vec<_>>()
    };
    ["pid", "net", "mnt"].into_iter().flat_map(foreign).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test's own patience is no measurement")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
