//! Answers each UDP datagram with itself: the probed service where there is no guest, as in `dunlin calibrate`.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dunlin_clock::Cancel;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::realtime;

/// How long until the server sees that it is to end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Room for the datagrams of a held outage of some seconds, which arrive all at once.
const BUFFER_BYTES: usize = 32 << 20;
const DATAGRAM_BYTES: usize = 1 << 16;

/// A running echo server. Dropping it ends it.
pub(super) struct Echo {
    ending: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts to answer; says at which address.
    pub(super) fn start(bind: SocketAddrV4) -> io::Result<(Self, SocketAddrV4)> {
        let socket = UdpSocket::bind(bind)?;
        let SocketAddr::V4(at) = socket.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        socket.set_read_timeout(Some(LOOK_UP))?;
        // Without the right to it, the usual buffer must do.
        let _ = setsockopt(&socket, RcvBufForce, &BUFFER_BYTES);
        let ending = Cancel::new();
        let seen = ending.clone();
        let thread = Builder::new().name("udp-echo".into()).spawn(move || serve(&socket, &seen))?;
        Ok((Self { ending, thread: Some(thread) }, at))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, ending: &Cancel) {
    // An answer kept waiting by other work on the machine would look like an outage.
    realtime::enter();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    while !ending.is_cancelled() {
        // Errors are time-outs, or a prober that went away: neither concerns the next datagram.
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    }
}
