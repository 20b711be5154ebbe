//! A QEMU process on a host: its start, its monitor, its end.

mod primitives;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_clock::{Deadline, Mapping};
use dunlin_record::{Accelerator, Event, EventKind, HypervisorIdentity, TransportKind};
use dunlin_testbed::{Host, Process};
use serde_json::{Value, json};

use super::checkpoints::parse_checkpoints;
use super::events::{disk_failure, is_guest_reset, translate};
use super::features::{QemuFeatures, append};
use super::launch::{self, Endpoints, QemuBinary, QemuVmSpec, Start, arguments};
use super::qmp::{Qmp, QmpError};
use super::transport::Credentials;
use super::words::{Console, last_of_qemu};
use crate::{HypervisorError, MigrationSettings, Result};

/// Limit of a command that QEMU's main loop answers between two pieces of work.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// Limit of a QEMU's start to its monitor's greeting.
const START_LIMIT: Duration = Duration::from_secs(30);
/// More than any link carries, in bytes a second; 0 does not mean "unlimited" in every version.
pub(super) const UNLIMITED_BANDWIDTH: u64 = 1 << 40;

/// A QEMU process.
pub struct QemuVm {
    pub(super) spec: QemuVmSpec,
    pub(super) host: Arc<dyn Host>,
    identity: HypervisorIdentity,
    pub(super) features: QemuFeatures,
    process: Process,
    qmp: Qmp,
    endpoints: Endpoints,
    stderr: PathBuf,
    events: Sender<Event>,
    /// The first time a disk failed.
    disk_failure: Arc<OnceLock<String>>,
    guest_reset: Arc<AtomicBool>,
    console: Console,
    expected_end: bool,
    pub(super) transport: TransportKind,
    /// Its credentials of a migration by TLS: QEMU may read them again at any connection.
    pub(super) credentials: Option<Credentials>,
    /// The disks that are being copied to another host.
    pub(super) mirrors: Vec<String>,
    /// The address at which it listens for a migration; empty if it does not.
    listens_at: String,
}

/// What it takes to start a [`QemuVm`].
pub struct Birth<'a> {
    /// On which host.
    pub host: &'a Arc<dyn Host>,
    /// Which program.
    pub binary: &'a QemuBinary,
    /// What it can do.
    pub features: &'a QemuFeatures,
    /// What it builds.
    pub spec: &'a QemuVmSpec,
    /// How it begins.
    pub start: Start,
    /// Where its logs go: console, standard error, QMP transcript.
    pub logs: &'a Path,
    /// Where its changes of state go.
    pub events: Sender<Event>,
}

impl QemuVm {
    /// Starts the process and opens its monitor.
    ///
    /// # Errors
    /// Where it cannot be started, ends at once, or its monitor does not answer.
    pub fn launch(birth: Birth<'_>) -> Result<Self> {
        let Birth { host, binary, features, spec, start, logs, events } = birth;
        let name = format!("{}-{}", spec.id, host.id());
        let in_scratch =
            |kind: &str| host.scratch().join(format!("{name}-{kind}-{}", dunlin_clock::now_ns()));
        let endpoints = Endpoints {
            qmp: in_scratch("qmp"),
            agent: in_scratch("agent"),
            console: logs.join(format!("{name}-console.log")),
        };
        let console = Console::new(&endpoints.console);
        let stderr = logs.join(format!("{name}-stderr.log"));
        let transcript = append(&logs.join(format!("{name}-qmp.log")))?;
        let args = arguments(binary, spec, &endpoints, start, features.checkpoints);
        let mut process =
            launch::start(host, binary, args, logs.join(format!("{name}-stdout.log")), stderr.clone())?;
        let connected = connect_while_alive(host, &endpoints.qmp, &mut process);
        let stream = connected.map_err(|error| ended_or(error, &mut process, spec, host, &stderr))?;
        let first_disk_failure = Arc::<OnceLock<String>>::default();
        let guest_reset = Arc::<AtomicBool>::default();
        let handler = {
            let (seen, guest_reset) = (Arc::clone(&first_disk_failure), Arc::clone(&guest_reset));
            let (events, host, vm) = (events.clone(), host.id().clone(), spec.id.clone());
            let mapping = Mapping::read();
            Box::new(move |event| {
                if let Some(failure) = disk_failure(&event) {
                    seen.get_or_init(|| failure);
                }
                guest_reset.fetch_or(is_guest_reset(&event), Ordering::Relaxed);
                // Nobody listens any more where the trial has ended.
                let _ = events.send(translate(event, mapping, &host, &vm));
            })
        };
        let qmp = Qmp::negotiate(stream, handler, Box::new(transcript), START_LIMIT)
            .map_err(|source| monitor_error(spec, host, "negotiating", source))
            .map_err(|error| ended_or(error, &mut process, spec, host, &stderr))?;
        let identity = HypervisorIdentity {
            name: "qemu".into(),
            version: features.version.clone(),
            accelerator: if spec.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }.into(),
        };
        let vm = Self {
            spec: spec.clone(),
            host: Arc::clone(host),
            identity,
            features: features.clone(),
            process,
            qmp,
            endpoints,
            stderr,
            events,
            disk_failure: first_disk_failure,
            guest_reset,
            console,
            expected_end: false,
            transport: TransportKind::default(),
            credentials: None,
            mirrors: Vec::new(),
            listens_at: String::new(),
        };
        vm.tell(EventKind::HypervisorIdentified(vm.identity.clone()));
        Ok(vm)
    }

    /// Opens a stream to the guest's agent.
    ///
    /// # Errors
    /// Where QEMU's end of it cannot be reached.
    pub fn agent_stream(&self) -> Result<UnixStream> {
        Ok(self.host.connect(&self.endpoints.agent, START_LIMIT)?)
    }

    /// The last lines of the guest's console.
    #[must_use]
    pub fn console_tail(&self) -> String {
        self.console.tail()
    }

    /// The process id on its host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The ids, on its host, of the threads that run its vCPUs.
    ///
    /// # Errors
    /// Where QEMU does not tell them.
    pub fn vcpu_threads(&self) -> Result<Vec<u32>> {
        let answer = self.execute("query-cpus-fast", json!({}))?;
        let threads = answer.as_array().map(|vcpus| {
            vcpus.iter().map(|vcpu| u32::try_from(vcpu["thread-id"].as_u64()?).ok()).collect::<Option<_>>()
        });
        threads.flatten().ok_or_else(|| HypervisorError::Answer {
            host: self.host.id().clone(),
            command: "query-cpus-fast".into(),
            expected: "each vCPU's thread",
        })
    }

    /// Fails if the host could not read or write one of the VM's disks. The guest itself only sees that the disk failed.
    ///
    /// # Errors
    /// Where it could not.
    pub fn check_disks(&self) -> Result<()> {
        let failure = |what: &String| HypervisorError::Disk {
            vm: self.spec.id.clone(),
            host: self.host.id().clone(),
            failure: what.clone(),
        };
        self.disk_failure.get().map_or(Ok(()), |what| Err(failure(what)))
    }

    /// Fails if the guest has reset itself, and says why where its kernel told the console. Whatever else is wrong with it
    /// follows from that.
    ///
    /// # Errors
    /// Where it has.
    pub fn check_guest(&self) -> Result<()> {
        if !self.guest_reset.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(HypervisorError::GuestReset {
            vm: self.spec.id.clone(),
            host: self.host.id().clone(),
            words: self.console.panic().unwrap_or_default(),
        })
    }

    /// Kills the process, as a fault would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sets capabilities and parameters.
    pub(super) fn configure(&mut self, settings: &MigrationSettings) -> Result<()> {
        let capabilities: Vec<Value> = settings
            .capabilities
            .iter()
            .map(|(name, state)| json!({ "capability": name, "state": state }))
            .collect();
        self.execute("migrate-set-capabilities", json!({ "capabilities": capabilities }))?;
        if !settings.parameters.is_empty() {
            self.execute("migrate-set-parameters", json!(settings.parameters))?;
        }
        Ok(())
    }

    /// Switches to the state in a file or command (`file:` or `exec:` address) and waits until it is loaded.
    pub(super) fn load(&mut self, address: &str, limit: Duration) -> Result<()> {
        self.execute("migrate-incoming", json!({ "uri": address }))?;
        self.await_migration("the template to be loaded", limit)
    }

    /// Saves the stopped VM's state to a file or command and waits until it is written.
    pub(super) fn save(&mut self, address: &str, limit: Duration) -> Result<()> {
        self.execute("migrate", json!({ "uri": address }))?;
        self.await_migration("the template to be saved", limit)
    }

    fn await_migration(&mut self, what: &str, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        while !deadline.passed() {
            let answer = self.execute("query-migrate", json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed") => {
                    return Err(HypervisorError::Refused {
                        host: self.host.id().clone(),
                        command: what.to_owned(),
                        description: answer["error-desc"].as_str().unwrap_or("it failed").to_owned(),
                    });
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(self.timeout(what, limit))
    }

    pub(super) fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp
            .execute(command, arguments, COMMAND_LIMIT)
            .map_err(|error| self.command_error(command, error))
    }

    /// Breaks a connection by force, even where the main loop is stuck.
    pub(super) fn break_off(&self, instance: &Value) -> Result<()> {
        self.qmp
            .execute_out_of_band("yank", json!({ "instances": [instance] }), COMMAND_LIMIT)
            .map(drop)
            .map_err(|error| self.command_error("yank", error))
    }

    fn command_error(&self, command: &str, error: QmpError) -> HypervisorError {
        match error {
            QmpError::Refused { description, .. } => HypervisorError::Refused {
                host: self.host.id().clone(),
                command: command.to_owned(),
                description,
            },
            QmpError::Timeout { after_s } => HypervisorError::Timeout {
                host: self.host.id().clone(),
                waiting_for: format!("an answer to {command}"),
                after_s,
            },
            other => monitor_error(&self.spec, &self.host, command, other),
        }
    }

    pub(super) fn timeout(&self, waiting_for: &str, limit: Duration) -> HypervisorError {
        HypervisorError::Timeout {
            host: self.host.id().clone(),
            waiting_for: waiting_for.to_owned(),
            after_s: limit.as_secs_f64(),
        }
    }

    fn tell(&self, kind: EventKind) {
        // Nobody listens any more where the trial has ended.
        let _ = self.events.send(Event {
            t_ns: dunlin_clock::now_ns(),
            host: Some(self.host.id().clone()),
            vm: Some(self.spec.id.clone()),
            kind,
        });
    }
}

impl Drop for QemuVm {
    fn drop(&mut self) {
        let ended_by_itself = self.process.try_wait().ok().flatten();
        self.process.kill();
        let text = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        for event in parse_checkpoints(&text, Mapping::read(), self.host.id(), &self.spec.id) {
            let _ = self.events.send(event);
        }
        if let Some(how) = ended_by_itself {
            self.tell(EventKind::ProcessEnded { how, expected: self.expected_end });
        }
        let listening = self.listens_at.strip_prefix("unix:").map(PathBuf::from);
        for path in
            [Some(&self.endpoints.qmp), Some(&self.endpoints.agent), listening.as_ref()].into_iter().flatten()
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Connects to the monitor, but does not wait for one whose process has ended.
fn connect_while_alive(host: &Arc<dyn Host>, socket: &Path, process: &mut Process) -> Result<UnixStream> {
    let deadline = Deadline::after(START_LIMIT);
    loop {
        match host.connect(socket, deadline.step(Duration::from_millis(500))) {
            Ok(stream) => return Ok(stream),
            Err(error) if deadline.passed() || process.try_wait()?.is_some() => return Err(error.into()),
            Err(_) => {}
        }
    }
}

/// The end of the process, if that is why `error` came.
fn ended_or(
    error: HypervisorError,
    process: &mut Process,
    spec: &QemuVmSpec,
    host: &Arc<dyn Host>,
    stderr: &Path,
) -> HypervisorError {
    match process.wait(Deadline::after(Duration::from_millis(200))) {
        Ok(Some(how)) => ended(how, spec, host, stderr),
        _ => error,
    }
}

fn ended(how: String, spec: &QemuVmSpec, host: &Arc<dyn Host>, stderr: &Path) -> HypervisorError {
    HypervisorError::Ended { vm: spec.id.clone(), host: host.id().clone(), how, words: last_of_qemu(stderr) }
}

fn monitor_error(spec: &QemuVmSpec, host: &Arc<dyn Host>, doing: &str, source: QmpError) -> HypervisorError {
    HypervisorError::Monitor {
        vm: spec.id.clone(),
        host: host.id().clone(),
        doing: doing.to_owned(),
        source: std::io::Error::other(source),
    }
}
