//! Where a VM is, as both ends of its migration say.

use serde::{Deserialize, Serialize};

/// What one end of a migration said when it was asked, whatever the product calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The VM's vCPUs run there.
    Runs,
    /// The whole VM is there, stopped.
    Holds,
    /// It was prepared for the VM, which has not arrived. Only a destination waits.
    Waits,
    /// There is nothing any more: its hypervisor's process, or the VM there, has ended.
    Gone,
    /// It did not answer.
    Silent,
}

/// Where the one copy of a VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the source.
    Source,
    /// At the destination.
    Destination,
    /// Nowhere: the only end that held it is gone, or refuses to run it.
    Nowhere,
    /// Not known: an end that may hold it does not answer.
    Unknown,
}
