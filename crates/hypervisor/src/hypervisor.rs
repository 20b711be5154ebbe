//! A product on a host: what it can do, the VMs it has, and how one of them gets to another host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use dunlin_record::{
    Case, Event, HypervisorIdentity, ImageFormat, StorageSettings, Strategy, Transport, VmId,
};
use dunlin_testbed::{DiskPlace, Host};

use crate::{HypervisorError, Mover, Result, Vm};

/// A hypervisor on a host, as a driver opened it.
pub trait Hypervisor: Send + Sync {
    /// On which host.
    fn host(&self) -> &Arc<dyn Host>;

    /// What it says it is; its accelerator is empty until a VM of it is known.
    fn identity(&self) -> HypervisorIdentity;

    /// What else it says of itself, by name, as in ("migration capabilities", …).
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Refuses what it cannot do of a case, before anything boots.
    ///
    /// # Errors
    /// [`HypervisorError::Unsupported`] with the first thing that it cannot, [`HypervisorError::WrongSetting`] with the
    /// first that no version of the product could.
    fn check(&self, case: &Case) -> Result<()>;

    /// Tries what [`Hypervisor::check`] cannot know: sets all that the case asks for on both sides as a trial of it would,
    /// without a guest, and takes their refusal as the answer. Whoever cannot do that leaves it to the trials.
    ///
    /// # Errors
    /// As [`Hypervisor::check`].
    fn rehearse(&self, case: &Case, to: &dyn Hypervisor) -> Result<()> {
        let _ = (case, to);
        Ok(())
    }

    /// A VM that exists here, by its name. Nothing is changed of it.
    ///
    /// # Errors
    /// Where there is none of this name, or this driver finds none at all.
    fn find(&self, name: &str, events: Sender<Event>) -> Result<Arc<dyn Vm>> {
        let _ = events;
        Err(HypervisorError::Unsupported {
            what: format!("a VM {name} that exists already"),
            because: "this driver only knows those that it made".into(),
        })
    }

    /// What speaks against moving a VM that exists here to another host with the same product as a case wants it, each with
    /// what would mend it; empty where nothing does. Only questions are asked.
    ///
    /// # Errors
    /// Where a side does not answer, or there is no VM of this name.
    fn obstacles(&self, vm: &str, to: &dyn Hypervisor, case: &Case) -> Result<Vec<Obstacle>> {
        let _ = (vm, to, case);
        Ok(Vec::new())
    }

    /// How a VM that exists is defined here, for good: the same text as long as its owner changes nothing of it. Absent where
    /// the product keeps no such thing of it.
    ///
    /// # Errors
    /// Where the product does not answer.
    fn definition(&self, vm: &VmId) -> Result<Option<String>> {
        let _ = vm;
        Ok(None)
    }

    /// What makes VMs here; absent where only those that exist can be moved.
    fn maker(&self) -> Option<&dyn Maker> {
        None
    }

    /// Prepares both hosts to move a VM from here to another host with the same product: the mover is ready to begin.
    /// Records that the destination was launched, and that it listens, where there is such a moment.
    ///
    /// # Errors
    /// Where a side cannot do what the order asks, or refuses a setting. Then nothing of it remains.
    fn mover(&self, vm: &Arc<dyn Vm>, to: &dyn Hypervisor, order: &MoveOrder<'_>) -> Result<Box<dyn Mover>>;

    /// The driver's own type, for the driver itself: two of its hypervisors have to know each other.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// How a VM is to be moved.
pub struct MoveOrder<'a> {
    /// By which strategy: what it needs is prepared.
    pub strategy: &'a Strategy,
    /// How the bytes travel.
    pub transport: &'a Transport,
    /// The VM's disks as the destination is to have them.
    pub disks: &'a [VmDisk],
    /// How the VM's disks are copied to them, where these are the destination's own; absent where both hosts see the same.
    pub copies: Option<&'a StorageSettings>,
    /// Whether it is to stay there, or where else it goes.
    pub journey: Journey,
    /// A local folder that gets what the destination's hypervisor says.
    pub logs: &'a Path,
    /// Where changes of state go.
    pub events: Sender<Event>,
}

/// What a migration is a part of: by that a product which keeps definitions of VMs keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journey {
    /// The VM comes back to the source afterwards (or is ended, where we made it): that is where it remains defined.
    Excursion,
    /// It comes back from there: afterwards all is as it was before.
    Home,
    /// It stays at the destination, and is defined there if it was at the source.
    ForGood,
}

/// Something that speaks against moving a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What it is, as in "host-b has no network default".
    pub what: String,
    /// What would mend it, as a command where there is one.
    pub mend: String,
}

/// Makes VMs on a host.
pub trait Maker {
    /// Whether its VMs boot a kernel and an initial file system, and so can be our guests.
    fn boots_images(&self) -> bool {
        true
    }

    /// Finds out what only a guest that boots tells, as which accelerator really works, and how that is known. The answer
    /// is kept in `cache`.
    ///
    /// # Errors
    /// Where no guest can be started at all.
    fn try_out(&self, boot: &TrialBoot<'_>, cache: &Path) -> Result<String>;

    /// Boots a VM.
    ///
    /// # Errors
    /// Where it cannot be started, or ends at once.
    fn boot(&self, order: &VmOrder<'_>) -> Result<Arc<dyn Vm>>;

    /// Where the state of a VM that was booted just like this one would be kept in a folder. The name says all that shaped
    /// it. Absent where states cannot be kept.
    ///
    /// # Errors
    /// Where what it was made of cannot be read.
    fn template(&self, spec: &VmSpec, folder: &Path) -> Result<Option<PathBuf>>;

    /// Saves a running VM of this maker as a template. It is stopped afterwards, and only good to be ended.
    ///
    /// # Errors
    /// Where it cannot be saved. No half template remains.
    fn save(&self, vm: &Arc<dyn Vm>, template: &Path) -> Result<()>;

    /// Makes a VM out of a template, and lets it run.
    ///
    /// # Errors
    /// Where the template is of no use, or the VM cannot be started.
    fn restore(&self, order: &VmOrder<'_>, template: &Path) -> Result<Arc<dyn Vm>>;

    /// Saves a VM of this maker, which runs or is stopped, with its whole state to a file of its host. Afterwards it is
    /// stopped, and has let go of its images: others on its host may read and write them. Only good to be ended then, unless
    /// nothing became of the file elsewhere: [`Vm::resume`] lets it go on.
    ///
    /// # Errors
    /// Where it cannot be saved. Then it is as before, but may be stopped; [`Vm::resume`] lets it go on. No half file remains.
    fn store(&self, vm: &Arc<dyn Vm>, file: &Path) -> Result<()> {
        let _ = file;
        Err(no_state_files(vm.id()))
    }

    /// Makes a VM out of such a file on this host, and lets it run. Its images must be those that the VM had when it was saved,
    /// or copies of them.
    ///
    /// # Errors
    /// Where the file is of no use, or the VM cannot be started. Then nothing of it remains.
    fn wake(&self, order: &VmOrder<'_>, file: &Path) -> Result<Arc<dyn Vm>> {
        let _ = file;
        Err(no_state_files(&order.spec.id))
    }
}

fn no_state_files(vm: &VmId) -> HypervisorError {
    HypervisorError::Unsupported {
        what: format!("the state of {vm} in a file"),
        because: "this driver cannot save it".into(),
    }
}

/// A VM to be made.
pub struct VmOrder<'a> {
    /// What it is to be.
    pub spec: &'a VmSpec,
    /// A local folder that gets the console, and what the hypervisor says.
    pub logs: &'a Path,
    /// Where its changes of state go.
    pub events: Sender<Event>,
}

/// What a VM is made of, in what all products have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// Its name.
    pub id: VmId,
    /// Configured memory.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Machine type; the product's own default if absent.
    pub machine: Option<String>,
    /// CPU model; the product's own default if absent.
    pub cpu: Option<String>,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initial file system.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub kernel_args: String,
    /// The tap on the host that its network card is behind; without one it has none.
    pub tap: Option<String>,
    /// Its network card's address.
    pub mac: String,
    /// Its disks.
    pub disks: Vec<VmDisk>,
}

/// A disk of a VM, which both hosts see or each has for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDisk {
    /// By which the guest knows it, at most 20 bytes (virtio, section 5.2.6).
    pub serial: String,
    /// Its size.
    pub size_mib: u32,
    /// How its image is laid out.
    pub format: ImageFormat,
    /// Where its image lies.
    pub place: DiskPlace,
    /// The image below it, where it holds only what differs from that.
    pub backing: Option<BackingImage>,
    /// Whether to pass the host's page cache by, as for storage that several machines share.
    pub direct: bool,
}

/// An image below a VM's own, which nobody writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingImage {
    /// How it is laid out.
    pub format: ImageFormat,
    /// The host's file.
    pub path: PathBuf,
}

/// What boots to see whether it does.
#[derive(Debug, Clone, Copy)]
pub struct TrialBoot<'a> {
    /// Kernel image.
    pub kernel: &'a Path,
    /// Initial file system.
    pub initrd: &'a Path,
    /// Kernel command line; the console must be on the first serial port.
    pub kernel_args: &'a str,
    /// What the console shows once the guest runs.
    pub marker: &'a str,
}
