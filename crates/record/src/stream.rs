//! Streams between a guest and the bench: what each end saw, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outage;

/// What one end of a stream saw; absent = does not apply to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StreamSeen {
    /// Payload handed to its kernel, or come, in bytes.
    pub bytes: u64,
    /// Connections made, the first included; only over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Of a receiver: what it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Received>,
}

/// What a stream's receiver found of the order and the content of its blocks (1 KiB over TCP, a datagram over UDP).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Received {
    /// Blocks that never came while later ones did.
    pub missing: u64,
    /// Blocks that came after later ones.
    pub late: u64,
    /// Blocks that came again.
    pub repeated: u64,
    /// Blocks whose content is not that of any number.
    pub corrupted: u64,
    /// The longest time between two arrivals, in nanoseconds of the receiver's clock.
    pub longest_gap_ns: i64,
    /// Over UDP, as told by the guest: the numbers that never came, at most 1000 gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostNumbers>,
}

/// Numbers in a row that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostNumbers {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl StreamSeen {
    /// What must never happen, in words: anything but all blocks in order on a connection, or a block that holds what
    /// nobody sent. That datagrams are lost, repeated or late is in their nature.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let Received { missing, late, repeated, corrupted, .. } = self.received.as_ref()?;
        if *corrupted > 0 {
            return Some(format!("a stream was corrupted: {corrupted} blocks held what nobody sent"));
        }
        let is_misplaced = [missing, late, repeated].iter().any(|count| **count > 0);
        (self.connections.is_some() && is_misplaced).then(|| {
            format!(
                "a stream was corrupted: of a connection's blocks {missing} were missing, {repeated} came again, {late} came late"
            )
        })
    }
}

/// What a migration did to a stream, by the bench's end and its clock. Times are in ms after the migrate command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamOutcome {
    /// Which of the guest's workloads, from 0.
    pub workload: u32,
    /// Its kind, as in `tcp-send`.
    pub kind: String,
    /// What the bench's end saw while it ran; absent if the record breaks off before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<StreamSeen>,
    /// Payload that moved at the bench's end in the baseline before the migrate command, in MiB/s.
    pub rate_before_mib_s: Option<f64>,
    /// The same from the command to the migration's end.
    pub rate_during_mib_s: Option<f64>,
    /// The same from then on.
    pub rate_after_mib_s: Option<f64>,
    /// The longest time in which nothing moved at the bench's end, of those that reach behind the migrate command; to the
    /// millisecond. A receiver's is the stream's own; a sender's is shorter by what its kernel took without passing it on.
    pub longest_stall: Option<Outage>,
    /// Connections that broke behind the migrate command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<StreamBreak>,
    /// Datagrams lost behind the migrate command; absent where the receiver could not be asked, and over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_datagrams: Option<u64>,
    /// Each row of them, in order, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<StreamLoss>,
}

/// A connection that broke.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamBreak {
    /// When the bench knew it.
    pub broken_ms: f64,
    /// When the guest had connected again; absent if it did not.
    pub connected_ms: Option<f64>,
}

/// Datagrams in a row that were lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamLoss {
    /// Where the guest sends: when the last one before them came. Where it receives: when the bench sent the first.
    pub start_ms: f64,
    /// Where the guest sends: when the next one came. Where it receives: when the bench sent the last.
    pub end_ms: f64,
    /// How many.
    pub datagrams: u64,
}
