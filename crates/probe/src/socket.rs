//! The socket of a probe: unconnected, stamped by the kernel in both directions, with room for a long stall.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;

use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::error::{ProbeError, Result};
use crate::spec::{ProbeKind, ProbeSpec};
use crate::sys;

/// Room for answers and stamps that wait to be read. Each takes about 800 bytes of it, so at one request a millisecond
/// the reader can stall for ten seconds.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Opens the socket of a probe, in the network namespace of the calling thread.
///
/// It is not connected: a connected one is told of ICMP errors (nobody listens, no route) and fails the next call, and
/// keeps the route it began with; this one just goes on.
pub(crate) fn open(spec: &ProbeSpec) -> Result<Socket> {
    let failed =
        |doing| move |source| ProbeError::Socket { doing, kind: spec.kind, target: spec.target, source };
    let socket = match spec.kind {
        ProbeKind::Icmp => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        ProbeKind::Udp { .. } => Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)),
    }
    .map_err(failed("open"))?;
    if spec.kind == ProbeKind::Icmp {
        sys::accept_only_echo_replies(socket.as_fd()).map_err(failed("filter what arrives at"))?;
    }
    enlarge_receive_buffer(&socket).map_err(failed("enlarge the receive buffer of"))?;
    // The receiver reads this count again and again; where it cannot be had, that is said now.
    sys::drops(socket.as_fd()).map_err(failed("count the drops of"))?;
    // Without OPT_TSONLY the request itself comes back with its stamp and is known by its own number. The counter
    // that OPT_ID gives instead is not: kernels differ in whether a refused request counts.
    let stamps = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE;
    setsockopt(&socket, sockopt::Timestamping, &stamps)
        .map_err(io::Error::from)
        .map_err(failed("ask for time stamps on"))?;
    Ok(socket)
}

/// Where a probe's requests go.
pub(crate) fn address(spec: &ProbeSpec) -> SockAddr {
    let port = match spec.kind {
        ProbeKind::Icmp => 0,
        ProbeKind::Udp { port } => port,
    };
    SocketAddrV4::new(spec.target, port).into()
}

/// Beyond the system's limit where that is permitted, else up to it.
pub(crate) fn enlarge_receive_buffer(socket: &impl AsFd) -> io::Result<()> {
    match setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES) {
        Ok(()) => Ok(()),
        Err(_not_permitted) => SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES),
    }
}
