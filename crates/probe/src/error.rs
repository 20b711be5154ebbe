//! What can go wrong with a probe.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::http::HTTP_INTERVAL_RANGE_NS;
use crate::spec::{INTERVAL_RANGE_NS, PAYLOAD_RANGE_BYTES, ProbeKind};

/// A result of setting up or running a probe.
pub type Result<T, E = ProbeError> = std::result::Result<T, E>;

/// What can go wrong with a probe. Once one runs, nothing of this ends it: what fails is counted in its summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The interval asked for is too short to be kept, or absurdly long.
    #[error(
        "cannot probe every {interval_ns} ns: the interval must be {} to {} ns",
        INTERVAL_RANGE_NS.start(), INTERVAL_RANGE_NS.end()
    )]
    Interval {
        /// What was asked for.
        interval_ns: i64,
    },
    /// The payload asked for does not hold what a probe needs, or not fit one frame.
    #[error(
        "cannot probe with a payload of {payload_bytes} bytes: it must be {} to {} bytes",
        PAYLOAD_RANGE_BYTES.start(), PAYLOAD_RANGE_BYTES.end()
    )]
    Payload {
        /// What was asked for.
        payload_bytes: usize,
    },
    /// The probe's socket could not be made ready.
    #[error("cannot {doing} the {kind} probe's socket towards {target}")]
    Socket {
        /// What was being done, as in "open".
        doing: &'static str,
        /// Of which probe.
        kind: ProbeKind,
        /// Whom it was to observe.
        target: Ipv4Addr,
        /// Why not.
        source: io::Error,
    },
    /// A thread of the probe could not be started.
    #[error("cannot start the {kind} probe's {thread} thread")]
    Thread {
        /// Of which probe.
        kind: ProbeKind,
        /// Which of its two threads.
        thread: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The sender was started but did not come up.
    #[error("the {kind} probe's sender thread was not up within {} s", limit.as_secs())]
    SenderNotUp {
        /// Of which probe.
        kind: ProbeKind,
        /// How long was waited.
        limit: Duration,
    },
    /// The interval asked of the HTTP probe is too short to be kept, or absurdly long.
    #[error(
        "cannot ask for a page every {interval_ns} ns: the interval must be {} to {} ns",
        HTTP_INTERVAL_RANGE_NS.start(), HTTP_INTERVAL_RANGE_NS.end()
    )]
    HttpInterval {
        /// What was asked for.
        interval_ns: i64,
    },
    /// The HTTP probe's thread could not be started.
    #[error("cannot start the HTTP probe's thread")]
    HttpThread {
        /// Why not.
        source: io::Error,
    },
    /// The HTTP probe's thread was started but did not come up.
    #[error("the HTTP probe's thread was not up within {} s", limit.as_secs())]
    HttpNotUp {
        /// How long was waited.
        limit: Duration,
    },
    /// A TCP probe's thread could not be started.
    #[error("cannot start the TCP probe's thread")]
    TcpThread {
        /// Why not.
        source: io::Error,
    },
    /// The echo server's socket could not be used.
    #[error("cannot {doing} the echo server's socket")]
    Echo {
        /// What was being done, as in "read from".
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}
