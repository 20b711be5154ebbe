//! A guest's disks: new for each trial, seen by both hosts or each host's own, gone with this process.

use std::path::Path;

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL, format_disk, format_swap};
use dunlin_hypervisor::{Side, VmDisk};
use dunlin_record::{DiskHeld, StorageHeld, VmSettings};
use dunlin_testbed::{NamelessFile, TestbedError};

use crate::Result;

const MIB: i64 = 1 << 20;

/// A guest's disks. Their files have no names: in the lab, where both hosts are one machine, each hypervisor opens them
/// through this process.
pub(crate) struct Storage {
    source: Disks,
    /// The destination's own, where it has some: empty before the move.
    destination: Option<Disks>,
}

/// The disks that one host sees.
struct Disks {
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
        let source = Disks::make(asked, folder)?;
        if let Some(disk) = &source.disk {
            format_disk(&disk.file.path(), disk.size_mib, folder)?;
        }
        if let Some(swap) = &source.swap {
            format_swap(&swap.file.path(), swap.size_mib)?;
        }
        let destination = asked.moves_disks().then(|| Disks::empty(asked, folder)).transpose()?;
        Ok(Self { source, destination })
    }

    /// The disks as a hypervisor there is to have them.
    pub(crate) fn devices(&self, side: Side) -> Vec<VmDisk> {
        let device = |disk: &Disk, serial: &str| VmDisk {
            serial: serial.to_owned(),
            size_mib: disk.size_mib,
            path: disk.file.path(),
            direct: disk.file.takes_direct_io(),
        };
        let Disks { disk, swap } = self.of(side);
        let disk = disk.iter().map(|disk| device(disk, DISK_SERIAL));
        disk.chain(swap.iter().map(|swap| device(swap, SWAP_SERIAL))).collect()
    }

    /// Whether there is a disk with a file system.
    pub(crate) fn has_disk(&self) -> bool {
        self.source.disk.is_some()
    }

    /// Whether there is one to swap to.
    pub(crate) fn has_swap(&self) -> bool {
        self.source.swap.is_some()
    }

    /// What the disk with a file system holds there, of which the guest says it uses so much.
    pub(crate) fn disk_held(&self, side: Side, used_bytes: u64) -> Option<DiskHeld> {
        self.of(side).disk.as_ref().map(|disk| DiskHeld {
            virtual_size_bytes: Some(i64::from(disk.size_mib) * MIB),
            allocated_bytes: disk.file.allocated_bytes().ok().and_then(bytes),
            used_bytes: bytes(used_bytes),
        })
    }

    /// What all disks that are to move hold at the source; nothing where none does.
    pub(crate) fn held(&self) -> Option<StorageHeld> {
        self.destination.as_ref()?;
        let Disks { disk, swap } = &self.source;
        let disks: Vec<&Disk> = disk.iter().chain(swap).collect();
        let sum = |of: fn(&NamelessFile) -> Result<u64, TestbedError>| {
            disks.iter().map(|disk| of(&disk.file).ok().and_then(bytes)).sum()
        };
        Some(StorageHeld {
            virtual_size_bytes: Some(disks.iter().map(|disk| i64::from(disk.size_mib) * MIB).sum()),
            allocated_bytes: sum(NamelessFile::allocated_bytes),
            data_bytes: sum(NamelessFile::data_bytes),
        })
    }

    fn of(&self, side: Side) -> &Disks {
        match (side, &self.destination) {
            (Side::Destination, Some(own)) => own,
            _ => &self.source,
        }
    }
}

impl Disks {
    fn make(asked: &VmSettings, folder: &Path) -> Result<Self> {
        let blank =
            |size_mib| Ok::<_, crate::BenchError>(Disk { file: NamelessFile::make_in(folder)?, size_mib });
        let disk = asked.disk.as_ref().map(|disk| blank(disk.size_mib)).transpose()?;
        Ok(Self { disk, swap: asked.swap_mib.map(blank).transpose()? })
    }

    /// Of the right sizes, and nothing but holes.
    fn empty(asked: &VmSettings, folder: &Path) -> Result<Self> {
        let disks = Self::make(asked, folder)?;
        for disk in disks.disk.iter().chain(&disks.swap) {
            disk.file.resize(u64::from(disk.size_mib) << 20)?;
        }
        Ok(disks)
    }
}

fn bytes(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}
