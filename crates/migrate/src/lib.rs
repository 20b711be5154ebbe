//! One migration, well done: runs a strategy over a driver's mover, watches it, and makes sure that one copy of the VM runs
//! in the end, and no second one.

#[cfg(test)]
mod fake;
mod rescue;
mod run;
mod sequence;
mod standstill;
mod storage;
mod surroundings;
mod watch;

pub use run::Job;
pub use sequence::{Ended, migrate};
pub use standstill::{Fault, Standstill, StandstillJob, stand_still};
pub use surroundings::{Live, Surroundings};
