//! Request/response: one transaction after the other on a connection, each timed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_clock::now_ns;

use super::{End, LOOK, TcpTestEvent, TransactionEnd, is_not_now};

pub(super) fn run(
    stream: &TcpStream,
    request_bytes: u32,
    response_bytes: u32,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(TcpTestEvent),
) -> io::Result<End> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let request = vec![0x5a; request_bytes as usize];
    let mut response = vec![0; response_bytes as usize];
    while !stop.load(Ordering::Relaxed) {
        let sent_ns = now_ns();
        let (end, broken) = match transact(stream, &request, &mut response, stop) {
            Ok(true) => (TransactionEnd::Answered(now_ns()), None),
            Ok(false) => (TransactionEnd::Unfinished, None),
            Err(error) => (TransactionEnd::Broken, Some(error.to_string())),
        };
        tell(TcpTestEvent::Transaction { sent_ns, end });
        if let Some(why) = broken {
            return Ok(End::Broken(why));
        }
    }
    Ok(End::Stopped)
}

/// Sends a request and reads its response; false where it was to stop before that was done.
fn transact(
    mut stream: &TcpStream,
    request: &[u8],
    response: &mut [u8],
    stop: &AtomicBool,
) -> io::Result<bool> {
    let sent = in_full(request.len(), stop, |done| stream.write(&request[done..]))?;
    Ok(sent && in_full(response.len(), stop, |done| stream.read(&mut response[done..]))?)
}

/// Moves so many bytes, however many steps it takes; false where it was to stop before that was done.
fn in_full(
    bytes: usize,
    stop: &AtomicBool,
    mut step: impl FnMut(usize) -> io::Result<usize>,
) -> io::Result<bool> {
    let mut done = 0;
    while done < bytes {
        match step(done) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(moved) => done += moved,
            Err(error) if is_not_now(&error) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
