//! What a person would look at: one trial's time line, in ms after the migrate command.

mod build;

use dunlin_record::TrialId;

use crate::answers::Answerer;
use crate::phases::Span;
use crate::stories::ProbeStory;

pub use build::timeline;

/// One trial's time line. Times are ms after the migrate command (before it: negative).
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Which trial.
    pub trial: TrialId,
    /// First moment shown.
    pub start_ms: f64,
    /// Last moment shown.
    pub end_ms: f64,
    /// Each probe's requests.
    pub probes: Vec<ProbeTrack>,
    /// What each TCP probe carried.
    pub rates: Vec<RateTrack>,
    /// How each probe's requests fared around the switch of hosts, where the taps were watched.
    pub stories: Vec<ProbeStory>,
    /// Phases and passes, in order of their begin.
    pub spans: Vec<Span>,
    /// Moments worth a mark: status changes, stop, resume, checkpoints, decisions.
    pub marks: Vec<Mark>,
    /// Bytes on the migration link per 10 ms, as the source sent and received them.
    pub wire: Vec<WireTick>,
}

/// What a TCP probe carried over time.
#[derive(Debug, Clone, PartialEq)]
pub struct RateTrack {
    /// As in `hosts_tcp_stream`.
    pub name: String,
    /// `MiB/s` or `transactions/s`.
    pub unit: &'static str,
    /// The length of a tick, in ms.
    pub tick_ms: f64,
    /// Of each tick its begin and the rate in it; ticks in which nothing was measured are left out.
    pub ticks: Vec<(f64, f64)>,
}

/// One probe's requests, in order of their sequence numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeTrack {
    /// As in `icmp`.
    pub name: String,
    /// Time between two requests.
    pub interval_ms: f64,
    /// The requests.
    pub requests: Vec<Request>,
}

/// One request of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Its sequence number.
    pub seq: u64,
    /// When it left.
    pub sent_ms: f64,
    /// When its first answer arrived; absent if none did.
    pub answered_ms: Option<f64>,
    /// Whose VM answered.
    pub by: Answerer,
}

/// A moment worth a mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// When.
    pub at_ms: f64,
    /// What, as in `vcpus-stopped`.
    pub label: String,
    /// On which host, if on one.
    pub host: Option<String>,
}

/// Bytes on the migration link in the 10 ms from `at_ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WireTick {
    /// Begin of the tick.
    pub at_ms: f64,
    /// Bytes the source sent in it.
    pub tx_bytes: i64,
    /// Bytes the source received in it.
    pub rx_bytes: i64,
}
