//! Decisions about a migration: pure functions of what is known, without I/O or clock, so that they run live in
//! `migrate` and replay on a record.

mod place;
mod storage;
mod strategy;

pub use place::{Ends, SourceJob, Verdict, verdict};
pub use storage::{CopiesBehind, DisksCopied, InStep, keep_in_step, pause_for_copies};
pub use strategy::{Action, Limits, Stage, Telemetry, decide};
