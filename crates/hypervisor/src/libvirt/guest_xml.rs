//! One of our guests as libvirt is to make it: the same machine as on QEMU's own command line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use dunlin_testbed::DiskPlace;

use crate::{VmDisk, VmSpec};

/// How long a disk's server may be away before the guest hears of it, in seconds (NBD). libvirt 9.0 leaves it out, without a word.
const RECONNECT_S: u32 = 60;
/// The machine type where a scenario names none.
pub(super) const DEFAULT_MACHINE: &str = "q35";

/// A guest, but for what is called differently on each host.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) spec: VmSpec,
    /// Its name among libvirt's VMs, which no other has.
    pub(super) name: String,
    pub(super) uuid: String,
    /// Whether the kernel's KVM runs it.
    pub(super) has_kvm: bool,
}

/// Where its files lie on a host.
pub(super) struct Placed<'a> {
    /// Absent: it boots none, as where it only arrives.
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) console: PathBuf,
    pub(super) disks: &'a [VmDisk],
    /// By which the host confines VMs.
    pub(super) security_models: &'a [String],
}

impl Guest {
    /// Its XML on a host.
    pub(super) fn xml(&self, placed: &Placed<'_>) -> String {
        let spec = &self.spec;
        let mut xml = String::new();
        let kind = if self.has_kvm { "kvm" } else { "qemu" };
        // Writing to a string does not fail.
        let _ = writeln!(xml, "<domain type='{kind}'>");
        line(&mut xml, "name", &self.name);
        line(&mut xml, "uuid", &self.uuid);
        let _ =
            writeln!(xml, "  <memory unit='MiB'>{}</memory>\n  <vcpu>{}</vcpu>", spec.memory_mib, spec.vcpus);
        self.boot(&mut xml, placed);
        self.cpu(&mut xml);
        xml.push_str(
            "  <features><acpi/><apic/></features>\n  <clock offset='utc'/>\n  <on_poweroff>destroy</on_poweroff>\n  \
             <on_reboot>destroy</on_reboot>\n  <on_crash>destroy</on_crash>\n",
        );
        self.devices(&mut xml, placed);
        for model in placed.security_models {
            // Its files are in folders that are nobody else's, so it runs as root, unconfined.
            let _ = match model.as_str() {
                "dac" => writeln!(
                    xml,
                    "  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>"
                ),
                other => writeln!(xml, "  <seclabel type='none' model='{}'/>", escaped(other)),
            };
        }
        xml.push_str("</domain>\n");
        xml
    }

    fn boot(&self, xml: &mut String, placed: &Placed<'_>) {
        let machine = escaped(self.spec.machine.as_deref().unwrap_or(DEFAULT_MACHINE));
        let _ = writeln!(xml, "  <os>\n    <type arch='x86_64' machine='{machine}'>hvm</type>");
        for (name, file) in [("kernel", &placed.kernel), ("initrd", &placed.initrd)] {
            if !file.as_os_str().is_empty() {
                let _ = writeln!(xml, "    <{name}>{}</{name}>", escaped_path(file));
            }
        }
        let _ = writeln!(xml, "    <cmdline>{}</cmdline>\n  </os>", escaped(&self.spec.kernel_args));
    }

    fn cpu(&self, xml: &mut String) {
        let _ = match self.spec.cpu.as_deref() {
            None => Ok(()),
            Some("host") => writeln!(xml, "  <cpu mode='host-passthrough'/>"),
            Some("max") => writeln!(xml, "  <cpu mode='maximum'/>"),
            Some(model) => writeln!(
                xml,
                "  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{}</model></cpu>",
                escaped(model)
            ),
        };
    }

    fn devices(&self, xml: &mut String, placed: &Placed<'_>) {
        xml.push_str(
            "  <devices>\n    <controller type='usb' model='none'/>\n    <memballoon model='none'/>\n",
        );
        let console = escaped_path(&placed.console);
        let _ = writeln!(
            xml,
            "    <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>"
        );
        let port = super::vm::AGENT_PORT;
        let _ = writeln!(xml, "    <channel type='unix'><target type='virtio' name='{port}'/></channel>");
        if let Some(tap) = &self.spec.tap {
            // The tap is there already, and in its bridge.
            let (tap, mac) = (escaped(tap), escaped(&self.spec.mac));
            let _ = writeln!(
                xml,
                "    <interface type='ethernet'><mac address='{mac}'/><target dev='{tap}' managed='no'/><model \
                 type='virtio'/></interface>"
            );
        }
        for (target, disk) in targets(placed.disks) {
            let serial = escaped(&disk.serial);
            let Some(source) = source(disk) else { continue };
            let _ = writeln!(
                xml,
                "    <disk type='{}' device='disk'>{}<target dev='{target}' bus='virtio'/><serial>{serial}</serial></disk>",
                kind(&disk.place),
                source
            );
        }
        xml.push_str("  </devices>\n");
    }
}

/// What the disks of a guest of ours are called in it, as libvirt is told.
pub(super) fn targets(disks: &[VmDisk]) -> impl Iterator<Item = (String, &VmDisk)> {
    ('a'..='z').map(|letter| format!("vd{letter}")).zip(disks)
}

/// A disk that both hosts reach, as one that another is to be copied to; nothing where it is none, or no guest of ours gets such.
pub(super) fn copy_target(disk: &VmDisk) -> Option<String> {
    let source = source(disk).filter(|_| disk.place.file().is_none())?;
    Some(format!("<disk type='{}'>{source}</disk>\n", kind(&disk.place)))
}

/// What libvirt calls the kind of place where a disk lies.
fn kind(place: &DiskPlace) -> &'static str {
    if place.file().is_some() { "file" } else { "network" }
}

/// How and where a disk lies: holes that are copied to it stay holes, and no limited rate holds them back. Nothing where it is at a
/// server of which our guests get none.
fn source(disk: &VmDisk) -> Option<String> {
    let cache = if disk.direct { "none" } else { "writeback" };
    let source = match &disk.place {
        DiskPlace::File(file) => format!("<source file='{}'/>", escaped_path(file)),
        DiskPlace::Nbd { server, export } => format!(
            "<source protocol='nbd' name='{}'><host name='{}' port='{}'/><reconnect delay='{RECONNECT_S}'/></source>",
            escaped(export),
            server.ip(),
            server.port()
        ),
        DiskPlace::Nfs { .. } | DiskPlace::Iscsi { .. } => return None,
    };
    Some(format!(
        "<driver name='qemu' type='{}' cache='{cache}' discard='unmap'/>{source}{}",
        disk.format.name(),
        below(disk)
    ))
}

/// What lies below an image: nothing that its own header says is followed.
fn below(disk: &VmDisk) -> String {
    match &disk.backing {
        Some(below) => format!(
            "<backingStore type='file'><format type='{}'/><source file='{}'/><backingStore/></backingStore>",
            below.format.name(),
            escaped_path(&below.path)
        ),
        None if disk.format.has_backing() => "<backingStore/>".into(),
        None => String::new(),
    }
}

fn line(xml: &mut String, name: &str, text: &str) {
    let _ = writeln!(xml, "  <{name}>{}</{name}>", escaped(text));
}

fn escaped_path(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// Text as it stands in XML, also between quotation marks (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, character| {
        match character {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '\'' => all.push_str("&apos;"),
            '"' => all.push_str("&quot;"),
            other => all.push(other),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use dunlin_record::VmId;

    use super::super::domain::Domain;
    use dunlin_record::ImageFormat;

    use super::*;

    fn guest(cpu: Option<&str>) -> Guest {
        let spec = VmSpec {
            id: VmId::new("vm0"),
            memory_mib: 128,
            vcpus: 2,
            machine: None,
            cpu: cpu.map(str::to_owned),
            kernel: "/k".into(),
            initrd: "/i".into(),
            kernel_args: "a=\"b\" <c>".into(),
            tap: Some("tap-vm0".into()),
            mac: "52:54:00:d0:00:00".into(),
            disks: Vec::new(),
        };
        Guest {
            spec,
            name: "dunlin-vm0".into(),
            uuid: "11111111-2222-3333-4444-555555555555".into(),
            has_kvm: false,
        }
    }

    fn placed<'a>(disks: &'a [VmDisk], security_models: &'a [String]) -> Placed<'a> {
        Placed {
            kernel: "/var/tmp/it's/k".into(),
            initrd: "/var/tmp/i".into(),
            console: "/c".into(),
            disks,
            security_models,
        }
    }

    #[test]
    fn our_guest_is_read_back_as_it_was_meant() {
        let disk = VmDisk {
            serial: "disk".into(),
            size_mib: 64,
            format: ImageFormat::Raw,
            place: DiskPlace::File("/srv/a&b".into()),
            backing: None,
            direct: true,
        };
        let xml = guest(Some("Nehalem")).xml(&placed(&[disk], &["dac".into(), "apparmor".into()]));
        let domain = Domain::read(&xml).unwrap();
        assert_eq!((domain.name.as_str(), domain.memory_bytes), ("dunlin-vm0", 128 << 20));
        assert_eq!((domain.kind.as_str(), domain.cpu_model.as_deref()), ("qemu", Some("Nehalem")));
        assert_eq!(domain.disks[0].source.as_deref(), Some("/srv/a&b"));
        assert_eq!(domain.disks[0].cache.as_deref(), Some("none"));
        assert!(xml.contains("a=&quot;b&quot; &lt;c&gt;") && xml.contains("it&apos;s"), "{xml}");
        assert!(
            xml.contains("model='dac' relabel='no'") && xml.contains("type='none' model='apparmor'"),
            "{xml}"
        );
        assert!(xml.contains("dev='tap-vm0' managed='no'"), "{xml}");
    }

    #[test]
    fn what_lies_below_an_image_is_said_or_nothing() {
        let mut disk = VmDisk {
            serial: "disk".into(),
            size_mib: 64,
            format: ImageFormat::Qcow2,
            place: DiskPlace::File("/srv/top".into()),
            backing: None,
            direct: true,
        };
        let xml = |disk: &VmDisk| guest(None).xml(&placed(std::slice::from_ref(disk), &[]));
        assert!(
            xml(&disk).contains("type='qcow2'") && xml(&disk).contains("/srv/top'/><backingStore/><target")
        );
        disk.backing = Some(crate::BackingImage { format: ImageFormat::Raw, path: "/srv/below".into() });
        let said = xml(&disk);
        assert!(
            said.contains("<format type='raw'/><source file='/srv/below'/><backingStore/></backingStore>"),
            "{said}"
        );
        disk.format = ImageFormat::Raw;
        disk.backing = None;
        assert!(!xml(&disk).contains("backingStore"));
    }

    #[test]
    fn a_disk_of_a_server_is_said_with_its_address_and_copied_to_only_where_both_hosts_reach_it() {
        let mut disk = VmDisk {
            serial: "disk".into(),
            size_mib: 64,
            format: ImageFormat::Qcow2,
            place: DiskPlace::Nbd { server: "10.0.0.2:10809".parse().unwrap(), export: "vm0-d".into() },
            backing: None,
            direct: false,
        };
        let source = "<driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/><source protocol='nbd' name='vm0-d'><host \
                      name='10.0.0.2' port='10809'/><reconnect delay='60'/></source><backingStore/>";
        assert_eq!(copy_target(&disk).unwrap(), format!("<disk type='network'>{source}</disk>\n"));
        let xml = guest(None).xml(&placed(std::slice::from_ref(&disk), &[]));
        assert!(
            xml.contains(&format!("<disk type='network' device='disk'>{source}<target dev='vda'")),
            "{xml}"
        );
        disk.place = DiskPlace::File("/srv/disk".into());
        assert_eq!(copy_target(&disk), None);
    }

    #[test]
    fn a_guest_that_names_no_processor_gets_qemus_own() {
        let xml = guest(None).xml(&placed(&[], &[]));
        assert!(!xml.contains("<cpu") && !xml.contains("<seclabel"), "{xml}");
        assert!(guest(Some("host")).xml(&placed(&[], &[])).contains("host-passthrough"));
    }
}
