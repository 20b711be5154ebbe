//! A scripted world: two ends that behave as a hypervisor's do, on a clock of their own, with faults at any instant.
//!
//! The tests enumerate scripts. Whatever happens, in the end there must never be two running copies, one must run unless
//! its only holder died, and the place that was told must be the true one.

mod ends;
mod managed;
mod model;
mod scripts;
mod world;
