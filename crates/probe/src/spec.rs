//! What is asked of a probe.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use dunlin_clock::SECOND_NS;

use crate::error::{ProbeError, Result};
use crate::payload::PAYLOAD_BYTES;

/// The UDP port our agents answer echo requests on.
pub const DEFAULT_UDP_PORT: u16 = 7007;

/// The intervals a probe can be asked to keep, in nanoseconds: 100 µs to a minute.
pub const INTERVAL_RANGE_NS: RangeInclusive<i64> = 100_000..=60 * SECOND_NS;

/// The sizes a request's payload can be asked to have, in bytes: from what a probe needs to know its answers by, to
/// what one Ethernet frame carries (1500 less 20 of IPv4 and 8 of ICMP or UDP).
pub const PAYLOAD_RANGE_BYTES: RangeInclusive<usize> = PAYLOAD_BYTES..=1472;

/// By which protocol a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// ICMP echo (RFC 792), through a raw socket; needs `CAP_NET_RAW`.
    Icmp,
    /// A UDP datagram that the other end sends back as it is (as in RFC 862).
    Udp {
        /// The port asked, usually [`DEFAULT_UDP_PORT`].
        port: u16,
    },
}

impl ProbeKind {
    /// How the payload and the record name it: 0 ICMP, 1 UDP.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Icmp => 0,
            Self::Udp { .. } => 1,
        }
    }
}

impl fmt::Display for ProbeKind {
    /// `icmp` or `udp`, as in the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "icmp",
            Self::Udp { .. } => "udp",
        })
    }
}

/// What is asked of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSpec {
    /// By which protocol.
    pub kind: ProbeKind,
    /// Whom.
    pub target: Ipv4Addr,
    /// Time between two requests, in nanoseconds; in [`INTERVAL_RANGE_NS`].
    pub interval_ns: i64,
    /// Bytes of a request behind its ICMP or UDP header; in [`PAYLOAD_RANGE_BYTES`].
    pub payload_bytes: usize,
}

impl ProbeSpec {
    pub(crate) fn check(&self) -> Result<()> {
        if !INTERVAL_RANGE_NS.contains(&self.interval_ns) {
            return Err(ProbeError::Interval { interval_ns: self.interval_ns });
        }
        if !PAYLOAD_RANGE_BYTES.contains(&self.payload_bytes) {
            return Err(ProbeError::Payload { payload_bytes: self.payload_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_refused_with_the_limits_in_the_message() {
        let good = ProbeSpec {
            kind: ProbeKind::Icmp,
            target: Ipv4Addr::LOCALHOST,
            interval_ns: 100_000,
            payload_bytes: PAYLOAD_BYTES,
        };
        good.check().unwrap();
        let too_fast = ProbeSpec { interval_ns: 99_999, ..good }.check().unwrap_err();
        assert_eq!(
            too_fast.to_string(),
            "cannot probe every 99999 ns: the interval must be 100000 to 60000000000 ns"
        );
        for payload_bytes in [0, PAYLOAD_BYTES - 1, 1473] {
            let error = ProbeSpec { payload_bytes, ..good }.check().unwrap_err();
            assert!(matches!(error, ProbeError::Payload { .. }), "{error}");
        }
    }
}
