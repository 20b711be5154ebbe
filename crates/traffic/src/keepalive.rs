//! How an end that only receives learns that its peer has forgotten the connection.

use std::time::Duration;

use socket2::TcpKeepalive;

/// Nothing else would show it: after some 15 s.
pub(crate) const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(5))
    .with_interval(Duration::from_secs(2))
    .with_retries(5);
