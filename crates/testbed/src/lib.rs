//! Hosts, the links between them, and what has to be done there: today the lab, a testbed made of namespaces.

mod error;

pub use error::{Result, TestbedError};
