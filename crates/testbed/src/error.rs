//! What can go wrong with a testbed.

use std::io;

/// A result of working on a testbed.
pub type Result<T, E = TestbedError> = std::result::Result<T, E>;

/// What can go wrong with a testbed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// The system refused something.
    #[error("cannot {doing}")]
    Io {
        /// What was being done to what, as in "create the tap vm0 on host-a".
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's network configuration refused something.
    #[error("cannot {doing} (netlink)")]
    Netlink {
        /// What was being done to what.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// A wait reached its limit.
    #[error("{waiting_for} did not happen within {after_s:.1} s")]
    Timeout {
        /// What was waited for, as in "a connection to qmp.sock".
        waiting_for: String,
        /// How long.
        after_s: f64,
    },
    /// This machine, or this version, cannot do what was asked.
    #[error("{what} is not supported: {because}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Why it cannot be had.
        because: String,
    },
    /// A helper on a host failed.
    #[error("the helper on {host} failed: {why}")]
    Helper {
        /// On which host.
        host: String,
        /// What it said, or how it ended.
        why: String,
    },
    /// Hosts are not what their inventory says.
    #[error("{what}")]
    Mismatch {
        /// What is not so, as in "host-a has no address 192.0.2.11; it has …".
        what: String,
    },
    /// A machine that is reached through ssh is not, or does not let us do what is needed.
    #[error("{host}: cannot {doing}: {why} (to mend: {mend})")]
    Ssh {
        /// Which host.
        host: String,
        /// What was being done to it, as in "connect to it".
        doing: String,
        /// In the words of ssh, or of the machine.
        why: String,
        /// What may mend it, as a command where there is one.
        mend: String,
    },
    /// A file was not brought from one host to another.
    #[error("{file} was not carried from {from} to {to}: {why}")]
    Carry {
        /// Which, as in `disk`.
        file: String,
        /// From which host.
        from: String,
        /// To which.
        to: String,
        /// On which host what happened, in the words of whoever was at work there.
        why: String,
    },
    /// A node of the lab did not come up.
    #[error("the node {node} did not come up: {why}")]
    Node {
        /// Which node.
        node: String,
        /// What its first process said.
        why: String,
    },
    /// A server of storage failed.
    #[error("the {server} on {host} failed: {why}")]
    StorageServer {
        /// Which, as in "NBD server".
        server: String,
        /// On which host.
        host: String,
        /// What it said, or how it ended.
        why: String,
    },
    /// An image is another's to write.
    #[error(
        "{wanted_by} may not write the image {image}: it is {holder}'s until that lets go of it ({lease} says so)"
    )]
    ImageTaken {
        /// Which image, on the host that has it.
        image: String,
        /// Whose it is.
        holder: String,
        /// Who asked for it.
        wanted_by: String,
        /// The file beside it that says so.
        lease: String,
    },
    /// The system keeps from this user what a testbed needs.
    #[error("{what} is not permitted; to mend: {mend}")]
    NotPermitted {
        /// What was refused.
        what: String,
        /// What opens it, as a command where there is one.
        mend: String,
    },
}

impl TestbedError {
    /// Whether it is about a machine that may be there again in a while.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Ssh { .. } | Self::Helper { .. } | Self::Timeout { .. })
    }

    /// Wraps an I/O error with what was being done to what.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The same for an error number of the kernel.
    pub(crate) fn errno(doing: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let doing = doing.into();
        move |errno| Self::Io { doing, source: errno.into() }
    }

    /// The same for a refusal of the kernel's network configuration.
    pub(crate) fn netlink(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Netlink { doing, source }
    }
}
