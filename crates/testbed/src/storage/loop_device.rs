//! Loop devices: a file as a block device, which is let go of when nobody uses the device any more (loop(4)).
#![expect(unsafe_code, reason = "both are ioctls with structures of C")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::errno::Errno;

/// Who tells which is free.
const CONTROL: &str = "/dev/loop-control";
/// `LOOP_CTL_GET_FREE` of `linux/loop.h`.
const GET_FREE: libc::c_int = 0x4c82;
/// `LOOP_CONFIGURE` of the same.
const CONFIGURE: libc::c_int = 0x4c0a;
/// `LO_FLAGS_AUTOCLEAR`: it lets go of the file when its last user closes it.
const AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`: past the page cache, which has what is on the device already. Where the file system cannot, the
/// kernel does without.
const DIRECT_IO: u32 = 16;
/// Others may take the one that was free.
const ATTEMPTS: u32 = 16;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of the same.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

nix::ioctl_none_bad!(
    /// Tells the number of a free device, which is made if need be.
    get_free,
    GET_FREE
);
nix::ioctl_write_ptr_bad!(
    /// Gives a free device its file.
    configure,
    CONFIGURE,
    LoopConfig
);

/// A block device that is a file. It is let go of with this, unless it is mounted by then: then with the mount.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    _device: File,
}

impl LoopDevice {
    /// Makes a device of a file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let control = File::options().read(true).write(true).open(CONTROL)?;
        let mut taken = Errno::EBUSY;
        for _ in 0..ATTEMPTS {
            // SAFETY: takes no argument.
            let number = unsafe { get_free(control.as_raw_fd()) }?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = File::options().read(true).write(true).open(&path)?;
            // SAFETY: plain data, for which zero is a valid value.
            let mut config: LoopConfig = unsafe { std::mem::zeroed() };
            config.fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
            config.info.flags = AUTOCLEAR | DIRECT_IO;
            // SAFETY: the structure is the kernel's, whole, and lives across the call.
            match unsafe { configure(device.as_raw_fd(), &raw const config) } {
                Ok(_) => return Ok(Self { path, _device: device }),
                Err(errno @ Errno::EBUSY) => taken = errno,
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(taken.into())
    }

    /// By which it is mounted.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }
}
