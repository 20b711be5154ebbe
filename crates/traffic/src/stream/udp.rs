//! A stream over UDP: a number a datagram, and nothing that brings a lost one back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use nix::sys::socket::{setsockopt, sockopt};

use super::tcp::Check;
use super::{LOOK, Role, StreamEvent, is_not_now, pace_of};
use crate::numbered::write_numbered;

/// Room for what arrives at once after a move.
const BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// What a receiver asks for the stream with; too short to be taken for a part of it.
const ASK: &[u8] = b"stream?";
/// After so long without a datagram a receiver asks again.
const ASK_NS: i64 = 200 * MILLISECOND_NS;
/// After the kernel refused a datagram.
const RETRY_NS: i64 = MILLISECOND_NS;
/// Datagrams sent between two looks at whether to end.
const BATCH: u64 = 32;
/// Of gaps beyond this number only the sum is told.
const LOST_MAX: usize = 1000;

pub(super) fn bind(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    // Without the privilege what the system allows must do.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
    Ok(socket)
}

pub(super) fn run(
    socket: &UdpSocket,
    peer: Option<SocketAddrV4>,
    role: Role,
    datagram_bytes: usize,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<()> {
    match role {
        Role::Send { bytes_per_s } => send(socket, peer, bytes_per_s, datagram_bytes, stop, tell),
        Role::Receive => receive(socket, peer, stop, tell),
    }
}

fn send(
    socket: &UdpSocket,
    peer: Option<SocketAddrV4>,
    bytes_per_s: Option<f64>,
    datagram_bytes: usize,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<()> {
    socket.set_write_timeout(Some(LOOK))?;
    let peer = match peer {
        Some(peer) => SocketAddr::V4(peer),
        None => match await_asker(socket, stop)? {
            Some(asker) => asker,
            None => return Ok(()),
        },
    };
    let mut pace = pace_of(bytes_per_s, datagram_bytes, now_ns());
    let mut datagram = vec![0; datagram_bytes];
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = pace.as_mut().map_or(BATCH, |pace| pace.due(now_ns()));
        let end = next + due;
        while next < end && !stop.load(Ordering::Relaxed) {
            write_numbered(next, &mut datagram);
            match socket.send_to(&datagram, peer) {
                Ok(bytes) => {
                    next += 1;
                    tell(StreamEvent::Moved { at_ns: now_ns(), blocks: 1, bytes: bytes as u64 });
                }
                // A full queue, or the word that the receiver is not there just now: it was not sent.
                Err(_) => sleep_until(now_ns() + RETRY_NS),
            }
        }
        if let Some(pace) = &mut pace {
            pace.await_tick();
        }
    }
    Ok(())
}

/// Waits until somebody asks for the stream; nothing once it is to stop.
fn await_asker(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<Option<SocketAddr>> {
    socket.set_read_timeout(Some(LOOK))?;
    let mut datagram = [0; ASK.len() + 1];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut datagram) {
            Ok((bytes, from)) if datagram.get(..bytes) == Some(ASK) => return Ok(Some(from)),
            Ok(_) => {}
            Err(error) if is_not_now(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn receive(
    socket: &UdpSocket,
    peer: Option<SocketAddrV4>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<()> {
    socket.set_read_timeout(Some(LOOK))?;
    let mut check = Check::default();
    let mut datagram = vec![0; usize::from(u16::MAX)];
    let mut asked_ns = None;
    loop {
        if let Some(peer) = peer
            && asked_ns.is_none_or(|asked_ns| now_ns() - asked_ns > ASK_NS)
        {
            asked_ns = Some(now_ns());
            // One that is not sent is followed by another.
            let _ = socket.send_to(ASK, peer);
        }
        match socket.recv(&mut datagram) {
            Ok(bytes) => {
                let at_ns = now_ns();
                asked_ns = Some(at_ns);
                tell(StreamEvent::Moved { at_ns, blocks: 1, bytes: bytes as u64 });
                check.take(&datagram[..bytes], at_ns, tell);
            }
            // Refused: the sender is not there yet, or any more.
            Err(error) if is_not_now(&error) || error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    for gap in check.sequence().gaps().take(LOST_MAX) {
        tell(StreamEvent::Lost { first: gap.start, count: gap.end - gap.start });
    }
    Ok(())
}
