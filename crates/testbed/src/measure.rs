//! What a network between two hosts carries, measured by their helpers.

use std::net::SocketAddrV4;
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS};

use crate::helper::Helper;
use crate::{Goodput, Result, TestbedError};

/// Sends a stream for some 0.6 s from a host to the address `at` of another, and measures it. Port 0 of `at` takes a
/// free one.
///
/// # Errors
/// Where a helper cannot, or it takes longer than `limit`.
pub fn measure_goodput(from: &Helper, to: &Helper, at: SocketAddrV4, limit: Duration) -> Result<Goodput> {
    let deadline = Deadline::after(limit);
    let (sink, at) = to.start_goodput_sink(at, limit)?;
    let rtt_ns = from.run_goodput_source(at, deadline.left())?;
    let arrived = sink.arrived(deadline.left())?;
    let goodput_mbit = arrived.mbit().ok_or_else(|| TestbedError::Helper {
        host: to.host().to_string(),
        why: format!("too little arrived at {at} to tell the goodput: {} bytes", arrived.bytes),
    })?;
    Ok(Goodput { goodput_mbit, rtt_ms: rtt_ns as f64 / MILLISECOND_NS as f64 })
}
