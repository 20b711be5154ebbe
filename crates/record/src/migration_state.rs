//! Where a migration is, whatever the product calls it.

use serde::{Deserialize, Serialize};

/// Where a migration is, as one of its ends says it, in what all products have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MigrationState {
    /// It is being set up: nothing has been copied.
    Setup,
    /// Memory is copied while the VM runs at the source (or is paused there).
    PreCopy,
    /// The VM is stopped at the source, which waits to be told to go on.
    AwaitingSwitchOver,
    /// The VM is stopped at the source, and its last state is on its way.
    SwitchOver,
    /// The VM may run at the destination while the rest of its memory follows.
    PostCopy,
    /// So it was, but the connection is lost: each end has a part of the memory.
    PostCopyPaused,
    /// This end has done all its work.
    Completed,
    /// It failed; a source goes on with the VM.
    Failed,
    /// It is being cancelled.
    Cancelling,
    /// It was cancelled; the source goes on with the VM.
    Cancelled,
    /// A state that a newer version of Dunlin knows.
    #[serde(other)]
    Other,
}

/// A fine step inside a hypervisor that means the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// The source has nothing more to send for the VM's start.
    LastByteSent,
    /// A step that a newer version of Dunlin knows.
    #[serde(other)]
    Other,
}
