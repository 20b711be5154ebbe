//! How busy CPUs were with a VM.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// CPU time of a VM's hypervisors and of its guest over the time that passed on the bench's clock, in percent of one
/// core: a process with two threads that never rest has 200.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuPercent {
    /// Of the hypervisor's process at the source, vCPUs included.
    pub source: CpuShares,
    /// Of its threads that run vCPUs. The rest of the process is devices, the main loop and the migration.
    pub source_vcpus: CpuShares,
    /// Of the hypervisor's process at the destination, vCPUs included.
    pub destination: CpuShares,
    /// Of its threads that run vCPUs.
    pub destination_vcpus: CpuShares,
    /// Of the guest, as its own kernel counts (time stolen from it left out), wherever it was.
    pub guest: CpuShares,
}

/// Shares before, during and after a migration, in percent of one core.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuShares {
    /// In the baseline before the migrate command.
    pub before: Option<f64>,
    /// From the migrate command to the migration's end, however it ended.
    pub during: Option<f64>,
    /// From then to the end of the time to settle.
    pub after: Option<f64>,
}

impl CpuPercent {
    /// Each share of CPU time with its name in the record.
    #[must_use]
    pub fn named(&self) -> [(&'static str, CpuShares); 5] {
        [
            ("source", self.source),
            ("source_vcpus", self.source_vcpus),
            ("destination", self.destination),
            ("destination_vcpus", self.destination_vcpus),
            ("guest", self.guest),
        ]
    }
}
