//! What can go wrong with a hypervisor.

use std::io;

use dunlin_record::{HostId, VmId};
use dunlin_testbed::TestbedError;

/// A result of driving a hypervisor.
pub type Result<T, E = HypervisorError> = std::result::Result<T, E>;

/// What can go wrong with a hypervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HypervisorError {
    /// Its program cannot be started.
    #[error("cannot start {program} on {host}")]
    Start {
        /// Which program.
        program: String,
        /// On which host.
        host: HostId,
        /// What may mend that.
        mend: String,
        /// Why not.
        source: Box<TestbedError>,
    },
    /// Its process ended when it should run.
    #[error("the hypervisor of {vm} on {host} ended ({how}){}", last_words(words))]
    Ended {
        /// Of which VM.
        vm: VmId,
        /// On which host.
        host: HostId,
        /// As in "exit status 1".
        how: String,
        /// The end of its standard error.
        words: String,
        /// Whether we ended it: then its end explains nothing.
        by_us: bool,
    },
    /// One of the VM's images could not be opened.
    #[error("{host} could not open {} of {vm}, {}: {} (to mend: {})", image.disk, image.place, image.why, image.mend)]
    Image {
        /// Of which VM.
        vm: VmId,
        /// On which host.
        host: HostId,
        /// Which, and why not.
        image: Box<ImageRefused>,
    },
    /// The guest reset itself: all that it did is lost.
    #[error("{vm} reset itself on {host}{}", last_words(words))]
    GuestReset {
        /// Which VM.
        vm: VmId,
        /// On which host.
        host: HostId,
        /// What its kernel said of the reason; empty where it said none.
        words: String,
    },
    /// Its monitor did what it should not.
    #[error("the monitor of {vm} on {host} failed while {doing}")]
    Monitor {
        /// Of which VM.
        vm: VmId,
        /// On which host.
        host: HostId,
        /// What was being done.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// It refused a command.
    #[error("{host} refused {command}: {description}")]
    Refused {
        /// On which host.
        host: HostId,
        /// Which command.
        command: String,
        /// Its words.
        description: String,
    },
    /// The host failed one of the VM's disks.
    #[error("{host} could not do what {vm} asked of its disk: {failure}")]
    Disk {
        /// Of which VM.
        vm: VmId,
        /// On which host.
        host: HostId,
        /// What it could not do and why, as in "write disk: No space left on device".
        failure: String,
    },
    /// The copy of one of the VM's disks to another host ended before its time.
    #[error("{host} could not copy {disk} of {vm} to the other host: {why}")]
    Mirror {
        /// Of which VM.
        vm: VmId,
        /// From which host.
        host: HostId,
        /// Which disk.
        disk: String,
        /// Its words.
        why: String,
    },
    /// It did not answer or get there in time.
    #[error("{host}: gave up after {after_s} s waiting for {waiting_for}")]
    Timeout {
        /// On which host.
        host: HostId,
        /// For what.
        waiting_for: String,
        /// How long.
        after_s: f64,
    },
    /// It answered something that cannot be understood.
    #[error("{host} answered {command} with something that is not {expected}")]
    Answer {
        /// On which host.
        host: HostId,
        /// To which command.
        command: String,
        /// What was expected.
        expected: &'static str,
    },
    /// It cannot do what was asked.
    #[error("{what} is not supported: {because}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Why it cannot be had.
        because: String,
    },
    /// A setting means nothing to the product, whatever its version.
    #[error("{setting}: {why}")]
    WrongSetting {
        /// Which one, by its path in a case, as in `vm.cpu`.
        setting: String,
        /// What is wrong with it.
        why: String,
        /// The word that is not known; absent where it is no word that is wrong.
        word: Option<String>,
        /// The words that could have been meant.
        known: Vec<String>,
    },
    /// The host could not do its part.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    Io {
        /// What was being done to what.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

/// An image that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRefused {
    /// Of which disk, as the guest knows it.
    pub disk: String,
    /// Where it lies.
    pub place: String,
    /// The hypervisor's words.
    pub why: String,
    /// What may mend that.
    pub mend: String,
}

impl HypervisorError {
    /// Whether something was asked that cannot be had here.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Testbed(TestbedError::Unsupported { .. }))
    }

    /// Whether a hypervisor said no: then what was asked has not been done. After any other error it may have been.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. }) || self.is_unsupported()
    }
}

fn last_words(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; its last words: {words}") }
}
