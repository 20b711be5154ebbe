//! Hosts, the links between them, and what has to be done there: today the lab, a testbed made of namespaces.

mod device;
mod error;
mod fingerprint;
mod host;
mod lab_host;
mod mac_address;
mod memory_map;
mod namespace;
mod netlink;
mod process;
mod sysctl;

pub use error::{Result, TestbedError};
pub use host::{Host, Launch, Network};
pub use lab_host::LabHost;
pub use mac_address::MacAddress;
pub use process::Process;
