//! What can go wrong with nodes behind ssh.

use std::io;

use dunlin_testbed::TestbedError;

/// A result of working on nodes behind ssh.
pub type Result<T, E = SshNodesError> = std::result::Result<T, E>;

/// What can go wrong with nodes behind ssh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshNodesError {
    /// The lab refused something.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The bench's system refused something.
    #[error("cannot {doing}")]
    Io {
        /// What was being done to what.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// A program did not do what it was started for.
    #[error("{what} failed: {said}")]
    Failed {
        /// What was being done, and where.
        what: String,
        /// How the program ended, and what it said.
        said: String,
    },
    /// There is no such node.
    #[error("the lab has no node {name}")]
    NoSuchNode {
        /// The name by which it was asked for.
        name: String,
    },
}

impl SshNodesError {
    /// Wraps an I/O error with what was being done to what.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
