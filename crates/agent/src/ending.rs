//! The request to end, as a program gets it: a signal, waited for beside all else.
#![expect(unsafe_code, reason = "signals have no safe wrapper in std")]

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use crate::sys::{self, check};

/// What asks a program to end.
const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Whether the program was asked to end.
#[derive(Debug)]
pub(crate) struct Ending {
    signals: File,
    asked: Cell<bool>,
}

impl Ending {
    /// Takes the signals from now on. Threads that start later leave them to this.
    pub(crate) fn watch() -> Result<Self, String> {
        let signals = open().map_err(|error| format!("watch for signals: {error}"))?;
        Ok(Self { signals, asked: Cell::new(false) })
    }

    pub(crate) fn is_asked(&self) -> bool {
        // The kernel gives whole records of 128 bytes.
        let came = || (&self.signals).read(&mut [0; 128]).is_ok_and(|bytes| bytes > 0);
        if !self.asked.get() {
            self.asked.set(came());
        }
        self.asked.get()
    }

    /// For waiting on it.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.signals.as_raw_fd()
    }

    /// Waits so long, or until it is asked for; says whether it is.
    pub(crate) fn wait(&self, limit_ms: i32) -> bool {
        let mut waits = [libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 }];
        // One that is broken off is only shorter.
        let _ = sys::poll(&mut waits, Some(limit_ms));
        self.is_asked()
    }
}

fn open() -> io::Result<File> {
    // SAFETY: all zero is a valid set, which is emptied before its use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid for writes.
    check(unsafe { libc::sigemptyset(&raw mut set) })?;
    for signal in SIGNALS {
        // SAFETY: the set is valid for writes, and the signal is one.
        check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
    }
    // SAFETY: the set is valid; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    // SAFETY: the set is valid and lives across the call; -1 asks for a new descriptor.
    let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_by_a_signal_and_stays_so() {
        let ending = Ending::watch().unwrap();
        assert!(!ending.wait(10));
        // SAFETY: to this thread alone, which has the signal blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
        assert!(ending.wait(60_000));
        assert!(ending.is_asked());
    }
}
