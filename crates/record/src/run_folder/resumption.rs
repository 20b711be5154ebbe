//! Later parts of a run, and under what other conditions they were made.

use serde::{Deserialize, Serialize};

use crate::TrialId;

/// What ran the VMs of a run, each version once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Software {
    /// Hypervisors at the source, as in `qemu 10.0.2`.
    #[serde(default)]
    pub source_hypervisors: Vec<String>,
    /// Hypervisors at the destination.
    #[serde(default)]
    pub destination_hypervisors: Vec<String>,
    /// Releases of the guests' kernels.
    #[serde(default)]
    pub guest_kernels: Vec<String>,
}

impl Software {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A time at which a run was gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// When, in milliseconds since the Unix epoch.
    pub at_epoch_ms: i64,
    /// The trials that had been made and were kept; all others were made from then on.
    pub kept: Vec<TrialId>,
    /// What was other than at the run's begin.
    pub differences: Vec<Difference>,
}

/// Something that was other when a run was gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What, as in `kernel of host-a, host-b, bench`.
    pub what: String,
    /// At the run's begin; absent if that was not known.
    pub before: Option<String>,
    /// From then on; absent if that was not known.
    pub now: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".into());
        write!(f, "{} was {}, is {}", self.what, known(&self.before), known(&self.now))
    }
}
