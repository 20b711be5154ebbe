//! Templates: a booted guest's state, saved once and restored for each trial.
//!
//! The key is all that shaped the guest, so that a template never fits a VM it was not made for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_record::ImageFormat;
use dunlin_testbed::{DiskPlace, Host, NamelessFile};

use super::features::QemuFeatures;
use super::launch::{Machine, QemuBinary};
use super::state_file::{load_from, save_to};
use super::vm::QemuVm;
use crate::{HypervisorError, Result, VmDisk, VmSpec};

/// Templates kept in a cache; the longest unused go first.
const TEMPLATES_KEPT: usize = 8;

/// Names a template by all that shaped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateKey(String);

impl TemplateKey {
    /// The key of a VM under a QEMU with these kernel and initial file system contents.
    ///
    /// # Errors
    /// Where the kernel or the initial file system cannot be read.
    pub(super) fn of(
        host: &dyn Host,
        binary: &QemuBinary,
        features: &QemuFeatures,
        machine: &Machine,
    ) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&binary.program.to_string_lossy());
        part(&build_stamp(host, &binary.program));
        part(&features.version);
        part(&features.package);
        // Names and paths on the host do not reach the guest; everything else in the specification does.
        let spec = &machine.spec;
        let nowhere = |disk: &VmDisk| VmDisk {
            format: ImageFormat::Raw,
            place: DiskPlace::File(PathBuf::new()),
            backing: None,
            direct: false,
            ..disk.clone()
        };
        let disks = spec.disks.iter().map(nowhere).collect();
        let (tap, kernel, initrd) =
            (spec.tap.as_ref().map(|_| String::new()), PathBuf::new(), PathBuf::new());
        let spec_there = VmSpec { tap, kernel, initrd, disks, ..spec.clone() };
        part(&format!("{:?}", Machine { spec: spec_there, ..machine.clone() }));
        for path in [&spec.kernel, &spec.initrd] {
            let bytes = fs::read(path).map_err(|source| HypervisorError::Io {
                doing: format!("read {}", path.display()),
                source,
            })?;
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        Ok(Self(hasher.finalize().to_hex()[..32].to_owned()))
    }

    /// Where the template is, whether it is there or not.
    pub(super) fn path(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}.template", self.0))
    }
}

/// Saves a running guest as a template; the VM is stopped afterwards and only good to be ended.
///
/// # Errors
/// Where QEMU or the disk refuses. No half template remains, even if this process is killed.
pub(super) fn save_template(vm: &QemuVm, features: &QemuFeatures, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| io_error("create", folder, source))?;
        forget_oldest(folder);
    }
    let draft = NamelessFile::make_in(path.parent().unwrap_or(Path::new(".")))?;
    let save = |to: &Path| save_to(vm, features, to);
    if vm.host.sees(&draft.path())? {
        save(&draft.path())?;
    } else {
        let there = vm.host.scratch().join(format!("template-{}", dunlin_clock::now_ns()));
        let brought = save(&there).and_then(|()| Ok(vm.host.copy_from(&there, &draft.path())?));
        // It goes with the host's scratch folder otherwise.
        let _ = vm.host.remove(&there);
        brought?;
    }
    Ok(draft.publish(path)?)
}

/// Loads a template into a VM launched as incoming, and lets it run.
///
/// # Errors
/// Where QEMU refuses it: the template is then of no use and should be removed.
pub(super) fn restore_template(vm: &QemuVm, features: &QemuFeatures, path: &Path) -> Result<()> {
    load_from(vm, features, &vm.host.place(path)?)?;
    // Marks the template as used, for `forget_oldest`.
    let _ = fs::File::open(path).and_then(|file| {
        file.set_modified(
            std::time::SystemTime::UNIX_EPOCH
                + Duration::from_nanos(u64::try_from(dunlin_clock::epoch_ns()).unwrap_or(0)),
        )
    });
    Ok(())
}

/// Tells builds of the same version apart: a developer rebuilds QEMU in place. Of another machine's it is not known.
fn build_stamp(host: &dyn Host, program: &Path) -> String {
    let found = if program.components().count() > 1 {
        Some(program.to_owned())
    } else {
        std::env::var_os("PATH").and_then(|paths| {
            std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|file| file.is_file())
        })
    };
    let is_here = |file: &PathBuf| host.sees(file).unwrap_or(false);
    let metadata = found.filter(is_here).and_then(|file| fs::metadata(file).ok());
    metadata.map(|data| format!("{} {:?}", data.len(), data.modified().ok())).unwrap_or_default()
}

/// Makes room: a cache must not grow without end.
fn forget_oldest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut templates: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "template"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    templates.sort();
    let surplus = (templates.len() + 1).saturating_sub(TEMPLATES_KEPT);
    for (_, path) in templates.into_iter().take(surplus) {
        let _ = fs::remove_file(path);
    }
}

fn io_error(doing: &str, path: &Path, source: std::io::Error) -> HypervisorError {
    HypervisorError::Io { doing: format!("{doing} {}", path.display()), source }
}
