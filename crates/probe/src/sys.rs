//! The system calls a probe needs that have no safe wrapper.
#![expect(unsafe_code, reason = "recvmmsg with ancillary data, ICMP_FILTER, SO_MEMINFO and SCHED_FIFO")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use dunlin_clock::SECOND_NS;

/// Messages taken by one system call.
pub(crate) const BATCH: usize = 64;

/// Room for ancillary data: a stamp takes 64 bytes, the error queue's note 48, each with its header.
const CONTROL_BYTES: usize = 256;

// Linux' own numbers that libc does not have: <linux/icmp.h>, <asm-generic/socket.h>.
const ICMP_FILTER: libc::c_int = 1;
const SO_MEMINFO: libc::c_int = 55;
const ICMP_ECHO_REPLY: u32 = 0;

/// Which of a socket's queues is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What others sent.
    Received,
    /// The socket's own frames, given back with the stamp of their departure.
    Departed,
}

/// Buffers for one `recvmmsg`.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    message_bytes: usize,
    controls: Vec<Control>,
}

/// Aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

impl Batch {
    /// Buffers for messages of up to `message_bytes`; longer ones are cut.
    pub(crate) fn new(message_bytes: usize) -> Self {
        let controls = vec![Control([0; CONTROL_BYTES]); BATCH];
        Self { bytes: vec![0; message_bytes * BATCH], message_bytes, controls }
    }

    /// Takes up to [`BATCH`] messages that wait in a queue, without waiting, and hands each to `take` with the kernel's
    /// stamp (`CLOCK_REALTIME`) if it has one. Returns how many there were.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        queue: Queue,
        mut take: impl FnMut(&[u8], Option<i64>),
    ) -> io::Result<usize> {
        let mut parts = [libc::iovec { iov_base: null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: an mmsghdr is plain data for which all zeroes (null pointers, no lengths) is a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let buffers = self.bytes.chunks_exact_mut(self.message_bytes).zip(&mut self.controls);
        for ((header, part), (bytes, control)) in headers.iter_mut().zip(&mut parts).zip(buffers) {
            *part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
        }
        let flags = match queue {
            Queue::Received => libc::MSG_DONTWAIT,
            Queue::Departed => libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE,
        };
        // SAFETY: every header points to one part, every part to `message_bytes` of `self.bytes`, every control pointer
        // to CONTROL_BYTES of `self.controls`: all live and are used by nobody else until the call returns.
        let code = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as u32, flags, null_mut())
        };
        let Ok(count) = usize::try_from(code) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for (header, bytes) in headers.iter().zip(self.bytes.chunks_exact(self.message_bytes)).take(count) {
            let length = (header.msg_len as usize).min(bytes.len());
            // SAFETY: the kernel filled this header, and the control buffer it points to is alive and unchanged.
            let stamp_ns = unsafe { software_stamp_ns(&raw const header.msg_hdr) };
            take(&bytes[..length], stamp_ns);
        }
        Ok(count)
    }
}

/// The kernel's software stamp among a message's ancillary data.
///
/// # Safety
/// `message` is a header that the kernel filled, with its control buffer still alive.
unsafe fn software_stamp_ns(message: *const libc::msghdr) -> Option<i64> {
    // SAFETY: as the caller promises.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole cmsghdr inside the control buffer.
        let header = unsafe { control.read_unaligned() };
        if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_TIMESTAMPING {
            // SAFETY: the data of SCM_TIMESTAMPING is three timespecs, of which the first is the software stamp.
            let time = unsafe { libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned() };
            let is_absent = time.tv_sec == 0 && time.tv_nsec == 0;
            return (!is_absent).then(|| time.tv_sec * SECOND_NS + time.tv_nsec);
        }
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}

/// Lets only echo replies arrive at a raw ICMP socket (`icmp(7)`/`raw(7)`: a bit set means the type is blocked).
pub(crate) fn accept_only_echo_replies(socket: BorrowedFd<'_>) -> io::Result<()> {
    let blocked: u32 = !(1 << ICMP_ECHO_REPLY);
    // SAFETY: the value is a live u32 and its size is given.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_RAW,
            ICMP_FILTER,
            (&raw const blocked).cast(),
            size_of_val(&blocked) as libc::socklen_t,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many messages the kernel dropped since the socket was opened because its receive buffer was full.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut info = [0_u32; DROPS + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and says in `length` how many.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if code == 0 { Ok(u64::from(info[DROPS])) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread real-time priority (`SCHED_FIFO`).
pub(crate) fn make_realtime(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the parameters live across the call; 0 names the calling thread.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
    use socket2::SockRef;

    use super::*;

    fn socket_pair() -> (UdpSocket, UdpSocket) {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        from.connect(to.local_addr().unwrap()).unwrap();
        (from, to)
    }

    fn receive_all(batch: &mut Batch, socket: &UdpSocket) -> Vec<(Vec<u8>, Option<i64>)> {
        let mut messages = Vec::new();
        while batch
            .receive(socket.as_fd(), Queue::Received, |bytes, stamp_ns| {
                messages.push((bytes.to_vec(), stamp_ns));
            })
            .unwrap()
            > 0
        {}
        messages
    }

    #[test]
    fn more_messages_than_a_batch_holds_come_in_order_and_long_ones_are_cut() {
        let (from, to) = socket_pair();
        let sent: Vec<_> = (0..100).map(|index| vec![index; usize::from(index)]).collect();
        for message in &sent {
            from.send(message).unwrap();
        }
        let received = receive_all(&mut Batch::new(40), &to);
        let expected: Vec<_> =
            sent.iter().map(|message| (message[..message.len().min(40)].to_vec(), None)).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn messages_have_a_stamp_if_it_was_asked_for() {
        let (from, to) = socket_pair();
        let flags =
            TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
        setsockopt(&to, sockopt::Timestamping, &flags).unwrap();
        let mut batch = Batch::new(40);
        // The kernel begins to stamp some time after it was asked to.
        let stamped = (0..1000).find_map(|_| {
            from.send(b"x").unwrap();
            dunlin_clock::sleep_until(dunlin_clock::now_ns() + dunlin_clock::MILLISECOND_NS);
            receive_all(&mut batch, &to).into_iter().find_map(|(_, stamp_ns)| stamp_ns)
        });
        let age_ns = dunlin_clock::epoch_ns() - stamped.unwrap();
        assert!((0..60 * SECOND_NS).contains(&age_ns), "{age_ns}");
    }

    #[test]
    fn what_a_full_buffer_cannot_take_is_counted() {
        let (from, to) = socket_pair();
        SockRef::from(&to).set_recv_buffer_size(4096).unwrap();
        assert_eq!(drops(to.as_fd()).unwrap(), 0);
        for _ in 0..100 {
            from.send(b"x").unwrap();
        }
        let taken = receive_all(&mut Batch::new(40), &to).len() as u64;
        assert!(taken < 100);
        assert_eq!(drops(to.as_fd()).unwrap(), 100 - taken);
    }
}
