//! Whether a path is the same file, or the same device, for two hosts: proved, not believed.

use std::path::Path;
use std::time::Duration;

use dunlin_testbed::Host;

use crate::Result;

/// Limit of looking at files of a host.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    Yes,
    No,
    /// It cannot be told, and why.
    Unknown(&'static str),
}

/// Whether a path is the same for both.
pub(super) fn same(here: &dyn Host, there: &dyn Host, path: &str, is_block: bool) -> Result<Same> {
    let is_one_machine = is_one_machine(here, there)?;
    if is_block {
        same_device(here, there, path, is_one_machine)
    } else {
        same_file(here, there, path, is_one_machine)
    }
}

/// Whether both run on one kernel. Nodes on one machine may each be given a boot of their own, so its counters are looked at too.
fn is_one_machine(here: &dyn Host, there: &dyn Host) -> Result<bool> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    if here.read(boot)? == there.read(boot)? {
        return Ok(true);
    }
    let look = |host: &dyn Host| -> Result<Option<Kernel>> {
        Ok(Kernel::read(&String::from_utf8_lossy(&host.read(Path::new("/proc/stat"))?)))
    };
    let (before, seen, after) = (look(here)?, look(there)?, look(here)?);
    Ok(before.zip(seen).zip(after).is_some_and(|((before, seen), after)| seen.is_between(before, after)))
}

/// What a kernel counts since its boot (`/proc/stat`): two of them never stand at the same all at once.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    booted_s: u64,
    switches: u64,
    processes: u64,
}

impl Kernel {
    fn read(stat: &str) -> Option<Self> {
        let of = |name: &str| {
            let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
            lines.find_map(|(key, value)| (key == name).then(|| value.trim().parse().ok())?)
        };
        Some(Self { booted_s: of("btime")?, switches: of("ctxt")?, processes: of("processes")? })
    }

    /// Whether it was seen between the two. A clock that is set in between moves the boot's time by what it is moved by.
    fn is_between(self, before: Self, after: Self) -> bool {
        self.booted_s.abs_diff(before.booted_s) <= 1
            && (before.switches..=after.switches).contains(&self.switches)
            && (before.processes..=after.processes).contains(&self.processes)
    }
}

/// File systems (`stat -f`) that one machine has for itself.
const OF_ONE_MACHINE: [&str; 8] = ["ext2/ext3", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlayfs"];

/// Whether two hosts can see the same file system of this kind at all: of two machines that are copies of one, as by a clone
/// of their disks, files are alike to the last number.
fn can_be_shared(kind: &str, is_one_machine: bool) -> bool {
    !OF_ONE_MACHINE.contains(&kind.trim()) || is_one_machine
}

/// A file's number, its size and the time of its last change of any kind, which no copy of a file has in common with it to the
/// nanosecond, in a file system that both can see. It may be written meanwhile, so what differs is looked at again.
fn same_file(here: &dyn Host, there: &dyn Host, path: &str, is_one_machine: bool) -> Result<Same> {
    let kind = stat(here, &["-f", "-c", "%T"], path)?.unwrap_or_default();
    if !can_be_shared(&kind, is_one_machine) {
        return Ok(Same::No);
    }
    let look = |host: &dyn Host| stat(host, &["-c", "%i %s %z"], path);
    for _ in 0..5 {
        let (before, seen, after) = (look(here)?, look(there)?, look(here)?);
        if seen.is_some() && (seen == before || seen == after) {
            return Ok(Same::Yes);
        }
        if seen.is_none() || before == after {
            return Ok(Same::No);
        }
    }
    Ok(Same::No)
}

fn stat(host: &dyn Host, format: &[&str], path: &str) -> Result<Option<String>> {
    let args = ["-L"].iter().chain(format).chain(&["--", path]).map(Into::into).collect::<Vec<_>>();
    let output = host.run(Path::new("stat"), &args, LOOK_LIMIT)?;
    Ok(output.success.then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A device by its number, where one kernel has both; by what it calls itself otherwise. Its node is each host's own, so what is
/// told of files says nothing of it.
fn same_device(here: &dyn Host, there: &dyn Host, path: &str, is_one_machine: bool) -> Result<Same> {
    if is_one_machine {
        let number = |host| stat(host, &["-c", "%t:%T"], path);
        let (one, other) = (number(here)?, number(there)?);
        return Ok(if one.is_some() && one == other { Same::Yes } else { Same::No });
    }
    let (one, other) = (Device::ask(here, path)?, Device::ask(there, path)?);
    let (Some(one), Some(other)) = (one, other) else {
        return Ok(Same::Unknown("lsblk tells nothing of it on one of them"));
    };
    Ok(one.compare(&other))
}

/// What a device calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Device {
    /// Its name in the world.
    wwn: String,
    serial: String,
    size: String,
}

impl Device {
    fn ask(host: &dyn Host, path: &str) -> Result<Option<Self>> {
        let args = ["lsblk", "-dbnP", "-o", "WWN,SERIAL,SIZE", "--", path].map(Into::into);
        // `env` says that there is none by its exit status, and does not fail itself.
        let output = host.run(Path::new("env"), &args, LOOK_LIMIT)?;
        Ok(output.success.then(|| Self::read(&String::from_utf8_lossy(&output.stdout))).flatten())
    }

    /// As in `WWN="0x5000c500" SERIAL="Z1" SIZE="4096"`.
    fn read(said: &str) -> Option<Self> {
        let of = |name: &str| {
            let (_, rest) = said.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.trim().to_owned())
        };
        Some(Self { wwn: of("WWN")?, serial: of("SERIAL")?, size: of("SIZE")? })
    }

    /// A serial number proves nothing: that which QEMU gives to the first disk of a VM is the same in each (`QM00001`).
    fn compare(&self, other: &Self) -> Same {
        let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        if self.size != other.size || differ(&self.wwn, &other.wwn) || differ(&self.serial, &other.serial) {
            Same::No
        } else if !self.wwn.is_empty() && self.wwn == other.wwn {
            Same::Yes
        } else {
            Same::Unknown("it has no WWN that both hosts tell (lsblk -o WWN)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_are_copies_of_one_share_nothing_of_their_own() {
        for kind in ["ext2/ext3\n", "xfs", "tmpfs\n"] {
            assert!(!can_be_shared(kind, false), "{kind}");
            assert!(can_be_shared(kind, true), "nodes on one machine: {kind}");
        }
        for kind in ["nfs\n", "ceph", "gfs/gfs2", "fuseblk", ""] {
            assert!(can_be_shared(kind, false), "{kind}");
        }
    }

    #[test]
    fn one_kernel_is_known_by_what_it_counts() {
        let kernel = |switches, processes| {
            Kernel::read(&format!("cpu 1 2\nctxt {switches}\nbtime 1000\nprocesses {processes}\n")).unwrap()
        };
        let (before, after) = (kernel(5000, 70), kernel(5100, 73));
        assert!(kernel(5050, 71).is_between(before, after));
        for other in [kernel(5101, 71), kernel(4999, 71), kernel(5050, 69), kernel(5050, 74)] {
            assert!(!other.is_between(before, after), "{other:?}");
        }
        assert!(!Kernel { booted_s: 1002, ..kernel(5050, 71) }.is_between(before, after));
        assert!(Kernel::read("cpu 1 2\n").is_none());
    }

    #[test]
    fn a_lun_is_known_by_its_name_in_the_world() {
        let device = |said: &str| Device::read(said).unwrap();
        let lun = device("WWN=\"0x6001405\" SERIAL=\"a b\" SIZE=\"4096\"\n");
        assert_eq!((lun.serial.as_str(), lun.size.as_str()), ("a b", "4096"));
        assert_eq!(lun.compare(&lun.clone()), Same::Yes);
        assert_eq!(lun.compare(&device("WWN=\"0x6001406\" SERIAL=\"a b\" SIZE=\"4096\"")), Same::No);
        assert_eq!(lun.compare(&device("WWN=\"0x6001405\" SERIAL=\"a b\" SIZE=\"8192\"")), Same::No);
        let of_qemu = device("WWN=\"\" SERIAL=\"QM00001\" SIZE=\"4096\"");
        assert!(
            matches!(of_qemu.compare(&of_qemu.clone()), Same::Unknown(_)),
            "each VM has one of that serial number"
        );
        assert_eq!(of_qemu.compare(&device("WWN=\"\" SERIAL=\"QM00003\" SIZE=\"4096\"")), Same::No);
        assert_eq!(Device::read("lsblk: not a block device"), None);
    }
}
