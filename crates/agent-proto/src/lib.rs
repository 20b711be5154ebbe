//! What the agent in the guest and its client on the bench say to each other, and a link that loses and repeats none of
//! it while the byte stream below breaks, as it does when the VM moves.

mod error;
mod frame;
mod link;
mod message;

pub use error::{LinkError, Result};
pub use link::{Link, VERSION};
pub use message::{
    Access, Achieved, AgentKind, Ask, DiskAccess, DiskWork, Excursions, GuestClocks, GuestCpu, GuestDisk,
    GuestMemory, MemoryWork, Neighbour, Network, PageOrder, PageRate, Ready, Received, Reply, Request,
    Response, StreamWork, Work, Workload,
};

/// The name of the virtio-serial port the agent listens on.
pub const PORT_NAME: &str = "dunlin.agent";
/// The serial number of the virtio disk with a file system.
pub const DISK_SERIAL: &str = "dunlin-disk";
/// The serial number of the virtio disk that is the guest's swap.
pub const SWAP_SERIAL: &str = "dunlin-swap";
/// The UDP port on which the agent sends every datagram back.
pub const UDP_ECHO_PORT: u16 = 7007;
/// The word of the kernel's command line that carries the guest's address, as in `dunlin.address=10.77.0.10/24`.
pub const ADDRESS_ARGUMENT: &str = "dunlin.address";
/// What the agent prints on the console once it can be reached.
pub const READY_LINE: &str = "dunlin-agent ready";
