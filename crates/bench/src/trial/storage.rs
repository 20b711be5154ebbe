//! A guest's disks: new for each trial, seen by both hosts, gone with this process.

use std::path::Path;

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL, format_disk, format_swap};
use dunlin_hypervisor::qemu::QemuDisk;
use dunlin_record::{DiskHeld, VmSettings};
use dunlin_testbed::NamelessFile;

use crate::Result;

const MIB: i64 = 1 << 20;

/// A guest's disks. Their files have no names: in the lab, where both hosts are one machine, each hypervisor opens them
/// through this process.
pub(crate) struct Storage {
    disk: Option<Disk>,
    swap: Option<Disk>,
}

struct Disk {
    file: NamelessFile,
    size_mib: u32,
}

impl Storage {
    /// Makes blank disks on the file system of a folder.
    pub(crate) fn make(asked: &VmSettings, folder: &Path) -> Result<Self> {
        let blank =
            |size_mib| Ok::<_, crate::BenchError>(Disk { file: NamelessFile::make_in(folder)?, size_mib });
        let disk = asked.disk.as_ref().map(|disk| blank(disk.size_mib)).transpose()?;
        let swap = asked.swap_mib.map(blank).transpose()?;
        if let Some(disk) = &disk {
            format_disk(&disk.file.path(), disk.size_mib, folder)?;
        }
        if let Some(swap) = &swap {
            format_swap(&swap.file.path(), swap.size_mib)?;
        }
        Ok(Self { disk, swap })
    }

    /// The disks as a hypervisor on either host is to have them.
    pub(crate) fn devices(&self) -> Vec<QemuDisk> {
        let device = |disk: &Disk, serial: &str| QemuDisk {
            serial: serial.to_owned(),
            size_mib: disk.size_mib,
            path: disk.file.path(),
            direct: disk.file.takes_direct_io(),
        };
        let disk = self.disk.iter().map(|disk| device(disk, DISK_SERIAL));
        disk.chain(self.swap.iter().map(|swap| device(swap, SWAP_SERIAL))).collect()
    }

    /// Whether there is a disk with a file system.
    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether there is one to swap to.
    pub(crate) fn has_swap(&self) -> bool {
        self.swap.is_some()
    }

    /// What the disk with a file system holds, of which the guest says it uses so much.
    pub(crate) fn disk_held(&self, used_bytes: u64) -> Option<DiskHeld> {
        let bytes = |value: u64| i64::try_from(value).ok();
        self.disk.as_ref().map(|disk| DiskHeld {
            virtual_size_bytes: Some(i64::from(disk.size_mib) * MIB),
            allocated_bytes: disk.file.allocated_bytes().ok().and_then(bytes),
            used_bytes: bytes(used_bytes),
        })
    }
}
