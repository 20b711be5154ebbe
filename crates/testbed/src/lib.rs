//! Hosts, the links between them, and what has to be done there: today the lab, a testbed made of namespaces.

mod bootstrap;
mod capabilities;
mod carry;
mod children;
mod device;
mod error;
mod files;
mod fingerprint;
mod goodput;
mod helper;
mod host;
mod inventory;
mod lab;
mod lab_host;
mod last_will;
mod local_process;
mod mac_address;
mod measure;
mod memory_map;
mod mend;
mod nameless;
mod namespace;
mod netlink;
mod node;
mod process;
mod realtime;
mod relay;
mod running_lab;
mod shell;
mod ssh;
mod storage;
mod sysctl;
mod testbed;

pub use bootstrap::{Inside, enter};
pub use capabilities::{Capability, Lack, capabilities};
pub use carry::{Carry, CarryProgress, carry};
pub use error::{Result, TestbedError};
pub use fingerprint::this_machine;
pub use goodput::Goodput;
pub use helper::{Helper, HelperTask, HostCapture, HostLoad, serve_helper, serve_remote_helper};
pub use host::{Host, Launch, Network, OUTPUT_BYTES, Output, Taps};
pub use inventory::{Attachment, BenchPlace, Inventory, InventoryHost, VmAddresses};
pub use lab::{HostKind, Lab, LabSpec, ManagedSwitch, SECOND_LINK, check_mptcp};
pub use lab_host::LabHost;
pub use last_will::LastWill;
pub use mac_address::{MacAddress, NoMacAddress};
pub use measure::measure_goodput;
pub use nameless::NamelessFile;
pub use node::{NODE_ROLE, serve_node};
pub use process::{End, Process, ProcessHandle};
pub use relay::{
    Crossing, DEFAULT_QUEUE_FRAMES, DirectionCounts, Fault, Injection, PendingInjection, Relay, RelayCounts,
    RelayEnd, RelaySpec,
};
pub use running_lab::{RunningLabs, running_labs};
pub use shell::shell;
pub use ssh::{HelperProgram, SshHost, SshTestbed, reach_all};
pub use storage::{DiskPlace, ImageFolder, Lease, Leases, StorageService};
pub use testbed::Testbed;
