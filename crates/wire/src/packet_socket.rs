//! Raw packet sockets, as far as nix and socket2 do not reach: see packet(7).
#![expect(
    unsafe_code,
    reason = "neither nix nor socket2 makes a sockaddr_ll or knows the options of packet sockets"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

use crate::{Result, WireError};

/// What became of the frames that a socket's filter let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// All of them.
    pub(crate) accepted: u64,
    /// Those for which there was no room.
    pub(crate) dropped: u64,
}

/// A socket for an interface of the current network namespace, whose index is given too. No frame arrives before the
/// socket is [bound](bind): first its filter is to be attached.
pub(crate) fn open(interface: &str) -> Result<(Socket, libc::c_uint)> {
    let index =
        nix::net::if_::if_nametoindex(interface).map_err(WireError::io("find interface", interface))?;
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)
        .map_err(WireError::io("open a packet socket for", interface))?;
    Ok((socket, index))
}

/// Lets the frames of an interface in, whatever their protocol: frames that leave are shown to no socket bound to one.
pub(crate) fn bind(socket: &Socket, interface: &str, index: libc::c_uint) -> Result<()> {
    bind_protocol(socket, index, libc::ETH_P_ALL as u16).map_err(WireError::io("watch", interface))
}

/// What kind of hardware an interface is (`ARPHRD_…`); no frame is let in yet.
pub(crate) fn hardware_type(socket: &Socket, interface: &str, index: libc::c_uint) -> Result<u16> {
    let ask = || {
        bind_protocol(socket, index, 0)?;
        // SAFETY: all-zero bytes are a valid `sockaddr_ll`: integers and an array of them.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointers are to `address` and its length, which live across the call.
        let code =
            unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        Errno::result(code)?;
        Ok::<_, io::Error>(address.sll_hatype)
    };
    ask().map_err(WireError::io("ask for the kind of", interface))
}

/// Sets one of the options of packet sockets, whose value must be what the kernel expects.
pub(crate) fn set_option<T: Copy>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to `value`, which lives across the call and is as long as is said.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    Errno::result(code)?;
    Ok(())
}

/// What became of the frames since the last call.
pub(crate) fn take_statistics(socket: &Socket, interface: &str) -> Result<Statistics> {
    // SAFETY: all-zero bytes are a valid `tpacket_stats_v3`: three integers.
    let mut statistics: libc::tpacket_stats_v3 = unsafe { zeroed() };
    let mut length = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: the pointers are to `statistics` and its length, which live across the call; a socket without a ring
    // fills in less of it.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    Errno::result(code).map_err(WireError::io("read the drops of", interface))?;
    Ok(Statistics { accepted: statistics.tp_packets.into(), dropped: statistics.tp_drops.into() })
}

fn bind_protocol(socket: &Socket, index: libc::c_uint, protocol: u16) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`: integers and an array of them.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index.try_into().map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to `address`, which lives across the call and is `length` bytes long.
    let code = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(code)?;
    Ok(())
}
