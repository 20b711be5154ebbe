//! What came of a VM's disks, and of the parts of a move for which it stood still.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DowntimeMs;

/// What was copied of the disks that moved with a VM, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageBytes {
    /// What their files held before the migrate command, holes left out: at least this had to be copied.
    pub data: Option<i64>,
    /// What the hypervisor says it copied, with holes (which cost next to nothing) and with what was written meanwhile.
    pub copied: Option<i64>,
    /// Sent by the source, on the wire, while the disks were made even (phase `storage`).
    pub wire: Option<i64>,
}

/// A disk in the categories of Hu et al., section 2.2, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiskMib {
    /// What the guest could put on it.
    pub virtual_size: Option<f64>,
    /// What its file takes up on the hosts.
    pub allocated: Option<f64>,
    /// Used blocks of the guest's file system.
    pub used: Option<f64>,
}

/// All disks of a VM that move with it, swap included, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageMib {
    /// What the guest could put on them.
    pub virtual_size: Option<f64>,
    /// What their files take up on the host.
    pub allocated: Option<f64>,
    /// What of their files is no hole.
    pub data: Option<f64>,
}

/// Bytes at each host's interface to the storage network, Ethernet headers included, from the migrate command to the
/// migration's end. None of them is among the migration's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageNetworkBytes {
    /// Sent by the source.
    pub source_tx: Option<i64>,
    /// Received by the source.
    pub source_rx: Option<i64>,
    /// Sent by the destination.
    pub destination_tx: Option<i64>,
    /// Received by the destination.
    pub destination_rx: Option<i64>,
}

impl StorageNetworkBytes {
    /// Whether none of them is there.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A migration whose disks moved first, by themselves, and its memory after them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageSteps {
    /// From the begin of the disks' copy to the VM running on, at the source, with the destination's disks.
    pub disks: StorageStep,
    /// From then to the migration's end.
    pub memory: StorageStep,
}

/// One of both steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageStep {
    /// How long it took, in ms; absent where its end was not seen.
    pub time_ms: Option<f64>,
    /// Sent by the source on the migration network in that time, in bytes.
    pub wire_bytes: Option<i64>,
    /// Sent by the source on the storage network in that time, in bytes.
    pub storage_network_bytes: Option<i64>,
    /// The longest outage of each probe that began in it, in ms; absent too where none stood out. `reported` and `paused` are
    /// of the whole migration only.
    pub downtime_ms: DowntimeMs,
}

/// A disk of which both hosts' images were compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageComparison {
    /// Which, as the guest knows it.
    pub disk: String,
    /// How much was compared.
    pub compared_bytes: i64,
    /// Whether they were equal.
    pub equal: bool,
    /// Where they differ first; absent where they are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs_at_bytes: Option<i64>,
}

/// The parts of a move for which the VM stood still, one after the other, in ms; of several files those of each added up.
/// Absent where there was no such part, or its end was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StandstillMs {
    /// The VM was put to rest at the source: shut down, or its state saved.
    pub rest: Option<f64>,
    /// Its files were compressed, before any of it travelled; absent where they were compressed while they travelled.
    pub compress: Option<f64>,
    /// Its files travelled.
    pub transfer: Option<f64>,
    /// Its files were decompressed, after all of it had travelled.
    pub decompress: Option<f64>,
    /// It was booted or restored at the destination, until its agent answered.
    pub wake: Option<f64>,
}

impl StandstillMs {
    /// Whether none of them is there.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Each with its name, in their order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("rest", self.rest),
            ("compress", self.compress),
            ("transfer", self.transfer),
            ("decompress", self.decompress),
            ("wake", self.wake),
        ]
    }
}

/// A file of a VM that stood still, and what it took to bring it to the other host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileOutcome {
    /// Which: a disk by its serial number, as in `dunlin-disk`, or `state`.
    pub file: String,
    /// Its length.
    pub file_bytes: i64,
    /// Read of it, holes left out where they were to be.
    pub content_bytes: i64,
    /// What travelled: the same compressed, where it was to be.
    pub sent_bytes: i64,
    /// Of what was read, the share that travelled, in percent; absent where nothing was read.
    pub sent_percent: Option<f64>,
    /// Compressing it, in ms: where it travelled meanwhile, the time that took the compressor's threads, all together.
    pub compress_ms: Option<f64>,
    /// From its first byte leaving to the last having been written, in ms.
    pub transfer_ms: Option<f64>,
    /// Decompressing it, in ms.
    pub decompress_ms: Option<f64>,
    /// Whether compressing and decompressing went on while it travelled.
    pub overlapped: bool,
    /// How many threads compressed.
    pub threads: u32,
    /// Whether both ends' contents were the same by a checksum; absent where nobody compared.
    pub verified: Option<bool>,
}
