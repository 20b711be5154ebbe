//! What speaks against moving a VM that exists from one host to another: found out by questions, before it is touched.

use std::path::Path;

use super::disks;
use super::domain::{Attached, Domain};
use super::hypervisor::{LibvirtHypervisor, named};
use super::peer;
use super::same::LOOK_LIMIT;
use super::shell::quoted;
use super::stats::JobInfo;
use super::virsh::{ASK_LIMIT, SLOW_LIMIT, Virsh};
use crate::{Condition, HypervisorError, Obstacle, Result};

/// All that speaks against moving one that was found there, and runs or is paused.
pub(super) fn all(from: &LibvirtHypervisor, to: &LibvirtHypervisor, name: &str) -> Result<Vec<Obstacle>> {
    let domain = Domain::ask(&from.virsh, &from.uuid_of_known(name)?)?;
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
    found.extend(disks::obstacles(from, to, &domain)?);
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
        obstacle(
            format!("{} {what}", domain.name),
            format!("wait for its end (virsh domjobinfo {})", quoted(&domain.name)),
        )
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
    let names = to.names()?;
    let namesake = named(&names, &domain.name);
    if let Some(uuid) = namesake.filter(|uuid| *uuid != domain.uuid) {
        let what = format!("{host} has another VM {:?}, with the UUID {uuid}", domain.name);
        found.push(obstacle(
            what,
            format!("rename one of them (virsh domrename {} NEW)", quoted(&domain.name)),
        ));
    }
    let there = super::vm::ask(&to.virsh, &domain.uuid)?;
    match there.condition {
        None => {}
        Some(Condition::Ended) => {
            if namesake != Some(&domain.uuid) {
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
                let mend =
                    format!("define and start it there (virsh net-define, virsh net-start {})", quoted(name));
                (!is_there).then(|| obstacle(format!("{id} has no active network {name:?}"), mend))
            }
            Attached::Bridge(name) | Attached::Device(name) => {
                let path = Path::new("/sys/class/net").join(name);
                let args = ["-e".into(), path.into()];
                let is_there = to.virsh.host.run(Path::new("test"), &args, LOOK_LIMIT)?.success;
                let mend = "make it there, or change the VM's card".to_owned();
                (!is_there).then(|| obstacle(format!("{id} has no device {name:?}"), mend))
            }
        });
    }
    Ok(found)
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
    fn memory_that_is_left_is_read() {
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 << 10));
        assert_eq!(available_bytes("MemTotal: 9 kB\n"), None);
    }
}
