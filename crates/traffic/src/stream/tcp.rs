//! A stream over TCP: connections one after the other, each with numbers from 0.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use socket2::SockRef;

use super::{BLOCK_BYTES, Disorder, LOOK, Role, StreamEvent, is_not_now, pace_of};
use crate::keepalive::KEEPALIVE;
use crate::numbered::{number_of, write_numbered};
use crate::sequence::{Place, Sequence};

/// Blocks handed to the kernel at a time.
const BATCH_BLOCKS: u64 = 32;
const READ_BYTES: usize = 64 * 1024;
/// How long one attempt at a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How long a receiver that is to stop still takes what its sender has sent.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Between two attempts, and two looks for who has called.
const RETRY_NS: i64 = 5 * MILLISECOND_NS;
/// Where connections come from.
pub(super) enum Source {
    Listener(TcpListener),
    Peer { peer: SocketAddrV4, first: Option<TcpStream> },
}

/// How a connection ended.
enum End {
    /// By this end, or by the other in good order.
    Done,
    Broken(String),
}

pub(super) fn connect(peer: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::V4(peer), limit)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

pub(super) fn run(
    mut source: Source,
    role: Role,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<()> {
    while let Some(stream) = source.next(stop)? {
        tell(StreamEvent::Connected { at_ns: now_ns() });
        let end = prepare(&stream).and_then(|()| match role {
            Role::Send { bytes_per_s } => send(&stream, bytes_per_s, &mut source, stop, tell),
            Role::Receive => receive(&stream, &mut source, stop, tell),
        });
        match end.unwrap_or_else(|error| End::Broken(error.to_string())) {
            End::Done => return Ok(()),
            End::Broken(why) => tell(StreamEvent::Broken { at_ns: now_ns(), why }),
        }
    }
    Ok(())
}

impl Source {
    /// The next connection; nothing once it is to stop.
    fn next(&mut self, stop: &AtomicBool) -> io::Result<Option<TcpStream>> {
        while !stop.load(Ordering::Relaxed) {
            let stream = match self {
                Self::Listener(listener) => accept(listener)?,
                Self::Peer { peer, first } => first.take().or_else(|| connect(*peer, CONNECT_LIMIT).ok()),
            };
            if stream.is_some() {
                return Ok(stream);
            }
            sleep_until(now_ns() + RETRY_NS);
        }
        Ok(None)
    }

    /// Whether the peer has called again, so that it holds the old connection for broken. Its call stays.
    fn has_another(&self) -> bool {
        match self {
            Self::Listener(listener) => has_caller(listener),
            Self::Peer { .. } => false,
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if is_not_now(&error) || error.kind() == io::ErrorKind::ConnectionAborted => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_caller(listener: &TcpListener) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut wait = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))
}

fn send(
    mut stream: &TcpStream,
    bytes_per_s: Option<f64>,
    source: &mut Source,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<End> {
    let mut pace = pace_of(bytes_per_s, BLOCK_BYTES, now_ns());
    let mut next = 0_u64;
    let (mut batch, mut written) = (Vec::new(), 0);
    loop {
        if stop.load(Ordering::Relaxed) {
            // The last block may be cut short; its receiver does not judge it.
            stream.shutdown(Shutdown::Write)?;
            return Ok(End::Done);
        }
        if written == batch.len() {
            let due = pace.as_mut().map_or(BATCH_BLOCKS, |pace| pace.due(now_ns()));
            let numbers = next..next + due;
            next = numbers.end;
            batch.resize(due as usize * BLOCK_BYTES, 0);
            batch
                .chunks_mut(BLOCK_BYTES)
                .zip(numbers)
                .for_each(|(block, number)| write_numbered(number, block));
            written = 0;
        }
        if !batch.is_empty() {
            match stream.write(&batch[written..]) {
                Ok(bytes) => {
                    let blocks = ((written + bytes) / BLOCK_BYTES - written / BLOCK_BYTES) as u64;
                    written += bytes;
                    tell(StreamEvent::Moved { at_ns: now_ns(), blocks, bytes: bytes as u64 });
                }
                Err(error) if is_not_now(&error) => {
                    if source.has_another() {
                        return Ok(End::Broken("the other end has called again".into()));
                    }
                }
                Err(error) => return Ok(End::Broken(error.to_string())),
            }
        }
        if let Some(pace) = &mut pace
            && written == batch.len()
        {
            pace.await_tick();
        }
    }
}

fn receive(
    mut stream: &TcpStream,
    source: &mut Source,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(StreamEvent),
) -> io::Result<End> {
    let mut check = Check::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut held = 0;
    let mut drained: Option<Deadline> = None;
    loop {
        if stop.load(Ordering::Relaxed)
            && drained.get_or_insert_with(|| Deadline::after(DRAIN_LIMIT)).passed()
        {
            return Ok(End::Done);
        }
        match stream.read(&mut buffer[held..]) {
            // What is left of a block was cut off by the sender's end.
            Ok(0) => return Ok(End::Done),
            Ok(bytes) => {
                let at_ns = now_ns();
                held += bytes;
                let whole = held - held % BLOCK_BYTES;
                let blocks = (whole / BLOCK_BYTES) as u64;
                tell(StreamEvent::Moved { at_ns, blocks, bytes: bytes as u64 });
                buffer[..whole].chunks(BLOCK_BYTES).for_each(|block| check.take(block, at_ns, tell));
                buffer.copy_within(whole..held, 0);
                held -= whole;
            }
            Err(error) if is_not_now(&error) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(End::Done);
                }
                if source.has_another() {
                    return Ok(End::Broken("the other end has called again".into()));
                }
            }
            Err(error) => return Ok(End::Broken(error.to_string())),
        }
    }
}

/// Holds blocks against what is due.
#[derive(Debug, Default)]
pub(super) struct Check {
    sequence: Sequence,
    last_ns: Option<i64>,
}

impl Check {
    /// Judges a block that has come; tells what is wrong with it.
    pub(super) fn take(&mut self, block: &[u8], at_ns: i64, tell: &mut dyn FnMut(StreamEvent)) {
        let mut disorder = |disorder| tell(StreamEvent::Disorder { at_ns, disorder });
        let Some(number) = number_of(block) else {
            disorder(Disorder::Corrupted);
            return;
        };
        let first = self.sequence.next();
        match self.sequence.take(number) {
            Place::Next => {}
            Place::Ahead { missing: count } => {
                disorder(Disorder::Missing { first, count, after_ns: self.last_ns });
            }
            Place::Late => disorder(Disorder::Late { number }),
            Place::Repeated => disorder(Disorder::Repeated { number }),
        }
        self.last_ns = Some(at_ns);
    }

    pub(super) fn sequence(&self) -> &Sequence {
        &self.sequence
    }
}
