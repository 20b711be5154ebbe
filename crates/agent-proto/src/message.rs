//! The messages: requests of the client, each answered by one reply of the agent.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Something asked of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Names the request; its reply carries the same.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// The agent's answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The request's.
    pub id: u64,
    /// The answer.
    pub reply: Reply,
}

/// What can be asked of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Who are you? Answered by [`Reply::Ready`].
    Identify,
    /// Answered by [`Reply::Pong`] with the same number.
    Ping(u64),
    /// Set the guest's wall clock, as after a restore. Answered by [`Reply::Done`].
    SetClock {
        /// Nanoseconds since the Unix epoch.
        epoch_ns: i64,
    },
    /// Stir this into the guest's random pool and credit it, as after a restore: at most 512 bytes. Answered by
    /// [`Reply::Done`].
    AddEntropy(Vec<u8>),
    /// Give the guest's network card this address instead of the one it has. Answered by [`Reply::Done`].
    ConfigureNetwork(Network),
    /// Begin to write memory. Answered by [`Reply::WorkloadStarted`] once every page has been written, or by
    /// [`Reply::Failed`] if a workload runs already.
    StartMemoryWrite(MemoryWrite),
    /// End the workload. Answered by [`Reply::WorkloadAchieved`], or by [`Reply::Failed`] if none runs.
    StopWorkload,
    /// How is the guest's memory used? Answered by [`Reply::Memory`].
    QueryMemory,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// Who the agent is.
    Ready(Ready),
    /// The number of the ping.
    Pong(u64),
    /// The working set is allocated, every page of it was written once, and the writing goes on.
    WorkloadStarted,
    /// What the workload did until it was stopped.
    WorkloadAchieved(Achieved),
    /// How the guest's memory is used.
    Memory(GuestMemory),
    /// It could not be done.
    Failed {
        /// What could not be done and why, as one line.
        what: String,
    },
}

/// Who the agent is and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The agent's version.
    pub agent: String,
    /// The guest kernel's release.
    pub kernel: String,
    /// The guest's memory as its kernel sees it (`MemTotal`).
    pub memory_total_bytes: u64,
    /// What went wrong while the guest came up, one line each; empty if nothing did.
    pub troubles: Vec<String>,
}

/// Where the guest is on its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Bits of the network's prefix, 0 to 32.
    pub prefix: u8,
    /// Machines whose hardware address the guest need not ask for.
    pub neighbours: Vec<Neighbour>,
}

/// A machine whose hardware address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its network address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// A workload that writes to each page of a working set in turn, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryWrite {
    /// Size of the working set in MiB, at least 1.
    pub working_set_mib: u32,
    /// How fast.
    pub rate: WriteRate,
}

/// How fast pages are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum WriteRate {
    /// As fast as the guest can.
    Full,
    /// Pages a second times 4 KiB, in MiB/s; above 0.
    MibPerSecond(f64),
}

/// What a workload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Achieved {
    /// From the first write after the start was reported to the last, by the guest's monotonic clock, in nanoseconds.
    pub elapsed_ns: u64,
    /// Writes to a page, each page once a pass.
    pub pages_written: u64,
    /// Full passes over the working set.
    pub passes: u64,
    /// Pages that did not hold what had been written to them; 0 is the only good answer.
    pub corrupt_pages: u64,
}

/// How the guest's memory is used (`/proc/meminfo`), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestMemory {
    /// `MemTotal`.
    pub total_bytes: u64,
    /// `MemFree`.
    pub free_bytes: u64,
    /// `MemAvailable`.
    pub available_bytes: u64,
    /// `Committed_AS`: asked for by the guest's processes.
    pub committed_bytes: u64,
}
