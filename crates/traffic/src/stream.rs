//! Streams of numbered blocks between two ends, over TCP (blocks of 1 KiB) or UDP (one a datagram).
//!
//! One end listens, the other dials; either may be the sender. The end that dials makes a broken connection anew, on
//! which numbers begin at 0 again: what was under way on the broken one is nobody's loss. Over UDP a receiver that dials
//! asks for the stream, again and again while nothing comes.

mod account;
mod tcp;
mod udp;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use account::Account;

use crate::pace::Pace;

/// Bytes of a block over TCP.
const BLOCK_BYTES: usize = 1024;
/// The longest wait before it is seen whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// What an end of a stream does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamSpec {
    /// Over what.
    pub transport: Transport,
    /// To which side.
    pub role: Role,
}

/// Over what a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp {
        /// Payload of each datagram: [`crate::NUMBERED_MIN_BYTES`] to 1472, that which fills an Ethernet frame.
        datagram_bytes: usize,
    },
}

/// Which side of a stream an end is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// It sends.
    Send {
        /// So many bytes a second; as fast as it can if absent.
        bytes_per_s: Option<f64>,
    },
    /// It receives, and checks what comes.
    Receive,
}

/// What happens at an end, in the order in which it does; times are those at which its program saw it, on this machine's
/// monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A connection was made (TCP).
    Connected {
        /// When.
        at_ns: i64,
    },
    /// A connection broke (TCP).
    Broken {
        /// When that was known.
        at_ns: i64,
        /// How.
        why: String,
    },
    /// Blocks were handed to the kernel, or came.
    Moved {
        /// When.
        at_ns: i64,
        /// How many whole ones.
        blocks: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// What came was not what was due.
    Disorder {
        /// When it came.
        at_ns: i64,
        /// What about it.
        disorder: Disorder,
    },
    /// Over UDP, when the receiver has ended: these never came.
    Lost {
        /// The first of them.
        first: u64,
        /// How many in a row.
        count: u64,
    },
}

/// What is wrong with the order or content of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disorder {
    /// Blocks before this one have not come.
    Missing {
        /// The first of them.
        first: u64,
        /// How many in a row.
        count: u64,
        /// When the last block before them came, if one did.
        after_ns: Option<i64>,
    },
    /// A block that had been missing came after all.
    Late {
        /// Its number.
        number: u64,
    },
    /// A block came again.
    Repeated {
        /// Its number.
        number: u64,
    },
    /// A block's content is not that of any number.
    Corrupted,
}

/// One end of a stream, ready to run.
#[derive(Debug)]
pub struct StreamEnd {
    spec: StreamSpec,
    way: Way,
}

#[derive(Debug)]
enum Way {
    TcpListening(TcpListener),
    TcpDialed { peer: SocketAddrV4, first: TcpStream },
    UdpBound(UdpSocket),
    UdpDialed { socket: UdpSocket, peer: SocketAddrV4 },
}

impl StreamEnd {
    /// An end that waits for the other at this address, on a port of the kernel's choice, which is returned.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn listen(spec: StreamSpec, address: Ipv4Addr) -> io::Result<(Self, SocketAddrV4)> {
        let (way, bound) = match spec.transport {
            Transport::Tcp => {
                let listener = TcpListener::bind((address, 0))?;
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?;
                (Way::TcpListening(listener), bound)
            }
            Transport::Udp { .. } => {
                let socket = udp::bind(address)?;
                let bound = socket.local_addr()?;
                (Way::UdpBound(socket), bound)
            }
        };
        match bound {
            SocketAddr::V4(bound) => Ok((Self { spec, way }, bound)),
            SocketAddr::V6(_) => Err(ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// An end that goes to the other at this address; over TCP a connection is made at once, in `limit` at most.
    ///
    /// # Errors
    /// Where none comes about.
    pub fn dial(spec: StreamSpec, peer: SocketAddrV4, limit: Duration) -> io::Result<Self> {
        let way = match spec.transport {
            Transport::Tcp => Way::TcpDialed { peer, first: tcp::connect(peer, limit)? },
            Transport::Udp { .. } => Way::UdpDialed { socket: udp::bind(Ipv4Addr::UNSPECIFIED)?, peer },
        };
        Ok(Self { spec, way })
    }

    /// Sends or receives until `stop` is set, and tells what happens. A receiver should be stopped after its sender: over
    /// TCP it then ends when it has it all.
    ///
    /// # Errors
    /// Where a socket cannot be used at all; a connection that breaks is no error.
    pub fn run(self, stop: &AtomicBool, tell: &mut dyn FnMut(StreamEvent)) -> io::Result<()> {
        let Self { spec: StreamSpec { transport, role }, way } = self;
        let datagram_bytes = match transport {
            Transport::Tcp => BLOCK_BYTES,
            Transport::Udp { datagram_bytes } => datagram_bytes,
        };
        match way {
            Way::TcpListening(listener) => tcp::run(tcp::Source::Listener(listener), role, stop, tell),
            Way::TcpDialed { peer, first } => {
                tcp::run(tcp::Source::Peer { peer, first: Some(first) }, role, stop, tell)
            }
            Way::UdpBound(socket) => udp::run(&socket, None, role, datagram_bytes, stop, tell),
            Way::UdpDialed { socket, peer } => {
                udp::run(&socket, Some(peer), role, datagram_bytes, stop, tell)
            }
        }
    }
}

/// The pace of a sender in blocks; none at full speed.
fn pace_of(bytes_per_s: Option<f64>, block_bytes: usize, now_ns: i64) -> Option<Pace> {
    bytes_per_s.map(|bytes_per_s| Pace::new(bytes_per_s / block_bytes as f64, now_ns))
}

/// Whether an error only says that nothing could be done in time.
fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
