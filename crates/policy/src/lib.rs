//! Decisions about a migration: pure functions of what is known, without I/O or clock, so that they run live in
//! `migrate` and replay on a record.

mod strategy;

pub use strategy::{Action, Limits, Stage, Telemetry, decide};
