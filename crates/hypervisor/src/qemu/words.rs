//! What a QEMU and its guest said before they ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_testbed::Host;

use super::checkpoints::TRACE_POINT;
use crate::last_words::{CONSOLE_BYTES, last_of};

/// How much of a QEMU's last words an error repeats.
const QEMU_BYTES: usize = 400;

/// The end of what a QEMU wrote to its standard error, without trace lines; empty if it wrote nothing.
pub(super) fn last_of_qemu(host: &dyn Host, stderr: &Path) -> String {
    tail(&host.read(stderr).unwrap_or_default(), QEMU_BYTES)
}

/// A guest's console as logged; guests that were started before it with the same log come first in it.
pub(super) struct Console {
    host: Arc<dyn Host>,
    /// Where it is on the host.
    log: PathBuf,
    /// Where the guest's own words begin.
    from: usize,
}

impl Console {
    /// The console of a guest about to be started.
    pub(super) fn new(host: &Arc<dyn Host>, log: &Path) -> Self {
        let from = host.read(log).map_or(0, |said| said.len());
        Self { host: Arc::clone(host), log: log.to_owned(), from }
    }

    /// Its last lines.
    pub(super) fn tail(&self) -> String {
        tail(&self.host.read(&self.log).unwrap_or_default(), CONSOLE_BYTES)
    }

    /// Why the guest's Linux panicked, if it did, as in `Kernel panic - not syncing: Attempted to kill init!`.
    pub(super) fn panic(&self) -> Option<String> {
        panic_in(self.host.read(&self.log).ok()?.get(self.from..)?)
    }
}

fn panic_in(console: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(console);
    said.lines().find_map(|line| line.find("Kernel panic").map(|start| line[start..].trim_end().to_owned()))
}

fn tail(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(TRACE_POINT)).collect();
    last_of(&lines.join("\n"), bytes_max).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_the_kernels_words() {
        assert_eq!(panic_in(b"ready\r\n"), None);
        let said =
            b"ready\r\n[    9.3] Kernel panic - not syncing: System is deadlocked on memory\r\n<TASK>\n";
        assert_eq!(
            panic_in(said).as_deref(),
            Some("Kernel panic - not syncing: System is deadlocked on memory")
        );
        assert!(tail(said, CONSOLE_BYTES).ends_with("<TASK>"));
        assert_eq!(tail("äöü".as_bytes(), 1), "öü");
    }
}
