//! TCP request/response and TCP streams as probes: what is asked, on which connections, and what came out.
//!
//! What helpers are asked and tell goes through a format that knows no fields left out (postcard), so none is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outage;

/// The observer that makes one transaction after the other on one connection, as netperf's `TCP_RR`: the next request goes
/// when the response to the last has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestResponse {
    /// Bytes of each request.
    pub request_bytes: u32,
    /// Bytes of each response.
    pub response_bytes: u32,
    /// What both ends' send buffers are set to, in bytes; tuned by their kernels if absent.
    pub send_buffer_bytes: Option<u32>,
    /// The same of their receive buffers.
    pub receive_buffer_bytes: Option<u32>,
}

impl Default for RequestResponse {
    fn default() -> Self {
        Self { request_bytes: 1, response_bytes: 1, send_buffer_bytes: None, receive_buffer_bytes: None }
    }
}

/// The observer that sends, or receives, as much as one connection takes, as netperf's `TCP_STREAM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamProbe {
    /// Whether the other end sends (as with iperf3's `--reverse`): the guest, or the destination host.
    pub reverse: bool,
    /// Bytes handed to the kernel at a time.
    pub message_bytes: u32,
    /// What both ends' send buffers are set to, in bytes; tuned by their kernels if absent.
    pub send_buffer_bytes: Option<u32>,
    /// The same of their receive buffers.
    pub receive_buffer_bytes: Option<u32>,
}

impl Default for StreamProbe {
    fn default() -> Self {
        Self { reverse: false, message_bytes: 128 << 10, send_buffer_bytes: None, receive_buffer_bytes: None }
    }
}

/// What a TCP probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpProbe {
    /// One transaction after the other.
    RequestResponse(RequestResponse),
    /// As much as there is room for.
    Stream(StreamProbe),
}

/// Sizes of a socket's buffers in bytes, as its kernel tells them: Linux tells twice of what was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketBuffers {
    /// `SO_SNDBUF`.
    pub send_bytes: u32,
    /// `SO_RCVBUF`.
    pub receive_bytes: u32,
}

/// A connection of a TCP probe, once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeConnection {
    /// Where the other end listened, as in `10.78.0.12:7008`.
    pub peer: String,
    /// When it was made, in ns of the bench's clock.
    pub connected_ns: i64,
    /// When it ended.
    pub ended_ns: i64,
    /// How it broke, if it did.
    pub broken: Option<String>,
    /// The measuring end's buffers when the socket was made.
    pub local: SocketBuffers,
    /// The other end's.
    pub remote: SocketBuffers,
    /// The measuring end's when it ended, as the kernel had tuned them.
    pub local_at_end: SocketBuffers,
    /// The measuring end's algorithm, as in `cubic`.
    pub congestion_control: String,
    /// Segments that the measuring end's kernel sent again; absent where it does not tell.
    pub retransmitted_segments: Option<u64>,
}

/// The connections of a TCP probe, taken together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpConnections {
    /// How many were made.
    pub made: u64,
    /// How many broke.
    pub broken: u64,
    /// The measuring end's (bench, source host) buffers when the first one's socket was made, as netperf tells them.
    pub local: SocketBuffers,
    /// The other end's (guest, destination host).
    pub remote: SocketBuffers,
    /// The measuring end's when the last one ended, as its kernel had tuned them.
    pub local_at_end: SocketBuffers,
    /// The measuring end's algorithm, as in `cubic`.
    pub congestion_control: String,
    /// Segments that the measuring end sent again while it ran.
    pub retransmitted_segments: Option<u64>,
}

impl TcpConnections {
    /// Connections in order, taken together; absent for none.
    #[must_use]
    pub fn of(all: &[&ProbeConnection]) -> Option<Self> {
        let (first, last) = (all.first()?, all.last()?);
        Some(Self {
            made: all.len() as u64,
            broken: all.iter().filter(|one| one.broken.is_some()).count() as u64,
            local: first.local,
            remote: first.remote,
            local_at_end: last.local_at_end,
            congestion_control: first.congestion_control.clone(),
            retransmitted_segments: all
                .iter()
                .try_fold(0_u64, |sum, one| Some(sum.saturating_add(one.retransmitted_segments?))),
        })
    }
}

/// A figure in the baseline before the migrate command, from the command to the migration's end, and from there to the end
/// of settling.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AroundMigration {
    /// Before the command.
    pub before: Option<f64>,
    /// From the command to the end.
    pub during: Option<f64>,
    /// From the end on.
    pub after: Option<f64>,
}

/// What a migration did to a stream beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TcpStreamOutcome {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: StreamProbe,
    /// Payload that the receiver's kernel had, by its acknowledgements (of a reverse stream, by its own count), in MiB/s.
    pub rate_mib_s: AroundMigration,
    /// The median of the measuring end's smoothed round-trip time, in ms.
    pub rtt_ms: AroundMigration,
    /// The longest time without any progress, of those that reach behind the migrate command; to the millisecond.
    pub longest_stall: Option<Outage>,
    /// Segments that the measuring end sent again from the migrate command to the end of settling.
    pub retransmitted_segments: Option<u64>,
    /// Its connections; absent where none was made.
    pub connections: Option<TcpConnections>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_sent_again_are_added_up_unless_one_connection_does_not_tell() {
        let buffers = SocketBuffers { send_bytes: 1, receive_bytes: 1 };
        let connection = |retransmitted_segments| ProbeConnection {
            peer: "10.78.0.12:7008".into(),
            connected_ns: 0,
            ended_ns: 1,
            broken: None,
            local: buffers,
            remote: buffers,
            local_at_end: buffers,
            congestion_control: "cubic".into(),
            retransmitted_segments,
        };
        let sum = |each: [Option<u64>; 2]| {
            let [one, other] = each.map(connection);
            TcpConnections::of(&[&one, &other]).unwrap().retransmitted_segments
        };
        assert_eq!(sum([Some(2), Some(3)]), Some(5));
        assert_eq!(sum([Some(2), None]), None);
        assert_eq!(sum([Some(u64::MAX), Some(3)]), Some(u64::MAX), "whatever a foreign record says");
    }
}
