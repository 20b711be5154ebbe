//! A guest's disks: new for each trial, seen by both hosts or each host's own, gone with this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_guest::{DISK_SERIAL, SWAP_SERIAL};
use dunlin_hypervisor::{BackingImage, Side, VmDisk};
use dunlin_record::{Blocks, Case, DiskHeld, ImageFormat, StorageHeld, StorageServer, VmId};
use dunlin_testbed::{NamelessFile, Network, StorageService, Testbed, TestbedError};

use super::disk_file::{DiskFile, Ground};
use super::disk_image::{Images, disk_images, empty_image, swap_image};
use super::served::Server;
use crate::Result;
use crate::world::ends;

const MIB: i64 = 1 << 20;

/// A guest's disks. Where both hosts are this machine their files have no names, and each hypervisor opens them through
/// this process; on other machines they lie in our folder there, or in the storage that hosts share.
pub(crate) struct Storage {
    source: Disks,
    /// The destination's own, where it has some: empty before the move.
    destination: Option<Disks>,
    // Last, so that it ends after its disks were taken from it.
    server: Option<Server>,
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
    /// Makes the disks that a case asks for, for a VM: on the file system of a folder, on the hosts where these are other
    /// machines, or at a server.
    pub(crate) fn make(case: &Case, vm: &VmId, folder: &Path, testbed: &dyn Testbed) -> Result<Self> {
        let destination = case.vm.moves_disks().then(Disks::default);
        let mut storage = Self { source: Disks::default(), destination, server: None };
        if case.vm.disk.is_none() && case.vm.swap_mib.is_none() {
            return Ok(storage);
        }
        storage.server = server_of(case, folder, testbed)?;
        let maker = Maker { case, vm, ground: Ground::of(testbed, folder, !case.vm.moves_disks())?, folder };
        let server = storage.server.as_ref();
        if let Some(asked) = &case.vm.disk {
            let images = disk_images(asked, folder)?;
            let (source, destination) =
                maker.disk(DISK_SERIAL, asked.size_mib, asked.format, images, server)?;
            storage.source.disk = Some(source);
            if let Some(disks) = &mut storage.destination {
                disks.disk = destination;
            }
        }
        if let Some(size_mib) = case.vm.swap_mib {
            let images = Images { own: swap_image(size_mib, folder)?, backing: None };
            let (source, destination) =
                maker.disk(SWAP_SERIAL, size_mib, ImageFormat::Raw, images, server)?;
            storage.source.swap = Some(source);
            if let Some(disks) = &mut storage.destination {
                disks.swap = destination;
            }
        }
        Ok(storage)
    }

    /// The server of its disks, where they are behind one.
    pub(super) fn service(&self) -> Option<&Arc<StorageService>> {
        self.server.as_ref().map(Server::service)
    }

    /// The disks as a hypervisor there is to have them.
    pub(crate) fn devices(&self, side: Side) -> Vec<VmDisk> {
        let device = |(serial, disk): (&str, &Disk)| VmDisk {
            serial: serial.to_owned(),
            size_mib: disk.size_mib,
            format: disk.format,
            place: disk.file.place(side),
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

/// The server that a case's disks need: of shared ones, or of those that move to the destination before their VM does.
fn server_of(case: &Case, folder: &Path, testbed: &dyn Testbed) -> Result<Option<Server>> {
    let disks_mib = case.vm.disk.as_ref().map_or(0, |disk| disk.size_mib) + case.vm.swap_mib.unwrap_or(0);
    let bytes = u64::from(disks_mib) << 20;
    let kind = case.storage.server;
    if kind != StorageServer::Folder {
        let host = testbed.storage_host().ok_or_else(|| TestbedError::Unsupported {
            what: format!("disks by {}", kind.name()),
            because: "the testbed has no host that serves storage".into(),
        })?;
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
}

impl Maker<'_> {
    /// A disk at the source, and its counterpart where the destination has its own.
    fn disk(
        &self,
        serial: &str,
        size_mib: u32,
        format: ImageFormat,
        images: Images,
        server: Option<&Server>,
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
        let file = match server.filter(|_| !moves) {
            Some(server) => self.served(server, &own, format, serial)?,
            None => self.ground.put(own, Side::Source)?,
        };
        let source = Disk { size_mib, format, file, backing: below };
        if !moves {
            return Ok((source, None));
        }
        let file = match server {
            Some(server) => {
                self.served(server, &empty_image(size_mib, format, self.folder)?, format, serial)?
            }
            None => self.empty(size_mib, format)?,
        };
        Ok((source, Some(Disk { size_mib, format, file, backing: below_there })))
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

impl Disks {
    fn all(&self) -> impl Iterator<Item = (&'static str, &Disk)> {
        let disk = self.disk.iter().map(|disk| (DISK_SERIAL, disk));
        disk.chain(self.swap.iter().map(|swap| (SWAP_SERIAL, swap)))
    }
}

fn bytes(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}
