//! Why a QEMU did not open one of its VM's images, by its last words, and what would mend it.

use std::path::Path;

use dunlin_testbed::Host;

use super::blockdev;
use crate::{HypervisorError, ImageRefused, VmDisk, VmSpec};

/// How much of what it said last is looked at.
const SAID_BYTES: usize = 8000;

/// What it says (block.c, block/*.c of QEMU), and what would mend that. The first that fits.
const MENDS: [(&[&str], Mend); 9] = [
    (&["Unknown driver", "Unable to load module", "module block-block-"], Mend::Driver),
    (&["\" lock"], Mend::Locked),
    (&["not in qcow2 format", "Image is not in"], Mend::Format),
    (&["Could not open backing file", "could not open backing"], Mend::Backing),
    (&["export"], Mend::Export),
    (
        &["corrupt", "Active L1 table", "offset invalid", "too large", "misaligned", "Could not read"],
        Mend::Damaged,
    ),
    (&["nfs", "NFS", "mount"], Mend::Nfs),
    (&["onnection refused", "Failed to connect", "No route", "timed out", "iSCSI"], Mend::Server),
    (&["No such file", "Permission denied", "Read-only"], Mend::File),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mend {
    Driver,
    Locked,
    Format,
    Backing,
    Export,
    Damaged,
    Nfs,
    Server,
    File,
}

/// The end of a QEMU that could not open an image; any other error as it is.
pub(super) fn explain(
    error: HypervisorError,
    host: &dyn Host,
    spec: &VmSpec,
    stderr: &Path,
) -> HypervisorError {
    let HypervisorError::Ended { by_us: false, .. } = &error else { return error };
    let said = host.read(stderr).unwrap_or_default();
    let said = String::from_utf8_lossy(&said[said.len().saturating_sub(SAID_BYTES)..]).into_owned();
    match refusal(spec, &said) {
        Some((disk, why, mend)) => HypervisorError::Image {
            vm: spec.id.clone(),
            host: host.id().clone(),
            image: Box::new(ImageRefused {
                disk: disk.serial.clone(),
                place: blockdev::shown(&disk.place),
                why,
                mend,
            }),
        },
        None => error,
    }
}

/// Which disk it is about, why it was not opened, and what would mend that.
fn refusal<'a>(spec: &'a VmSpec, said: &str) -> Option<(&'a VmDisk, String, String)> {
    let is_of = |line: &str, disk: &VmDisk| {
        let serial = &disk.serial;
        line.contains(&format!("\"node-name\":\"{serial}\"")) || line.contains(&format!("drive={serial},"))
    };
    let line = said.lines().rev().find(|line| spec.disks.iter().any(|disk| is_of(line, disk)))?;
    let disk = spec.disks.iter().find(|disk| is_of(line, disk))?;
    let below = disk.backing.as_ref().map(|below| below.path.display().to_string());
    // After the option that it repeats; what lies below an image is in that too.
    let end_of_option = line.rfind("}: ").map(|at| at + 3);
    let own = || format!("serial={},werror=report,rerror=report: ", disk.serial);
    let why = match end_of_option.or_else(|| line.find(&own()).map(|at| at + own().len())) {
        Some(at) => &line[at..],
        None => line,
    };
    // Hints come before it, or after it.
    let about = said.lines().filter(|line| !line.contains("-blockdev") && !line.contains("-device"));
    let all = about.fold(why.to_owned(), |all, line| format!("{all} {line}"));
    let is_below = below.as_ref().is_some_and(|below| why.contains(below.as_str()));
    let fits = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let mend = MENDS.iter().find(|(words, _)| fits(words)).map(|(_, mend)| *mend);
    let mend = if is_below { Mend::Backing } else { mend? };
    Some((disk, why.trim().to_owned(), words_of(mend, disk, below.as_deref())))
}

fn words_of(mend: Mend, disk: &VmDisk, below: Option<&str>) -> String {
    let place = blockdev::shown(&disk.place);
    match mend {
        Mend::Driver => {
            "install QEMU's driver for it there (on Debian: apt-get install qemu-block-extra, of the same \
                         version as qemu-system-x86)"
                .into()
        }
        Mend::Locked => {
            format!("another program has {place} open: end it, or give the VM an image of its own")
        }
        Mend::Format => {
            format!("vm.disk.format is {}: what does qemu-img info say of {place}?", disk.format.name())
        }
        Mend::Backing => {
            format!("the backing image {} must be there, on both hosts, as it was", below.unwrap_or_default())
        }
        Mend::Export => format!("does the server export {place}, for writing?"),
        Mend::Damaged => format!("it is damaged: qemu-img check -r all {place} may mend it"),
        Mend::Nfs => format!("does the NFS server serve {place}, to this host and to ports above 1024?"),
        Mend::Server => format!("is the server of {place} there, and reached from this host?"),
        Mend::File => format!("{place}: is it there, and may it be written?"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use dunlin_record::{ImageFormat, VmId};
    use dunlin_testbed::DiskPlace;

    use super::*;

    fn spec() -> VmSpec {
        let disk = |serial: &str| VmDisk {
            serial: serial.into(),
            size_mib: 8,
            format: ImageFormat::Qcow2,
            place: DiskPlace::File(format!("/d/{serial}.qcow2").into()),
            backing: None,
            direct: false,
        };
        VmSpec {
            id: VmId::new("vm0"),
            memory_mib: 32,
            vcpus: 1,
            machine: None,
            cpu: None,
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            kernel_args: String::new(),
            tap: None,
            mac: String::new(),
            disks: vec![disk("data"), disk("swap")],
        }
    }

    /// As QEMU 10.0.2 and 7.2.22 say them.
    #[test]
    fn words_that_users_meet_are_told_with_what_mends_them() {
        let spec = spec();
        let option = r#"qemu-system-x86_64: -blockdev {"driver":"qcow2","file":{"driver":"nfs"},"node-name":"swap"}: "#;
        let device =
            "qemu-system-x86_64: -device virtio-blk-pci,drive=swap,serial=swap,werror=report,rerror=report: ";
        for (before, said, after, mend) in [
            (option, "Unknown driver 'nfs'", "", "qemu-block-extra"),
            (
                option,
                "Unable to load module nfs. Perhaps you want to install qemu-block-extra or qemu-block-supplemental package?",
                "",
                "qemu-block-extra",
            ),
            (option, "Image is not in qcow2 format", "", "vm.disk.format is qcow2"),
            (option, "Failed to mount nfs share: nfs_service failed", "", "NFS server"),
            (
                option,
                "Failed to open file : NFS: Lookup of /x failed with NFS3ERR_NOENT(-2)",
                "",
                "NFS server",
            ),
            (
                option,
                "iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Target not found(515)",
                "",
                "is the server",
            ),
            (option, "Requested export not available", "", "server export"),
            (
                option,
                "qcow2: Image is corrupt; cannot be opened read/write",
                "",
                "qemu-img check -r all /d/swap.qcow2",
            ),
            (
                device,
                "Failed to get \"write\" lock",
                "\nIs another process using the image [/d/swap.qcow2]?",
                "another program",
            ),
        ] {
            let told = refusal(&spec, &format!("{before}{said}{after}"));
            let (disk, why, told) = told.unwrap_or_else(|| panic!("{said}"));
            assert_eq!((disk.serial.as_str(), why.as_str()), ("swap", said));
            assert!(told.contains(mend), "{said}: {told}");
        }
        assert_eq!(refusal(&spec, "qemu-system-x86_64: -m 32M: no memory"), None);
    }
}
