//! A stream as fast as its connection takes it, and what the kernel says of it each millisecond.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_clock::{MILLISECOND_NS, now_ns};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::{End, StreamSample, TcpTestEvent, info, is_not_now};

/// What is read at a time.
const CHUNK: usize = 128 << 10;

pub(super) fn run(
    mut stream: &TcpStream,
    reverse: bool,
    message_bytes: u32,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(TcpTestEvent),
) -> io::Result<End> {
    stream.set_nonblocking(true)?;
    let mut bytes = vec![0x5a; if reverse { CHUNK } else { message_bytes as usize }];
    let awaits = if reverse { PollFlags::POLLIN } else { PollFlags::POLLOUT };
    let mut due_ns = now_ns();
    loop {
        let at_ns = now_ns();
        if at_ns >= due_ns {
            if let Some(sample) = sample(stream, reverse, at_ns) {
                tell(TcpTestEvent::Sample(sample));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(End::Stopped);
            }
            due_ns = at_ns - at_ns.rem_euclid(MILLISECOND_NS) + MILLISECOND_NS;
        }
        match if reverse { stream.read(&mut bytes) } else { stream.write(&bytes) } {
            Ok(0) => return Ok(End::Broken("the other end has closed it".into())),
            Ok(_) => {}
            Err(error) if is_not_now(&error) => wait(stream, awaits, due_ns),
            Err(error) => return Ok(End::Broken(error.to_string())),
        }
    }
}

/// Waits until it can go on, or the next sample is due.
fn wait(stream: &TcpStream, awaits: PollFlags, due_ns: i64) {
    let wait_ns = (due_ns - now_ns()).clamp(0, MILLISECOND_NS);
    let mut wait = [PollFd::new(stream.as_fd(), awaits)];
    // An interrupted wait is a short one.
    let _ = ppoll(&mut wait, Some(TimeSpec::new(0, wait_ns)), None);
}

fn sample(stream: &TcpStream, reverse: bool, at_ns: i64) -> Option<StreamSample> {
    let info = info::read(stream)?;
    Some(StreamSample {
        at_ns,
        bytes: if reverse { info.received_bytes } else { info.acknowledged_bytes },
        retransmitted_segments: info.retransmitted_segments,
        rtt_us: info.rtt_us,
        window_segments: info.window_segments,
    })
}
