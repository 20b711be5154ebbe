//! What a TCP connection carries: request/response and a stream, as netperf's `TCP_RR` and `TCP_STREAM` have it.
//!
//! One end responds ([`TcpResponder`]): it learns from the first words on a connection what is asked of it. The other end
//! measures ([`TcpTest`]); a connection that breaks it makes anew. Times are those of the measuring end's program, on
//! its machine's monotonic clock.

mod info;
mod opening;
mod responder;
mod stream;
mod transactions;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};

use opening::{Opening, Task};
pub use responder::{ResponderEnd, TcpResponder};

/// The port our agents respond on.
pub const TCP_TEST_PORT: u16 = 7008;
/// The longest request, response or message.
pub const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// The longest wait before it is seen whether to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long one attempt at a connection, its first words included, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const RETRY_NS: i64 = 5 * MILLISECOND_NS;

/// A measurement that has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTest {
    /// Where the other end listens.
    pub peer: SocketAddrV4,
    /// What goes over the connection.
    pub work: TcpWork,
    /// The sizes that both ends' socket buffers are set to; the kernel tunes those that are absent.
    pub send_buffer_bytes: Option<u32>,
    /// The same for receiving.
    pub receive_buffer_bytes: Option<u32>,
}

/// What goes over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpWork {
    /// A request, its response, the next request, and so on: one is under way at a time.
    Transactions {
        /// Of each request, 1 to [`MESSAGE_BYTES_MAX`].
        request_bytes: u32,
        /// Of each response, likewise.
        response_bytes: u32,
    },
    /// As much as the connection takes, one way.
    Stream {
        /// Whether it goes to the measuring end, instead of from it.
        reverse: bool,
        /// What is handed to the kernel at a time, 1 to [`MESSAGE_BYTES_MAX`].
        message_bytes: u32,
    },
}

/// Sizes of a socket's buffers, as its kernel tells them (Linux tells twice of what was set, its own share included).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSizes {
    /// `SO_SNDBUF`.
    pub send_bytes: u32,
    /// `SO_RCVBUF`.
    pub receive_bytes: u32,
}

/// What happens, in the order in which it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpTestEvent {
    /// A connection was made.
    Connected {
        /// When.
        at_ns: i64,
        /// This end's buffers when the socket was made, before the kernel tunes them (as netperf tells them).
        local: BufferSizes,
        /// The other end's.
        remote: BufferSizes,
        /// This end's algorithm, as in `cubic`.
        congestion_control: String,
    },
    /// A connection ended: because the test was told to, or because it broke.
    Ended {
        /// When.
        at_ns: i64,
        /// How, where it broke.
        broken: Option<String>,
        /// This end's buffers then.
        local: BufferSizes,
        /// Segments this end's kernel had sent again by then, where it tells.
        retransmitted_segments: Option<u64>,
    },
    /// A transaction ended.
    Transaction {
        /// When the request was handed to the kernel.
        sent_ns: i64,
        /// How.
        end: TransactionEnd,
    },
    /// What the kernel knows of a stream, once each millisecond.
    Sample(StreamSample),
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    /// The whole response was read at this time.
    Answered(i64),
    /// The connection broke.
    Broken,
    /// The test ended.
    Unfinished,
}

/// A stream as the measuring end's kernel knows it (`TCP_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSample {
    /// When it was asked.
    pub at_ns: i64,
    /// Payload of this connection that the other end has acknowledged; of a reverse stream, that has arrived here.
    pub bytes: u64,
    /// Segments of this connection that were sent again by this end.
    pub retransmitted_segments: u64,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u64,
    /// The congestion window, in segments.
    pub window_segments: u64,
}

/// How the work on a connection ended.
enum End {
    Stopped,
    Broken(String),
}

impl TcpTest {
    /// Measures until `stop` is set, on one connection after the other, and tells what happens. Nobody at the other end
    /// is no error: it is tried again.
    pub fn run(&self, stop: &AtomicBool, tell: &mut dyn FnMut(TcpTestEvent)) {
        while !stop.load(Ordering::Relaxed) {
            let Ok(connection) = self.connect() else {
                sleep_until(now_ns() + RETRY_NS);
                continue;
            };
            let Connection { stream, local, remote } = connection;
            let congestion_control = congestion_control(&stream);
            tell(TcpTestEvent::Connected { at_ns: now_ns(), local, remote, congestion_control });
            let ended = match self.work {
                TcpWork::Transactions { request_bytes, response_bytes } => {
                    transactions::run(&stream, request_bytes, response_bytes, stop, tell)
                }
                TcpWork::Stream { reverse, message_bytes } => {
                    stream::run(&stream, reverse, message_bytes, stop, tell)
                }
            };
            let broken = match ended {
                Ok(End::Stopped) => None,
                Ok(End::Broken(why)) => Some(why),
                Err(error) => Some(error.to_string()),
            };
            tell(TcpTestEvent::Ended {
                at_ns: now_ns(),
                broken,
                local: sizes(&SockRef::from(&stream)).unwrap_or(local),
                retransmitted_segments: info::read(&stream).map(|info| info.retransmitted_segments),
            });
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        set_buffers(&socket, self.send_buffer_bytes, self.receive_buffer_bytes)?;
        let local = sizes(&socket)?;
        socket.connect_timeout(&SocketAddr::V4(self.peer).into(), CONNECT_LIMIT)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_LIMIT))?;
        stream.set_write_timeout(Some(CONNECT_LIMIT))?;
        stream.write_all(&self.opening().to_bytes())?;
        let mut answer = [0; opening::ANSWER_BYTES];
        stream.read_exact(&mut answer)?;
        let remote = opening::read_answer(answer).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Connection { stream, local, remote })
    }

    fn opening(&self) -> Opening {
        let task = match self.work {
            TcpWork::Transactions { request_bytes, response_bytes } => {
                Task::Respond { request_bytes, response_bytes }
            }
            TcpWork::Stream { reverse: false, .. } => Task::Receive,
            TcpWork::Stream { reverse: true, message_bytes } => Task::Send { message_bytes },
        };
        Opening {
            task,
            send_buffer_bytes: self.send_buffer_bytes,
            receive_buffer_bytes: self.receive_buffer_bytes,
        }
    }
}

/// A connection whose first words have been said.
struct Connection {
    stream: TcpStream,
    local: BufferSizes,
    remote: BufferSizes,
}

fn set_buffers(socket: &Socket, send_bytes: Option<u32>, receive_bytes: Option<u32>) -> io::Result<()> {
    if let Some(bytes) = send_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

fn sizes(socket: &Socket) -> io::Result<BufferSizes> {
    let bytes = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    Ok(BufferSizes {
        send_bytes: bytes(socket.send_buffer_size()?),
        receive_bytes: bytes(socket.recv_buffer_size()?),
    })
}

/// The connection's algorithm; empty where the kernel does not say.
fn congestion_control(stream: &TcpStream) -> String {
    let name = getsockopt(stream, sockopt::TcpCongestion).unwrap_or_default();
    name.to_string_lossy().trim_end_matches('\0').to_owned()
}

/// Whether an error only says that nothing could be done in time.
fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
