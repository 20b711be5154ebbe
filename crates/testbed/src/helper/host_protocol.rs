//! What the bench asks of a machine of which it has no more than a helper there: programs, files, sockets, taps.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// From the bench.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HostAsk {
    /// Runs a program to its end.
    Run {
        #[serde(with = "super::bytes::path")]
        program: PathBuf,
        args: Vec<OsString>,
        limit_ms: u64,
    },
    /// Starts a program; its end is told later.
    Launch {
        #[serde(with = "super::bytes::path")]
        program: PathBuf,
        args: Vec<OsString>,
        #[serde(with = "super::bytes::path")]
        stdout: PathBuf,
        #[serde(with = "super::bytes::path")]
        stderr: PathBuf,
    },
    /// Starts a program of which is told as of a launched one; what it says is told about another request, as of a dialled
    /// socket, and what that is sent it reads.
    Converse {
        #[serde(with = "super::bytes::path")]
        program: PathBuf,
        args: Vec<OsString>,
        #[serde(with = "super::bytes::path")]
        stderr: PathBuf,
        stream: u32,
    },
    /// Ends a launched program and its group.
    Kill {
        task: u32,
    },
    /// Has a program run at the helper's end, however that comes about.
    AtEnd {
        #[serde(with = "super::bytes::path")]
        program: PathBuf,
        args: Vec<OsString>,
    },
    /// A program is not to be run at the end after all. Not answered.
    Revoke {
        task: u32,
    },
    /// Connects to a socket; what comes from it is told, until it is closed.
    Dial {
        #[serde(with = "super::bytes::path")]
        socket: PathBuf,
        limit_ms: u64,
    },
    /// Makes or replaces a file of what is sent, until that is closed.
    Put {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
        mode: u32,
    },
    /// Bytes for a dialled socket, a program, or a file that is put. Not answered.
    Send {
        task: u32,
        bytes: Bytes,
    },
    /// So many zeros for a file that is put: a hole. Not answered.
    Skip {
        task: u32,
        bytes: u64,
    },
    /// A dialled socket, or a program, gets no more of them; what it says is still heard. Not answered.
    NoMore {
        task: u32,
    },
    /// No more of them; a file is then answered as done. A socket, or a program, is moreover not heard any more. Not
    /// answered for those.
    Close {
        task: u32,
    },
    /// A file's bytes, piece by piece, then done.
    Fetch {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
    },
    /// The files in a folder; none where there is no folder.
    List {
        #[serde(with = "super::bytes::path")]
        folder: PathBuf,
    },
    MakeFolder {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
    },
    WritePrivate {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
        bytes: Bytes,
    },
    Remove {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
    },
    /// Resident bytes of a process's mapping of a size.
    Resident {
        pid: u32,
        mapping_bytes: u64,
    },
    AddTap {
        name: String,
        bridge: String,
    },
    RemoveTap {
        name: String,
    },
    /// Whether a process of this id that was started then is there.
    IsThere {
        pid: u32,
        started: u64,
    },
    /// Its devices with IPv4 addresses.
    Devices,
    /// Nobody else may measure there as long as this helper lives.
    Claim,
    /// Which machine it is.
    Machine,
}

/// From the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HostTell {
    Done,
    Ran {
        how: String,
        success: bool,
        stdout: Bytes,
        stderr: Bytes,
    },
    Launched {
        pid: u32,
        /// When it was started, in the machine's ticks since its own start.
        started: u64,
    },
    Ended {
        how: String,
        success: bool,
    },
    Connected,
    Bytes(Bytes),
    /// So many zeros of a file.
    Zeros(u64),
    /// No more bytes; of a file its mode.
    Closed {
        mode: u32,
    },
    Files(Vec<OsString>),
    Resident(Option<i64>),
    There(bool),
    Devices(Vec<Device>),
    Machine(Machine),
}

/// A network device's IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<[u8; 6]>,
}

/// Which machine it is, and what it may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Another with each start of its kernel.
    pub(crate) boot_id: String,
    /// Its fingerprint as JSON, as the record has it.
    pub(crate) fingerprint: String,
    pub(crate) is_root: bool,
    /// Whether taps can be opened.
    pub(crate) has_taps: bool,
}
