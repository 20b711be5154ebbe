//! A node's own clocks: a time namespace, in which the monotonic and the boot-time clock are off from the machine's by what was
//! asked. The real-time clock cannot be a node's own.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::write;

use crate::{Result, TestbedError};

/// What nix has no name for.
pub(super) const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
/// The kind of namespace, as `/proc/PID/ns` names it, that a process gives to its children. The process itself may be in
/// another: before Linux 6.3 a program that is started stays where it was, and its children are the first in the new one.
pub(super) const KIND: &str = "time_for_children";

/// Offsets as the kernel takes them.
#[derive(Debug)]
pub(super) struct Offsets(String);

impl Offsets {
    /// Both clocks are off by this much; none where that is nothing.
    pub(super) fn new(offset_s: i64) -> Option<Self> {
        (offset_s != 0).then(|| Self(format!("monotonic {offset_s} 0\nboottime {offset_s} 0\n")))
    }

    /// Makes a time namespace for what the calling process starts. It makes nothing but system calls, so that it can be done
    /// between fork and exec.
    pub(super) fn separate(&self) -> io::Result<()> {
        unshare(NEW_TIME)?;
        let file = open("/proc/self/timens_offsets", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        match write(&file, self.0.as_bytes())? {
            length if length == self.0.len() => Ok(()),
            _ => Err(Errno::EIO.into()),
        }
    }
}

/// Whether this kernel can give a node clocks of its own.
///
/// # Errors
/// Unsupported, where it cannot.
pub(crate) fn check() -> Result<()> {
    if Path::new("/proc/self/ns").join(KIND).exists() {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: "a node with clocks of its own".into(),
        because: "this kernel has no time namespaces".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_said_as_the_kernel_takes_them_and_none_is_no_namespace() {
        assert!(Offsets::new(0).is_none());
        assert_eq!(Offsets::new(-3).unwrap().0, "monotonic -3 0\nboottime -3 0\n");
    }
}
