//! Machines that are reached through ssh: the user's own client, with their configuration, agent and keys; one connection
//! a machine, which ends with us; on it our own program, copied there, does all that has to be done.
//!
//! No name and no path meets a remote shell: the one command that does is fixed text with words that we chose, and all else
//! travels in the helper's frames.

mod connection;
mod deliver;
mod fit;
mod host;
mod link;
mod master;
mod process;
mod socket_folder;
mod sockets;
mod testbed;

use std::path::PathBuf;

use dunlin_record::HostId;

pub use host::SshHost;
pub use testbed::{SshTestbed, reach_all};

/// The program that is copied to a machine.
#[derive(Debug, Clone, Copy)]
pub struct HelperProgram {
    /// A static program for the architecture of this machine.
    pub bytes: &'static [u8],
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: &'static str,
}

/// How a machine is reached.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// By which the host is known to us.
    pub(crate) id: HostId,
    /// As ssh(1) takes it.
    pub(crate) destination: String,
    /// The client's configuration; the user's own where absent.
    pub(crate) config: Option<PathBuf>,
    /// Whether our program runs by `sudo -n`.
    pub(crate) sudo: bool,
    /// In which folder its own is made.
    pub(crate) folder: PathBuf,
}
