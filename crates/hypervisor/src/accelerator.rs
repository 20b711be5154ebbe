//! What runs the vCPUs of our guests, and how it is found out what really does on a host.
//!
//! `/dev/kvm` can open, create a VM and still never run a stock kernel, so only booting one tells. The answer is kept
//! in the cache: it holds for this kernel, this hypervisor and this guest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dunlin_clock::Deadline;
use serde::{Deserialize, Serialize};

use crate::Result;

/// A guest under KVM boots in a second or two; under one that hangs it never does.
const BOOT_LIMIT: Duration = Duration::from_secs(15);

/// What runs the vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Accelerator {
    /// KVM if a guest really boots under it, else TCG.
    #[default]
    Auto,
    /// The kernel's.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

impl Accelerator {
    /// Their names in a scenario.
    pub(crate) const NAMES: &'static [&'static str] = &["auto", "kvm", "tcg"];

    /// Whether it executes the guest's instructions one by one itself.
    pub(crate) fn is_emulation(self) -> bool {
        self == Self::Tcg
    }

    /// Its name, to QEMU and in the record.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What to use where `subject` says all on which that depends, and why. Kept beside `memo`, a file for each subject, so that two
/// hypervisors do not make each other forget.
///
/// # Errors
/// Where the guest cannot even be started.
pub(crate) fn tried(
    memo: &Path,
    subject: &str,
    boots_under_kvm: impl FnOnce() -> Result<bool>,
) -> Result<(Accelerator, String)> {
    let memo = &memo.with_extension(&blake3::hash(subject.as_bytes()).to_hex()[..16]);
    if let Some(known) = recall(memo, subject) {
        return Ok(known);
    }
    let (accelerator, why) = if boots_under_kvm()? {
        (Accelerator::Kvm, "a guest booted under KVM".to_owned())
    } else {
        (Accelerator::Tcg, format!("no guest booted under KVM within {} s", BOOT_LIMIT.as_secs()))
    };
    // Asked again next time where the cache cannot be written.
    let _ = fs::write(memo, format!("{subject}\n{}\n{why}\n", accelerator.name()));
    Ok((accelerator, why))
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

/// Waits until a guest has booted, no longer than one does that boots at all, nor than it runs. `is_up` sees whether it has.
pub(crate) fn boots(mut runs: impl FnMut() -> Result<bool>, mut is_up: impl FnMut() -> bool) -> Result<bool> {
    let deadline = Deadline::after(BOOT_LIMIT);
    while !deadline.passed() && runs()? {
        std::thread::sleep(Duration::from_millis(100));
        if is_up() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_subject_alone() {
        let folder = tempfile::tempdir().unwrap();
        let memo = folder.path().join("accelerator");
        let mut times = 0;
        let mut ask = |subject: &str, boots: bool| {
            tried(&memo, subject, || {
                times += 1;
                Ok(boots)
            })
            .unwrap()
        };
        let (first, why) = ask("a", true);
        assert_eq!((first, why.as_str()), (Accelerator::Kvm, "a guest booted under KVM"));
        assert_eq!(ask("b", false).0, Accelerator::Tcg);
        assert_eq!(ask("a", false), (first, why), "it is not tried again");
        assert_eq!(times, 2);
    }

    #[test]
    fn a_guest_that_has_ended_is_not_waited_for() {
        assert!(!boots(|| Ok(false), || true).unwrap());
        assert!(boots(|| Ok(true), || true).unwrap());
    }
}
