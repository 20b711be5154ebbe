//! A VM that existed before a run moved it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A VM that exists already and is moved as it is, instead of a guest that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingVm {
    /// By what name its product knows it.
    pub name: String,
    /// Where it is reached, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}
