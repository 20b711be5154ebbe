//! libvirt as a driver: opened on a host, it finds VMs there, makes ours, and movers of both.

use std::any::Any;
use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use dunlin_record::{Case, Event, EventKind, HostId, HypervisorIdentity, PreCopyLimits, VmId};
use dunlin_testbed::{Host, Network};
use serde_json::{Map, Value};

use super::domain::Domain;
use super::features::Features;
use super::job::lock;
use super::mover::LibvirtMover;
use super::settings::{self, LibvirtSettings};
use super::virsh::{ASK_LIMIT, Virsh};
use super::vm::{Handle, LibvirtVm};
use super::{guest_xml, obstacles};
use crate::registry::{CopyFacts, Driver, OpenOrder, SettingKey, WrongSetting};
use crate::{Hypervisor, HypervisorError, Maker, MoveOrder, Mover, Obstacle, Result, Side, Vm};

/// What each host's libvirt said that it can do.
type Known = Arc<Mutex<HashMap<(HostId, String), Features>>>;

/// The driver. It asks each host's libvirt only once what it can do.
#[derive(Default)]
pub struct Libvirt {
    known: Known,
}

impl Driver for Libvirt {
    fn name(&self) -> &'static str {
        "libvirt"
    }

    fn keys(&self) -> &'static [SettingKey] {
        settings::KEYS
    }

    fn resolve(&self, settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting> {
        settings::resolve(settings)
    }

    fn default_machine(&self) -> &'static str {
        guest_xml::DEFAULT_MACHINE
    }

    fn fits_labs(&self) -> bool {
        false
    }

    fn install_hint(&self) -> &'static str {
        "apt-get install libvirt-daemon-system libvirt-clients qemu-system-x86"
    }

    fn limits(&self, settings: &Map<String, Value>) -> PreCopyLimits {
        settings::limits(settings)
    }

    fn copy_facts(&self, settings: &Map<String, Value>) -> CopyFacts {
        settings::copy_facts(settings)
    }

    fn open(&self, order: &OpenOrder<'_>) -> Result<Arc<dyn Hypervisor>> {
        let settings = LibvirtSettings::of(&order.case.hypervisor.settings)?;
        let virsh = Virsh { host: Arc::clone(order.host), uri: settings.uri.clone() };
        let key = (order.host.id().clone(), settings.uri.clone());
        let known = lock(&self.known).get(&key).cloned();
        let features = match known {
            Some(features) => features,
            None => Features::ask(&virsh)?,
        };
        lock(&self.known).insert(key, features.clone());
        Ok(Arc::new(LibvirtHypervisor {
            virsh,
            settings,
            side: order.side,
            features,
            has_kvm: OnceLock::new(),
            vms: Mutex::default(),
        }))
    }
}

/// libvirt on a host.
pub(super) struct LibvirtHypervisor {
    pub(super) virsh: Virsh,
    pub(super) settings: LibvirtSettings,
    /// Which one of a case's migrations (the way back goes the other way).
    side: Side,
    pub(super) features: Features,
    /// Whether our guests run under KVM, where that was found out.
    pub(super) has_kvm: OnceLock<bool>,
    /// The VMs that were found and made here, to know them again.
    vms: Mutex<HashMap<VmId, Weak<LibvirtVm>>>,
}

impl LibvirtHypervisor {
    pub(super) fn keep(&self, vm: LibvirtVm, events: &Sender<Event>) -> Handle {
        let vm = Arc::new(vm);
        lock(&self.vms).insert(vm.id.clone(), Arc::downgrade(&vm));
        let (host, id) = (Some(self.virsh.host.id().clone()), Some(vm.id.clone()));
        let kind = EventKind::HypervisorIdentified(vm.identity().clone());
        // Nobody listens any more where the trial has ended.
        let _ = events.send(Event { t_ns: dunlin_clock::now_ns(), host, vm: id, kind });
        vm
    }

    /// What it is, for a VM of this kind.
    pub(super) fn identity_of(&self, kind: &str) -> HypervisorIdentity {
        HypervisorIdentity {
            name: "libvirt".into(),
            version: self.features.version(),
            accelerator: if kind == "qemu" { "tcg".into() } else { kind.to_owned() },
            emulated: Some(kind == "qemu"),
        }
    }

    /// The UUID of a VM by its name, which may look like anything: it is looked for among all.
    pub(super) fn uuid_of(&self, name: &str) -> Result<Option<String>> {
        Ok(named(&self.names()?, name).map(str::to_owned))
    }

    /// The same of one that must be there.
    pub(super) fn uuid_of_known(&self, name: &str) -> Result<String> {
        self.uuid_of(name)?.ok_or_else(|| HypervisorError::Refused {
            host: self.virsh.host.id().clone(),
            command: "virsh list --all".into(),
            description: format!("there is no VM {name:?}"),
        })
    }

    /// All VMs, running or not, a line each: UUID and name.
    pub(super) fn names(&self) -> Result<String> {
        self.virsh.say(&["list", "--all", "--uuid", "--name"], ASK_LIMIT)
    }

    /// How another host's daemon finds this one's.
    pub(super) fn peer_uri(&self) -> Result<String> {
        if let Some(uri) = self.named_uri() {
            return Ok(uri.clone());
        }
        let address = self.migration_address().or_else(|| self.virsh.host.address(Network::Service));
        let address = address.ok_or_else(|| HypervisorError::Unsupported {
            what: format!("reaching libvirt on {}", self.virsh.host.id()),
            because: "its address is not known: give its host a migration or service address in the inventory, or name \
                      libvirt.source_uri and libvirt.destination_uri"
                .into(),
        })?;
        let path = self.settings.uri.rsplit_once('/').map_or("system", |(_, path)| path);
        // Nobody is there to be asked for a password.
        let silent = if self.settings.connect == settings::Connect::Ssh { "?no_tty=1" } else { "" };
        Ok(format!("{}://{address}/{path}{silent}", self.settings.connect.scheme()))
    }

    fn named_uri(&self) -> Option<&String> {
        match self.side {
            Side::Source => self.settings.source_uri.as_ref(),
            Side::Destination => self.settings.destination_uri.as_ref(),
        }
    }

    /// The scenario's key that names how another host's daemon finds this one's.
    pub(super) fn peer_key_name(&self) -> &'static str {
        match self.side {
            Side::Source => "libvirt.source_uri",
            Side::Destination => "libvirt.destination_uri",
        }
    }

    /// The same, where the scenario does name it.
    pub(super) fn peer_key(&self) -> Option<&'static str> {
        self.named_uri().map(|_| self.peer_key_name())
    }

    pub(super) fn migration_address(&self) -> Option<std::net::Ipv4Addr> {
        self.virsh.host.address(Network::Migration)
    }

    /// Whether a VM stays defined here when it does not run.
    pub(super) fn is_persistent(&self, uuid: &str) -> Result<bool> {
        let all = self.virsh.say(&["list", "--all", "--persistent", "--uuid"], ASK_LIMIT)?;
        Ok(all.lines().any(|line| line.trim() == uuid))
    }

    /// The VM behind a handle, if it is one of these.
    pub(super) fn own(&self, vm: &Arc<dyn Vm>) -> Result<Handle> {
        let known = lock(&self.vms).get(vm.id()).and_then(Weak::upgrade);
        known.filter(|known| known.host() == vm.host()).ok_or_else(|| HypervisorError::Unsupported {
            what: format!("{} on {}", vm.id(), self.virsh.host.id()),
            because: "it is no VM that was found or made here".into(),
        })
    }
}

/// The UUID of the VM of a name, in what `list --uuid --name` says. A name may begin with spaces, and another be the same but
/// for these.
pub(super) fn named<'a>(all: &'a str, name: &str) -> Option<&'a str> {
    let mut vms = all.lines().filter_map(|line| line.split_once(' '));
    vms.find_map(|(uuid, named)| (named == name).then_some(uuid))
}

/// The other end of a migration, which must be a libvirt too.
pub(super) fn other_end(to: &dyn Hypervisor) -> Result<&LibvirtHypervisor> {
    to.as_any().downcast_ref().ok_or_else(|| HypervisorError::Unsupported {
        what: format!("a migration to {}", to.identity().name),
        because: "both hosts must run the same product".into(),
    })
}

impl Hypervisor for LibvirtHypervisor {
    fn host(&self) -> &Arc<dyn Host> {
        &self.virsh.host
    }

    fn identity(&self) -> HypervisorIdentity {
        HypervisorIdentity {
            name: "libvirt".into(),
            version: self.features.version(),
            accelerator: String::new(),
            emulated: None,
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let models = if self.features.security_models.is_empty() {
            "none".to_owned()
        } else {
            self.features.security_models.join(" ")
        };
        vec![
            ("connection", self.settings.uri.clone()),
            ("processor", self.features.processor.clone()),
            ("VMs confined by", models),
        ]
    }

    fn check(&self, case: &Case) -> Result<()> {
        self.features.check(case, &self.settings)
    }

    fn find(&self, name: &str, events: Sender<Event>) -> Result<Arc<dyn Vm>> {
        let uuid = self.uuid_of_known(name)?;
        let domain = Domain::ask(&self.virsh, &uuid)?;
        let identity = self.identity_of(&domain.kind);
        let vm = LibvirtVm::new(&self.virsh, VmId::new(name), &domain, identity, None);
        Ok(self.keep(vm, &events))
    }

    fn obstacles(&self, vm: &str, to: &dyn Hypervisor, _: &Case) -> Result<Vec<Obstacle>> {
        obstacles::all(self, other_end(to)?, vm)
    }

    fn definition(&self, vm: &VmId) -> Result<Option<String>> {
        let Some(uuid) = self.uuid_of(vm.as_str())? else { return Ok(None) };
        if !self.is_persistent(&uuid)? {
            return Ok(None);
        }
        // Without what it keeps secret: this is shown and recorded.
        self.virsh.say(&["dumpxml", &uuid, "--inactive"], ASK_LIMIT).map(Some)
    }

    fn maker(&self) -> Option<&dyn Maker> {
        Some(self)
    }

    fn mover(&self, vm: &Arc<dyn Vm>, to: &dyn Hypervisor, order: &MoveOrder<'_>) -> Result<Box<dyn Mover>> {
        let source = self.own(vm)?;
        Ok(Box::new(LibvirtMover::prepare(self, other_end(to)?, source, order)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_found_by_its_whole_name_and_by_nothing_else() {
        // As virsh 9.0.0 says it.
        let all = "u1   test\nu2 test\nu3 -x ' \t3\nu4 3\n";
        for (name, uuid) in [
            ("test", Some("u2")),
            ("  test", Some("u1")),
            (" test", None),
            ("-x ' \t3", Some("u3")),
            ("3", Some("u4")),
        ] {
            assert_eq!(named(all, name), uuid, "{name:?}");
        }
        assert_eq!(named("", ""), None);
    }
}
