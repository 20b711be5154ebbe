//! The responding end: does on each connection what its first words ask for.
//!
//! It waits without looking up meanwhile, so that a guest in which it runs is left alone by it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::opening::{OPENING_BYTES, Opening, Task, write_answer};
use super::{BufferSizes, set_buffers, sizes};
use crate::keepalive::KEEPALIVE;

/// Connections at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a caller may take for its first words.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is closed: its caller, alive as keepalives tell, keeps a place that others
/// want. Far longer than a VM stands still.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
const CHUNK: usize = 128 << 10;

/// The responding end of [`TcpTest`](super::TcpTest), before it serves.
#[derive(Debug)]
pub struct TcpResponder {
    listener: TcpListener,
    address: SocketAddrV4,
    /// The buffers of a socket as the kernel makes them.
    usual: BufferSizes,
    ended: UnixStream,
    idle_limit: Duration,
}

/// Dropped, it ends the responder it came with.
#[derive(Debug)]
pub struct ResponderEnd {
    _end: UnixStream,
}

impl TcpResponder {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn listen(address: SocketAddrV4) -> io::Result<(Self, ResponderEnd)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let SocketAddr::V4(address) = listener.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let usual = sizes(&SockRef::from(&listener))?;
        let (end, ended) = UnixStream::pair()?;
        Ok((Self { listener, address, usual, ended, idle_limit: IDLE_LIMIT }, ResponderEnd { _end: end }))
    }

    /// Closes idle connections sooner.
    #[cfg(test)]
    pub(super) fn with_idle_limit(self, idle_limit: Duration) -> Self {
        Self { idle_limit, ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Serves until its end is dropped; all connections end with it.
    ///
    /// # Errors
    /// Where it can accept no more.
    pub fn serve(self) -> io::Result<()> {
        let open = Connections::default();
        thread::scope(|scope| {
            let served = self.accept_all(
                |stream, number| {
                    let (open, usual, idle_limit) = (&open, self.usual, self.idle_limit);
                    scope.spawn(move || {
                        // How a connection ends is known at the end that measures.
                        let _ = respond(&stream, usual, idle_limit);
                        open.remove(number);
                    });
                },
                &open,
            );
            open.shut_down();
            served
        })
    }

    fn accept_all(&self, mut serve: impl FnMut(TcpStream, u64), open: &Connections) -> io::Result<()> {
        for number in 0.. {
            let Some(stream) = self.next()? else { break };
            // One that is full, or already gone, concerns nobody else.
            if stream.set_nonblocking(false).is_ok() && open.add(number, &stream) {
                serve(stream, number);
            }
        }
        Ok(())
    }

    /// The next connection; nothing once it is to end.
    fn next(&self) -> io::Result<Option<TcpStream>> {
        loop {
            let mut wait = [
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
            ];
            // An interrupted wait shows nothing.
            let found = poll(&mut wait, PollTimeout::NONE).unwrap_or(0);
            if found > 0 && wait[1].revents().is_some_and(|events| !events.is_empty()) {
                return Ok(None);
            }
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(Some(stream)),
                Err(error) if is_of_one_caller(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether an error of accepting says nothing of the next caller (accept(2)).
fn is_of_one_caller(error: &io::Error) -> bool {
    super::is_not_now(error) || error.kind() == io::ErrorKind::ConnectionAborted
}

/// The connections that are open, each by its number, to be shut down from outside.
#[derive(Debug, Default)]
struct Connections(Mutex<Vec<(u64, TcpStream)>>);

impl Connections {
    fn add(&self, number: u64, stream: &TcpStream) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stream.try_clone() {
            Ok(stream) if open.len() < CONNECTIONS_MAX => {
                open.push((number, stream));
                true
            }
            _ => false,
        }
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| *of != number);
    }

    fn shut_down(&self) {
        for (_, stream) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // One that the other end has closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn respond(mut stream: &TcpStream, usual: BufferSizes, idle_limit: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE)?;
    stream.set_read_timeout(Some(OPENING_LIMIT))?;
    let mut opening = [0; OPENING_BYTES];
    stream.read_exact(&mut opening)?;
    let opening = Opening::read(opening).ok_or(io::ErrorKind::InvalidData)?;
    stream.set_read_timeout(Some(idle_limit))?;
    stream.set_write_timeout(Some(idle_limit))?;
    stream.write_all(&write_answer(apply_buffers(stream, &opening, usual)?))?;
    match opening.task {
        Task::Respond { request_bytes, response_bytes } => {
            let mut request = vec![0; request_bytes as usize];
            let response = vec![0x5a; response_bytes as usize];
            loop {
                stream.read_exact(&mut request)?;
                stream.write_all(&response)?;
            }
        }
        Task::Receive => {
            let mut chunk = vec![0; CHUNK];
            while stream.read(&mut chunk)? > 0 {}
            Ok(())
        }
        Task::Send { message_bytes } => {
            let message = vec![0x5a; message_bytes as usize];
            loop {
                stream.write_all(&message)?;
            }
        }
    }
}

/// Sets the buffers that were asked for. The size of one that was not is that of a socket just made: the kernel has begun to
/// tune this one.
fn apply_buffers(stream: &TcpStream, opening: &Opening, usual: BufferSizes) -> io::Result<BufferSizes> {
    let socket = SockRef::from(stream);
    set_buffers(&socket, opening.send_buffer_bytes, opening.receive_buffer_bytes)?;
    let set = sizes(&socket)?;
    Ok(BufferSizes {
        send_bytes: opening.send_buffer_bytes.map_or(usual.send_bytes, |_| set.send_bytes),
        receive_bytes: opening.receive_buffer_bytes.map_or(usual.receive_bytes, |_| set.receive_bytes),
    })
}
