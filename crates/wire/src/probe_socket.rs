//! A raw packet socket that sees only our probes' frames on one interface, with the kernel's stamps.
//!
//! See packet(7); the filter is classic BPF, as in the kernel's Documentation/networking/filter.rst.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::time::Duration;

use dunlin_clock::SECOND_NS;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, recvmmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{SockFilter, Socket};

use crate::bpf::{IF_ANY_BIT, IF_EQUAL, LOAD_U8, LOAD_U16, LOAD_U32_FROM_X, X_IS_IP_HEADER_BYTES, keep};
use crate::frame::PROBE_MAGIC;
use crate::{Result, WireError, packet_socket};

/// Enough for Ethernet, the longest IPv4 header, ICMP or UDP, and the payload's fixed part: 14 + 60 + 8 + 16.
const SNAP_BYTES: usize = 128;
/// Frames read by one system call.
const BATCH: usize = 128;
/// Room for some ten thousand frames, so that a reader kept from the CPU for a second loses none.
const BUFFER_BYTES: usize = 16 << 20;
/// The kernel stamps packets only where someone asked for it, and turns that on in the background.
const STAMPS_ON: Duration = Duration::from_millis(20);

/// A frame as the socket saw it.
pub(crate) struct Seen<'a> {
    /// Its first bytes.
    pub(crate) bytes: &'a [u8],
    /// Whether it left through the interface; else it came in.
    pub(crate) outgoing: bool,
    /// The kernel's stamp, in nanoseconds of `CLOCK_REALTIME`.
    pub(crate) realtime_ns: i64,
}

pub(crate) struct ProbeSocket {
    interface: String,
    socket: Socket,
    buffer: Vec<[u8; SNAP_BYTES]>,
}

impl ProbeSocket {
    /// Opens a socket on an interface of the current network namespace.
    pub(crate) fn open(interface: &str) -> Result<Self> {
        let (socket, index) = packet_socket::open(interface)?;
        socket.attach_filter(&probe_filter()).map_err(WireError::io("filter the frames of", interface))?;
        setsockopt(&socket, ReceiveTimestampns, &true)
            .map_err(WireError::io("stamp the frames of", interface))?;
        // Without the right to a large buffer the usual one must do; what it loses is counted.
        let _ = setsockopt(&socket, RcvBufForce, &BUFFER_BYTES);
        std::thread::sleep(STAMPS_ON);
        packet_socket::bind(&socket, interface, index)?;
        Ok(Self { interface: interface.to_owned(), socket, buffer: vec![[0; SNAP_BYTES]; BATCH] })
    }

    /// Hands all waiting frames to `take`, up to a bound that keeps a flood from holding the caller.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Seen<'_>)) -> Result<()> {
        for _ in 0..64 {
            // Made anew each time: the kernel overwrites the lengths in the headers, and nix does not set them again.
            let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec)));
            let mut slices: Vec<_> = self.buffer.iter_mut().map(|bytes| [IoSliceMut::new(bytes)]).collect();
            let received = match recvmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            ) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(()),
                // Said once when the interface goes down; it may come up again.
                Err(Errno::ENETDOWN | Errno::EINTR) => continue,
                Err(error) => return Err(WireError::io("read the frames of", &self.interface)(error)),
            };
            let mut count = 0;
            for message in received {
                count += 1;
                let stamp = message.cmsgs().ok().and_then(|mut all| {
                    all.find_map(|one| match one {
                        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                        _ => None,
                    })
                });
                let (Some(stamp), Some(bytes)) = (stamp, message.iovs().next()) else { continue };
                take(Seen {
                    bytes,
                    outgoing: message.address.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING),
                    realtime_ns: stamp.tv_sec() * SECOND_NS + stamp.tv_nsec(),
                });
            }
            if count < BATCH {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Frames the kernel had to throw away for want of room, since the last call.
    pub(crate) fn take_drops(&self) -> Result<u64> {
        Ok(packet_socket::take_statistics(&self.socket, &self.interface)?.dropped)
    }
}

/// Lets through unfragmented IPv4 with ICMP or UDP whose payload begins with our magic: the rest is decided by
/// [`crate::parse_probe_frame`].
fn probe_filter() -> [SockFilter; 12] {
    let op = SockFilter::new;
    [
        op(LOAD_U16, 0, 0, 12),
        op(IF_EQUAL, 0, 9, 0x0800),
        op(LOAD_U16, 0, 0, 20),
        op(IF_ANY_BIT, 7, 0, 0x3fff),
        op(LOAD_U8, 0, 0, 23),
        op(IF_EQUAL, 1, 0, 1),
        op(IF_EQUAL, 0, 4, 17),
        op(X_IS_IP_HEADER_BYTES, 0, 0, 14),
        op(LOAD_U32_FROM_X, 0, 0, 14 + 8),
        op(IF_EQUAL, 0, 1, u32::from_be_bytes(PROBE_MAGIC)),
        keep(SNAP_BYTES as u32),
        keep(0),
    ]
}
