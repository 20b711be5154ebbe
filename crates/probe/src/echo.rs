//! A plain UDP echo server: the other end of the UDP probe where no agent answers.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use dunlin_clock::Cancel;

use crate::error::{ProbeError, Result};
use crate::socket::enlarge_receive_buffer;

/// How long the server waits for a request before it looks whether it should end.
const WAIT: Duration = Duration::from_millis(50);

/// More than any probe sends; what is longer is cut.
const MAX_REQUEST_BYTES: usize = 2048;

/// Sends every datagram back to where it came from until `stop` is asked for. Returns how many it sent back.
///
/// # Errors
/// Where the socket cannot be read. An answer that cannot be sent is one that is lost, as on any network.
pub fn serve_echo(socket: &UdpSocket, stop: &Cancel) -> Result<u64> {
    let failed = |doing| move |source| ProbeError::Echo { doing, source };
    socket.set_read_timeout(Some(WAIT)).map_err(failed("set a time limit on"))?;
    // Else a stall of this thread would lose requests, and look like an outage of the network.
    enlarge_receive_buffer(socket).map_err(failed("enlarge the receive buffer of"))?;
    let mut bytes = [0; MAX_REQUEST_BYTES];
    let mut answered = 0;
    while !stop.is_cancelled() {
        match socket.recv_from(&mut bytes) {
            Ok((length, from)) => answered += u64::from(socket.send_to(&bytes[..length], from).is_ok()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed("read from")(error)),
        }
    }
    Ok(answered)
}
