//! A folder for images of disks that leaves nothing, whoever is killed.
//!
//! Files with names on a real file system outlive a lab that is killed, and files in memory take memory. So the folder is a file
//! system of its own, on a file without a name, mounted by a loop device where only the lab (or one node) sees it. The mount
//! goes with the last process there, the device with the mount, and the file with the device: the kernel does all of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dunlin_record::HostId;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::loop_device::LoopDevice;
use crate::local_process::LocalProcess;
use crate::{NamelessFile, Result, TestbedError, node, process};

/// Debian keeps it out of an ordinary user's `PATH`.
const MKE2FS: [&str; 2] = ["/usr/sbin/mke2fs", "/sbin/mke2fs"];
/// No journal, as nothing is ever mounted again; nothing set aside for root; inodes for few and large files; and nothing
/// written that need not be, so that it takes little room.
const FORMAT: [&str; 12] = [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-m",
    "0",
    "-T",
    "largefile",
    "-O",
    "^has_journal",
    "-E",
    "lazy_itable_init=1,nodiscard",
];
/// How long making a file system may take.
const FORMAT_LIMIT: Duration = Duration::from_secs(60);

/// A folder for images on a host of a lab. Dropping it takes it away; what is still open there lives until it is closed.
#[derive(Debug)]
pub struct ImageFolder {
    path: PathBuf,
    /// The node's, where it is one; else the lab's.
    mounts: Option<File>,
}

impl ImageFolder {
    /// Makes one on the file system of the local folder `on`, for a host that sees these mounts, below its scratch folder.
    pub(crate) fn mount(
        on: &Path,
        bytes: u64,
        mounts: Option<File>,
        scratch: &Path,
        host: &HostId,
    ) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = scratch.join(format!("images-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let file = NamelessFile::make_in(on)?;
        file.resize(bytes)?;
        format(&file)?;
        let device = LoopDevice::of(file.file()).map_err(|error| refused(&error, "make a loop device"))?;
        let folder = Self { path, mounts };
        folder.within(|| {
            let path = &folder.path;
            fs::create_dir_all(path)
                .map_err(TestbedError::io(format!("create {} on {host}", path.display())))?;
            let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
            // What is deleted gives its room back.
            mount(Some(device.path()), path, Some("ext4"), plain, Some("discard"))
                .map_err(|errno| refused(&errno.into(), &format!("mount {} on {host}", path.display())))?;
            // Not for us to be found.
            let _ = fs::remove_dir(path.join("lost+found"));
            Ok(())
        })?;
        Ok(folder)
    }

    /// Where it is on its host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.mounts {
            Some(mounts) => node::within(mounts, work),
            None => work(),
        }
    }
}

impl Drop for ImageFolder {
    fn drop(&mut self) {
        // Can only fail where it was never mounted, or its host is gone.
        let _ = self.within(|| {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&self.path);
            Ok(())
        });
    }
}

/// Makes a file system on it.
fn format(file: &NamelessFile) -> Result<()> {
    let found = MKE2FS.iter().find(|program| Path::new(program).is_file());
    let Some(program) = found else {
        return Err(TestbedError::Unsupported {
            what: "a folder for images".into(),
            because: "mke2fs is not installed (Debian: e2fsprogs)".into(),
        });
    };
    let mut command = Command::new(program);
    command.args(FORMAT).arg(file.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let doing = "make a file system for images";
    let child = command.spawn().map_err(TestbedError::io(doing))?;
    let output = process::run_to_end(LocalProcess::new(child), program, FORMAT_LIMIT)?;
    if output.success {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(TestbedError::io(doing)(io::Error::other(format!("{program}: {}: {said}", output.how))))
}

/// An ordinary user's lab may do neither, and few containers have such devices.
fn refused(error: &io::Error, doing: &str) -> TestbedError {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => {
            TestbedError::NotPermitted {
                what: format!("a folder for images, to {doing} ({error})"),
                mend: "run it as root where there are loop devices (sudo modprobe loop; in a container: \
                    docker run --privileged -v /dev:/dev)"
                    .into(),
            }
        }
        _ => TestbedError::io(doing)(io::Error::new(error.kind(), error.to_string())),
    }
}
