//! TAP devices in other network namespaces: the kernel's Documentation/networking/tuntap.rst.
#![expect(unsafe_code, reason = "TAP devices are made by ioctl")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::device::TUN;
use crate::netlink::Netlink;
use crate::{Result, TestbedError};

/// Frames the kernel keeps for us while our thread is kept from the CPU: 40 ms at 1 Gbit/s.
const KERNEL_QUEUE_FRAMES: u32 = 4096;

/// Makes a TAP device that lives as long as the file; reads and writes of it are whole Ethernet frames and never wait.
pub(super) fn open(netns: &Path, device: &str) -> Result<File> {
    let namespace =
        File::open(netns).map_err(TestbedError::io(format!("open the namespace {}", netns.display())))?;
    // A thread that has been in another namespace is not used for anything else.
    thread::scope(|scope| {
        let opening = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(TestbedError::errno(format!("enter the namespace {}", netns.display())))?;
            open_here(device)
        });
        opening
            .join()
            .unwrap_or_else(|_| Err(TestbedError::io("open a tap")(io::Error::other("its thread panicked"))))
    })
}

fn open_here(device: &str) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN).map_err(
        |source| match source.kind() {
            io::ErrorKind::PermissionDenied => TestbedError::NotPermitted {
                what: format!("opening {TUN}"),
                mend: format!("chmod 0666 {TUN}"),
            },
            _ => TestbedError::io(format!("open {TUN}"))(source),
        },
    )?;
    let mut request = named_request(device)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: the kernel reads and writes only `request`, which lives across the call.
    let code = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(code).map_err(TestbedError::errno(format!("make the tap {device}")))?;

    Netlink::open_here(device)?.set_queue(device, KERNEL_QUEUE_FRAMES)?;
    Ok(file)
}

fn named_request(device: &str) -> Result<libc::ifreq> {
    // SAFETY: all-zero bytes are a valid `ifreq`: a name and a union of numbers and pointers.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero and ends the name.
    if device.is_empty() || device.len() >= request.ifr_name.len() || device.contains('\0') {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "a device's name has 1 to 15 bytes");
        return Err(TestbedError::io(format!("make the tap {device:?}"))(why));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(request)
}
