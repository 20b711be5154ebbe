//! A VM as its XML says it is: what moving it depends on (libvirt's "Domain XML format").

use std::path::PathBuf;

use roxmltree::{Document, Node};

use super::virsh::{ASK_LIMIT, Virsh};
use crate::{HypervisorError, Result};

/// What a VM's XML says that matters for moving it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) uuid: String,
    /// `kvm`, `qemu`, …
    pub(super) kind: String,
    pub(super) memory_bytes: i64,
    pub(super) emulator: Option<String>,
    pub(super) machine: Option<String>,
    pub(super) arch: Option<String>,
    /// `host-passthrough`, `custom`, …; absent where QEMU's own is taken.
    pub(super) cpu_mode: Option<String>,
    pub(super) cpu_model: Option<String>,
    pub(super) disks: Vec<Disk>,
    /// Networks and bridges that its cards are in, as they are called on its host.
    pub(super) networks: Vec<Attached>,
    /// Devices that are the host's own, each as it is told.
    pub(super) host_devices: Vec<String>,
    /// Where our agent's channel is on the host.
    pub(super) agent_socket: Option<PathBuf>,
}

/// A disk, a CD or a floppy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// As in `vda`.
    pub(super) target: String,
    /// `disk`, `cdrom`, `floppy`, `lun`.
    pub(super) device: String,
    /// `file`, `block`, `network`, `volume`, …
    pub(super) kind: String,
    /// What is in it; absent where nothing is.
    pub(super) source: Option<String>,
    /// As in `raw`; absent where it is not said.
    pub(super) format: Option<String>,
    /// Whether nobody writes to it, or it is to be written by several.
    pub(super) is_read_only: bool,
    pub(super) is_shareable: bool,
    /// Its cache mode; absent where it is the default.
    pub(super) cache: Option<String>,
}

/// What a network card is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attached {
    /// A network of libvirt's.
    Network(String),
    /// A bridge of the host.
    Bridge(String),
    /// A device of the host, beside which its own are made (macvtap).
    Device(String),
}

impl Domain {
    /// That of a VM as it is now.
    pub(super) fn ask(virsh: &Virsh, uuid: &str) -> Result<Self> {
        let said = virsh.say(&["dumpxml", uuid], ASK_LIMIT)?;
        Self::read(&said).ok_or_else(|| HypervisorError::Answer {
            host: virsh.host.id().clone(),
            command: "virsh dumpxml".into(),
            expected: "a VM's XML",
        })
    }

    /// Reads it; nothing where it is no VM's XML.
    pub(super) fn read(xml: &str) -> Option<Self> {
        // Entities of its own have no place in it, and are not taken.
        let document = Document::parse(xml).ok()?;
        let root = document.root_element();
        if !root.has_tag_name("domain") {
            return None;
        }
        let os = child(root, "os").and_then(|os| child(os, "type"));
        let cpu = child(root, "cpu");
        let devices = child(root, "devices");
        let all = |name: &'static str| {
            devices
                .into_iter()
                .flat_map(move |devices| devices.children().filter(move |node| node.has_tag_name(name)))
        };
        let mut host_devices: Vec<String> =
            all("hostdev").map(|node| format!("a host device ({})", host_device(node))).collect();
        host_devices.extend(all("filesystem").map(|_| "a folder of the host (filesystem)".to_owned()));
        host_devices.extend(all("shmem").map(|_| "shared memory of the host (shmem)".to_owned()));
        let passed =
            all("interface").filter(|node| matches!(node.attribute("type"), Some("hostdev" | "vdpa")));
        host_devices.extend(passed.map(|_| "a network device of the host (interface)".to_owned()));
        Some(Self {
            name: text(root, "name")?,
            uuid: text(root, "uuid")?,
            kind: root.attribute("type")?.to_owned(),
            memory_bytes: memory(child(root, "memory")?)?,
            emulator: devices.and_then(|devices| text(devices, "emulator")),
            machine: os.and_then(|os| attribute(os, "machine")),
            arch: os.and_then(|os| attribute(os, "arch")),
            cpu_mode: cpu.and_then(|cpu| attribute(cpu, "mode")),
            cpu_model: cpu.and_then(|cpu| text(cpu, "model")),
            disks: all("disk").filter_map(disk).collect(),
            networks: all("interface").filter_map(attached).collect(),
            host_devices,
            agent_socket: all("channel").find_map(agent_socket),
        })
    }
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name).map(str::to_owned)
}

fn text<'a>(node: Node<'a, 'a>, name: &str) -> Option<String> {
    child(node, name)?.text().map(str::to_owned)
}

fn memory(node: Node<'_, '_>) -> Option<i64> {
    let unit = match node.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    node.text()?.trim().parse::<i64>().ok()?.checked_mul(unit)
}

fn disk(node: Node<'_, '_>) -> Option<Disk> {
    let source = node.children().find(|child| child.has_tag_name("source"));
    let place = |source: Node<'_, '_>| {
        ["file", "dev", "volume", "dir", "name"].into_iter().find_map(|name| attribute(source, name))
    };
    let driver = node.children().find(|child| child.has_tag_name("driver"));
    let has = |name: &str| node.children().any(|child| child.has_tag_name(name));
    Some(Disk {
        target: attribute(node.children().find(|child| child.has_tag_name("target"))?, "dev")?,
        device: node.attribute("device").unwrap_or("disk").to_owned(),
        kind: node.attribute("type").unwrap_or("file").to_owned(),
        source: source.and_then(place),
        format: driver.and_then(|driver| attribute(driver, "type")),
        is_read_only: has("readonly"),
        is_shareable: has("shareable"),
        cache: driver.and_then(|driver| attribute(driver, "cache")),
    })
}

fn attached(node: Node<'_, '_>) -> Option<Attached> {
    let source = node.children().find(|child| child.has_tag_name("source"))?;
    // A card of one of libvirt's networks says so as long as the VM does not run; then its type is what the network is made of,
    // as a bridge of the host. The network's name is what must be there.
    if let Some(network) = attribute(source, "network") {
        return Some(Attached::Network(network));
    }
    match node.attribute("type")? {
        "bridge" => attribute(source, "bridge").map(Attached::Bridge),
        "direct" => attribute(source, "dev").map(Attached::Device),
        _ => None,
    }
}

fn host_device(node: Node<'_, '_>) -> String {
    let kind = node.attribute("type").unwrap_or("of an unknown kind");
    let alias =
        node.children().find(|child| child.has_tag_name("alias")).and_then(|alias| attribute(alias, "name"));
    alias.map_or_else(|| kind.to_owned(), |alias| format!("{kind}, {alias}"))
}

fn agent_socket(node: Node<'_, '_>) -> Option<PathBuf> {
    let find = |name: &str| node.children().find(|child| child.has_tag_name(name));
    let is_ours = find("target")?.attribute("name") == Some(super::vm::AGENT_PORT);
    is_ours.then(|| find("source")?.attribute("path").map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain type='kvm' id='1'>
  <name>db &lt;1&gt; 'x'</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
  <memory unit='KiB'>262144</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/srv/a b.qcow2'/>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdb'/><shareable/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='pool/image'/><target dev='vdc'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='default' bridge='virbr0'/></interface>
    <interface type='bridge'><source bridge='br0'/></interface>
    <interface type='bridge'><source network='lan' portid='1' bridge='br0'/></interface>
    <interface type='hostdev'><source><address type='pci'/></source></interface>
    <hostdev mode='subsystem' type='pci'><alias name='hostdev0'/></hostdev>
    <channel type='unix'><source mode='bind' path='/run/other'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='unix'><source mode='bind' path='/run/ours'/><target type='virtio' name='dunlin.agent'/></channel>
  </devices>
</domain>";

    #[test]
    fn what_matters_for_a_move_is_read() {
        let domain = Domain::read(XML).unwrap();
        assert_eq!((domain.name.as_str(), domain.memory_bytes), ("db <1> 'x'", 256 << 20));
        assert_eq!((domain.kind.as_str(), domain.machine.as_deref()), ("kvm", Some("pc-q35-7.2")));
        assert_eq!(domain.cpu_model.as_deref(), Some("Nehalem"));
        let disks: Vec<_> =
            domain.disks.iter().map(|disk| (disk.target.as_str(), disk.source.as_deref())).collect();
        assert_eq!(
            disks,
            [
                ("vda", Some("/srv/a b.qcow2")),
                ("vdb", Some("/dev/sdb")),
                ("sda", None),
                ("vdc", Some("pool/image"))
            ]
        );
        let first = &domain.disks[0];
        assert_eq!((first.cache.as_deref(), first.format.as_deref()), (Some("none"), Some("qcow2")));
        assert!(domain.disks[1].is_shareable && domain.disks[2].is_read_only);
        let networks = [Attached::Network("default".into()), Attached::Bridge("br0".into())];
        // One that runs in a network which is a bridge of the host.
        assert_eq!(domain.networks[..2], networks);
        assert_eq!(domain.networks[2..], [Attached::Network("lan".into())]);
        assert_eq!(domain.host_devices.len(), 2);
        assert_eq!(domain.agent_socket, Some("/run/ours".into()));
    }

    #[test]
    fn what_is_no_vm_is_none() {
        let bomb = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain type='kvm'><name>&b;</name></domain>";
        for other in ["", "<domain/>", "<network><name>a</name></network>", "no XML", bomb] {
            assert_eq!(Domain::read(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            let _ = Domain::read(&text);
            let _ = Domain::read(&format!("<domain type='kvm'><name>{text}</name></domain>"));
        }
    }
}
