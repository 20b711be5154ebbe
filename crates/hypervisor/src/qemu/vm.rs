//! A QEMU process on a host: its start, its monitor, its end.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{Event, EventKind, HypervisorIdentity, TransportKind};
use dunlin_testbed::{Host, Process};
use serde_json::{Value, json};

use super::checkpoints::parse_checkpoints;
use super::compare::Comparison;
use super::events::{disk_failure, is_guest_reset, shut_down_reason, translate};
use super::features::{QemuFeatures, append};
use super::images;
use super::launch::{self, Endpoints, Machine, QemuBinary, Start, arguments};
use super::mechanisms::Noticed;
use super::mirror::{Copying, Mirror};
use super::qmp::{Qmp, QmpError};
use super::transport::{Credentials, MigrationSettings};
use super::words::{Console, last_of_qemu};
use crate::{HypervisorError, Result, VmDisk};

/// Limit of a command that QEMU's main loop answers between two pieces of work.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// Limit of what is asked or done while a migration is under way: whoever waits has a VM to care for.
pub(super) const ACT_LIMIT: Duration = Duration::from_secs(6);
/// Limit of a question whose answer may be "I don't know".
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(3);
/// Limit of a QEMU's start to its monitor's greeting.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How a QEMU ends that was asked to, or whose guest shut itself down.
pub(super) const QUIT: &str = "exit status 0";
/// How often a process is asked that is to end.
pub(super) const END_STEP: Duration = Duration::from_millis(5);
/// More than any link carries, in bytes a second; 0 does not mean "unlimited" in every version.
pub(super) const UNLIMITED_BANDWIDTH: u64 = 1 << 40;

/// A QEMU process. It was made by us, so it ends with its last handle.
pub(super) struct QemuVm {
    pub(super) machine: Machine,
    pub(super) host: Arc<dyn Host>,
    identity: HypervisorIdentity,
    pub(super) features: QemuFeatures,
    process: Mutex<Process>,
    qmp: Qmp,
    endpoints: Endpoints,
    /// On its host.
    stderr: PathBuf,
    /// The local folder that gets what was written on the host.
    logs: PathBuf,
    events: Sender<Event>,
    /// The first time a disk failed.
    disk_failure: Arc<OnceLock<String>>,
    guest_reset: Arc<AtomicBool>,
    /// Why the VM was last shut down, in QEMU's words.
    shut_down: Arc<Mutex<Option<String>>>,
    console: Console,
    expected_end: AtomicBool,
    state: Mutex<MoveState>,
}

/// What a QEMU process was told for its next migration.
#[derive(Default)]
pub(super) struct MoveState {
    pub(super) transport: TransportKind,
    /// Its credentials of a migration by TLS: QEMU may read them again at any connection.
    pub(super) credentials: Option<Credentials>,
    /// How its disks are being copied to another host …
    pub(super) copying: Option<Copying>,
    /// … and which.
    pub(super) mirrors: Vec<Mirror>,
    /// What compares them.
    pub(super) comparison: Option<Comparison>,
    /// The disks that it has changed for others since it was made: node and disk, by serial.
    pub(super) changed: BTreeMap<String, (String, VmDisk)>,
    /// At a destination: nodes that take the copies of disks.
    pub(super) takers: Vec<String>,
    /// The address at which it listens for a migration; empty if it does not.
    pub(super) listens_at: String,
    /// How it was told to migrate.
    pub(super) asked: MigrationSettings,
    /// What it said of migrations before this one, as that its restored template has arrived: no word on this one.
    pub(super) stale: Value,
    /// What only shows while it migrates.
    pub(super) noticed: Noticed,
}

/// What it takes to start a [`QemuVm`].
pub(super) struct LaunchOptions<'a> {
    /// On which host.
    pub(super) host: &'a Arc<dyn Host>,
    /// Which program.
    pub(super) binary: &'a QemuBinary,
    /// What it can do.
    pub(super) features: &'a QemuFeatures,
    /// What it builds.
    pub(super) machine: &'a Machine,
    /// How it begins.
    pub(super) start: Start,
    /// Where its logs go: console, standard error, QMP transcript.
    pub(super) logs: &'a Path,
    /// Where its changes of state go.
    pub(super) events: Sender<Event>,
}

impl QemuVm {
    /// Starts the process and opens its monitor.
    ///
    /// # Errors
    /// Where it cannot be started, ends at once, or its monitor does not answer.
    pub(super) fn launch(options: LaunchOptions<'_>) -> Result<Self> {
        let LaunchOptions { host, binary, features, machine, start, logs, events } = options;
        let spec = &machine.spec;
        let name = format!("{}-{}", spec.id, host.id());
        let in_scratch =
            |kind: &str| host.scratch().join(format!("{name}-{kind}-{}", dunlin_clock::now_ns()));
        // What QEMU writes is written on its host.
        let outbox = host.outbox(logs)?;
        let endpoints = Endpoints {
            qmp: in_scratch("qmp"),
            agent: in_scratch("agent"),
            console: outbox.join(format!("{name}-console.log")),
        };
        let console = Console::new(host, &endpoints.console);
        let stderr = outbox.join(format!("{name}-stderr.log"));
        let transcript = append(&logs.join(format!("{name}-qmp.log")))?;
        let there = machine.on(&**host)?;
        let args = arguments(binary, &there, &endpoints, start, features.checkpoints);
        let mut process =
            launch::start(host, binary, args, outbox.join(format!("{name}-stdout.log")), stderr.clone())?;
        let connected = connect_while_alive(host, &endpoints.qmp, &mut process);
        let mut why_not = |error| {
            images::explain(ended_or(error, &mut process, machine, host, &stderr), &**host, spec, &stderr)
        };
        let stream = connected.map_err(&mut why_not)?;
        let first_disk_failure = Arc::<OnceLock<String>>::default();
        let guest_reset = Arc::<AtomicBool>::default();
        let shut_down = Arc::<Mutex<Option<String>>>::default();
        let handler = {
            let (seen, guest_reset) = (Arc::clone(&first_disk_failure), Arc::clone(&guest_reset));
            let shut_down = Arc::clone(&shut_down);
            let (events, clock) = (events.clone(), host.clock());
            let (host, vm) = (host.id().clone(), spec.id.clone());
            Box::new(move |event| {
                if let Some(failure) = disk_failure(&event) {
                    seen.get_or_init(|| failure);
                }
                guest_reset.fetch_or(is_guest_reset(&event), Ordering::Relaxed);
                if let Some(reason) = shut_down_reason(&event) {
                    *lock(&shut_down) = Some(reason);
                }
                // Nobody listens any more where the trial has ended.
                let _ = events.send(translate(event, &clock, &host, &vm));
            })
        };
        let qmp = Qmp::negotiate(stream, handler, Box::new(transcript), START_LIMIT)
            .map_err(|source| monitor_error(machine, host, "negotiating", source))
            .map_err(why_not)?;
        let identity = HypervisorIdentity {
            name: "qemu".into(),
            version: features.version.clone(),
            accelerator: machine.accelerator.name().into(),
            emulated: Some(machine.accelerator.is_emulation()),
        };
        let vm = Self {
            machine: machine.clone(),
            host: Arc::clone(host),
            identity,
            features: features.clone(),
            process: Mutex::new(process),
            qmp,
            endpoints,
            stderr,
            logs: logs.to_owned(),
            events,
            disk_failure: first_disk_failure,
            guest_reset,
            shut_down,
            console,
            expected_end: AtomicBool::new(false),
            state: Mutex::default(),
        };
        vm.tell(EventKind::HypervisorIdentified(vm.identity.clone()));
        Ok(vm)
    }

    /// What it was built as.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(super) fn own_identity(&self) -> &HypervisorIdentity {
        &self.identity
    }

    /// What it was told for its next migration.
    pub(super) fn state(&self) -> MutexGuard<'_, MoveState> {
        lock(&self.state)
    }

    pub(super) fn transport(&self) -> TransportKind {
        self.state().transport
    }

    /// By which it knows its credentials, if it has some.
    pub(super) fn credentials_id(&self) -> Option<String> {
        self.state().credentials.as_ref().map(|credentials| credentials.id().to_owned())
    }

    /// What it takes to reach the other host by the credentials of its migration, if it has some.
    pub(super) fn credentials_object(&self) -> Option<Value> {
        self.state().credentials.as_ref().map(Credentials::object)
    }

    /// Opens a stream to the guest's agent.
    pub(super) fn connect_agent(&self) -> Result<UnixStream> {
        Ok(self.host.dial(&self.endpoints.agent, START_LIMIT)?)
    }

    /// The last lines of the guest's console.
    pub(super) fn last_of_console(&self) -> String {
        self.console.tail()
    }

    /// The process id on its host; absent where that does not tell.
    pub(super) fn process_id(&self) -> Option<u32> {
        lock(&self.process).pid()
    }

    /// The ids, on its host, of the threads that run its vCPUs.
    pub(super) fn threads_of_vcpus(&self) -> Result<Vec<u32>> {
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

    /// Fails if the process has ended.
    pub(super) fn check_process(&self) -> Result<()> {
        match lock(&self.process).try_wait()? {
            None => Ok(()),
            Some(how) => {
                let by_us = self.expected_end.load(Ordering::Relaxed);
                Err(ended(how, by_us, &self.machine, &self.host, &self.stderr))
            }
        }
    }

    /// Fails if the host could not read or write one of the VM's disks. The guest itself only sees that the disk failed.
    pub(super) fn check_disks(&self) -> Result<()> {
        let failure = |what: &String| HypervisorError::Disk {
            vm: self.machine.spec.id.clone(),
            host: self.host.id().clone(),
            failure: what.clone(),
        };
        self.disk_failure.get().map_or(Ok(()), |what| Err(failure(what)))
    }

    /// Fails if the guest has reset itself, and says why where its kernel told the console. Whatever else is wrong with it
    /// follows from that.
    pub(super) fn check_reset(&self) -> Result<()> {
        if !self.guest_reset.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(HypervisorError::GuestReset {
            vm: self.machine.spec.id.clone(),
            host: self.host.id().clone(),
            words: self.console.panic().unwrap_or_default(),
        })
    }

    /// Whether its process may end from now on without that being a failure.
    pub(super) fn expect_end(&self, expected: bool) {
        self.expected_end.store(expected, Ordering::Relaxed);
    }

    /// How its process ended; absent while it runs.
    pub(super) fn end_seen(&self) -> Result<Option<String>> {
        Ok(lock(&self.process).try_wait()?)
    }

    /// Why the VM was last shut down, in QEMU's words, as far as it is known.
    pub(super) fn shut_down_reason(&self) -> Option<String> {
        lock(&self.shut_down).clone()
    }

    /// That its process ended as it should not.
    pub(super) fn unexpected_end(&self, how: String) -> HypervisorError {
        ended(how, false, &self.machine, &self.host, &self.stderr)
    }

    /// Ends the process: it is asked first, and killed where it does not go by itself.
    pub(super) fn end_process(&self, limit: Duration) -> Result<()> {
        self.expected_end.store(true, Ordering::Relaxed);
        // A QEMU that is stuck or gone does not answer; its process is ended below all the same.
        let asked = self.qmp.execute("quit", json!({}), limit.min(Duration::from_secs(2)));
        let deadline = Deadline::after(limit);
        // Whoever asks meanwhile whether it is alive is not kept waiting.
        while !deadline.passed() {
            // Where its host does not say, nothing is to be waited for.
            if let Some(how) = lock(&self.process).try_wait()? {
                // It did not hear us: it was on its way out already, which takes a moment after its sockets are closed.
                if matches!(asked, Err(QmpError::Closed(_))) && how != QUIT {
                    self.expected_end.store(false, Ordering::Relaxed);
                }
                return Ok(());
            }
            std::thread::sleep(deadline.step(END_STEP));
        }
        let mut process = lock(&self.process);
        process.kill();
        match process.try_wait()? {
            Some(_) => Ok(()),
            None => Err(self.timeout("its process to end", limit)),
        }
    }

    /// Sets capabilities and parameters.
    pub(super) fn configure(&self, settings: &MigrationSettings) -> Result<()> {
        self.execute("migrate-set-capabilities", settings.capabilities_argument())?;
        if !settings.parameters.is_empty() {
            self.execute("migrate-set-parameters", json!(settings.parameters))?;
        }
        Ok(())
    }

    /// Switches to the state in a file or command (`file:` or `exec:` address) and waits until it is loaded.
    pub(super) fn load(&self, address: &str, limit: Duration) -> Result<()> {
        let loaded = self
            .execute("migrate-incoming", json!({ "uri": address }))
            .and_then(|_| self.await_migration("load the state of the VM", limit));
        // One that cannot load it ends, and says why last of all.
        loaded.map_err(|error| self.end_or(error))
    }

    /// Saves the stopped VM's state to a file or command and waits until it is written.
    pub(super) fn save(&self, address: &str, limit: Duration) -> Result<()> {
        self.execute("migrate", json!({ "uri": address }))?;
        self.await_migration("save the state of the VM", limit)
    }

    fn await_migration(&self, what: &str, limit: Duration) -> Result<()> {
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
        Err(self.timeout(&format!("QEMU to {what}"), limit))
    }

    /// The end of the process, if that is why an error came.
    fn end_or(&self, error: HypervisorError) -> HypervisorError {
        ended_or(error, &mut lock(&self.process), &self.machine, &self.host, &self.stderr)
    }

    pub(super) fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_within(COMMAND_LIMIT, command, arguments)
    }

    pub(super) fn execute_within(&self, limit: Duration, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, arguments, limit).map_err(|error| self.command_error(command, error))
    }

    /// Breaks a connection by force, even where the main loop is stuck.
    pub(super) fn break_off(&self, instance: &Value) -> Result<()> {
        self.qmp
            .execute_out_of_band("yank", json!({ "instances": [instance] }), ACT_LIMIT)
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
            other => monitor_error(&self.machine, &self.host, command, other),
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
            vm: Some(self.machine.spec.id.clone()),
            kind,
        });
    }
}

impl Drop for QemuVm {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let ended_by_itself = process.try_wait().ok().flatten();
        process.kill();
        let text = self.host.read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        for event in parse_checkpoints(&text, &self.host.clock(), self.host.id(), &self.machine.spec.id) {
            let _ = self.events.send(event);
        }
        if let Some(how) = ended_by_itself {
            let expected = self.expected_end.load(Ordering::Relaxed);
            self.tell(EventKind::ProcessEnded { how, expected });
        }
        let listening = self.state().listens_at.strip_prefix("unix:").map(PathBuf::from);
        for path in
            [Some(&self.endpoints.qmp), Some(&self.endpoints.agent), listening.as_ref()].into_iter().flatten()
        {
            let _ = self.host.remove(path);
        }
        // What it said is not worth more than that.
        let _ = self.host.collect(&self.logs);
    }
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to the monitor, but does not wait for one whose process has ended.
pub(super) fn connect_while_alive(
    host: &Arc<dyn Host>,
    socket: &Path,
    process: &mut Process,
) -> Result<UnixStream> {
    let deadline = Deadline::after(START_LIMIT);
    loop {
        match host.dial(socket, deadline.step(Duration::from_millis(500))) {
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
    machine: &Machine,
    host: &Arc<dyn Host>,
    stderr: &Path,
) -> HypervisorError {
    match process.wait(Deadline::after(Duration::from_millis(200))) {
        Ok(Some(how)) => ended(how, false, machine, host, stderr),
        _ => error,
    }
}

fn ended(
    how: String,
    by_us: bool,
    machine: &Machine,
    host: &Arc<dyn Host>,
    stderr: &Path,
) -> HypervisorError {
    let (vm, words) = (machine.spec.id.clone(), last_of_qemu(&**host, stderr));
    HypervisorError::Ended { vm, host: host.id().clone(), how, words, by_us }
}

fn monitor_error(machine: &Machine, host: &Arc<dyn Host>, doing: &str, source: QmpError) -> HypervisorError {
    HypervisorError::Monitor {
        vm: machine.spec.id.clone(),
        host: host.id().clone(),
        doing: doing.to_owned(),
        source: std::io::Error::other(source),
    }
}
