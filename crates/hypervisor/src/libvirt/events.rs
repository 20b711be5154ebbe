//! What libvirt tells by itself: the lines of `virsh event` and `virsh qemu-monitor-event`, read as long as a VM moves.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use dunlin_clock::now_ns;
use dunlin_record::{Event, EventKind, MigrationState, VmId};
use dunlin_testbed::{Host, Process};
use serde_json::Value;

use super::job::{Job, lock};
use super::stats::{Counters, counter, is_migration};
use super::virsh::Virsh;
use crate::{HypervisorError, Result, Side};

/// A line of either.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// QEMU's own event, with its own stamp.
    Qemu { name: String, epoch_ns: i64, data: Value },
    /// libvirt's.
    Libvirt { name: String, said: String },
    /// A counter that belongs to the event before it.
    Counter(String, i64),
}

/// Readers of all that is told of a VM at one end, until they are dropped.
pub(super) struct Readers {
    ends: Arc<AtomicBool>,
    // Their ends end the threads that read them.
    _processes: Vec<Process>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Who hears what a reader reads.
#[derive(Clone)]
pub(super) struct Hearing {
    pub(super) side: Side,
    pub(super) host: Arc<dyn Host>,
    pub(super) vm: VmId,
    /// What libvirt calls it.
    pub(super) name: String,
    pub(super) events: Sender<Event>,
    pub(super) job: Arc<Mutex<Job>>,
}

impl Readers {
    /// Starts to read at one end.
    pub(super) fn start(virsh: &Virsh, hearing: &Hearing) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let mut processes = Vec::new();
        for args in [&["qemu-monitor-event", "--loop"][..], &["event", "--all", "--loop"][..]] {
            let (program, words) = virsh.words(args);
            let (process, stream) =
                virsh.host.converse(program, &words, std::path::Path::new("/dev/null"))?;
            let (hearing, ends) = (hearing.clone(), Arc::clone(&ends));
            let thread = std::thread::Builder::new().name("libvirt-events".into());
            thread.spawn(move || hearing.read_until(stream, &ends)).map_err(|source| {
                HypervisorError::Io { doing: "start the thread that reads libvirt's events".into(), source }
            })?;
            processes.push(process);
        }
        Ok(Self { ends, _processes: processes })
    }
}

impl Hearing {
    /// Reads to the end. One that comes before it is asked for, as with the daemon's, is told: from then on events are missing.
    fn read_until(&self, stream: UnixStream, ends: &AtomicBool) {
        self.read(stream);
        if !ends.load(Ordering::Relaxed) {
            let text =
                "libvirt's events are no longer heard here: its daemon, or our connection to it, has ended";
            self.tell(now_ns(), EventKind::Warning { text: text.into() });
        }
    }

    fn read(&self, stream: UnixStream) {
        let mut completed: Option<Counters> = None;
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(bytes) = line else { return };
            let received_ns = now_ns();
            let line = parse(&String::from_utf8_lossy(&bytes), &self.name);
            match (line, &mut completed) {
                (Some(Line::Counter(name, value)), Some(counters)) => {
                    counters.insert(name, value);
                    // The first of them says what kind of job it was.
                    if self.side == Side::Source && is_migration(counters) {
                        lock(&self.job).completed = completed.clone();
                    }
                }
                (Some(Line::Libvirt { name, said }), _) => {
                    // Of a VM whose name begins as this one's is told, words follow.
                    completed = (name == "job-completed" && said.is_empty()).then(Counters::new);
                    self.job_hears(&name, &said);
                    let data = if said.is_empty() { Value::Null } else { Value::String(said) };
                    let kind = EventKind::HypervisorEvent { name, data };
                    lock(&self.job).hear(self.side, &kind);
                    self.tell(received_ns, kind);
                }
                (Some(Line::Qemu { name, epoch_ns, data }), _) => {
                    completed = None;
                    let stamped = self.host.clock().realtime_seen(epoch_ns, received_ns);
                    let kind = kind(self.side, name, data);
                    lock(&self.job).hear(self.side, &kind);
                    self.tell(stamped.map_or(received_ns, |moment| moment.t_ns), kind);
                }
                // Of another VM.
                (None, _) if !bytes.starts_with(b"\t") => completed = None,
                _ => {}
            }
        }
    }

    fn job_hears(&self, name: &str, said: &str) {
        if name == "lifecycle" && self.side == Side::Source && is_loss(said) {
            lock(&self.job).ended_there = Some(said.to_owned());
        }
    }

    fn tell(&self, t_ns: i64, kind: EventKind) {
        let (host, vm) = (Some(self.host.id().clone()), Some(self.vm.clone()));
        // Nobody listens any more where the trial has ended.
        let _ = self.events.send(Event { t_ns, host, vm, kind });
    }
}

/// Whether libvirt's word for what became of a VM means that it ended badly. It is all of it: more would be the rest of another
/// VM's name.
fn is_loss(said: &str) -> bool {
    ["Stopped Failed", "Stopped Crashed", "Stopped Destroyed", "Crashed Panicked", "Crashed Crashloaded"]
        .contains(&said)
}

/// What a line says of the VM of this name; nothing where it is about another, or not understood. A name may hold quotes, so
/// what follows it must be all that is left: QEMU's data as JSON, or libvirt's words.
pub(super) fn parse(line: &str, vm: &str) -> Option<Line> {
    let of_vm = format!(" for domain '{vm}':");
    if let Some(rest) = line.strip_prefix("event '") {
        // As in: event 'lifecycle' for domain 't1': Stopped Migrated
        let (name, rest) = rest.split_once('\'')?;
        let said = rest.strip_prefix(&of_vm)?;
        let said = if said.is_empty() { said } else { said.strip_prefix(' ')? };
        return Some(Line::Libvirt { name: name.to_owned(), said: said.trim_end().to_owned() });
    }
    if let Some(rest) = line.strip_prefix("event ") {
        // As in: event STOP at 1795967970.827219 for domain 't1': <null>
        let (name, rest) = rest.split_once(" at ")?;
        let stamp_bytes = rest.find(' ')?;
        let (stamp, rest) = rest.split_at(stamp_bytes);
        let data = match rest.strip_prefix(&of_vm)?.strip_prefix(' ')?.trim_end() {
            "<null>" => Value::Null,
            json => serde_json::from_str(json).ok().filter(Value::is_object)?,
        };
        return Some(Line::Qemu { name: name.to_owned(), epoch_ns: epoch_ns(stamp)?, data });
    }
    let (name, value) = counter(line.strip_prefix('\t')?)?;
    Some(Line::Counter(name.to_owned(), value))
}

fn epoch_ns(stamp: &str) -> Option<i64> {
    let (seconds, micros) = stamp.split_once('.')?;
    let micros: i64 = micros.parse().ok().filter(|micros| (0..1_000_000).contains(micros))?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(micros * 1000)
}

/// What QEMU's event means in the record.
fn kind(side: Side, name: String, data: Value) -> EventKind {
    let status = data.get("status").and_then(Value::as_str);
    let pass = data.get("pass").and_then(Value::as_u64).and_then(|pass| u32::try_from(pass).ok());
    match (name.as_str(), status, pass) {
        ("MIGRATION", Some(status), _) => {
            EventKind::MigrationStatus { status: status.to_owned(), state: state_of(side, status) }
        }
        ("MIGRATION_PASS", _, Some(pass)) => EventKind::MigrationPass { pass },
        ("STOP", ..) => EventKind::VcpusStopped,
        ("RESUME", ..) => EventKind::VcpusRunning,
        _ => EventKind::HypervisorEvent { name, data },
    }
}

/// What QEMU's word (`qapi/migration.json`, `MigrationStatus`) means while libvirt leads. How a job ends is libvirt's to say:
/// a source that has sent all is not through with it.
fn state_of(side: Side, status: &str) -> Option<MigrationState> {
    Some(match (side, status) {
        (_, "setup" | "wait-unplug") => MigrationState::Setup,
        (_, "active") => MigrationState::PreCopy,
        // libvirt lets it go on by itself.
        (_, "pre-switchover" | "device") => MigrationState::SwitchOver,
        (_, "postcopy-active" | "postcopy-device") => MigrationState::PostCopy,
        (_, "postcopy-paused" | "postcopy-recover" | "postcopy-recover-setup") => {
            MigrationState::PostCopyPaused
        }
        (Side::Destination, "completed") => MigrationState::Completed,
        (_, "cancelling" | "failing") => MigrationState::Cancelling,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// virsh 9.0.0 with QEMU 10.0.2.
    #[test]
    fn lines_of_both_readers_are_understood() {
        let qemu =
            parse("event MIGRATION at 1795967967.692837 for domain 't1': {\"status\":\"setup\"}", "t1");
        let data = json!({ "status": "setup" });
        let epoch_ns = 1_795_967_967_692_837_000;
        assert_eq!(qemu, Some(Line::Qemu { name: "MIGRATION".into(), epoch_ns, data }));
        let stop = parse("event STOP at 1.000001 for domain 't1': <null>", "t1");
        assert_eq!(
            stop,
            Some(Line::Qemu { name: "STOP".into(), epoch_ns: 1_000_001_000, data: Value::Null })
        );
        let libvirt = parse("event 'lifecycle' for domain 't1': Stopped Migrated", "t1");
        let said = "Stopped Migrated".to_owned();
        assert_eq!(libvirt, Some(Line::Libvirt { name: "lifecycle".into(), said }));
        assert_eq!(parse("\ttime_elapsed: 4007", "t1"), Some(Line::Counter("time_elapsed".into(), 4007)));
        let done = parse("event 'job-completed' for domain 't1':", "t1");
        assert_eq!(done, Some(Line::Libvirt { name: "job-completed".into(), said: String::new() }));
    }

    #[test]
    fn another_vm_is_not_taken_for_this_one_whatever_its_name() {
        for name in ["t1': x", "t1': <null>", "t1': {\"a\":1}", "t", "t11"] {
            let line = format!("event STOP at 1.000001 for domain '{name}': <null>");
            assert_eq!(parse(&line, "t1"), None, "{line}");
            assert!(parse(&line, name).is_some());
        }
        for odd in [
            "",
            "event",
            "event X at 1",
            "event X at y for domain 't1': <null>",
            "events received: 3",
            "\t",
            "\tx: y",
        ] {
            assert_eq!(parse(odd, "t1"), None, "{odd}");
        }
    }

    #[test]
    fn another_vm_that_is_called_as_if_this_one_had_ended_has_not_ended_it() {
        let said = |name: &str, said: &str| match parse(
            &format!("event 'lifecycle' for domain '{name}': {said}"),
            "t1",
        ) {
            Some(Line::Libvirt { said, .. }) => said,
            _ => String::new(),
        };
        assert!(is_loss(&said("t1", "Stopped Failed")) && is_loss(&said("t1", "Crashed Panicked")));
        assert!(!is_loss(&said("t1", "Stopped Migrated")));
        for name in ["t1': Stopped Failed", "t1': Crashed", "t1': Stopped Destroyed"] {
            assert!(!is_loss(&said(name, "Started Booted")), "{name}");
        }
    }

    #[test]
    fn a_source_that_has_sent_all_is_not_through_with_its_job() {
        assert_eq!(state_of(Side::Source, "completed"), None);
        assert_eq!(state_of(Side::Destination, "completed"), Some(MigrationState::Completed));
        assert_eq!(state_of(Side::Source, "failed"), None, "libvirt tells why");
        assert_eq!(state_of(Side::Source, "pre-switchover"), Some(MigrationState::SwitchOver));
    }
}
