//! What a network carries: one TCP stream between two hosts, measured where it arrives.
//!
//! The source first sends single bytes, which the sink returns: the shortest exchange is the round trip. Then it tells
//! how long the stream's start is not to count, and sends as fast as it can.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, SECOND_NS, now_ns};
use socket2::SockRef;

/// Round trips tried; the shortest counts.
const EXCHANGES: usize = 20;
/// How long the stream counts.
const MEASURED_NS: i64 = 400 * MILLISECOND_NS;
/// How long a stream gets to fill a short path.
const RAMP_NS: i64 = 100 * MILLISECOND_NS;
/// How many round trips more it gets: slow start doubles the window each, which fills 10 Gbit/s in a dozen.
const RAMP_ROUND_TRIPS: i64 = 15;
/// Recorded kernels default to different ones; CUBIC is the papers' and ours.
const CONGESTION_CONTROL: &[u8] = b"cubic";
const CHUNK: usize = 128 << 10;

/// What a network carried when tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Payload that arrived, in Mbit/s.
    pub goodput_mbit: f64,
    /// The shortest of some round trips of one byte over TCP, in ms.
    pub rtt_ms: f64,
}

/// What arrived of a stream after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Payload.
    pub(crate) bytes: u64,
    /// In which time.
    pub(crate) during_ns: i64,
}

impl Arrived {
    pub(crate) fn mbit(self) -> Option<f64> {
        (self.bytes > 0 && self.during_ns > 0)
            .then(|| self.bytes as f64 * 8.0 / 1e6 / (self.during_ns as f64 / SECOND_NS as f64))
    }
}

/// Takes one stream and measures it.
pub(crate) fn sink(listener: &TcpListener, limit: Duration) -> io::Result<Arrived> {
    let deadline = Deadline::after(limit);
    let mut stream = accept(listener, deadline)?;
    prepare(&stream)?;
    let mut byte = [0];
    for _ in 0..EXCHANGES {
        read_exact(&mut stream, &mut byte, deadline)?;
        stream.write_all(&byte)?;
    }
    let mut ramp = [0; 8];
    read_exact(&mut stream, &mut ramp, deadline)?;
    let ramp_ns = i64::from_le_bytes(ramp).clamp(0, SECOND_NS * 60);

    let mut buffer = vec![0; CHUNK];
    read_some(&mut stream, &mut buffer, deadline)?;
    let counts_from_ns = now_ns() + ramp_ns;
    let mut first_ns = None;
    let mut arrived = Arrived { bytes: 0, during_ns: 0 };
    loop {
        let length = read_some(&mut stream, &mut buffer, deadline)?;
        let now = now_ns();
        match first_ns {
            _ if length == 0 => return Ok(arrived),
            // What this read brought was on its way before the measured time.
            None if now >= counts_from_ns => first_ns = Some(now),
            None => {}
            Some(first) => {
                arrived.bytes += length as u64;
                arrived.during_ns = now - first;
            }
        }
    }
}

/// Sends one stream to a sink; returns the shortest round trip in nanoseconds.
pub(crate) fn source(at: SocketAddrV4, limit: Duration) -> io::Result<i64> {
    let deadline = Deadline::after(limit);
    let mut stream = TcpStream::connect_timeout(&at.into(), nonzero(deadline.left()))?;
    prepare(&stream)?;
    let mut rtt_ns = i64::MAX;
    let mut byte = [0];
    for _ in 0..EXCHANGES {
        let before = now_ns();
        stream.write_all(&byte)?;
        read_exact(&mut stream, &mut byte, deadline)?;
        rtt_ns = rtt_ns.min(now_ns() - before);
    }
    let ramp_ns = RAMP_NS + rtt_ns.saturating_mul(RAMP_ROUND_TRIPS);
    stream.write_all(&ramp_ns.to_le_bytes())?;
    let chunk = vec![0x5a; CHUNK];
    let end = Deadline::at(now_ns().saturating_add(ramp_ns + MEASURED_NS));
    while !end.passed() {
        stream.set_write_timeout(Some(nonzero(deadline.left())))?;
        stream.write_all(&chunk)?;
    }
    Ok(rtt_ns)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_congestion(CONGESTION_CONTROL)
}

fn accept(listener: &TcpListener, deadline: Deadline) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if deadline.passed() => return Err(ErrorKind::TimedOut.into()),
            Err(_) => std::thread::sleep(deadline.step(Duration::from_millis(1))),
        }
    }
}

fn read_exact(stream: &mut TcpStream, bytes: &mut [u8], deadline: Deadline) -> io::Result<()> {
    stream.set_read_timeout(Some(nonzero(deadline.left())))?;
    stream.read_exact(bytes)
}

fn read_some(stream: &mut TcpStream, bytes: &mut [u8], deadline: Deadline) -> io::Result<usize> {
    stream.set_read_timeout(Some(nonzero(deadline.left())))?;
    stream.read(bytes)
}

/// A limit of zero would mean none.
fn nonzero(limit: Duration) -> Duration {
    limit.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_over_loopback_is_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = SocketAddrV4::new([127, 0, 0, 1].into(), listener.local_addr().unwrap().port());
        let limit = Duration::from_secs(20);
        let sink = std::thread::spawn(move || sink(&listener, limit).unwrap());
        let rtt_ns = source(at, limit).unwrap();
        let arrived = sink.join().unwrap();
        assert!(rtt_ns > 0);
        // The source sends for 400 ms more than its start, so that is about what the sink counts.
        assert!((MEASURED_NS / 4..MEASURED_NS * 10).contains(&arrived.during_ns), "{arrived:?}");
        assert!(arrived.mbit().unwrap() > 10.0, "{arrived:?}");
    }

    #[test]
    fn a_stream_that_never_comes_ends_the_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = sink(&listener, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn nothing_measured_is_no_goodput() {
        assert_eq!(Arrived { bytes: 0, during_ns: 5 }.mbit(), None);
        assert_eq!(Arrived { bytes: 5, during_ns: 0 }.mbit(), None);
        assert_eq!(Arrived { bytes: 125_000_000, during_ns: SECOND_NS }.mbit(), Some(1000.0));
    }
}
