//! What speaks against moving a VM that exists from one host to another: found out by questions, before it is touched.

use std::path::Path;
use std::time::Duration;

use dunlin_record::Case;
use dunlin_testbed::Host;

use super::domain::{Attached, Disk, Domain};
use super::hypervisor::LibvirtHypervisor;
use super::peer;
use super::settings::CopyStorage;
use super::stats::JobInfo;
use super::virsh::{ASK_LIMIT, SLOW_LIMIT, Virsh};
use crate::{Condition, HypervisorError, Obstacle, Result};

/// Limit of looking at files of a host.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// Cache modes by which no page of a disk is left on the host that it leaves (libvirt's own rule, `qemuMigrationSrcIsSafe`).
const SAFE_CACHES: [&str; 2] = ["none", "directsync"];

/// All that speaks against it.
pub(super) fn all(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    name: &str,
    case: &Case,
) -> Result<Vec<Obstacle>> {
    let Some(uuid) = from.uuid_of(name)? else {
        return Ok(vec![obstacle(
            format!("{} has no VM {name:?}", from.virsh.host.id()),
            "`virsh list --all` there shows its VMs; the first host of the inventory is the source".into(),
        )]);
    };
    let state = super::vm::ask(&from.virsh, &uuid)?;
    if !matches!(state.condition, Some(Condition::Running | Condition::Stopped)) {
        return Ok(vec![obstacle(
            format!("{name} does not run on {}: it is {}", from.virsh.host.id(), state.word),
            "start it, and wait until it is up; nothing is started here".into(),
        )]);
    }
    let domain = Domain::ask(&from.virsh, &uuid)?;
    let mut found = Vec::new();
    found.extend(job(&from.virsh, &domain)?);
    found.extend(snapshots(&from.virsh, &domain)?);
    found.extend(domain.host_devices.iter().map(|device| {
        obstacle(format!("{name} has {device}"), "detach it for the migration (virsh detach-device)".into())
    }));
    found.extend(peer::obstacles(from, to)?);
    found.extend(name_taken(to, &domain)?);
    found.extend(machine(to, &domain)?);
    found.extend(processor(from, to, &domain)?);
    found.extend(networks(to, &domain)?);
    found.extend(disks(from, to, &domain, case)?);
    found.extend(memory(to, &domain)?);
    Ok(found)
}

fn obstacle(what: String, mend: String) -> Obstacle {
    Obstacle { what, mend }
}

/// Somebody else may move it already.
fn job(virsh: &Virsh, domain: &Domain) -> Result<Option<Obstacle>> {
    let said = virsh.say(&["domjobinfo", &domain.uuid, "--rawstats"], ASK_LIMIT)?;
    let info = JobInfo::read(&said);
    Ok(info.is_running().then(|| {
        let what = if info.is_migration() { "is being migrated already" } else { "has a job under way" };
        obstacle(format!("{} {what}", domain.name), "wait for its end (virsh domjobinfo)".into())
    }))
}

fn snapshots(virsh: &Virsh, domain: &Domain) -> Result<Option<Obstacle>> {
    let said = virsh.say(&["snapshot-list", &domain.uuid, "--name"], ASK_LIMIT)?;
    let count = said.lines().filter(|line| !line.trim().is_empty()).count();
    Ok((count > 0).then(|| {
        let mend = "libvirt keeps their description at the source alone: delete it (virsh snapshot-delete --metadata), and \
                    define them again when it is back (virsh snapshot-create --redefine)";
        obstacle(format!("{} has snapshots ({count})", domain.name), mend.into())
    }))
}

/// Another VM at the destination may have its name, or this very one may be there.
fn name_taken(to: &LibvirtHypervisor, domain: &Domain) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let host = to.virsh.host.id();
    if let Some(uuid) = to.uuid_of(&domain.name)?
        && uuid != domain.uuid
    {
        let what = format!("{host} has another VM {:?}, with the UUID {uuid}", domain.name);
        found.push(obstacle(what, "rename one of them (virsh domrename)".into()));
    }
    let there = super::vm::ask(&to.virsh, &domain.uuid)?;
    match there.condition {
        None => {}
        Some(Condition::Ended) => {
            let all = to.virsh.say(&["list", "--all", "--uuid", "--name"], ASK_LIMIT)?;
            let same = all.lines().any(|line| line.split_once(' ') == Some((&domain.uuid, &domain.name)));
            if !same {
                let what = format!("{host} has a VM with the UUID {}, and another name", domain.uuid);
                found.push(obstacle(
                    what,
                    format!("undefine it there, if it is nobody's (virsh undefine {})", domain.uuid),
                ));
            } else if to.settings.persistent == Some(true) {
                let what = format!(
                    "{host} has a definition of {:?} of its own, which would be replaced",
                    domain.name
                );
                let mend = "leave out libvirt.persistent, by which it stays as it is, or undefine it there (virsh undefine)";
                found.push(obstacle(what, mend.into()));
            }
        }
        Some(_) => {
            let what = format!("a VM with its UUID is on {host} already: {}", there.word);
            found.push(obstacle(
                what,
                "find out which of them is the true one before anything else is done".into(),
            ));
        }
    }
    Ok(found)
}

/// The destination must have the VM's machine, and its QEMU.
fn machine(to: &LibvirtHypervisor, domain: &Domain) -> Result<Option<Obstacle>> {
    let mut args = vec!["domcapabilities".to_owned(), "--virttype".into(), domain.kind.clone()];
    for (option, value) in
        [("--emulatorbin", &domain.emulator), ("--arch", &domain.arch), ("--machine", &domain.machine)]
    {
        args.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
    }
    match to.virsh.say(&args, SLOW_LIMIT) {
        Ok(_) => Ok(None),
        Err(HypervisorError::Refused { description, .. }) => {
            let machine = domain.machine.as_deref().unwrap_or("its machine");
            let emulator = domain.emulator.as_deref().unwrap_or("its emulator");
            let what = format!(
                "{} has no {machine} of {emulator} ({}): {description}",
                to.virsh.host.id(),
                domain.kind
            );
            let version = to.features.version();
            Ok(Some(obstacle(
                what,
                format!("install the same QEMU there as here, or a newer one; it has {version}"),
            )))
        }
        Err(error) => Err(error),
    }
}

/// The destination must know the VM's processor, and have what it passes through.
fn processor(from: &LibvirtHypervisor, to: &LibvirtHypervisor, domain: &Domain) -> Result<Option<Obstacle>> {
    let host = to.virsh.host.id();
    if matches!(domain.cpu_mode.as_deref(), Some("host-passthrough" | "maximum")) && domain.kind == "kvm" {
        let (here, there) = (&from.features.processor, &to.features.processor);
        let what =
            format!("it passes its host's processor through, and {host} has {there} instead of {here}");
        return Ok((here != there)
            .then(|| obstacle(what, "give the VM a named CPU model that both hosts have".into())));
    }
    let Some(model) = &domain.cpu_model else { return Ok(None) };
    let args = ["domcapabilities", "--virttype", &domain.kind];
    let Ok(said) = to.virsh.say(&args, SLOW_LIMIT) else { return Ok(None) };
    let found = match model_there(&said, model, &domain.kind) {
        Model::There => None,
        Model::Unusable => Some("cannot run"),
        Model::Unknown => Some("does not know"),
    };
    Ok(found.map(|why| {
        let mend = format!(
            "give the VM an older CPU model (virsh domcapabilities on {host} lists those that it can run)"
        );
        obstacle(format!("{host} {why} the CPU model {model}"), mend)
    }))
}

#[derive(Debug, PartialEq, Eq)]
enum Model {
    There,
    Unusable,
    Unknown,
}

/// What `domcapabilities` says of a CPU model. Under emulation nothing is said to be unusable that QEMU cannot do without.
fn model_there(capabilities: &str, model: &str, kind: &str) -> Model {
    let Ok(document) = roxmltree::Document::parse(capabilities) else { return Model::There };
    let mut models = document.descendants().filter(|node| {
        node.has_tag_name("model") && node.attribute("usable").is_some() && node.text() == Some(model)
    });
    match models.next() {
        None => Model::Unknown,
        Some(node) if node.attribute("usable") == Some("no") && kind == "kvm" => Model::Unusable,
        Some(_) => Model::There,
    }
}

/// The destination must have the networks and bridges that the VM's cards are in.
fn networks(to: &LibvirtHypervisor, domain: &Domain) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let id = to.virsh.host.id();
    let mut networks = domain.networks.clone();
    networks.dedup();
    for attached in &networks {
        found.extend(match attached {
            Attached::Network(name) => {
                let active = to.virsh.say(&["net-list", "--name"], ASK_LIMIT)?;
                let is_there = active.lines().any(|line| line.trim_end() == name);
                let mend = format!("define and start it there (virsh net-define, virsh net-start {name})");
                (!is_there).then(|| obstacle(format!("{id} has no active network {name:?}"), mend))
            }
            Attached::Bridge(name) | Attached::Device(name) => {
                let is_there = exists(&*to.virsh.host, &Path::new("/sys/class/net").join(name))?;
                let mend = "make it there, or change the VM's card".to_owned();
                (!is_there).then(|| obstacle(format!("{id} has no device {name:?}"), mend))
            }
        });
    }
    Ok(found)
}

fn disks(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    domain: &Domain,
    case: &Case,
) -> Result<Vec<Obstacle>> {
    let _ = case;
    let mut found = Vec::new();
    let copies = from.settings.copy_storage != CopyStorage::None;
    let id = to.virsh.host.id();
    for disk in &domain.disks {
        let Some(source) = disk.source.as_deref().filter(|_| disk.is_local()) else { continue };
        let target = &disk.target;
        let is_there = exists(&*to.virsh.host, Path::new(source))?;
        if disk.is_medium() {
            let mend = format!(
                "take it out (virsh change-media {} {target} --eject), or bring it there",
                domain.name
            );
            found.extend(
                (!is_there).then(|| obstacle(format!("{target} holds {source}, which {id} has not"), mend)),
            );
            continue;
        }
        if disk.is_read_only || copies {
            let mend = match copies {
                true => "make an image of the same size there (qemu-img create, or cp --sparse): libvirt copies into it".to_owned(),
                false => "bring it there".into(),
            };
            found
                .extend((!is_there).then(|| obstacle(format!("{id} has no {source} (disk {target})"), mend)));
            continue;
        }
        if !is_there {
            let mend = "put it on storage that both hosts see under the same path, or copy it along (libvirt.copy_storage)";
            found.push(obstacle(format!("{id} has no {source} (disk {target})"), mend.into()));
        } else if !is_same(&*from.virsh.host, &*to.virsh.host, source)? {
            let what = format!("{source} (disk {target}) is another one on {id}: it is not shared");
            let mend = "put it on storage that both hosts see, or copy it along (libvirt.copy_storage)";
            found.push(obstacle(what, mend.into()));
        } else if !disk.has_safe_cache() && !from.settings.is_unsafe {
            let what = format!(
                "{target} has the cache mode {}, by which the source may write what the destination has not seen",
                disk.cache.as_deref().unwrap_or("default")
            );
            let mend = "give it cache='none', or take the risk (libvirt.unsafe = true)";
            found.push(obstacle(what, mend.into()));
        }
    }
    Ok(found)
}

/// Whether all disks that the VM writes to are files that were seen to be the same on both hosts, and nothing of them is kept
/// back: then libvirt's doubt, which knows only the kinds of file systems, is answered.
pub(super) fn disks_are_the_same(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    domain: &Domain,
) -> Result<bool> {
    let written =
        domain.disks.iter().filter(|disk| !disk.is_read_only && !disk.is_medium() && disk.source.is_some());
    let mut any = false;
    for disk in written {
        let source = disk.source.as_deref().unwrap_or_default();
        if !disk.is_local() || !disk.has_safe_cache() || !is_same(&*from.virsh.host, &*to.virsh.host, source)?
        {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

impl Disk {
    fn is_medium(&self) -> bool {
        matches!(self.device.as_str(), "cdrom" | "floppy")
    }

    fn is_local(&self) -> bool {
        matches!(self.kind.as_str(), "file" | "block")
    }

    fn has_safe_cache(&self) -> bool {
        self.cache.as_deref().is_some_and(|cache| SAFE_CACHES.contains(&cache)) || self.is_shareable
    }
}

fn exists(host: &dyn Host, path: &Path) -> Result<bool> {
    Ok(host.run(Path::new("test"), &["-e".into(), path.into()], LOOK_LIMIT)?.success)
}

/// File systems (`stat -f`) that one machine has for itself.
const OF_ONE_MACHINE: [&str; 8] = ["ext2/ext3", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlayfs"];

/// Whether two hosts can see the same file system of this kind at all: of two machines that are copies of one, as by a clone
/// of their disks, files are alike to the last number. Nodes on one machine have its boot in common.
fn can_be_shared(kind: &str, boots: [&[u8]; 2]) -> bool {
    !OF_ONE_MACHINE.contains(&kind.trim()) || boots[0] == boots[1]
}

/// Whether a path is the same file for both hosts: its number, its size and the time of its last change of any kind, which no
/// copy of a file has in common with it to the nanosecond, in a file system that both can see. It may be written meanwhile, so
/// what differs is looked at again.
fn is_same(here: &dyn Host, there: &dyn Host, path: &str) -> Result<bool> {
    let kind =
        here.run(Path::new("stat"), &["-L", "-f", "-c", "%T", "--", path].map(Into::into), LOOK_LIMIT)?;
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let boots = [here.read(boot)?, there.read(boot)?];
    if !can_be_shared(&String::from_utf8_lossy(&kind.stdout), [&boots[0], &boots[1]]) {
        return Ok(false);
    }
    let look = |host: &dyn Host| -> Result<Option<Vec<u8>>> {
        let args = ["-L", "-c", "%i %s %z", "--", path].map(Into::into);
        let output = host.run(Path::new("stat"), &args, LOOK_LIMIT)?;
        Ok(output.success.then_some(output.stdout))
    };
    for _ in 0..5 {
        let (before, seen, after) = (look(here)?, look(there)?, look(here)?);
        if seen.is_some() && (seen == before || seen == after) {
            return Ok(true);
        }
        if seen.is_none() || before == after {
            return Ok(false);
        }
    }
    Ok(false)
}

/// The destination must have room for the VM's memory.
fn memory(to: &LibvirtHypervisor, domain: &Domain) -> Result<Option<Obstacle>> {
    let text = to.virsh.host.read(Path::new("/proc/meminfo"))?;
    let Some(available) = available_bytes(&String::from_utf8_lossy(&text)) else { return Ok(None) };
    let mib = |bytes: i64| bytes >> 20;
    Ok((available < domain.memory_bytes).then(|| {
        let what = format!(
            "{} has {} MiB of memory left, and {} has {} MiB",
            to.virsh.host.id(),
            mib(available),
            domain.name,
            mib(domain.memory_bytes)
        );
        obstacle(what, "make room there".into())
    }))
}

fn available_bytes(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_model_is_there_unusable_or_unknown() {
        let said = "<domainCapabilities><cpu><mode name='host-model'><model fallback='forbid'>EPYC</model></mode>\
                    <mode name='custom'><model usable='yes'>Nehalem</model><model usable='no'>EPYC</model></mode></cpu>\
                    </domainCapabilities>";
        assert_eq!(model_there(said, "Nehalem", "kvm"), Model::There);
        assert_eq!(model_there(said, "EPYC", "kvm"), Model::Unusable);
        assert_eq!(model_there(said, "EPYC", "qemu"), Model::There);
        assert_eq!(model_there(said, "Z80", "qemu"), Model::Unknown);
        assert_eq!(model_there("nothing", "Z80", "kvm"), Model::There, "what is not told is no obstacle");
    }

    #[test]
    fn a_disk_that_the_source_may_write_late_is_not_safe() {
        let disk = |cache: Option<&str>| Disk {
            target: "vda".into(),
            device: "disk".into(),
            kind: "file".into(),
            source: Some("/d".into()),
            is_read_only: false,
            is_shareable: false,
            cache: cache.map(str::to_owned),
        };
        assert!(disk(Some("none")).has_safe_cache() && disk(Some("directsync")).has_safe_cache());
        assert!(!disk(None).has_safe_cache() && !disk(Some("writeback")).has_safe_cache());
    }

    #[test]
    fn machines_that_are_copies_of_one_share_nothing_of_their_own() {
        for kind in ["ext2/ext3\n", "xfs", "tmpfs\n"] {
            assert!(!can_be_shared(kind, [b"1", b"2"]), "{kind}");
            assert!(can_be_shared(kind, [b"1", b"1"]), "nodes on one machine: {kind}");
        }
        for kind in ["nfs\n", "ceph", "gfs/gfs2", "fuseblk", ""] {
            assert!(can_be_shared(kind, [b"1", b"2"]), "{kind}");
        }
    }

    #[test]
    fn memory_that_is_left_is_read() {
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 << 10));
        assert_eq!(available_bytes("MemTotal: 9 kB\n"), None);
    }
}
