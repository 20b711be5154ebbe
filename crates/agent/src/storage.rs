//! The guest's disks: one with a file system, one to swap to.
#![expect(unsafe_code, reason = "system calls without a safe wrapper in std")]

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dunlin_agent_proto::{DISK_SERIAL, GuestDisk, SWAP_SERIAL};

use crate::sys::{self, check};

/// Where the disk's file system is mounted.
pub(crate) const DISK: &str = "/disk";
/// `BLKFLSBUF` of `linux/fs.h`.
const BLKFLSBUF: libc::Ioctl = 0x1261;

/// Mounts the disk's file system.
pub(crate) fn mount_disk() -> Result<(), String> {
    let said = |error: io::Error| format!("mount the disk on {DISK}: {error}");
    let device = find(DISK_SERIAL)?;
    forget_cached(&device).map_err(said)?;
    fs::create_dir_all(DISK).map_err(said)?;
    sys::mount(&device, "ext4", DISK).map_err(said)
}

/// Has the kernel swap to the disk meant for it. What is the agent's own stays in memory: its answers to probes must not
/// wait for a disk.
pub(crate) fn swap_on() -> Result<(), String> {
    let said = |error: io::Error| format!("swap to a disk: {error}");
    let device = find(SWAP_SERIAL)?;
    forget_cached(&device).map_err(said)?;
    // SAFETY: takes flags, no pointer. What is mapped later, as a workload's pages, is not held.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) }).map_err(said)?;
    let path = c_path(&device).map_err(said)?;
    // SAFETY: the path is NUL-terminated and lives across the call.
    check(unsafe { libc::swapon(path.as_ptr(), 0) }).map_err(said)
}

/// How the mounted disk is used.
pub(crate) fn read() -> Result<GuestDisk, String> {
    let said = |error: io::Error| format!("ask how the disk is used: {error}");
    let path = c_path(Path::new(DISK)).map_err(said)?;
    // SAFETY: all zero is a valid statvfs, which is plain numbers.
    let mut figures: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated, the structure valid for writes; both live across the call.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut figures) }).map_err(said)?;
    let used_blocks = figures.f_blocks.saturating_sub(figures.f_bfree);
    Ok(GuestDisk { used_bytes: used_blocks * figures.f_frsize })
}

/// The device of a virtio disk with this serial number.
fn find(serial: &str) -> Result<PathBuf, String> {
    let disks = fs::read_dir("/sys/block").map_err(|error| format!("read /sys/block: {error}"))?;
    let has_serial = |name: &OsStr| {
        let file = Path::new("/sys/block").join(name).join("serial");
        fs::read_to_string(file).is_ok_and(|found| found.trim_end() == serial)
    };
    let found = disks.flatten().map(|disk| disk.file_name()).find(|name| has_serial(name));
    found.map(|name| Path::new("/dev").join(name)).ok_or_else(|| {
        format!("find the disk {serial}: the guest has none (does its kernel have virtio_blk?)")
    })
}

/// Has the kernel forget what it has read of a device: a template's guest may have seen another disk in its place.
fn forget_cached(device: &Path) -> io::Result<()> {
    let device = File::open(device)?;
    // SAFETY: this request has no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
