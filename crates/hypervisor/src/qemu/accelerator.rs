//! Which accelerator really runs a guest here.
//!
//! `/dev/kvm` can open, create a VM and still never run a stock kernel, so only booting one tells. The answer is kept
//! in the cache: it holds for this kernel, this QEMU and this guest.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::Host;

use super::features::QemuFeatures;
use super::launch::{self, QemuBinary};
use super::settings::Accelerator;
use crate::{Result, TrialBoot};

/// Limit of opening KVM.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// A guest under KVM boots in a second or two; under one that hangs it never does.
const BOOT_LIMIT: Duration = Duration::from_secs(15);

/// What to use on a host, and why; the answer is kept at `memo`.
///
/// # Errors
/// Where QEMU cannot even be started.
pub(super) fn detect_accelerator(
    host: &Arc<dyn Host>,
    binary: &QemuBinary,
    features: &QemuFeatures,
    boot: TrialBoot<'_>,
    memo: &Path,
) -> Result<(Accelerator, String)> {
    // Opened there, for reading and writing, and nothing more.
    let open = ["if=/dev/kvm", "of=/dev/kvm", "count=0", "conv=notrunc"].map(Into::into);
    let opened = host.run(Path::new("dd"), &open, OPEN_LIMIT)?;
    if !opened.success {
        let words = String::from_utf8_lossy(&opened.stderr);
        let why = words.lines().next().unwrap_or_default().trim_start_matches("dd: ").to_owned();
        return Ok((Accelerator::Tcg, format!("/dev/kvm cannot be used: {why}")));
    }
    let kernel = host.fingerprint().kernel.unwrap_or_default();
    let subject =
        format!("{} {} {} {}", kernel.trim(), features.version, features.package, boot.kernel.display());
    // A file for each, so that two QEMUs do not make each other forget.
    let memo = &memo.with_extension(&blake3::hash(subject.as_bytes()).to_hex()[..16]);
    if let Some(known) = recall(memo, &subject) {
        return Ok(known);
    }
    let booted = boots_under_kvm(host, binary, boot)?;
    let known = if booted {
        (Accelerator::Kvm, "a guest booted under KVM".to_owned())
    } else {
        (Accelerator::Tcg, format!("no guest booted under KVM within {} s", BOOT_LIMIT.as_secs()))
    };
    // Asked again next time where the cache cannot be written.
    let _ = fs::write(memo, format!("{subject}\n{}\n{}\n", if booted { "kvm" } else { "tcg" }, known.1));
    Ok(known)
}

fn recall(memo: &Path, subject: &str) -> Option<(Accelerator, String)> {
    let text = fs::read_to_string(memo).ok()?;
    let mut lines = text.lines();
    if lines.next()? != subject {
        return None;
    }
    let accelerator = if lines.next()? == "kvm" { Accelerator::Kvm } else { Accelerator::Tcg };
    Some((accelerator, lines.next()?.to_owned()))
}

fn boots_under_kvm(host: &Arc<dyn Host>, binary: &QemuBinary, boot: TrialBoot<'_>) -> Result<bool> {
    let console = host.scratch().join(format!("kvm-trial-{}", dunlin_clock::now_ns()));
    let mut args: Vec<std::ffi::OsString> = Vec::new();
    if let Some(firmware) = &binary.firmware {
        args.extend(["-L".into(), firmware.into()]);
    }
    args.extend(
        "-nodefaults -no-user-config -display none -machine q35 -accel kvm -m 256M -no-reboot"
            .split(' ')
            .map(Into::into),
    );
    for (name, file) in [("-kernel", boot.kernel), ("-initrd", boot.initrd)] {
        args.extend([name.into(), host.place(file)?.into()]);
    }
    args.extend(["-append".into(), boot.kernel_args.into()]);
    args.extend(["-serial".into(), format!("file:{}", console.display()).into()]);
    let mut process = launch::start(host, binary, args, "/dev/null".into(), "/dev/null".into())?;
    let deadline = Deadline::after(BOOT_LIMIT);
    let mut booted = false;
    while !booted && !deadline.passed() && process.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(100));
        booted = host.read(&console).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(boot.marker));
    }
    process.kill();
    let _ = host.remove(&console);
    Ok(booted)
}
