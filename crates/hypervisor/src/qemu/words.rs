//! What a QEMU and its guest said before they ended.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoints::TRACE_POINT;

/// How much of a QEMU's last words an error repeats.
const QEMU_BYTES: usize = 400;
/// How much of a guest's: a kernel that panics says why some thirty lines before its end.
const CONSOLE_BYTES: usize = 4000;

/// The end of what a QEMU wrote to its standard error, without trace lines; empty if it wrote nothing.
pub(super) fn last_of_qemu(stderr: &Path) -> String {
    tail(stderr, QEMU_BYTES)
}

/// A guest's console as logged; guests that were started before it with the same log come first in it.
#[derive(Debug)]
pub(super) struct Console {
    log: PathBuf,
    /// Where the guest's own words begin.
    from: usize,
}

impl Console {
    /// The console of a guest about to be started.
    pub(super) fn new(log: &Path) -> Self {
        Self { log: log.to_owned(), from: fs::read(log).map_or(0, |said| said.len()) }
    }

    /// Its last lines.
    pub(super) fn tail(&self) -> String {
        tail(&self.log, CONSOLE_BYTES)
    }

    /// Why the guest's Linux panicked, if it did, as in `Kernel panic - not syncing: Attempted to kill init!`.
    pub(super) fn panic(&self) -> Option<String> {
        let said = fs::read(&self.log).ok()?;
        let own = String::from_utf8_lossy(said.get(self.from..)?);
        own.lines()
            .find_map(|line| line.find("Kernel panic").map(|start| line[start..].trim_end().to_owned()))
    }
}

fn tail(path: &Path, bytes_max: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(TRACE_POINT)).collect();
    let text = lines.join("\n");
    let start = text.char_indices().rev().nth(bytes_max).map_or(0, |(index, _)| index);
    text[start..].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_panic_is_told_in_the_kernels_words_but_not_one_of_an_earlier_guest() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut say = |text: &str| log.write_all(text.as_bytes()).unwrap();
        say("[    1.0] Kernel panic - not syncing: VFS\n");
        let path = PathBuf::from(log.path());
        let console = Console::new(&path);
        assert_eq!(console.panic(), None);
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(
            b"ready\r\n[    9.3] Kernel panic - not syncing: System is deadlocked on memory\r\n<TASK>\n",
        )
        .unwrap();
        assert_eq!(
            console.panic().as_deref(),
            Some("Kernel panic - not syncing: System is deadlocked on memory")
        );
        assert!(console.tail().ends_with("<TASK>"));
    }
}
