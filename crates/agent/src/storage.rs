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

/// Writes all to the disks and lets go of them, as far as that goes: what cannot be let go of was at least written.
pub(crate) fn let_go() -> Result<(), String> {
    sys::sync();
    let swap = find(SWAP_SERIAL).map_or(Ok(()), |device| sys::swap_off(&device));
    let disk = find(DISK_SERIAL).map_or(Ok(()), |_| sys::unmount(DISK));
    swap.map_err(|error| format!("swap to a disk no more: {error}"))?;
    disk.map_err(|error| format!("unmount {DISK}: {error}"))
}

/// How the file system at `mounted_at` is used.
pub(crate) fn read(mounted_at: &str) -> Result<GuestDisk, String> {
    let figures = figures(Path::new(mounted_at))?;
    let mounts = "/proc/self/mounts";
    let text = fs::read_to_string(mounts).map_err(|error| format!("read {mounts}: {error}"))?;
    let (device, kind) = mount_at(&text, mounted_at)
        .ok_or_else(|| format!("find {mounted_at} in {mounts}: it is not there"))?;
    let used_blocks = figures.f_blocks.saturating_sub(figures.f_bfree);
    let used_bytes = used_blocks * figures.f_frsize;
    Ok(GuestDisk { mounted_at: mounted_at.into(), kind: kind.into(), device: device.into(), used_bytes })
}

/// What may still be written to the file system of a folder, by those who are not root.
pub(crate) fn available_bytes(folder: &Path) -> Result<u64, String> {
    figures(folder).map(|figures| figures.f_bavail.saturating_mul(figures.f_frsize))
}

fn figures(path: &Path) -> Result<libc::statvfs, String> {
    let said = |error: io::Error| format!("ask how the disk at {} is used: {error}", path.display());
    let path = c_path(path).map_err(said)?;
    // SAFETY: all zero is a valid statvfs, which is plain numbers.
    let mut figures: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated, the structure valid for writes; both live across the call.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut figures) }).map_err(said)?;
    Ok(figures)
}

/// The device and the kind of what is mounted at a place: of several on top of each other the last.
fn mount_at<'a>(mounts: &'a str, place: &str) -> Option<(&'a str, &'a str)> {
    mounts.lines().rev().find_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
        (at == place).then_some((device, kind))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_last_at_a_place_is_what_is_there() {
        let mounts = "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/vda1 / ext4 rw,relatime 0 0\n";
        assert_eq!(mount_at(mounts, "/"), Some(("/dev/vda1", "ext4")));
        assert_eq!(mount_at(mounts, "/proc"), Some(("proc", "proc")));
        assert_eq!(mount_at(mounts, "/disk"), None);
    }

    #[test]
    fn the_use_of_a_file_system_is_told_with_its_name_and_that_of_none_is_refused() {
        let disk = read("/").unwrap();
        assert!(disk.mounted_at == "/" && disk.used_bytes > 0 && !disk.kind.is_empty(), "{disk:?}");
        assert!(available_bytes(Path::new("/")).is_ok());
        let said = read("/no-such-place").unwrap_err();
        assert!(said.contains("/no-such-place"), "{said}");
    }
}
