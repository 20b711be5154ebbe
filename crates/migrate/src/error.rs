//! What can go wrong with a migration, beyond its failing: then nothing more can be said about the VM.

use dunlin_hypervisor::HypervisorError;
use dunlin_record::RecordError;

/// A result of a migration.
pub type Result<T, E = MigrateError> = std::result::Result<T, E>;

/// What can go wrong with a migration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A hypervisor failed.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// What happened can no longer be recorded.
    #[error("the migration was ended: its record cannot be kept")]
    Record(#[from] RecordError),
    /// After a failure the VM runs nowhere.
    #[error("the VM runs nowhere: at the source it is {state}")]
    Lost {
        /// The hypervisor's word for its state at the source.
        state: String,
    },
}
