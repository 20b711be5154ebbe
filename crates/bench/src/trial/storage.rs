//! A guest's disks: new for each trial, seen by both hosts or each host's own, gone with this process.

use std::path::{Path, PathBuf};

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL};
use dunlin_hypervisor::{BackingImage, Side, VmDisk};
use dunlin_record::{Blocks, Case, DiskHeld, ImageFormat, StorageHeld};
use dunlin_testbed::{DiskPlace, Testbed};

use super::disk_file::{DiskFile, Ground};
use super::disk_image::{Images, disk_images, empty_image, swap_image};
use crate::Result;

const MIB: i64 = 1 << 20;

/// A guest's disks. Where both hosts are this machine their files have no names, and each hypervisor opens them through
/// this process; on other machines they lie in our folder there, or in the storage that hosts share.
pub(crate) struct Storage {
    source: Disks,
    /// The destination's own, where it has some: empty before the move.
    destination: Option<Disks>,
}

/// The disks that one host sees.
#[derive(Default)]
struct Disks {
    disk: Option<Disk>,
    swap: Option<Disk>,
}

struct Disk {
    size_mib: u32,
    format: ImageFormat,
    file: DiskFile,
    backing: Option<DiskFile>,
}

/// A file of a disk that has to be brought to the other host.
pub(super) struct DiskToCarry {
    /// By which the guest knows the disk.
    pub(super) serial: &'static str,
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

impl Storage {
    /// Makes the disks that a case asks for: on the file system of a folder, or on the hosts where these are other machines.
    pub(crate) fn make(case: &Case, folder: &Path, testbed: &dyn Testbed) -> Result<Self> {
        let vm = &case.vm;
        if vm.disk.is_none() && vm.swap_mib.is_none() {
            return Ok(Self { source: Disks::default(), destination: None });
        }
        let ground = Ground::of(testbed, folder, !vm.moves_disks())?;
        let mut storage =
            Self { source: Disks::default(), destination: vm.moves_disks().then(Disks::default) };
        if let Some(asked) = &vm.disk {
            let Images { own, backing } = disk_images(asked, folder)?;
            let needs_backing =
                case.storage.blocks == Blocks::Overlay || case.strategy.standstill().is_some();
            let backing_there = match &backing {
                Some(backing) if vm.moves_disks() && needs_backing => {
                    Some(ground.put(backing.another()?, Side::Destination)?)
                }
                _ => None,
            };
            let (size_mib, format) = (asked.size_mib, asked.format);
            let backing = backing.map(|backing| ground.put(backing, Side::Source)).transpose()?;
            let file = ground.put(own, Side::Source)?;
            storage.source.disk = Some(Disk { size_mib, format, file, backing });
            if let Some(destination) = &mut storage.destination {
                let file = empty_there(case, &ground, size_mib, format)?;
                destination.disk = Some(Disk { size_mib, format, file, backing: backing_there });
            }
        }
        if let Some(size_mib) = vm.swap_mib {
            let format = ImageFormat::Raw;
            let file = ground.put(swap_image(size_mib, folder)?, Side::Source)?;
            storage.source.swap = Some(Disk { size_mib, format, file, backing: None });
            if let Some(destination) = &mut storage.destination {
                let file = empty_there(case, &ground, size_mib, format)?;
                destination.swap = Some(Disk { size_mib, format, file, backing: None });
            }
        }
        Ok(storage)
    }

    /// The disks as a hypervisor there is to have them.
    pub(crate) fn devices(&self, side: Side) -> Vec<VmDisk> {
        let device = |(serial, disk): (&str, &Disk)| VmDisk {
            serial: serial.to_owned(),
            size_mib: disk.size_mib,
            format: disk.format,
            place: DiskPlace::File(disk.file.path(side)),
            backing: disk
                .backing
                .as_ref()
                .map(|file| BackingImage { format: ImageFormat::Raw, path: file.path(side) }),
            direct: disk.file.takes_direct_io(),
        };
        self.of(side).all().map(device).collect()
    }

    /// What has to be brought to the destination of a VM that stands still.
    pub(super) fn to_carry(&self) -> Vec<DiskToCarry> {
        let Some(destination) = &self.destination else { return Vec::new() };
        let pairs = self.source.all().zip(destination.all());
        let pair = |((serial, here), (_, there)): ((&'static str, &Disk), (&str, &Disk))| DiskToCarry {
            serial,
            from: here.file.path(Side::Source),
            to: there.file.path(Side::Destination),
        };
        pairs.map(pair).collect()
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

    /// What all disks that are to move hold at the source, as far as it is copied; nothing where none does.
    pub(crate) fn held(&self, blocks: Blocks) -> Option<StorageHeld> {
        self.destination.as_ref()?;
        let disks = || self.source.all().map(|(_, disk)| disk);
        // What lies below a disk's own image is copied with it, unless that is left out.
        let below = |disk: &'_ Disk| disk.backing.clone().filter(|_| blocks != Blocks::Overlay);
        let files: Vec<DiskFile> =
            disks().flat_map(|disk| [Some(disk.file.clone()), below(disk)]).flatten().collect();
        let sum = |of: fn(&DiskFile) -> Option<i64>| files.iter().map(of).sum();
        Some(StorageHeld {
            virtual_size_bytes: Some(disks().map(|disk| i64::from(disk.size_mib) * MIB).sum()),
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

/// The destination's own file for a disk that comes there: an image that holds nothing, or nothing at all where the image
/// itself is brought.
fn empty_there(case: &Case, ground: &Ground<'_>, size_mib: u32, format: ImageFormat) -> Result<DiskFile> {
    match format {
        _ if case.strategy.standstill().is_some() => ground.hole(0),
        ImageFormat::Raw => ground.hole(u64::from(size_mib) << 20),
        ImageFormat::Qcow2 => ground.put(empty_image(size_mib, format, ground.work())?, Side::Destination),
    }
}

impl Disks {
    fn all(&self) -> impl Iterator<Item = (&'static str, &Disk)> {
        let disk = self.disk.iter().map(|disk| (DISK_SERIAL, disk));
        disk.chain(self.swap.iter().map(|swap| (SWAP_SERIAL, swap)))
    }
}

fn bytes(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}
