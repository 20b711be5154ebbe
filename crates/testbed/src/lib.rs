//! Hosts, the links between them, and what has to be done there: today the lab, a testbed made of namespaces.

mod bootstrap;
mod capabilities;
mod device;
mod error;
mod fingerprint;
mod goodput;
mod helper;
mod host;
mod lab;
mod lab_host;
mod mac_address;
mod memory_map;
mod mend;
mod nameless;
mod namespace;
mod netlink;
mod process;
mod realtime;
mod relay;
mod running_lab;
mod shell;
mod sysctl;

pub use bootstrap::{Inside, enter};
pub use capabilities::{Capability, Lack, capabilities};
pub use error::{Result, TestbedError};
pub use goodput::{Goodput, measure_goodput};
pub use helper::{Helper, HelperTask, HostCapture, serve_helper};
pub use host::{Host, Launch, Network};
pub use lab::{Lab, LabSpec, ManagedSwitch, SECOND_LINK, check_mptcp};
pub use lab_host::LabHost;
pub use mac_address::MacAddress;
pub use nameless::NamelessFile;
pub use process::Process;
pub use relay::{
    Crossing, DEFAULT_QUEUE_FRAMES, DirectionCounts, Fault, Injection, PendingInjection, Relay, RelayCounts,
    RelayEnd, RelaySpec,
};
pub use running_lab::{RunningLabs, running_labs};
pub use shell::shell;
