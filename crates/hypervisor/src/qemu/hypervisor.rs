//! QEMU as a driver: opened on a host, it makes VMs and movers of them.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use dunlin_record::{
    Case, Event, EventKind, HostId, HypervisorIdentity, PreCopyLimits, StorageSettings, TransportKind, VmId,
};
use dunlin_testbed::Host;
use serde_json::{Map, Value};

use super::accelerator::detect_accelerator;
use super::blockdev;
use super::compare;
use super::features::QemuFeatures;
use super::launch::{Machine, QemuBinary, Start};
use super::rehearsal::Rehearsal;
use super::settings::{self, QemuSettings};
use super::state_file;
use super::template::{TemplateKey, restore_template, save_template};
use super::vm::{LaunchOptions, QemuVm};
use crate::accelerator::Accelerator;
use crate::certificates::Certificates;
use crate::registry::{CopyFacts, Driver, OpenOrder, SettingKey, WrongSetting};
use crate::{
    CopyOrder, Hypervisor, HypervisorError, Maker, MoveOrder, Mover, Primitives, Result, Side, Stepwise,
    TrialBoot, Vm, VmDisk, VmOrder, VmSpec,
};

/// What each QEMU on each host said that it can do.
type Known = Arc<Mutex<HashMap<(HostId, QemuBinary), QemuFeatures>>>;

/// The driver. It asks each QEMU on each host only once what it can do.
#[derive(Default)]
pub struct Qemu {
    known: Known,
    /// What was rehearsed and is accepted.
    rehearsed: Arc<Mutex<HashSet<String>>>,
}

impl Driver for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn keys(&self) -> &'static [SettingKey] {
        settings::KEYS
    }

    fn resolve(&self, settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting> {
        settings::resolve(settings)
    }

    fn default_machine(&self) -> &'static str {
        "q35"
    }

    fn install_hint(&self) -> &'static str {
        "apt-get install qemu-system-x86 (on Debian 12: -t bookworm-backports brings QEMU 10)"
    }

    fn limits(&self, settings: &Map<String, Value>) -> PreCopyLimits {
        settings::limits(settings)
    }

    fn copy_facts(&self, settings: &Map<String, Value>) -> CopyFacts {
        settings::copy_facts(settings)
    }

    fn open(&self, order: &OpenOrder<'_>) -> Result<Arc<dyn Hypervisor>> {
        let settings = QemuSettings::of(&order.case.hypervisor.settings)?;
        let binary = settings.binary(order.side);
        let key = (order.host.id().clone(), binary.clone());
        let known = lock(&self.known).get(&key).cloned();
        let features = match known {
            Some(features) => features,
            None => QemuFeatures::ask(order.host, &binary)?,
        };
        lock(&self.known).insert(key, features.clone());
        Ok(Arc::new(QemuHypervisor {
            host: Arc::clone(order.host),
            settings,
            binary,
            features,
            accelerator: OnceLock::new(),
            known: Arc::clone(&self.known),
            rehearsed: Arc::clone(&self.rehearsed),
            vms: Mutex::default(),
        }))
    }
}

/// A QEMU program on a host.
struct QemuHypervisor {
    host: Arc<dyn Host>,
    settings: QemuSettings,
    binary: QemuBinary,
    features: QemuFeatures,
    /// What was found out where the user leaves it to us.
    accelerator: OnceLock<Accelerator>,
    /// The driver's: what another QEMU of the run knows is no mistake here.
    known: Known,
    /// The driver's.
    rehearsed: Arc<Mutex<HashSet<String>>>,
    /// The VMs it has made and taken, to know them again.
    vms: Mutex<HashMap<VmId, Weak<QemuVm>>>,
}

impl QemuHypervisor {
    /// What runs the vCPUs of a VM that is made here.
    fn accelerator(&self) -> Accelerator {
        match self.settings.accelerator {
            Accelerator::Auto => self.accelerator.get().copied().unwrap_or(Accelerator::Tcg),
            asked => asked,
        }
    }

    fn machine(&self, spec: &VmSpec) -> Machine {
        Machine {
            spec: spec.clone(),
            accelerator: self.accelerator(),
            extra_args: self.settings.extra_args.clone(),
        }
    }

    fn launch(
        &self,
        machine: &Machine,
        start: Start,
        logs: &Path,
        events: std::sync::mpsc::Sender<Event>,
    ) -> Result<Arc<QemuVm>> {
        let vm = Arc::new(QemuVm::launch(LaunchOptions {
            host: &self.host,
            binary: &self.binary,
            features: &self.features,
            machine,
            start,
            logs,
            events,
        })?);
        lock(&self.vms).insert(machine.spec.id.clone(), Arc::downgrade(&vm));
        Ok(vm)
    }

    /// The VM behind a handle, if it is one of these.
    fn own(&self, vm: &Arc<dyn Vm>) -> Result<Arc<QemuVm>> {
        let known = lock(&self.vms).get(vm.id()).and_then(Weak::upgrade);
        known.filter(|known| known.host() == vm.host()).ok_or_else(|| HypervisorError::Unsupported {
            what: format!("{} on {}", vm.id(), self.host.id()),
            because: "it is no VM of this QEMU".into(),
        })
    }
}

/// A setting that this QEMU does not take, and the other side's does.
fn not_by(features: &QemuFeatures, setting: String, why: &str) -> HypervisorError {
    HypervisorError::Unsupported { what: setting, because: format!("by QEMU {}: {why}", features.version) }
}

/// The other end of a migration, which must be a QEMU too.
fn other_end(to: &dyn Hypervisor) -> Result<&QemuHypervisor> {
    to.as_any().downcast_ref().ok_or_else(|| HypervisorError::Unsupported {
        what: format!("a migration to {}", to.identity().name),
        because: "both hosts must run the same product".into(),
    })
}

/// How disks are to be copied to a destination that is ready for its VM.
fn copy_order(destination: &QemuVm, how: &StorageSettings, disks: &[VmDisk]) -> Result<CopyOrder> {
    let (address, places) = if how.two_steps {
        let places: Vec<String> = disks.iter().map(|disk| blockdev::shown(&disk.place)).collect();
        (places.join(", "), Some(disks.to_vec()))
    } else {
        (destination.export_all(how)?, None)
    };
    Ok(CopyOrder { address, disks: places, how: how.clone() })
}

impl Hypervisor for QemuHypervisor {
    fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    fn identity(&self) -> HypervisorIdentity {
        HypervisorIdentity {
            name: "qemu".into(),
            version: self.features.version.clone(),
            accelerator: self.accelerator().name().into(),
            emulated: Some(self.accelerator().is_emulation()),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let capabilities: Vec<&str> = self.features.capabilities.iter().map(String::as_str).collect();
        vec![("package", self.features.package.clone()), ("migration capabilities", capabilities.join(" "))]
    }

    fn check(&self, case: &Case) -> Result<()> {
        let known = lock(&self.known).clone();
        let others: Vec<&QemuFeatures> = known.values().collect();
        self.features.check(&self.settings, &case.strategy, &case.transport, &others)?;
        // Where the VM stands still its images are carried as files.
        if case.vm.moves_disks() && case.strategy.standstill().is_none() {
            self.features.check_moving_disks(&self.settings, &case.storage)?;
            if case.storage.compare {
                compare::check(&self.host)?;
            }
        }
        Ok(())
    }

    fn rehearse(&self, case: &Case, to: &dyn Hypervisor) -> Result<()> {
        let to = other_end(to)?;
        let sides = [(Side::Source, self), (Side::Destination, to)].map(|(side, end)| {
            let rehearsal = Rehearsal {
                host: &end.host,
                binary: &end.binary,
                features: &end.features,
                settings: &end.settings,
                // What runs the vCPUs there is the source's.
                accelerator: self.accelerator(),
                side,
                case,
            };
            let subject = rehearsal.subject();
            if !lock(&self.rehearsed).contains(&subject) {
                rehearsal.play()?;
                lock(&self.rehearsed).insert(subject);
            }
            Ok(())
        });
        let same = self.binary == to.binary;
        match sides {
            [Ok(()), Ok(())] => Ok(()),
            [Err(error), _] | [Ok(()), Err(error)] if same => Err(error),
            // What one of two QEMUs takes is no mistake.
            [Err(HypervisorError::WrongSetting { setting, why, .. }), Ok(())] => {
                Err(not_by(&self.features, setting, &why))
            }
            [Ok(()), Err(HypervisorError::WrongSetting { setting, why, .. })] => {
                Err(not_by(&to.features, setting, &why))
            }
            [Err(error), _] | [Ok(()), Err(error)] => Err(error),
        }
    }

    fn maker(&self) -> Option<&dyn Maker> {
        Some(self)
    }

    fn mover(&self, vm: &Arc<dyn Vm>, to: &dyn Hypervisor, order: &MoveOrder<'_>) -> Result<Box<dyn Mover>> {
        let source = self.own(vm)?;
        let to = other_end(to)?;
        let own = source.machine();
        // The same VM, as it is there: what runs its vCPUs is the source's.
        let spec = VmSpec { disks: order.disks.to_vec(), ..own.spec.clone() };
        let machine = Machine { spec, ..own.clone() };
        let tell = |kind| {
            // Nobody listens any more where the trial has ended.
            let _ = order.events.send(Event {
                t_ns: dunlin_clock::now_ns(),
                host: Some(to.host.id().clone()),
                vm: Some(machine.spec.id.clone()),
                kind,
            });
        };
        tell(EventKind::DestinationLaunched);
        let destination = to.launch(&machine, Start::Incoming, order.logs, order.events.clone())?;
        let with_tls = order.transport.kind == TransportKind::Tls;
        let certificates = with_tls.then(Certificates::make).transpose()?;
        destination.prepare(Side::Destination, order, certificates.as_ref(), &to.settings)?;
        source.prepare(Side::Source, order, certificates.as_ref(), &self.settings)?;
        let copies = order.copies.map(|how| copy_order(&destination, how, order.disks)).transpose()?;
        let address = destination.listen()?;
        tell(EventKind::DestinationListening);
        let ends: [Arc<dyn Primitives>; 2] = [source, destination];
        let [source, destination] = ends;
        Ok(Box::new(Stepwise::new(source, destination, address, copies)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Maker for QemuHypervisor {
    fn try_out(&self, boot: &TrialBoot<'_>, cache: &Path) -> Result<String> {
        if self.settings.accelerator != Accelerator::Auto {
            return Ok("as the scenario asks".into());
        }
        let (accelerator, why) =
            detect_accelerator(&self.host, &self.binary, &self.features, *boot, &cache.join("accelerator"))?;
        let _ = self.accelerator.set(accelerator);
        Ok(why)
    }

    fn boot(&self, order: &VmOrder<'_>) -> Result<Arc<dyn Vm>> {
        let vm = self.launch(&self.machine(order.spec), Start::Boot, order.logs, order.events.clone())?;
        Ok(vm)
    }

    fn template(&self, spec: &VmSpec, folder: &Path) -> Result<Option<PathBuf>> {
        let key = TemplateKey::of(&*self.host, &self.binary, &self.features, &self.machine(spec))?;
        Ok(Some(key.path(folder)))
    }

    fn save(&self, vm: &Arc<dyn Vm>, template: &Path) -> Result<()> {
        save_template(&*self.own(vm)?, &self.features, template)
    }

    fn restore(&self, order: &VmOrder<'_>, template: &Path) -> Result<Arc<dyn Vm>> {
        let vm = self.launch(&self.machine(order.spec), Start::Incoming, order.logs, order.events.clone())?;
        restore_template(&vm, &self.features, template)?;
        Ok(vm)
    }

    fn store(&self, vm: &Arc<dyn Vm>, file: &Path) -> Result<()> {
        state_file::store(&*self.own(vm)?, &self.features, file)
    }

    fn wake(&self, order: &VmOrder<'_>, file: &Path) -> Result<Arc<dyn Vm>> {
        let vm = self.launch(&self.machine(order.spec), Start::Incoming, order.logs, order.events.clone())?;
        state_file::load_from(&vm, &self.features, file)?;
        Ok(vm)
    }
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
