//! A guest's disks: new for each trial, seen by both hosts or each host's own, gone with this process.

use std::path::Path;

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL};
use dunlin_hypervisor::{Side, VmDisk};
use dunlin_record::{DiskHeld, ImageFormat, StorageHeld, VmSettings};
use dunlin_testbed::{DiskPlace, Testbed};

use super::disk_file::{DiskFile, Format, Ground};
use crate::{BenchError, Result};

const MIB: i64 = 1 << 20;

/// A guest's disks. Where both hosts are this machine their files have no names, and each hypervisor opens them through
/// this process; on other machines they lie in our folder there, or in the storage that hosts share.
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
    file: DiskFile,
    size_mib: u32,
}

impl Storage {
    /// Makes blank disks: on the file system of a folder, or on the hosts where these are other machines.
    pub(crate) fn make(asked: &VmSettings, folder: &Path, testbed: &dyn Testbed) -> Result<Self> {
        if asked.disk.is_none() && asked.swap_mib.is_none() {
            return Ok(Self { source: Disks { disk: None, swap: None }, destination: None });
        }
        let ground = Ground::of(testbed, folder, !asked.moves_disks())?;
        let source = Disks::make(asked, |size_mib, format| ground.formatted(size_mib, format))?;
        let empty = || Disks::make(asked, |size_mib, _| ground.empty(size_mib));
        let destination = asked.moves_disks().then(empty).transpose()?;
        Ok(Self { source, destination })
    }

    /// The disks as a hypervisor there is to have them.
    pub(crate) fn devices(&self, side: Side) -> Vec<VmDisk> {
        let device = |disk: &Disk, serial: &str| VmDisk {
            serial: serial.to_owned(),
            size_mib: disk.size_mib,
            format: ImageFormat::Raw,
            place: DiskPlace::File(disk.file.path(side)),
            backing: None,
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
            allocated_bytes: disk.file.allocated_bytes(),
            used_bytes: bytes(used_bytes),
        })
    }

    /// What all disks that are to move hold at the source; nothing where none does.
    pub(crate) fn held(&self) -> Option<StorageHeld> {
        self.destination.as_ref()?;
        let Disks { disk, swap } = &self.source;
        let disks: Vec<&Disk> = disk.iter().chain(swap).collect();
        let sum = |of: fn(&DiskFile) -> Option<i64>| disks.iter().map(|disk| of(&disk.file)).sum();
        Some(StorageHeld {
            virtual_size_bytes: Some(disks.iter().map(|disk| i64::from(disk.size_mib) * MIB).sum()),
            allocated_bytes: sum(DiskFile::allocated_bytes),
            data_bytes: sum(DiskFile::data_bytes),
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
    fn make(asked: &VmSettings, make: impl Fn(u32, Format) -> Result<DiskFile>) -> Result<Self> {
        let disk = |size_mib, format| Ok::<_, BenchError>(Disk { file: make(size_mib, format)?, size_mib });
        Ok(Self {
            disk: asked.disk.as_ref().map(|asked| disk(asked.size_mib, Format::FileSystem)).transpose()?,
            swap: asked.swap_mib.map(|size_mib| disk(size_mib, Format::Swap)).transpose()?,
        })
    }
}

fn bytes(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}
