//! Mechanisms of a migration that were asked for, and whether they were seen to be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mechanism that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// A second link beside the first.
    SecondLink,
    /// Several connections for pages.
    Channels,
    /// Pages compressed, or sent as what changed in them.
    Compression,
    /// TLS.
    Tls,
    /// Post-copy, from when its switch was asked for.
    PostCopy,
    /// A connection of its own for pages that the destination asks for in post-copy.
    Preempt,
    /// vCPUs slowed down so that pre-copy converges.
    Throttle,
    /// Writes to disks that move wait for both hosts.
    DisksInStep,
    /// All blocks of disks that move travel, those that were never written too.
    AllBlocks,
    /// Disks are copied at a limited rate.
    DisksRate,
    /// One of a newer version of Dunlin.
    #[serde(other)]
    Other,
}

impl Mechanism {
    /// Its name, as in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SecondLink => "second-link",
            Self::Channels => "channels",
            Self::Compression => "compression",
            Self::Tls => "tls",
            Self::PostCopy => "post-copy",
            Self::Preempt => "preempt",
            Self::Throttle => "throttle",
            Self::DisksInStep => "disks-in-step",
            Self::AllBlocks => "all-blocks",
            Self::DisksRate => "disks-rate",
            Self::Other => "other",
        }
    }
}

/// What was seen of a mechanism that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MechanismSeen {
    /// Which.
    pub mechanism: Mechanism,
    /// Whether it was used; absent where nothing tells.
    pub used: Option<bool>,
    /// What that rests on, as in `multifd-bytes: 52428800`.
    pub evidence: String,
}
