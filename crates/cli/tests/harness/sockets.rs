//! Cuts other processes' connections, as `ss --kill` does where the kernel was built for it.
#![expect(unsafe_code, reason = "pidfd_getfd and connect to AF_UNSPEC have no safe wrapper")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Resets every TCP connection that a process has with this peer; says how many.
pub(crate) fn cut_connections(pid: u32, peer: Ipv4Addr) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let is_socket = |path: &fs::DirEntry| {
        fs::read_link(path.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let numbers = entries.flatten().filter(is_socket);
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let streams = numbers.filter_map(|number| borrowed(pid, number)).map(TcpStream::from);
    let with_peer = |stream: &TcpStream| stream.peer_addr().is_ok_and(|at| at.ip() == IpAddr::V4(peer));
    streams.filter(with_peer).filter(reset).count()
}

/// Another process's descriptor as one of our own: the same socket.
fn borrowed(pid: u32, number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call takes plain numbers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the same.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(descriptor: libc::c_long) -> Option<OwnedFd> {
    let descriptor = RawFd::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0)?;
    // SAFETY: the kernel has just made it for us, and nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Dissolves the association, upon which the kernel sends a reset.
fn reset(stream: &TcpStream) -> bool {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: the address is valid for its length across the call.
    unsafe { libc::connect(stream.as_raw_fd(), &raw const nobody, length) == 0 }
}
