//! What can go wrong while watching a wire.

use std::io;
use std::net::SocketAddr;

/// A result of watching a wire.
pub type Result<T, E = WireError> = std::result::Result<T, E>;

/// What can go wrong while watching a wire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kernel refused something.
    #[error("cannot {doing} {what}")]
    Io {
        /// What was being done, as in "read the counters of".
        doing: &'static str,
        /// To what: an interface or a file.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's answer is not what it should be.
    #[error("cannot make sense of {what}: {why}")]
    Answer {
        /// Which answer.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// An SNMP agent did not do what it was asked.
    #[error("cannot {doing} the SNMP agent at {agent}: {why}")]
    Snmp {
        /// What was being done, as in "list the ports of".
        doing: &'static str,
        /// Where it is.
        agent: SocketAddr,
        /// Why not.
        why: String,
    },
    /// A secret is not where it should be.
    #[error("the {what} should be in the environment variable {variable}, which is not set")]
    Secret {
        /// Whose or what for.
        what: &'static str,
        /// Where it should be.
        variable: String,
    },
    /// A secret is too short to be one.
    #[error("the {what} has less than {characters} characters, which SNMP does not allow")]
    ShortSecret {
        /// Whose or what for.
        what: &'static str,
        /// The least.
        characters: usize,
    },
    /// The thread of a record panicked.
    #[error("the thread {thread} died")]
    ThreadDied {
        /// The thread's name.
        thread: String,
    },
}

impl WireError {
    /// Wraps an I/O error with what was being done to what.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, what: &str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, what: what.to_owned(), source: source.into() }
    }
}

/// A result of reading a capture file.
pub type ReadResult<T, E = ReadError> = std::result::Result<T, E>;

/// What can be wrong with a capture file. Offsets are in bytes from its begin, uncompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused to open it.
    #[error("cannot be opened")]
    Open {
        /// Why.
        source: io::Error,
    },
    /// The system or a decompressor refused.
    #[error("cannot be read at offset {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or nothing.
    #[error("is not a capture: {why}")]
    NotACapture {
        /// How that is seen.
        why: &'static str,
    },
    /// It ends where it should go on, as after a kill or on a full disk.
    #[error("breaks off in {what} at offset {offset}")]
    BreaksOff {
        /// Where what is cut begins.
        offset: u64,
        /// What is cut.
        what: &'static str,
    },
    /// It contradicts itself.
    #[error("is damaged at offset {offset}: {why}")]
    Damaged {
        /// Where what is wrong begins.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

impl ReadError {
    /// Where reading ended; absent where it did not begin.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Open { .. } | Self::NotACapture { .. } => None,
            Self::Io { offset, .. } | Self::BreaksOff { offset, .. } | Self::Damaged { offset, .. } => {
                Some(*offset)
            }
        }
    }
}
