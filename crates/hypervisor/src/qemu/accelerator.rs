//! Which accelerator really runs a guest on a host's QEMU.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_testbed::Host;

use super::features::QemuFeatures;
use super::launch::{self, QemuBinary};
use crate::accelerator::{Accelerator, boots, tried};
use crate::{Result, TrialBoot};

/// Limit of opening KVM.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

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
    tried(memo, &subject, || boots_under_kvm(host, binary, boot))
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
    let is_up =
        || host.read(&console).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(boot.marker));
    let booted = boots(|| Ok(process.try_wait()?.is_none()), is_up)?;
    process.kill();
    let _ = host.remove(&console);
    Ok(booted)
}
