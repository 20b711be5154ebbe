//! Our guests, made through libvirt: as VMs that are gone when they end, and defined nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_record::VmId;

use super::domain::Domain;
use super::guest_xml::{Guest, Placed};
use super::hypervisor::LibvirtHypervisor;
use super::virsh::SLOW_LIMIT;
use super::vm::{LibvirtVm, Made};
use crate::accelerator::{Accelerator, boots, tried};
use crate::{HypervisorError, Maker, Result, TrialBoot, Vm, VmDisk, VmOrder, VmSpec};

impl LibvirtHypervisor {
    /// Whether our guests run under KVM here.
    fn takes_kvm(&self) -> bool {
        match self.settings.accelerator {
            Accelerator::Auto => self.has_kvm.get().copied().unwrap_or(false),
            asked => asked == Accelerator::Kvm,
        }
    }

    /// A guest's XML on this host, with its files brought here.
    pub(super) fn place(&self, guest: &Guest, disks: &[VmDisk], console: &Path) -> Result<String> {
        let host = &self.virsh.host;
        let place = |file: &Path| match file.as_os_str().is_empty() {
            true => Ok(PathBuf::new()),
            false => host.place(file),
        };
        Ok(guest.xml(&Placed {
            kernel: place(&guest.spec.kernel)?,
            initrd: place(&guest.spec.initrd)?,
            console: console.to_owned(),
            disks,
            security_models: &self.features.security_models,
        }))
    }

    /// Makes a VM of XML. It runs.
    fn create(&self, uuid: &str, xml: &str) -> Result<()> {
        let file = self.virsh.host.scratch().join(format!("{uuid}.xml"));
        self.virsh.host.write_private(&file, xml.as_bytes())?;
        let made = self.virsh.say(&["create", "--file", &file.display().to_string()], SLOW_LIMIT);
        let _ = self.virsh.host.remove(&file);
        made.map(drop)
    }

    fn make(&self, order: &VmOrder<'_>, has_kvm: bool) -> Result<LibvirtVm> {
        let uuid = uuid()?;
        let name = format!("dunlin-{}-{}", order.spec.id, &uuid[..8]);
        let guest = Guest { spec: order.spec.clone(), name, uuid: uuid.clone(), has_kvm };
        let console = self.virsh.host.scratch().join(format!("{uuid}.console"));
        let xml = self.place(&guest, &order.spec.disks, &console)?;
        let identity = self.identity_of(if has_kvm { "kvm" } else { "qemu" });
        let domain = Domain::read(&xml).ok_or_else(|| HypervisorError::Unsupported {
            what: format!("making {}", order.spec.id),
            because: "what it is made of cannot stand in XML".into(),
        })?;
        // Before there is anything to destroy.
        let will = self.virsh.destroy_at_end(&uuid)?;
        let made = Made { tap: order.spec.tap.clone(), console: Some(console), guest, will };
        // From here on it ends with its handle.
        let vm = LibvirtVm::new(&self.virsh, order.spec.id.clone(), &domain, identity, Some(made));
        self.create(&uuid, &xml)?;
        Ok(vm)
    }

    fn boots_under_kvm(&self, boot: &TrialBoot<'_>) -> Result<bool> {
        let spec = VmSpec {
            id: VmId::new("kvm-trial"),
            memory_mib: 256,
            vcpus: 1,
            machine: None,
            cpu: None,
            kernel: boot.kernel.to_owned(),
            initrd: boot.initrd.to_owned(),
            kernel_args: boot.kernel_args.to_owned(),
            tap: None,
            mac: String::new(),
            disks: Vec::new(),
        };
        let (events, _) = std::sync::mpsc::channel();
        let vm = match self.make(&VmOrder { spec: &spec, logs: Path::new(""), events }, true) {
            Ok(vm) => vm,
            // libvirt knows of no KVM, or cannot start it.
            Err(error) if error.is_refusal() => return Ok(false),
            Err(error) => return Err(error),
        };
        boots(|| Ok(true), || vm.console_tail().is_some_and(|said| said.contains(boot.marker)))
    }
}

impl Maker for LibvirtHypervisor {
    fn try_out(&self, boot: &TrialBoot<'_>, cache: &Path) -> Result<String> {
        if self.settings.accelerator != Accelerator::Auto {
            return Ok("as the scenario asks".into());
        }
        let kernel = self.virsh.host.fingerprint().kernel.unwrap_or_default();
        let subject = format!(
            "{} {} {} {} {}",
            self.virsh.host.id(),
            kernel.trim(),
            self.features.version(),
            self.virsh.uri,
            boot.kernel.display()
        );
        let memo = cache.join("libvirt-accelerator");
        let (accelerator, why) = tried(&memo, &subject, || self.boots_under_kvm(boot))?;
        let _ = self.has_kvm.set(accelerator == Accelerator::Kvm);
        Ok(why)
    }

    fn boot(&self, order: &VmOrder<'_>) -> Result<Arc<dyn Vm>> {
        let vm = self.make(order, self.takes_kvm())?;
        Ok(self.keep(vm, &order.events))
    }

    /// libvirt saves a VM as one of its own, which only it restores: each of ours is booted.
    fn template(&self, _: &VmSpec, _: &Path) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn save(&self, _: &Arc<dyn Vm>, _: &Path) -> Result<()> {
        Err(no_templates())
    }

    fn restore(&self, _: &VmOrder<'_>, _: &Path) -> Result<Arc<dyn Vm>> {
        Err(no_templates())
    }
}

fn no_templates() -> HypervisorError {
    HypervisorError::Unsupported {
        what: "a template of a guest".into(),
        because: "libvirt's guests are booted".into(),
    }
}

/// A UUID that no VM has.
fn uuid() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let uuid = fs::read_to_string(path)
        .map_err(|source| HypervisorError::Io { doing: format!("read {path}"), source })?;
    Ok(uuid.trim().to_owned())
}
