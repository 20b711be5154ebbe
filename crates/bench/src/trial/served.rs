//! Disks behind a server of storage: it is started for a trial, and what befalls it is done to it here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, now_ns};
use dunlin_record::{
    Event, EventKind, HostId, ImageFormat, StorageFault, StorageFaultKind, StorageServer, in_one_line,
};
use dunlin_testbed::{
    DiskPlace, Host, ImageFolder, Lease, Leases, NamelessFile, Network, StorageService, TestbedError,
};

use crate::Result;

/// What a folder of images has room for besides what its disks can come to hold: the file system's own, and a qcow2 image's.
const SPARE_BYTES: u64 = 256 << 20;

/// How often it is looked whether a server is back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server of disks, with the folder of its images.
pub(super) struct Server {
    // First, so that it ends before its folder goes.
    service: Arc<StorageService>,
    leases: Leases,
    folder: Folder,
}

/// Where the images lie on the server's host.
enum Folder {
    /// It leaves nothing by itself.
    Made(ImageFolder),
    /// The host's own for such things, which goes with our helper there.
    Scratch(PathBuf),
}

/// A disk behind a server. Dropping it withdraws it, and removes its image.
pub(super) struct Served {
    place: DiskPlace,
    image: PathBuf,
    name: String,
    service: Arc<StorageService>,
    /// Nobody but its VM may write it: these servers' clients have no locks.
    _lease: Lease,
}

impl Server {
    /// Starts a server on a host, where it is reached over a network, with room for so many bytes of images. `work` is a local
    /// folder.
    pub(super) fn start(
        kind: StorageServer,
        (host, network): (&Arc<dyn Host>, Network),
        bytes: u64,
        work: &Path,
    ) -> Result<Self> {
        let at = host.address(network).ok_or_else(|| TestbedError::Unsupported {
            what: format!("a server of disks on {}", host.id()),
            because: format!("it has no address on the {network} network"),
        })?;
        let folder = match host.image_folder(work, bytes + SPARE_BYTES) {
            Ok(folder) => Folder::Made(folder),
            Err(TestbedError::Unsupported { .. }) => Folder::Scratch(host.scratch()),
            Err(error) => return Err(error.into()),
        };
        let service = Arc::new(StorageService::start(host, kind, at, folder.path())?);
        Ok(Self { service, leases: Leases::on(host), folder })
    }

    /// Serves a local file's content as a disk of a VM.
    pub(super) fn serve(
        &self,
        file: &NamelessFile,
        format: ImageFormat,
        name: &str,
        owner: &str,
    ) -> Result<Served> {
        let image = self.folder.path().join(name);
        self.service.host().copy_to(&file.path(), &image)?;
        let taken = self.leases.take(&image, owner);
        let exported = taken.and_then(|lease| Ok((lease, self.service.export(&image, format, name)?)));
        let (lease, place) = exported.inspect_err(|_| {
            let _ = self.service.host().remove(&image);
        })?;
        let service = Arc::clone(&self.service);
        Ok(Served { place, image, name: name.to_owned(), service, _lease: lease })
    }

    /// The server itself, for what befalls it.
    pub(super) fn service(&self) -> &Arc<StorageService> {
        &self.service
    }
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Made(folder) => folder.path(),
            Self::Scratch(path) => path,
        }
    }
}

impl Served {
    pub(super) fn place(&self) -> &DiskPlace {
        &self.place
    }

    pub(super) fn image(&self) -> &Path {
        &self.image
    }

    pub(super) fn host(&self) -> &Arc<dyn Host> {
        self.service.host()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Where the server is gone it serves nothing, and the image goes with its folder.
        let _ = self.service.withdraw(&self.name);
        let _ = self.service.host().remove(&self.image);
    }
}

/// Something that befalls a server, on a thread of its own. Dropping this ends it early: the server is there again then.
pub(super) struct Befalling {
    leave: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Befalling {
    /// Has a fault befall a server from now on as it says, and tells when it is away and when it is back.
    pub(super) fn begin(
        fault: &StorageFault,
        service: &Arc<StorageService>,
        events: Sender<Event>,
        cancel: &Cancel,
    ) -> Self {
        let (leave, left) = mpsc::channel::<()>();
        let (fault, service, cancel) = (fault.clone(), Arc::clone(service), cancel.clone());
        let thread = std::thread::spawn(move || {
            let host = service.host().id().clone();
            let is_over = |seconds: f64| {
                let deadline = Deadline::after(Duration::from_secs_f64(seconds));
                loop {
                    let is_left =
                        left.recv_timeout(deadline.step(LOOK_EVERY)) != Err(RecvTimeoutError::Timeout);
                    // A user who wants to go is not kept by a server that we froze.
                    if is_left || cancel.is_cancelled() || deadline.passed() {
                        return is_left || cancel.is_cancelled();
                    }
                }
            };
            if is_over(fault.after_s) {
                return;
            }
            let away = match fault.kind {
                StorageFaultKind::Kill => {
                    service.kill();
                    Ok(())
                }
                StorageFaultKind::Freeze => service.freeze(),
            };
            tell(&events, &host, away.map(|()| EventKind::StorageServerAway { how: fault.kind }));
            // Back it comes in any case: what waits for it has to end.
            is_over(fault.for_s);
            let back = match fault.kind {
                StorageFaultKind::Kill => service.restart(),
                StorageFaultKind::Freeze => service.thaw(),
            };
            tell(&events, &host, back.map(|()| EventKind::StorageServerBack));
        });
        Self { leave: Some(leave), thread: Some(thread) }
    }
}

impl Befalling {
    /// Waits until the server is back, unless the user has had enough.
    pub(super) fn finish(self, cancel: &Cancel) {
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && !cancel.is_cancelled() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Befalling {
    fn drop(&mut self) {
        self.leave.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tell(events: &Sender<Event>, host: &HostId, what: Result<EventKind, TestbedError>) {
    let kind = what.unwrap_or_else(|error| EventKind::Warning { text: in_one_line(&error) });
    // Nobody listens any more where the trial has ended.
    let _ = events.send(Event { t_ns: now_ns(), host: Some(host.clone()), vm: None, kind });
}
