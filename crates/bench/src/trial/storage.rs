//! A guest's disks: new for each trial, seen by both hosts or each host's own, gone with this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL};
use dunlin_hypervisor::{BackingImage, Side, VmDisk};
use dunlin_record::{Blocks, Case, DiskHeld, ImageFormat, StorageHeld, StorageServer, VmId};
use dunlin_testbed::{NamelessFile, Network, StorageService, Testbed};

use super::disk_file::{DiskFile, Ground};
use super::disk_image::{Images, disk_images, empty_image, swap_image};
use super::served::Server;
use crate::Result;
use crate::world::{ends, storage_host};

const MIB: i64 = 1 << 20;

/// A guest's disks. Where both hosts are this machine their files have no names, and each hypervisor opens them through
/// this process; on other machines they lie in our folder there, or in the storage that hosts share.
pub(crate) struct Storage {
    source: Vec<Disk>,
    /// The destination's own, where it has some: empty before the move, and in the same order.
    destination: Option<Vec<Disk>>,
    // Last, so that it ends after its disks were taken from it.
    server: Option<Server>,
}

/// A disk as one host sees it.
struct Disk {
    /// By which the guest knows it.
    serial: &'static str,
    size_mib: u32,
    format: ImageFormat,
    file: DiskFile,
    backing: Option<DiskFile>,
}

/// A file that has to be brought to the other host.
pub(super) struct FileToCarry {
    /// What it is called in the record: a disk by its serial number.
    pub(super) name: &'static str,
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

impl Storage {
    /// Makes the disks that a case asks for, for a VM: on the file system of a folder, on the hosts where these are other
    /// machines, or at a server.
    pub(crate) fn make(case: &Case, vm: &VmId, folder: &Path, testbed: &dyn Testbed) -> Result<Self> {
        let destination = case.vm.moves_disks().then(Vec::new);
        let mut storage = Self { source: Vec::new(), destination, server: None };
        if case.vm.disk.is_none() && case.vm.swap_mib.is_none() {
            return Ok(storage);
        }
        storage.server = server_of(case, folder, testbed)?;
        let ground = Ground::of(testbed, folder, !case.vm.moves_disks())?;
        let maker = Maker { case, vm, ground, folder, server: storage.server.as_ref() };
        let mut made = Vec::new();
        if let Some(asked) = &case.vm.disk {
            made.push(maker.disk(DISK_SERIAL, asked.size_mib, asked.format, disk_images(asked, folder)?)?);
        }
        if let Some(size_mib) = case.vm.swap_mib {
            let images = Images { own: swap_image(size_mib, folder)?, backing: None };
            made.push(maker.disk(SWAP_SERIAL, size_mib, ImageFormat::Raw, images)?);
        }
        for (source, destination) in made {
            storage.source.push(source);
            storage.destination.iter_mut().zip(destination).for_each(|(disks, disk)| disks.push(disk));
        }
        Ok(storage)
    }

    /// The server of its disks, where they are behind one.
    pub(super) fn service(&self) -> Option<&Arc<StorageService>> {
        self.server.as_ref().map(Server::service)
    }

    /// The disks as a hypervisor there is to have them.
    pub(crate) fn devices(&self, side: Side) -> Vec<VmDisk> {
        let device = |disk: &Disk| VmDisk {
            serial: disk.serial.to_owned(),
            size_mib: disk.size_mib,
            format: disk.format,
            place: disk.file.place(side),
            backing: disk
                .backing
                .as_ref()
                .map(|file| BackingImage { format: ImageFormat::Raw, path: file.path(side) }),
            direct: disk.file.takes_direct_io(),
        };
        self.of(side).iter().map(device).collect()
    }

    /// What has to be brought to the destination of a VM that stands still.
    pub(super) fn to_carry(&self) -> Vec<FileToCarry> {
        let file = |(here, there): (&Disk, &Disk)| FileToCarry {
            name: here.serial,
            from: here.file.path(Side::Source),
            to: there.file.path(Side::Destination),
        };
        self.source.iter().zip(self.destination.iter().flatten()).map(file).collect()
    }

    /// Whether there is a disk with a file system.
    pub(crate) fn has_disk(&self) -> bool {
        self.source.iter().any(|disk| disk.serial == DISK_SERIAL)
    }

    /// Whether there is one to swap to.
    pub(crate) fn has_swap(&self) -> bool {
        self.source.iter().any(|disk| disk.serial == SWAP_SERIAL)
    }

    /// What the disk with a file system holds there, of which the guest says it uses so much.
    pub(crate) fn disk_held(&self, side: Side, used_bytes: u64) -> Option<DiskHeld> {
        self.of(side).iter().find(|disk| disk.serial == DISK_SERIAL).map(|disk| DiskHeld {
            virtual_size_bytes: Some(i64::from(disk.size_mib) * MIB),
            allocated_bytes: disk.file.allocated_bytes(),
            used_bytes: bytes(used_bytes),
        })
    }

    /// What all disks that are to move hold at the source, as far as it is copied; nothing where none does.
    pub(crate) fn held(&self, blocks: Blocks) -> Option<StorageHeld> {
        self.destination.as_ref()?;
        // What lies below a disk's own image is copied with it, unless that is left out.
        let below = |disk: &'_ Disk| disk.backing.clone().filter(|_| blocks != Blocks::Overlay);
        let files: Vec<DiskFile> =
            self.source.iter().flat_map(|disk| [Some(disk.file.clone()), below(disk)]).flatten().collect();
        let sum = |of: fn(&DiskFile) -> Option<i64>| files.iter().map(of).sum();
        Some(StorageHeld {
            virtual_size_bytes: Some(self.source.iter().map(|disk| i64::from(disk.size_mib) * MIB).sum()),
            allocated_bytes: sum(DiskFile::allocated_bytes),
            data_bytes: sum(DiskFile::data_bytes),
        })
    }

    fn of(&self, side: Side) -> &[Disk] {
        match (side, &self.destination) {
            (Side::Destination, Some(own)) => own,
            _ => &self.source,
        }
    }
}

/// The server that a case's disks need: of shared ones, or of those that move to the destination before their VM does.
fn server_of(case: &Case, folder: &Path, testbed: &dyn Testbed) -> Result<Option<Server>> {
    let disks_mib = case.vm.disk.as_ref().map_or(0, |disk| disk.size_mib) + case.vm.swap_mib.unwrap_or(0);
    let bytes = u64::from(disks_mib) << 20;
    let kind = case.storage.server;
    if kind != StorageServer::Folder {
        let host = storage_host(testbed, kind)?;
        return Ok(Some(Server::start(kind, (&host, Network::Storage), bytes, folder)?));
    }
    if case.vm.moves_disks() && case.storage.two_steps {
        let [_, destination] = ends(testbed)?;
        let at = (&destination, Network::Migration);
        return Ok(Some(Server::start(StorageServer::Nbd, at, bytes, folder)?));
    }
    Ok(None)
}

/// Puts images where they are to lie.
struct Maker<'a> {
    case: &'a Case,
    vm: &'a VmId,
    ground: Ground<'a>,
    folder: &'a Path,
    server: Option<&'a Server>,
}

impl Maker<'_> {
    /// A disk at the source, and its counterpart where the destination has its own.
    fn disk(
        &self,
        serial: &'static str,
        size_mib: u32,
        format: ImageFormat,
        images: Images,
    ) -> Result<(Disk, Option<Disk>)> {
        let moves = self.case.vm.moves_disks();
        let Images { own, backing } = images;
        let stays_below =
            self.case.storage.blocks == Blocks::Overlay || self.case.strategy.standstill().is_some();
        let below_there = match &backing {
            Some(backing) if moves && stays_below => {
                Some(self.ground.put(backing.another()?, Side::Destination)?)
            }
            _ => None,
        };
        let below = backing.map(|backing| self.ground.put(backing, Side::Source)).transpose()?;
        let file = match self.server.filter(|_| !moves) {
            Some(server) => self.served(server, &own, format, serial)?,
            None => self.ground.put(own, Side::Source)?,
        };
        let source = Disk { serial, size_mib, format, file, backing: below };
        if !moves {
            return Ok((source, None));
        }
        let file = match self.server {
            Some(server) => {
                self.served(server, &empty_image(size_mib, format, self.folder)?, format, serial)?
            }
            None => self.empty(size_mib, format)?,
        };
        Ok((source, Some(Disk { serial, size_mib, format, file, backing: below_there })))
    }

    fn served(
        &self,
        server: &Server,
        file: &NamelessFile,
        format: ImageFormat,
        serial: &str,
    ) -> Result<DiskFile> {
        let name = format!("{}-{serial}", self.vm);
        Ok(DiskFile::Served(Arc::new(server.serve(file, format, &name, self.vm.as_str())?)))
    }

    /// The destination's own file for a disk that comes there: an image that holds nothing, or nothing at all where the image
    /// itself is brought.
    fn empty(&self, size_mib: u32, format: ImageFormat) -> Result<DiskFile> {
        match format {
            _ if self.case.strategy.standstill().is_some() => self.ground.hole(0),
            ImageFormat::Raw => self.ground.hole(u64::from(size_mib) << 20),
            ImageFormat::Qcow2 => {
                self.ground.put(empty_image(size_mib, format, self.folder)?, Side::Destination)
            }
        }
    }
}

fn bytes(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}
