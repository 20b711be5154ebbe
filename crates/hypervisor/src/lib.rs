//! One trait of migration primitives, one folder a driver, each with its own protocol client.
//!
//! A driver says what it can do and offers primitives; the sequences that make a strategy of them live in `migrate`.
//! No two drivers know each other.

mod certificates;
mod driver;
mod error;
pub mod qemu;

pub use certificates::Certificates;
pub use driver::{
    MigrationNeeds, MigrationSettings, MirrorProgress, MirrorStage, Progress, Role, RunState, Vm,
};
pub use error::{HypervisorError, Result};
