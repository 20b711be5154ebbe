//! Counters of a managed switch's ports by SNMP: version 2c (RFC 3416), or 3 with users (RFC 3414, 3826, 7860).

mod access;
mod port;
mod session;

pub use access::{Secret, SnmpAccess, SnmpAgent, SnmpAuthentication};
pub use port::count_switch_port;

use session::Session;

use crate::Result;

/// Sets an object of an agent to a whole number.
///
/// # Errors
/// Where the agent does not answer in time, or refuses.
pub fn set_snmp_integer(agent: &SnmpAgent, object: &[u64], value: i64) -> Result<()> {
    Session::new(agent.clone()).set(object, value)
}
