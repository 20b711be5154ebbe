//! What a kernel knows of a TCP connection (`TCP_INFO`, linux/tcp.h).
#![expect(
    unsafe_code,
    reason = "a kernel may know less than the structure holds, which nix's getsockopt refuses"
)]

use std::mem::{offset_of, size_of};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// What of it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// Payload sent and acknowledged (since Linux 4.1).
    pub(super) acknowledged_bytes: u64,
    /// Payload received (since Linux 4.1).
    pub(super) received_bytes: u64,
    pub(super) retransmitted_segments: u64,
    pub(super) rtt_us: u64,
    pub(super) window_segments: u64,
}

/// Asks the kernel; absent where it does not say, or not all of this.
pub(super) fn read(stream: &TcpStream) -> Option<TcpInfo> {
    // SAFETY: a structure of integers may be all zeroes.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the pointers lead to a structure of `length` bytes and to that length, both alive until the call returns.
    let outcome = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    let needed = offset_of!(libc::tcp_info, tcpi_bytes_received) + size_of::<u64>();
    (outcome == 0 && length as usize >= needed).then(|| TcpInfo {
        acknowledged_bytes: info.tcpi_bytes_acked,
        received_bytes: info.tcpi_bytes_received,
        retransmitted_segments: info.tcpi_total_retrans.into(),
        rtt_us: info.tcpi_rtt.into(),
        window_segments: info.tcpi_snd_cwnd.into(),
    })
}
