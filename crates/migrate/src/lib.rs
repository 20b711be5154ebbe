//! One migration, well done: runs a strategy over a driver's primitives, watches it, and makes sure that one copy runs
//! again after any failure.

mod error;
mod rescue;
mod sequence;
mod storage;
mod watch;

pub use error::{MigrateError, Result};
pub use sequence::{Ended, Job, Place, Reserved, migrate, reserve};
