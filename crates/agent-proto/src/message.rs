//! The messages: requests of the client, each answered by one reply of the agent.

use std::net::{Ipv4Addr, SocketAddrV4};

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
    /// Begin a workload beside those that run. Answered by [`Reply::WorkloadStarted`] once it runs (its memory has been
    /// filled), or by [`Reply::Failed`] if one of this number runs already.
    StartWorkload {
        /// A number of the client's choice, by which it is ended.
        job: u32,
        /// What is to be done.
        workload: Workload,
    },
    /// End a workload. Answered by [`Reply::WorkloadAchieved`], or by [`Reply::Failed`] if there is none of this number;
    /// of one that died with its last words.
    StopWorkload {
        /// Its number.
        job: u32,
    },
    /// How is the guest's memory used? Answered by [`Reply::Memory`].
    QueryMemory,
    /// What have the guest's CPUs done? Answered by [`Reply::Cpu`].
    QueryCpu,
    /// Mount the file system of the disk [`crate::DISK_SERIAL`]. Answered by [`Reply::Done`].
    MountDisk,
    /// Swap to the disk [`crate::SWAP_SERIAL`]. Answered by [`Reply::Done`].
    SwapOn,
    /// How is the mounted disk used, or of a program's guest the file system at `/`? Answered by [`Reply::Disk`].
    QueryDisk,
    /// What do the guest's clocks say? Answered by [`Reply::Clocks`].
    QueryClocks,
    /// Shut the guest down: its disks are let go of, then it powers itself off. Answered by [`Reply::Done`] before that begins.
    ShutDown {
        /// A number of which a seal is left on the mounted disk; none if absent.
        seal: Option<u64>,
    },
    /// Is the mounted disk the one that was left with this seal? Answered by [`Reply::Done`], or by [`Reply::Failed`] if not.
    CheckSeal {
        /// The seal's number.
        seal: u64,
    },
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
    /// Its memory, if it has any, is allocated and every page of it was written once; the work goes on.
    WorkloadStarted,
    /// What the workload did until it was stopped.
    WorkloadAchieved(Achieved),
    /// How the guest's memory is used.
    Memory(GuestMemory),
    /// What the guest's CPUs have done since it was booted.
    Cpu(GuestCpu),
    /// How the mounted disk is used.
    Disk(GuestDisk),
    /// What the guest's clocks say.
    Clocks(GuestClocks),
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
    /// What it is in its guest.
    pub kind: AgentKind,
    /// The guest kernel's release.
    pub kernel: String,
    /// The guest's memory as its kernel sees it (`MemTotal`).
    pub memory_total_bytes: u64,
    /// What went wrong while the guest came up, one line each; empty if nothing did.
    pub troubles: Vec<String>,
}

/// What the agent is in its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentKind {
    /// Its init: the guest is Dunlin's, and does what it is asked.
    Init,
    /// A program in somebody else's guest: it changes nothing of that one's system, and refuses what would.
    Program,
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

/// What the guest is to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Workload {
    /// Writes or reads the pages of its memory over and over.
    Memory(MemoryWork),
    /// Writes or reads a file on its disk over and over.
    Disk(DiskWork),
    /// Transforms a signal and back (FFT) over and over.
    Cpu {
        /// 1 (75 % of a vCPU) to 10 (all of it).
        priority: u8,
    },
    /// Watches the clocks.
    Clock,
    /// Serves HTTP, with `/increase_mem` and `/decrease_mem`, until it is stopped.
    HttpServer {
        /// So many times 10 MiB are allocated and written before.
        increase_calls: u32,
    },
    /// Is one end of a stream of numbered blocks.
    Stream(StreamWork),
}

/// The guest's end of a stream; the other end listens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StreamWork {
    /// Where the other end listens.
    pub peer: SocketAddrV4,
    /// Payload of each datagram where it goes over UDP; over TCP if absent.
    pub datagram_bytes: Option<u16>,
    /// How fast the guest sends; it receives if absent.
    pub sends: Option<PageRate>,
}

/// Work on memory, which is filled once before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryWork {
    /// What is allocated and filled, in MiB, at least the working set.
    pub allocated_mib: u32,
    /// The part of it that is worked on, in MiB, at least 1.
    pub working_set_mib: u32,
    /// How fast.
    pub rate: PageRate,
    /// Which page comes next.
    pub order: PageOrder,
    /// What is done to a page.
    pub access: Access,
    /// Share of the content that repeats itself, in percent, at most 100.
    pub compressibility_percent: u8,
}

/// Work on a file on the mounted disk, page by page in turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiskWork {
    /// The file's size in MiB, at least 1.
    pub file_mib: u32,
    /// How fast.
    pub rate: PageRate,
    /// What is done to it.
    pub access: DiskAccess,
    /// Whether past the guest's cache.
    pub direct: bool,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskAccess {
    /// It is written once, before the work starts, and read.
    Read,
    /// It is written.
    Write,
}

/// What is done to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It is read.
    Read,
    /// Its begin is changed.
    Write {
        /// How much of it: 8 to 4096, a multiple of 8.
        bytes_per_page: u16,
    },
}

/// Which page comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageOrder {
    /// Each in turn.
    Sequential,
    /// Any, all equally often.
    Uniform,
    /// Any, the n-th in proportion to 1/n.
    Zipf,
}

/// How fast pages are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum PageRate {
    /// As fast as the guest can.
    Full,
    /// Pages a second times 4 KiB, in MiB/s; above 0.
    MibPerSecond(f64),
}

/// What a workload did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// From the report of its start to its end, by the guest's monotonic clock, in nanoseconds.
    pub elapsed_ns: u64,
    /// What it did in that time.
    pub work: Work,
}

/// What was done, by kind of workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Of memory.
    Memory {
        /// Pages written or read, a page as often as it came.
        pages: u64,
        /// Full passes over the working set, where pages come in turn.
        passes: Option<u64>,
        /// Pages that did not hold what had been written to them; 0 is the only good answer.
        corrupt_pages: u64,
    },
    /// Of a disk.
    Disk {
        /// Pages written or read, a page as often as it came.
        pages: u64,
        /// Full passes over the file.
        passes: u64,
        /// Pages that did not hold, on the disk, what had been written to them; 0 is the only good answer.
        corrupt_pages: u64,
    },
    /// Of the CPU.
    Cpu {
        /// Transforms there and back.
        operations: u64,
        /// Those of which not what had gone in came out; 0 is the only good answer.
        wrong_results: u64,
        /// Time on the CPU outside the kernel, in nanoseconds.
        user_ns: u64,
        /// Time on the CPU inside the kernel, in nanoseconds.
        system_ns: u64,
    },
    /// Of the clocks.
    Clock {
        /// Looks at them.
        looks: u64,
        /// Times between two looks, less that asked for.
        gaps: Excursions,
        /// Jumps of the wall clock against the monotonic one.
        realtime: Excursions,
        /// Jumps of the boot-time clock against the monotonic one.
        boottime: Excursions,
    },
    /// Of serving HTTP.
    HttpServer {
        /// Requests answered with 200.
        answered: u64,
        /// Requests answered with anything else.
        refused: u64,
        /// Connections that ended before their request or its answer was through.
        broken: u64,
        /// Memory held at the end, in bytes.
        held_bytes: u64,
        /// Pages of memory that did not hold what was written to them; 0 is the only good answer.
        corrupt_pages: u64,
        /// Products that were not what they must be; 0 is the only good answer.
        wrong_results: u64,
    },
    /// Of a stream.
    Stream {
        /// Payload handed to the kernel, or come.
        bytes: u64,
        /// Connections made; none over UDP.
        connections: u64,
        /// Of a receiver: what came.
        received: Option<Received>,
    },
}

/// What a stream's receiver found of the order and the content of its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Received {
    /// Blocks that never came.
    pub missing: u64,
    /// Blocks that came after later ones.
    pub late: u64,
    /// Blocks that came again.
    pub repeated: u64,
    /// Blocks whose content is not that of any number.
    pub corrupted: u64,
    /// The longest time between two arrivals, by the guest's monotonic clock, in nanoseconds.
    pub longest_gap_ns: i64,
    /// Over UDP, which never came: the first and how many in a row, at most 1000 entries.
    pub lost: Vec<(u64, u64)>,
}

/// Values that should be small and are not: those above 1 ms either way, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Excursions {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub total_ns: i64,
    /// The largest value of all, small ones included, by size; with its sign.
    pub largest_ns: i64,
}

/// What all CPUs of the guest together have done since its boot (`/proc/stat`), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestCpu {
    /// They ran something.
    pub busy_ns: i64,
    /// They had nothing to do.
    pub idle_ns: i64,
}

/// The guest's clocks, read one right after the other, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestClocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: i64,
    /// `CLOCK_BOOTTIME`, which also counts the time a machine was suspended.
    pub boottime_ns: i64,
    /// `CLOCK_REALTIME`, since the Unix epoch.
    pub realtime_ns: i64,
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
    /// `SwapTotal`.
    pub swap_total_bytes: u64,
    /// `SwapFree`.
    pub swap_free_bytes: u64,
}

/// How a file system of the guest is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestDisk {
    /// Where it is mounted.
    pub mounted_at: String,
    /// Of what it is, as in `ext4`, and of which device; as `/proc/self/mounts` tells both.
    pub kind: String,
    /// (the same)
    pub device: String,
    /// Its used blocks (`statvfs`), in bytes.
    pub used_bytes: u64,
}
