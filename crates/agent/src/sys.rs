//! The kernel's calls that std does not wrap.
#![expect(unsafe_code, reason = "system calls without a safe wrapper in std")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use dunlin_clock::SECOND_NS;

/// Bytes of entropy that can be added at once.
const ENTROPY_LIMIT: usize = 512;
/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of `linux/random.h`.
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// What a system call without a result returned.
pub(crate) fn check(code: impl Into<i64>) -> io::Result<()> {
    if code.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Mounts a device's file system; one of the kernel's own has none, but takes any name for it.
pub(crate) fn mount(device: &Path, kind: &str, target: &str) -> io::Result<()> {
    let device = CString::new(device.as_os_str().as_bytes())?;
    let (kind, target) = (CString::new(kind)?, CString::new(target)?);
    // SAFETY: all three strings are NUL-terminated and live across the call; the data may be null.
    check(unsafe { libc::mount(device.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) })
}

/// Unmounts a file system; well where none is mounted.
pub(crate) fn unmount(target: &str) -> io::Result<()> {
    let target = CString::new(target)?;
    // SAFETY: the string is NUL-terminated and lives across the call.
    match check(unsafe { libc::umount2(target.as_ptr(), 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        outcome => outcome,
    }
}

/// Ends swapping to a device; well where nobody swaps to it.
pub(crate) fn swap_off(device: &Path) -> io::Result<()> {
    let device = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the string is NUL-terminated and lives across the call.
    match check(unsafe { libc::swapoff(device.as_ptr()) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        outcome => outcome,
    }
}

/// Has the kernel write all it holds back to the disks.
pub(crate) fn sync() {
    // SAFETY: no arguments.
    unsafe { libc::sync() };
}

/// Loads a kernel module that is not compressed; well if it is loaded already.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open and the parameters are an empty NUL-terminated string.
    match check(unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        outcome => outcome,
    }
}

/// Has the kernel forget what it has cached of a file and the disk has too.
pub(crate) fn forget_cached_pages(file: &File) -> io::Result<()> {
    // SAFETY: takes integers, no pointer; a length of 0 means up to the end.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Sets the wall clock.
pub(crate) fn set_clock(epoch_ns: i64) -> io::Result<()> {
    let time =
        libc::timespec { tv_sec: epoch_ns.div_euclid(SECOND_NS), tv_nsec: epoch_ns.rem_euclid(SECOND_NS) };
    // SAFETY: `time` is a valid timespec that lives across the call.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) })
}

/// Adds bytes to the random pool, credits them, and has the generator use them at once.
pub(crate) fn add_entropy(bytes: &[u8]) -> io::Result<()> {
    /// `struct rand_pool_info` with a buffer of a fixed size.
    #[repr(C)]
    struct Pool {
        entropy_bits: libc::c_int,
        bytes: libc::c_int,
        buffer: [u8; ENTROPY_LIMIT],
    }
    let mut pool = Pool { entropy_bits: 0, bytes: 0, buffer: [0; ENTROPY_LIMIT] };
    let Some(buffer) = pool.buffer.get_mut(..bytes.len()) else {
        return Err(io::Error::other(format!(
            "{} bytes are above the limit of {ENTROPY_LIMIT}",
            bytes.len()
        )));
    };
    buffer.copy_from_slice(bytes);
    pool.bytes = libc::c_int::try_from(bytes.len()).map_err(io::Error::other)?;
    pool.entropy_bits = pool.bytes * 8;
    let device = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: the pool is laid out as the kernel expects and says how much of its buffer is filled.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &raw const pool) })?;
    // SAFETY: this request has no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG) })
}

/// Makes a socket's buffers at least this large, past the system's limits.
pub(crate) fn set_buffers(socket: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // SAFETY: the value is an int that lives across the call, and its size is given.
        check(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        })?;
    }
    Ok(())
}

/// Has this thread run before all that have no real-time priority.
pub(crate) fn put_this_thread_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the parameter lives across the call.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) })
}

/// Sets how much this thread yields to others, from -20 (least) to 19.
pub(crate) fn set_nice_of_this_thread(nice: i32) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })
}

/// What a thread has used of the CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    pub(crate) user_ns: u64,
    pub(crate) system_ns: u64,
}

/// What this thread has used of the CPU.
pub(crate) fn cpu_of_this_thread() -> io::Result<CpuTime> {
    // SAFETY: all zero is a valid rusage, which is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is valid for writes and lives across the call.
    check(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) })?;
    let ns = |time: libc::timeval| u64::try_from(time.tv_sec * SECOND_NS + time.tv_usec * 1000).unwrap_or(0);
    Ok(CpuTime { user_ns: ns(usage.ru_utime), system_ns: ns(usage.ru_stime) })
}

/// The clock that also counts the time a machine was suspended.
pub(crate) fn boottime_ns() -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes and lives across the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) })?;
    Ok(time.tv_sec * SECOND_NS + time.tv_nsec)
}

/// Waits until one of the descriptors is ready or the time is over (never, if none is given).
pub(crate) fn poll(waits: &mut [libc::pollfd], limit_ms: Option<i32>) -> io::Result<()> {
    // SAFETY: the slice is valid for writes and its length is given.
    check(unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, limit_ms.unwrap_or(-1)) })
}

/// Ends the guest.
pub(crate) fn power_off() -> ! {
    // SAFETY: no arguments that could be wrong; the call does not return if it can be done.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    // The kernel panics at the end of process 1, which ends the guest as well.
    std::process::abort()
}
