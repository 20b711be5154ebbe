//! What netlink cannot do to a device: make a tap, switch segmentation offloads off.
#![expect(unsafe_code, reason = "both are ioctls with structures of C")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::{Result, TestbedError, mend};

/// The kernel's door to taps.
pub(crate) const TUN: &str = "/dev/net/tun";

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Segmentation in the device (`ETHTOOL_STSO`, `ETHTOOL_SGSO`) and joining on arrival (`ETHTOOL_SGRO`).
const OFFLOADS: [(&str, u32); 3] = [("tso", 0x1f), ("gso", 0x24), ("gro", 0x2c)];

nix::ioctl_write_ptr_bad!(
    /// Makes or joins a tap.
    tun_set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_int_bad!(
    /// Keeps a tap when nobody has it open.
    tun_set_persistent,
    libc::TUNSETPERSIST
);
nix::ioctl_write_ptr_bad!(
    /// Runs an ethtool command.
    run_ethtool,
    libc::SIOCETHTOOL,
    libc::ifreq
);

nix::ioctl_read_bad!(
    /// Tells the longest packet of a device.
    get_mtu,
    libc::SIOCGIFMTU,
    libc::ifreq
);

/// The longest packet of a device of the calling thread's namespace.
pub(crate) fn mtu(device: &str) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = request(device)?;
    // SAFETY: the request is a valid ifreq that lives across the call, which fills in its MTU.
    let mtu = unsafe {
        get_mtu(socket.as_raw_fd(), &raw mut request)?;
        request.ifr_ifru.ifru_mtu
    };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// Makes a tap in the calling thread's namespace that stays when nobody has it open.
pub(crate) fn add_tap(name: &str) -> Result<()> {
    let doing = || format!("create the tap {name}");
    let tun =
        File::options().read(true).write(true).open(TUN).map_err(TestbedError::io(format!("open {TUN}")))?;
    let mut request = request(name).map_err(TestbedError::io(doing()))?;
    // Without packet information, as QEMU opens it; and not one that is there already.
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: the request is a valid ifreq with its flags set, and lives across the call.
    unsafe { tun_set_interface(tun.as_raw_fd(), &raw const request) }
        .map_err(TestbedError::errno(doing()))?;
    // SAFETY: takes an integer, no pointer.
    unsafe { tun_set_persistent(tun.as_raw_fd(), 1) }.map_err(TestbedError::errno(doing()))?;
    Ok(())
}

/// Opens the kernel's door to taps.
///
/// # Errors
/// Says what opens it where it is closed.
pub(crate) fn open_tun() -> Result<File> {
    use io::ErrorKind::{NotFound, PermissionDenied};
    File::options().read(true).write(true).open(TUN).map_err(|error| match error.kind() {
        NotFound | PermissionDenied => TestbedError::NotPermitted {
            what: format!("opening {TUN} ({error})"),
            mend: mend::tap(error.kind()),
        },
        _ => TestbedError::io(format!("open {TUN}"))(error),
    })
}

/// Makes a device of the calling thread's namespace carry every frame as it is on the wire.
///
/// With the offloads on, links of one machine pass frames of 64 KiB, and counters and captures miss the headers.
/// Checksums stay offloaded: frames are then captured as on any host, and nobody's processor is spent on sums that no
/// wire can spoil.
pub(crate) fn switch_offloads_off(device: &str) -> Result<()> {
    let doing = |what: &str| format!("switch {what} of {device} off");
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(TestbedError::errno(doing("offloads")))?;
    for (what, command) in OFFLOADS {
        ethtool(socket.as_raw_fd(), device, command).map_err(TestbedError::io(doing(what)))?;
    }
    Ok(())
}

fn ethtool(socket: RawFd, device: &str, command: u32) -> io::Result<()> {
    let mut value = EthtoolValue { command, data: 0 };
    let mut request = request(device)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a device and points to an ethtool_value; both live across the call.
    unsafe { run_ethtool(socket, &raw const request) }?;
    Ok(())
}

fn request(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte must stay zero.
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{device} is too long for a device's name"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}
