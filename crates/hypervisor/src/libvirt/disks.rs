//! Whether a VM's disks can be used, or copied to, at another host.

use std::path::Path;

use dunlin_testbed::Host;

use super::domain::{Disk, Domain};
use super::hypervisor::LibvirtHypervisor;
use super::same::{LOOK_LIMIT, Same, same};
use super::settings::CopyStorage;
use super::shell::quoted;
use super::virsh::{ASK_LIMIT, Virsh};
use crate::{HypervisorError, Obstacle, Result};

/// Cache modes by which no page of a disk is left on the host that it leaves (libvirt's own rule, `qemuMigrationSrcIsSafe`).
const SAFE_CACHES: [&str; 2] = ["none", "directsync"];

/// What speaks against moving a VM with these disks.
pub(super) fn obstacles(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    domain: &Domain,
) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let copies = from.settings.copy_storage != CopyStorage::None;
    let images_there = if copies { images(&to.virsh, &domain.uuid)? } else { Vec::new() };
    for disk in &domain.disks {
        let Some(source) = disk.source.as_deref().filter(|_| disk.is_local()) else { continue };
        let is_there = exists(&*to.virsh.host, Path::new(source))?;
        if disk.is_medium() || disk.is_read_only || !is_there {
            found.extend((!is_there).then(|| missing(to, domain, disk, source, copies)));
        } else if copies && !disk.is_shareable {
            found.extend(overwritten(from, to, disk, source, &images_there)?);
        } else {
            found.extend(not_shared(from, to, disk, source)?);
        }
    }
    Ok(found)
}

fn missing(to: &LibvirtHypervisor, domain: &Domain, disk: &Disk, source: &str, copies: bool) -> Obstacle {
    let (id, target) = (to.virsh.host.id(), &disk.target);
    if disk.is_medium() {
        let eject = format!("virsh change-media {} {} --eject", quoted(&domain.name), quoted(target));
        return Obstacle {
            what: format!("{target} holds {source}, which {id} has not"),
            mend: format!("take it out ({eject}), or bring it there"),
        };
    }
    let mend = match (disk.is_read_only, copies) {
        (true, _) => "bring it there",
        (false, true) => {
            "make an image of the same size there (qemu-img create, or cp --sparse): libvirt copies into it"
        }
        (false, false) => {
            "put it on storage that both hosts see under the same path, or copy it along (libvirt.copy_storage)"
        }
    };
    Obstacle { what: format!("{id} has no {source} (disk {target})"), mend: mend.into() }
}

/// A disk that is copied over what is at the destination under its path.
fn overwritten(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    disk: &Disk,
    source: &str,
    images_there: &[Image],
) -> Result<Option<Obstacle>> {
    let (id, target) = (to.virsh.host.id(), &disk.target);
    let (here, there) = (&*from.virsh.host, &*to.virsh.host);
    if same(here, there, source, disk.is_block())? == Same::Yes {
        return Ok(Some(Obstacle {
            what: format!("{source} (disk {target}) is the same on {id}: it would be copied onto itself"),
            mend: "leave out libvirt.copy_storage, which is for disks that the hosts do not share".into(),
        }));
    }
    if let Some(image) = images_there.iter().find(|image| image.path == source) {
        return Ok(Some(Obstacle {
            what: format!(
                "{source} on {id}, which would be overwritten (disk {target}), is of another VM there: {}",
                image.vm
            ),
            mend: "give one of the two VMs its disk under another path".into(),
        }));
    }
    let sizes = (size(here, disk, source)?, size(there, disk, source)?);
    let (Some(needed), Some(room)) = sizes else { return Ok(None) };
    Ok((room < needed).then(|| Obstacle {
        what: format!(
            "{source} on {id} has {room} bytes, and disk {target}, which is copied into it, has {needed}"
        ),
        mend: format!(
            "make it as large there, if nobody needs it (qemu-img resize {} {needed})",
            quoted(source)
        ),
    }))
}

/// A disk that both hosts must see.
fn not_shared(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    disk: &Disk,
    source: &str,
) -> Result<Option<Obstacle>> {
    let (id, target) = (to.virsh.host.id(), &disk.target);
    match same(&*from.virsh.host, &*to.virsh.host, source, disk.is_block())? {
        Same::No => {
            return Ok(Some(Obstacle {
                what: format!("{source} (disk {target}) is another one on {id}: it is not shared"),
                mend: "put it on storage that both hosts see, or copy it along (libvirt.copy_storage)".into(),
            }));
        }
        Same::Unknown(why) if !from.settings.is_unsafe => {
            return Ok(Some(Obstacle {
                what: format!("whether {source} (disk {target}) is the same one on {id} cannot be told: {why}"),
                mend: "make sure of it (lsblk -o NAME,WWN,SERIAL,SIZE on both), and take the risk (libvirt.unsafe = true)"
                    .into(),
            }));
        }
        Same::Yes | Same::Unknown(_) => {}
    }
    Ok((!disk.has_safe_cache() && !from.settings.is_unsafe).then(|| Obstacle {
        what: format!(
            "{target} has the cache mode {}, by which the source may write what the destination has not seen",
            disk.cache.as_deref().unwrap_or("default")
        ),
        mend: "give it cache='none', or take the risk (libvirt.unsafe = true)".into(),
    }))
}

/// Whether all disks that the VM writes to are files that were seen to be the same on both hosts, and nothing of them is kept
/// back: then libvirt's doubt, which knows only the kinds of file systems, is answered.
pub(super) fn are_the_same(
    from: &LibvirtHypervisor,
    to: &LibvirtHypervisor,
    domain: &Domain,
) -> Result<bool> {
    let written =
        domain.disks.iter().filter(|disk| !disk.is_read_only && !disk.is_medium() && disk.source.is_some());
    let mut any = false;
    for disk in written {
        let source = disk.source.as_deref().unwrap_or_default();
        if !disk.is_local() || !disk.has_safe_cache() {
            return Ok(false);
        }
        if same(&*from.virsh.host, &*to.virsh.host, source, disk.is_block())? != Same::Yes {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

/// An image that a VM has.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    vm: String,
    path: String,
}

/// The images of all VMs of a host but one, also of those that do not run.
fn images(virsh: &Virsh, but: &str) -> Result<Vec<Image>> {
    let all = virsh.say(&["list", "--all", "--uuid", "--name"], ASK_LIMIT)?;
    let mut found = Vec::new();
    for (uuid, name) in all.lines().filter_map(|line| line.split_once(' ')).filter(|(uuid, _)| *uuid != but) {
        match virsh.say(&["domblklist", uuid], ASK_LIMIT) {
            Ok(said) => {
                found.extend(sources(&said).map(|path| Image { vm: name.to_owned(), path: path.to_owned() }));
            }
            // It has gone meanwhile.
            Err(HypervisorError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The sources in what `domblklist` says, as in ` vda      /srv/a b.qcow2`; `-` stands for none.
fn sources(said: &str) -> impl Iterator<Item = &str> {
    let read = |line: &str| line.trim().split_once(' ').map(|(_, source)| source.trim_start().len());
    said.lines().filter_map(move |line| {
        let line = line.trim();
        let source = &line[line.len() - read(line)?..];
        (source != "-").then_some(source)
    })
}

/// How much a guest sees of a disk, where that is told.
fn size(host: &dyn Host, disk: &Disk, source: &str) -> Result<Option<u64>> {
    let args = ["qemu-img", "info", "--output=json", "-U", "--", source].map(Into::into);
    // `env` says that there is none by its exit status, and does not fail itself.
    let told = host.run(Path::new("env"), &args, LOOK_LIMIT)?;
    if told.success {
        return Ok(virtual_size(&told.stdout));
    }
    if disk.format.as_deref() != Some("raw") || disk.is_block() {
        return Ok(None);
    }
    let stat = host.run(Path::new("stat"), &["-L", "-c", "%s", "--", source].map(Into::into), LOOK_LIMIT)?;
    Ok(String::from_utf8_lossy(&stat.stdout).trim().parse().ok())
}

fn virtual_size(info: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(info).ok()?.get("virtual-size")?.as_u64()
}

impl Disk {
    fn is_medium(&self) -> bool {
        matches!(self.device.as_str(), "cdrom" | "floppy")
    }

    fn is_local(&self) -> bool {
        matches!(self.kind.as_str(), "file" | "block")
    }

    fn is_block(&self) -> bool {
        self.kind == "block"
    }

    fn has_safe_cache(&self) -> bool {
        self.cache.as_deref().is_some_and(|cache| SAFE_CACHES.contains(&cache)) || self.is_shareable
    }
}

fn exists(host: &dyn Host, path: &Path) -> Result<bool> {
    Ok(host.run(Path::new("test"), &["-e".into(), path.into()], LOOK_LIMIT)?.success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_the_source_may_write_late_is_not_safe() {
        let disk = |cache: Option<&str>| Disk {
            target: "vda".into(),
            device: "disk".into(),
            kind: "file".into(),
            source: Some("/d".into()),
            format: None,
            is_read_only: false,
            is_shareable: false,
            cache: cache.map(str::to_owned),
        };
        assert!(disk(Some("none")).has_safe_cache() && disk(Some("directsync")).has_safe_cache());
        assert!(!disk(None).has_safe_cache() && !disk(Some("writeback")).has_safe_cache());
    }

    #[test]
    fn the_images_of_a_vm_are_read_with_spaces_in_their_names() {
        // As virsh -q 9.0.0 says it.
        let said = " vda      /srv/a b.qcow2\n sda      -\n vdb      /dev/sdb\n\n";
        assert_eq!(sources(said).collect::<Vec<_>>(), ["/srv/a b.qcow2", "/dev/sdb"]);
    }

    #[test]
    fn the_size_that_a_guest_sees_is_read() {
        assert_eq!(virtual_size(br#"{"virtual-size": 4096, "actual-size": 0}"#), Some(4096));
        assert_eq!(virtual_size(b"qemu-img: no"), None);
    }
}
