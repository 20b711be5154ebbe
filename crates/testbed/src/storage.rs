//! Where a VM's disk lies, as its hypervisor is told, and the servers of storage that several hosts reach.

mod folder;
mod iscsi;
mod lease;
mod loop_device;
mod monitor;
mod name;
mod nbd;
mod nfs;
mod program;
mod service;

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

pub use folder::ImageFolder;
pub use lease::{Lease, Leases};
pub use service::StorageService;

/// Where an image lies: in a file of the host's, or at a server of storage that several hosts reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DiskPlace {
    /// A file of the host's.
    File(PathBuf),
    /// A file of an NFS server's export.
    Nfs {
        /// The server, asked at its usual port.
        server: std::net::Ipv4Addr,
        /// The file's whole path there.
        path: PathBuf,
    },
    /// A unit of an iSCSI target.
    Iscsi {
        /// Where the target is reached.
        portal: SocketAddrV4,
        /// Its name (RFC 3720, section 3.2.6.3), as in `iqn.2026-11.dunlin:disk`.
        target: String,
        /// The unit's number there.
        lun: u8,
    },
    /// An export of an NBD server.
    Nbd {
        /// The server.
        server: SocketAddrV4,
        /// The export's name.
        export: String,
    },
}

impl DiskPlace {
    /// The file, where it is one of the host's.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Nfs { .. } | Self::Iscsi { .. } | Self::Nbd { .. } => None,
        }
    }
}
