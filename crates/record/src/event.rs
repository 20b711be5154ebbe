//! What happened: changes of state, few and typed, each with its time on the bench's clock.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{
    Achieved, Case, FileCarried, HostId, MechanismSeen, MigrationState, Place, ProbeConnection, Seen,
    StandstillStage, Step, StorageFaultKind, StreamSeen, VmId, Workload,
};

/// One change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds of the bench's monotonic clock.
    pub t_ns: i64,
    /// On which host, if on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Of which VM, if of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// What changed.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A trial began; first event of every record.
    TrialStarted {
        /// The scenario's name.
        scenario: String,
        /// What was asked.
        case: Box<Case>,
        /// Which repetition of the case, from 1.
        trial: u32,
        /// The VMs move from here …
        source: HostId,
        /// … to here.
        destination: HostId,
    },
    /// A hypervisor said what it is.
    HypervisorIdentified(HypervisorIdentity),
    /// How another clock stood to the bench's; `error_ns` bounds stamps mapped with it.
    ClockMapped {
        /// Which clock, as in `realtime`.
        clock: String,
        /// Add this to its stamps.
        offset_ns: i64,
        /// Half the bracket of the reading.
        error_ns: i64,
    },
    /// What a network carried when tried, before the trial.
    LinkMeasured {
        /// Which, as in `migration`.
        link: String,
        /// The rate it was set to, in Mbit/s; absent if not limited.
        rate_mbit: Option<f64>,
        /// TCP payload it carried, in Mbit/s.
        goodput_mbit: f64,
        /// Its round-trip time, in milliseconds; absent if not measured.
        #[serde(default)]
        rtt_ms: Option<f64>,
    },
    /// The VM exists already, and was found at the source. Of no VM of ours is there such an event.
    VmFound {
        /// Where probes reach it; absent where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Ipv4Addr>,
        /// Who told the address, as in "a lease".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told_by: Option<String>,
        /// Whether its owner had paused it: then it is moved as it is.
        paused: bool,
    },
    /// The guest runs and its agent answers.
    GuestReady {
        /// How it was started.
        start: GuestStart,
        /// From launching the hypervisor to the agent's answer, in milliseconds.
        took_ms: f64,
    },
    /// The workload runs (its working set is allocated and has been written once).
    WorkloadStarted {
        /// What was asked.
        workload: Workload,
    },
    /// What the workload did since it was started.
    WorkloadReported {
        /// As the agent counted it.
        achieved: Box<Achieved>,
    },
    /// The guest connected to the bench for a stream.
    StreamConnected {
        /// Which of its workloads, from 0.
        workload: u32,
    },
    /// The connection broke.
    StreamBroken {
        /// Which of its workloads, from 0.
        workload: u32,
        /// How.
        why: String,
    },
    /// The bench's end of a stream ended.
    StreamEnded {
        /// Which of its workloads, from 0.
        workload: u32,
        /// What this end saw.
        seen: StreamSeen,
    },
    /// Memory in the paper's categories (Hu et al., section 2.2).
    MemoryHeld {
        /// Before or after the move.
        moment: Moment,
        /// The amounts.
        #[serde(flatten)]
        held: MemoryHeld,
    },
    /// What the guest's CPUs had done since its boot, as its own kernel counts.
    GuestCpu {
        /// They ran something, in nanoseconds.
        busy_ns: i64,
        /// They had nothing to do, in nanoseconds.
        idle_ns: i64,
    },
    /// The guest's clocks, read by its agent between the bench's question and its answer; the event's time is the middle.
    GuestClocks {
        /// Its monotonic clock, in nanoseconds.
        monotonic_ns: i64,
        /// Its boot-time clock, in nanoseconds.
        boottime_ns: i64,
        /// Its wall clock, in nanoseconds since the Unix epoch.
        realtime_ns: i64,
        /// Half the time from the question to the answer, in nanoseconds.
        error_ns: i64,
    },
    /// What the VM's disk holds, where it has one.
    DiskHeld {
        /// Before or after the move.
        moment: Moment,
        /// The amounts.
        #[serde(flatten)]
        held: DiskHeld,
    },
    /// What the disks that are to move with the VM hold at the source, before the command; swap included.
    StorageHeld(StorageHeld),
    /// The destination's hypervisor was launched: its resources are being reserved.
    DestinationLaunched,
    /// The destination listens for the migration.
    DestinationListening,
    /// A probe began to send.
    ProbeStarted {
        /// Which, as in `icmp`.
        probe: String,
        /// The interval asked for; absent for one that keeps none.
        #[serde(default)]
        interval_ms: Option<f64>,
        /// Whether its threads have real-time priority.
        realtime_priority: bool,
    },
    /// A probe ended; what it cost.
    ProbeEnded {
        /// Which.
        probe: String,
        /// CPU time of its threads, in nanoseconds.
        cpu_ns: i64,
        /// How long it ran, in nanoseconds.
        wall_ns: i64,
        /// Requests the kernel refused to send.
        send_errors: u64,
        /// Answers or stamps dropped because a socket's buffer was full.
        drops: u64,
    },
    /// A connection of a TCP probe, told once the probe has ended; its time is that of the connection's begin.
    ProbeConnection {
        /// Which probe.
        probe: String,
        /// What became of it.
        #[serde(flatten)]
        connection: ProbeConnection,
    },
    /// The passive records on the hosts' taps ended.
    PassagesEnded {
        /// Frames they missed.
        drops: u64,
    },
    /// A capture ended.
    CaptureEnded {
        /// Its file in the trial's folder of captures, as in `host-a-migration.pcapng`.
        file: String,
        /// Packets that were to be captured.
        packets: u64,
        /// Of these, dropped because nobody fetched them in time.
        drops: u64,
        /// Of these, in the file.
        written: u64,
        /// The original bytes of those in the file, with Ethernet headers.
        bytes: u64,
        /// What to add to the file's stamps to get the bench's clock …
        clock_offset_ns: i64,
        /// … and its error.
        clock_error_ns: i64,
        /// Why packets that were not dropped are not in the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_short: Option<String>,
    },
    /// The migrate command was given. Total time begins here.
    MigrateCommand,
    /// The source began to copy the VM's disks to the destination's.
    StorageMirrorStarted {
        /// Where the destination takes them, as in `10.78.0.12:10809`.
        address: String,
    },
    /// Both hosts' disks are even; from now on each of the guest's writes goes to both. The memory's migration begins.
    StorageMirrored {
        /// What the hypervisor says it copied, holes included; absent where it does not say.
        copied_bytes: Option<i64>,
    },
    /// The VM goes on at the source with the destination's disks: the first of two steps has ended, and the memory's
    /// migration begins.
    StorageMoved {
        /// What the hypervisor says it copied in all, holes included; absent where it does not say.
        copied_bytes: Option<i64>,
    },
    /// Both hosts' images of a disk were compared block by block, while the VM stood still for that.
    StorageCompared {
        /// Which disk, as the guest knows it.
        disk: String,
        /// How much was compared.
        compared_bytes: i64,
        /// Where they differ first; absent where they are equal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        differs_at_bytes: Option<i64>,
    },
    /// The server of the VM's disks was made to go away.
    StorageServerAway {
        /// How.
        how: StorageFaultKind,
    },
    /// It is there again.
    StorageServerBack,
    /// A part of a move for which the VM stands still began; the one before it has ended.
    StandstillStage {
        /// Which.
        stage: StandstillStage,
    },
    /// A file of a VM that stands still is at the other host.
    FileCarried(FileCarried),
    /// The last write has been copied and the source has let go of the destination's disks: the VM may run there.
    StorageHandedOver {
        /// What the hypervisor says it copied in all, holes included; absent where it does not say.
        copied_bytes: Option<i64>,
    },
    /// The hypervisor's migration status changed (on either host).
    MigrationStatus {
        /// By the hypervisor's own name, as in `pre-switchover`.
        status: String,
        /// The same in what all hypervisors have; absent where it has no such meaning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<MigrationState>,
    },
    /// The hypervisor began this pass over the memory.
    MigrationPass {
        /// From 1.
        pass: u32,
    },
    /// A fine step inside the hypervisor.
    Checkpoint {
        /// By its own name.
        name: String,
        /// What it means, if it means something to all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<Step>,
    },
    /// The VM's vCPUs stopped on this host.
    VcpusStopped,
    /// The VM's vCPUs run on this host.
    VcpusRunning,
    /// A policy decided something.
    Decision {
        /// What is done.
        action: String,
        /// Why.
        reason: String,
    },
    /// The hypervisor's own account of a migration that ended.
    HypervisorReport(HypervisorReport),
    /// What was seen of a mechanism of the migration that was asked for; one event each.
    MechanismSeen(MechanismSeen),
    /// Anything else the hypervisor said, as it said it.
    HypervisorEvent {
        /// Its name.
        name: String,
        /// Its data.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        data: serde_json::Value,
    },
    /// A hypervisor's process ended.
    ProcessEnded {
        /// As in "exit status 1" or "signal 9".
        how: String,
        /// Whether it was told to.
        expected: bool,
    },
    /// Both ends are complete. Total time ends here.
    MigrationCompleted,
    /// After a migration that did not complete: what state the VM is in at the source, as checked.
    SourceChecked {
        /// Whether its vCPUs run.
        running: bool,
        /// The hypervisor's word for its state.
        state: String,
    },
    /// Where the VM is at the end of its migration, however that ended: as both hosts said when they were asked.
    VmPlaced {
        /// There.
        place: Place,
        /// What the source said …
        source: Seen,
        /// … in its own words.
        source_word: String,
        /// What the destination said …
        destination: Seen,
        /// … in its own words.
        destination_word: String,
    },
    /// Something lowers the worth of the figures.
    Warning {
        /// What.
        text: String,
    },
    /// The trial ended; last event of a whole record.
    TrialEnded {
        /// How.
        status: Status,
        /// Why not well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// An event of a newer version of Dunlin.
    #[serde(other)]
    Unknown,
}

/// What a hypervisor says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HypervisorIdentity {
    /// As in `qemu`.
    pub name: String,
    /// As in `10.0.2`.
    pub version: String,
    /// What runs the vCPUs, by its own name, as in `kvm`.
    pub accelerator: String,
    /// Whether their instructions are emulated, which is many times slower; absent where the hypervisor does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated: Option<bool>,
}

/// How a guest was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestStart {
    /// Its kernel was booted.
    Booted,
    /// Its state was restored from a template.
    Restored,
}

/// Before or after the move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the migrate command, at the source.
    Before,
    /// After completion, where the VM runs.
    After,
}

/// Memory in bytes, in the paper's categories; absent = not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryHeld {
    /// What the VM could have.
    pub configured_bytes: Option<i64>,
    /// Resident pages of the guest RAM's mapping on the host (`smaps`).
    pub allocated_bytes: Option<i64>,
    /// Used inside the guest (`MemTotal` less `MemFree`, as in the papers).
    pub used_bytes: Option<i64>,
    /// Asked for by the guest's processes (`Committed_AS`).
    pub requested_bytes: Option<i64>,
    /// Rewritten all the time by the workload.
    pub dirtied_bytes: Option<i64>,
    /// Swapped out, by the guest's own count; absent without swap too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped_bytes: Option<i64>,
}

/// A disk in bytes, in the paper's categories; absent = not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskHeld {
    /// What the guest could put on it.
    pub virtual_size_bytes: Option<i64>,
    /// What its file takes up on the hosts (`st_blocks`).
    pub allocated_bytes: Option<i64>,
    /// Used blocks of the guest's file system (`statvfs`).
    pub used_bytes: Option<i64>,
}

/// Disks in bytes, all of them together; absent = not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageHeld {
    /// What the guest could put on them.
    pub virtual_size_bytes: Option<i64>,
    /// What their files take up on the host (`st_blocks`).
    pub allocated_bytes: Option<i64>,
    /// What of their files is no hole (`SEEK_DATA`): this much has to be copied.
    pub data_bytes: Option<i64>,
}

/// The hypervisor's own account of a migration; absent = it did not say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HypervisorReport {
    /// Total time in milliseconds.
    pub total_time_ms: Option<f64>,
    /// Downtime in milliseconds.
    pub downtime_ms: Option<f64>,
    /// Setup in milliseconds.
    pub setup_time_ms: Option<f64>,
    /// Bytes it says it sent for memory.
    pub ram_bytes: Option<i64>,
    /// Bytes it says it sent while the vCPUs were stopped.
    #[serde(default)]
    pub downtime_bytes: Option<i64>,
    /// Why the migration failed, in its words, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Everything it said, under its own names.
    #[serde(default)]
    pub raw: BTreeMap<String, serde_json::Value>,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The VM runs at the destination, both ends complete.
    Completed,
    /// The limit passed; the migration was cancelled and the VM runs at the source.
    NotConverged,
    /// Something went wrong.
    Failed,
    /// The user ended it.
    Cancelled,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Completed => "completed",
            Self::NotConverged => "not-converged",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object() {
        let event = Event {
            t_ns: 5,
            host: Some(HostId::new("host-a")),
            vm: Some(VmId::new("vm0")),
            kind: EventKind::MemoryHeld {
                moment: Moment::Before,
                held: MemoryHeld { used_bytes: Some(7), ..MemoryHeld::default() },
            },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert!(
            text.starts_with(
                r#"{"t_ns":5,"host":"host-a","vm":"vm0","event":"memory-held","moment":"before""#
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn an_event_of_a_newer_version_is_kept_as_unknown() {
        let event: Event = serde_json::from_str(r#"{"t_ns":1,"event":"brand-new","with":[1]}"#).unwrap();
        assert_eq!(event.kind, EventKind::Unknown);
    }
}
