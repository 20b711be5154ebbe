//! What a capture of a trial held, and what it says of the migration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Overhead, Retransmissions, RttMs, TrialId, WireAccount};

/// What a capture of a trial held.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialCapture {
    /// Of which trial.
    pub trial: TrialId,
    /// The file's name in the trial's folder of captures, as in `host-a-migration.pcapng`.
    pub file: String,
    /// Where probes between the hosts had their other ends, as in `10.78.0.12:7008`: conversations with them are not the
    /// migration's.
    pub probed: Vec<String>,
    /// Where the destination took the VM's disks, where they moved with it: conversations with these ends are the migration's.
    pub disks: Vec<String>,
    /// What it held.
    pub account: WireAccount,
}

/// What the capture of the source's interface to the migration network says of the migration's own TCP conversations,
/// all of them and both directions together, those that copied its disks included. Of MPTCP, that is what went over the first link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureOutcome {
    /// The file in the trial's folder of captures.
    pub file: String,
    /// Whether it holds all that passed: nothing was dropped or left out, none of what was acknowledged or followed is
    /// missing, and it was read to its end. If not, the amounts are too small.
    pub complete: bool,
    /// Packets that the capture missed, as the file says.
    pub dropped: Option<u64>,
    /// TCP conversations: one, or as many as channels were opened.
    pub conversations: u64,
    /// From their first packet to their last, in ms: the total migration time of Prakash et al., section V.
    pub first_to_last_packet_ms: Option<f64>,
    /// Payload sent for the first time over that time, in Mbit/s.
    pub goodput_mbit_s: Option<f64>,
    /// Of all bytes on the wire, those that were not payload sent for the first time, in percent.
    pub overhead_percent: Option<f64>,
    /// Where the bytes went.
    pub overhead: Overhead,
    /// Segments that were sent again, by what made it so.
    pub retransmissions: Retransmissions,
    /// Segments that came shortly after later ones.
    pub out_of_order: u64,
    /// Acknowledgements that say nothing new.
    pub duplicate_acks: u64,
    /// Packets that say that no more can be taken.
    pub zero_windows: u64,
    /// Packets of the whole file, whatever their protocol, that contradict themselves.
    pub malformed: u64,
    /// From a segment of the source to its acknowledgement, in ms; of several conversations, of each figure the
    /// greatest.
    pub rtt_ms: Option<RttMs>,
}
