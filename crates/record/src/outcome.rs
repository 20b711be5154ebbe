//! What came out: one line of `trials.jsonl`. Units stand last in every name; absent = not measured.

mod storage;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Achieved, CaptureOutcome, CpuPercent, FailureCounts, MechanismSeen, ResponsePhases, Status,
    StreamOutcome, TcpConnections, TcpStreamOutcome, VmId, Workload,
};

pub use storage::{
    DiskMib, FileOutcome, StandstillMs, StorageBytes, StorageComparison, StorageMib, StorageNetworkBytes,
    StorageStep, StorageSteps,
};

/// The outcome of one trial for one VM, recomputable from the trial's events and series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The format's version.
    pub format: u32,
    /// The revision of the analysis that made it of the record, [`ANALYSIS`](crate::ANALYSIS); 0 in versions that had none.
    #[serde(default)]
    pub analysis: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Which cell of the matrix.
    pub case: CaseLabel,
    /// Which repetition, from 1.
    pub trial: u32,
    /// The trial's id: names its events, series and logs.
    pub id: crate::TrialId,
    /// Which VM.
    pub vm: VmId,
    /// What moved it.
    pub hypervisor: Option<HypervisorLabel>,
    /// The strategy's name.
    pub strategy: String,
    /// How it ended.
    pub status: Status,
    /// Why not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the figures cannot be fully trusted.
    pub flags: Vec<Flag>,
    /// What was seen of each mechanism that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mechanisms: Vec<MechanismSeen>,
    /// From the migrate command to both ends complete, in ms.
    pub total_time_ms: Option<f64>,
    /// Total time less `downtime_ms.icmp`, as in the papers, in ms.
    pub migration_time_ms: Option<f64>,
    /// Least total time: non-zero guest pages x 4 KiB, and what has to travel of disks, over the link's goodput, in ms; where
    /// the VM stands still, the files that travelled, compressed where they were.
    pub floor_ms: Option<f64>,
    /// The part of it that disks have, which move while the VM runs: what they hold, or all their blocks where all are to be
    /// copied. Absent where none move so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_floor_ms: Option<f64>,
    /// Least downtime: what was left to send at the stop over the link's goodput plus one round trip, in ms.
    pub downtime_floor_ms: Option<f64>,
    /// The downtimes, in ms.
    pub downtime_ms: DowntimeMs,
    /// The error of each downtime that is an estimate, in ms; of `paused`, what the clocks of two hosts may make it wrong.
    /// What the hypervisor reports is by its source's one clock and has none.
    pub downtime_error_ms: DowntimeMs,
    /// What a downtime without a value was at most, in ms: no gap stood out of those before the migration.
    #[serde(default, skip_serializing_if = "DowntimeMs::is_unknown")]
    pub downtime_at_most_ms: DowntimeMs,
    /// What a downtime without a value was at least, in ms: its outage went on when the probe ended.
    #[serde(default, skip_serializing_if = "DowntimeMs::is_unknown")]
    pub downtime_at_least_ms: DowntimeMs,
    /// Each outside observer's account, by its name.
    pub probes: BTreeMap<String, ProbeOutcome>,
    /// What became of the TCP streams beside it, by the probe's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tcp_streams: BTreeMap<String, TcpStreamOutcome>,
    /// Bytes of the migration's own flows on the wire, Ethernet headers included.
    pub wire_bytes: Option<WireBytes>,
    /// The same as a managed switch counted them; absent where none was asked, or its word cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_bytes_snmp: Option<SwitchBytes>,
    /// What a capture says of the migration's TCP conversations; absent where none was made, it cannot be read, or it
    /// holds none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureOutcome>,
    /// Bytes of memory the hypervisor says it sent.
    pub ram_bytes: Option<i64>,
    /// What was copied of the VM's disks; absent where they lie on shared storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<StorageBytes>,
    /// What passed the storage network meanwhile; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_network_bytes: Option<StorageNetworkBytes>,
    /// Both steps of a migration whose disks moved first; absent where they moved with the memory, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_steps: Option<StorageSteps>,
    /// The disks of which both hosts' images were compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_compared: Vec<StorageComparison>,
    /// The parts of a move for which the VM stood still (offline, cold); absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standstill_ms: Option<StandstillMs>,
    /// The files that were brought to the other host meanwhile, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileOutcome>,
    /// One entry a pass over the memory.
    pub iterations: Vec<Iteration>,
    /// The phases of Prakash et al., equation 1, in ms.
    pub phases_ms: PhasesMs,
    /// By how much the hosts' clocks may make each phase wrong, in ms; absent where the bench's one clock stamped both its
    /// ends, or how the hosts' stood was not recorded.
    #[serde(default, skip_serializing_if = "PhasesMs::is_unknown")]
    pub phases_error_ms: PhasesMs,
    /// Memory in the categories of Hu et al., section 2.2, in MiB, before the migration.
    pub memory_mib: MemoryMib,
    /// The same after it, where the VM runs then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_after_mib: Option<MemoryMib>,
    /// Its disk in the same categories, in MiB, before the migration; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<DiskMib>,
    /// The same after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_after_mib: Option<DiskMib>,
    /// All disks that move with it, swap included, before the migrate command; absent where none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_mib: Option<StorageMib>,
    /// The same at the destination, after the migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_after_mib: Option<StorageMib>,
    /// CPU time of the hypervisors and of the guest, in percent of one core; absent where none was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<CpuPercent>,
    /// What the guest did.
    pub workload: Option<WorkloadOutcome>,
    /// How the guest's clocks fared; absent where its agent was not asked before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_clock: Option<GuestClock>,
    /// Of a migration that did not converge: what kept it from its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_converged: Option<NotConverged>,
    /// What became of those of its workloads that are streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamOutcome>,
    /// The migration network.
    pub link: LinkOutcome,
    /// From launching the source's hypervisor to a guest that answers, in ms.
    pub guest_start_ms: Option<f64>,
}

/// Which cell of a scenario's matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseLabel {
    /// The case's name.
    pub name: String,
    /// The dials that vary in it.
    #[serde(flatten)]
    pub dials: BTreeMap<String, serde_json::Value>,
}

impl CaseLabel {
    /// Name and dials, as in `dirty 16`.
    #[must_use]
    pub fn title(&self) -> String {
        crate::case::title(&self.name, &self.dials)
    }
}

/// What moved the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HypervisorLabel {
    /// As in `qemu`.
    pub name: String,
    /// The source's version.
    pub version: String,
    /// The destination's version, if another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_version: Option<String>,
    /// What ran the vCPUs, by its own name, as in `kvm`.
    pub accelerator: String,
}

/// A reason not to trust a figure fully.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The machine's CPUs were busy nearly all the time during the migration.
    HostSaturated,
    /// More than 1 % of a probe's requests left later than one interval after they were due.
    ProberLate,
    /// The kernel refused requests or dropped answers of a probe.
    ProberLost,
    /// The guest's CPU is emulated: times are not those of hardware.
    EmulatedCpu,
    /// A probe saw no gap that stands out of those before the migration: its downtime is a bound.
    OutageWithinNoise,
    /// A downtime ended only when the probe did: it is a bound.
    OutageUnfinished,
    /// A probe was not answered well before the migration, so it tells no downtime.
    ProbeUnfit,
    /// The passive record on a host's tap dropped frames.
    PassagesLost,
    /// A capture lacks packets: dropped for want of time, or not written for want of room on the disk.
    CaptureIncomplete,
    /// The workload reached less than 90 % of the rate asked for.
    WorkloadBelowRate,
    /// The guest's clock fell behind by more than 5 % of the time: its workload's rates, which are by it, are too high.
    GuestClockBehind,
    /// The workload found pages with a content it had not written. The gravest of all.
    CorruptMemory,
    /// The workload found its file on the disk with a content it had not written. As grave.
    CorruptDisk,
    /// A stream's connection lost, repeated or misplaced data, or a block held what nobody sent. As grave.
    CorruptStream,
    /// A disk or a file that was brought to the other host is not the same there, by a comparison or a checksum. As grave.
    CorruptCopy,
    /// The switch did not answer when it mattered: its counters are not known.
    SwitchSilent,
    /// The switch's counters were reset, or may have wrapped unseen, during the migration: they are not used.
    SwitchCountersReset,
    /// The switch's counters and those of the host's interface differ by more than frames explain.
    SwitchDisagrees,
    /// A mechanism that was asked for was not used: `mechanisms` says which.
    MechanismUnused,
    /// The record breaks off.
    RecordTruncated,
}

impl Flag {
    /// Whether the guest, or what it holds or sends, was damaged: the gravest there is.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::CorruptMemory | Self::CorruptDisk | Self::CorruptStream | Self::CorruptCopy)
    }
}

/// The downtimes of one migration, in ms. Four figures, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DowntimeMs {
    /// As the hypervisor reports it.
    pub reported: Option<f64>,
    /// From the vCPUs' stop at the source to their running at the destination, by events put on one clock.
    pub paused: Option<f64>,
    /// Longest outage of the ICMP probe.
    pub icmp: Option<f64>,
    /// Longest outage of the UDP probe.
    pub udp: Option<f64>,
    /// Longest outage of the TCP request/response probe between bench and guest.
    pub tcp: Option<f64>,
    /// Longest outage of the HTTP probe.
    pub http: Option<f64>,
}

impl DowntimeMs {
    /// Whether none of them is there.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// One outside observer's account of a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeOutcome {
    /// Requests sent between the migrate command and completion + settle time.
    pub sent: u64,
    /// Of these, never answered.
    pub lost: u64,
    /// Of these, answered later than the slowest answer before the migration and than one interval.
    pub late: u64,
    /// Answers that came twice.
    pub duplicated: u64,
    /// Time between two requests, in ms; of TCP request/response, which sends the next when the last was answered, the
    /// median of what it was before the migration.
    pub interval_ms: f64,
    /// Error of an outage by this probe, in ms: one interval, the jitter of answers before the migration (99th
    /// percentile), and the clock mapping's.
    pub error_ms: Option<f64>,
    /// Longest gap between answers in the baseline before the migration, less one interval: what stands out must exceed
    /// it. In ms.
    pub baseline_gap_ms: Option<f64>,
    /// How late requests left, 99th percentile, in ms.
    pub send_lateness_p99_ms: Option<f64>,
    /// CPU time of the probe's threads over its running time, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Which host's VM answered, by the record on the hosts' taps; absent without one.
    pub answered_by: Option<AnsweredBy>,
    /// Every outage that stands out, in order.
    pub outages: Vec<Outage>,
    /// How long its requests took to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<ResponsePhases>,
    /// Of its requests between the migrate command and completion + settle time, those without a good answer, by why;
    /// absent for a probe that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureCounts>,
    /// Of TCP request/response: its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<TcpConnections>,
    /// The rate it really held from the begin of the baseline to the end of the settle time: requests that left a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_per_s: Option<f64>,
    /// Of its requests in the baseline, those without an answer within one second, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_unanswered_percent: Option<f64>,
    /// Why it tells no outage and no downtime; absent where it is fit to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

/// Which host's VM answered how many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AnsweredBy {
    /// The source's.
    pub source: u64,
    /// The destination's.
    pub destination: u64,
    /// Answered, but no tap saw the answer.
    pub unknown: u64,
}

/// A time in which a service did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// Arrival of the last answer before it, in ms after the migrate command.
    pub start_ms: f64,
    /// The gap between the arrivals around it less one interval, in ms.
    pub length_ms: f64,
}

/// Bytes at the source's interface to the migration network, Ethernet headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireBytes {
    /// Sent by the source.
    pub source_tx: i64,
    /// Received by the source.
    pub source_rx: i64,
}

/// Bytes at the switch's port to the source, by the switch's own counters, from its last word before the migrate command
/// to its last word of the settle time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchBytes {
    /// Sent by the source: `ifHCInOctets` of its port.
    pub source_tx: i64,
    /// Received by the source: `ifHCOutOctets` of its port.
    pub source_rx: i64,
    /// How finely the counters tell the time, in ms: the longest that they stood still while bytes passed. What is asked
    /// more rarely, or refreshed more rarely by the switch, is not seen sooner.
    pub granularity_ms: Option<f64>,
    /// How far `source_tx` is from what the host's own interface counted in the same time, in percent of that.
    pub difference_percent: Option<f64>,
    /// Questions in that time.
    pub asked: u64,
    /// Of these, not answered.
    pub unanswered: u64,
    /// 64, or 32 where the switch has no others.
    pub counter_bits: u32,
}

/// One pass over the memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Iteration {
    /// From 1.
    pub pass: u32,
    /// Its begin, in ms after the migrate command.
    pub start_ms: f64,
    /// How long it took, in ms.
    pub duration_ms: f64,
    /// Bytes on the wire while it ran; absent without counters.
    pub wire_bytes: Option<i64>,
    /// What was left to send when it ended, by the hypervisor's last word in it.
    pub remaining_bytes: Option<i64>,
    /// The hypervisor's estimate of the rate at which pages were dirtied, in MiB/s.
    pub dirty_rate_mib_s: Option<f64>,
    /// By how much vCPUs were slowed, in percent.
    pub throttle_percent: Option<f64>,
}

/// The phases of a migration (Prakash et al., equation 1), in ms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PhasesMs {
    /// From the begin of the disks' copy to both hosts' disks being even (in two steps: to the VM running on with the
    /// destination's); absent where they lie on shared storage. Then `initialize` begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<f64>,
    /// From the migrate command (where disks were copied first, from their end) to the end of the hypervisor's setup.
    pub initialize: Option<f64>,
    /// The destination prepared, until it listens. Before the migrate command, so not part of total time.
    pub reserve: Option<f64>,
    /// One entry a pass.
    pub pre_copy: Vec<f64>,
    /// From the vCPUs' stop at the source to the last byte sent for their start.
    pub stop_and_copy: Option<f64>,
    /// From the last byte to the destination's acknowledgement.
    pub commit: Option<f64>,
    /// To the vCPUs running at the destination.
    pub activate: Option<f64>,
    /// From then to the last page, where the VM ran before its memory was there.
    pub post_copy: Option<f64>,
}

impl PhasesMs {
    /// Whether none of them is there.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Memory in the categories of Hu et al., section 2.2, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemoryMib {
    /// What the VM could have.
    pub configured: Option<f64>,
    /// Resident pages of the guest RAM's mapping on the host.
    pub allocated: Option<f64>,
    /// Used inside the guest.
    pub used: Option<f64>,
    /// Asked for by the guest's processes.
    pub requested: Option<f64>,
    /// Rewritten all the time by the workload.
    pub dirtied: Option<f64>,
    /// Swapped out, by the guest's own count; absent without swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<f64>,
}

/// What the guest was asked to do, and did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadOutcome {
    /// The scenario's words.
    pub asked: Workload,
    /// The agent's count; absent if it could not be asked.
    pub achieved: Option<Achieved>,
}

/// How the guest's clocks fared against the bench's, from a reading before the migration to one after it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuestClock {
    /// Between the two readings, by the bench's clock, in ms.
    pub elapsed_ms: f64,
    /// By how much the guest's monotonic clock fell behind, in ms; less than 0 where it ran ahead.
    pub monotonic_behind_ms: f64,
    /// The same of its boot-time clock.
    pub boottime_behind_ms: f64,
    /// The same of its wall clock.
    pub realtime_behind_ms: f64,
    /// The error of each, in ms: half of both questions' round trips.
    pub error_ms: f64,
}

/// What kept a migration from its end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NotConverged {
    /// From the migrate command until it was given up, in ms.
    pub after_ms: f64,
    /// Passes over the memory that had begun.
    pub passes: u32,
    /// What was left to send when it was given up, by the hypervisor's last word.
    pub remaining_bytes: Option<i64>,
    /// What was dirty again at the begin of a pass, the median of those from the second on.
    pub dirty_again_bytes: Option<i64>,
    /// The hypervisor's estimate of the rate at which pages were dirtied, the median of what it said in those passes, in
    /// MiB/s. It counts a page once a pass, so that at the link's pace it says no more than the link carries.
    pub dirty_rate_mib_s: Option<f64>,
    /// What was sent a second, in MiB/s, as counted on the wire.
    pub sent_mib_s: Option<f64>,
    /// Pre-copy ends by itself once what is left can be sent in this time, in ms.
    pub downtime_limit_ms: Option<f64>,
    /// The least such limit with which it would have ended, in ms: what was dirty again at the begin of the best pass, at the
    /// rate that was sent.
    pub downtime_limit_needed_ms: Option<f64>,
}

/// The migration network.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LinkOutcome {
    /// The rate it was set to, in Mbit/s.
    pub rate_mbit: Option<f64>,
    /// TCP payload it carried when tried, in Mbit/s.
    pub goodput_mbit: Option<f64>,
}

/// The JSON Schema of a line of `trials.jsonl`.
#[must_use]
pub fn outcome_schema() -> serde_json::Value {
    schemars::schema_for!(Outcome).to_value()
}
