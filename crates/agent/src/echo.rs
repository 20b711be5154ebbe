//! The UDP echo service that probes measure.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use dunlin_agent_proto::UDP_ECHO_PORT;

use crate::console::say;
use crate::sys;

/// Room for what arrives in some seconds at 10 000 probes a second: it comes at once after a move.
const BUFFER_BYTES: i32 = 16 * 1024 * 1024;
const DATAGRAM_LIMIT: usize = 64 * 1024;

/// Starts the service on a thread of its own.
pub(crate) fn start() -> Result<(), String> {
    let said = |error: std::io::Error| format!("open the UDP echo port {UDP_ECHO_PORT}: {error}");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_ECHO_PORT)).map_err(said)?;
    sys::set_buffers(socket.as_fd(), BUFFER_BYTES).map_err(said)?;
    std::thread::Builder::new().name("echo".into()).spawn(move || answer(&socket)).map_err(said)?;
    Ok(())
}

fn answer(socket: &UdpSocket) {
    let mut datagram = vec![0; DATAGRAM_LIMIT];
    let mut failures = 0_u32;
    // A probe's answer must not wait for the workload's turn on the CPU to end (3 ms at the 99th percentile, when tried).
    if let Err(error) = sys::put_this_thread_first() {
        say(&format!("dunlin-agent: give the UDP echo real-time priority: {error}"));
    }
    loop {
        let outcome = socket
            .recv_from(&mut datagram)
            .and_then(|(bytes, sender)| socket.send_to(datagram.get(..bytes).unwrap_or_default(), sender));
        if let Err(error) = outcome {
            failures += 1;
            // An error for each probe would keep the console, and so the guest, busy.
            if failures.is_power_of_two() {
                say(&format!("dunlin-agent: UDP echo: {error} ({failures} failures so far)"));
            }
        }
    }
}
