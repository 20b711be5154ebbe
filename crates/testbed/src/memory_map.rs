//! Resident memory of one mapping of a process, out of `/proc/PID/smaps`.

use std::fs;

use crate::{Result, TestbedError};

/// Resident bytes of the process's mapping of exactly `mapping_bytes`; of the fullest one if there are several.
pub(crate) fn resident_bytes(pid: u32, mapping_bytes: u64) -> Result<Option<i64>> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).map_err(TestbedError::io(format!("read {path}")))?;
    Ok(resident_of(&text, mapping_bytes))
}

/// The same from the file's text (proc_pid_smaps(5)): a line `START-END …` in hexadecimal begins a mapping, and the
/// line `Rss: N kB` belongs to the one begun last. Anything else is skipped.
fn resident_of(smaps: &str, mapping_bytes: u64) -> Option<i64> {
    let mut matches = false;
    let mut fullest = None;
    for line in smaps.lines() {
        if let Some(size) = size_of_mapping(line) {
            matches = size == mapping_bytes;
        } else if matches && let Some(resident) = line.strip_prefix("Rss:") {
            fullest = fullest.max(kib(resident));
        }
    }
    fullest
}

fn size_of_mapping(line: &str) -> Option<u64> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    address(end)?.checked_sub(address(start)?)
}

fn kib(text: &str) -> Option<i64> {
    text.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
Size:               2048 kB
Rss:                 100 kB
7f0000400000-7f0000500000 rw-p 00000000 00:00 0     /memfd:ram (deleted)
Rss:                 900 kB
Pss:                  10 kB
VmFlags: rd wr mr mw me ac
7f0000600000-7f0000700000 rw-p 00000000 00:00 0
Rss:                 300 kB
";

    #[test]
    fn only_a_mapping_of_exactly_the_size_counts_and_of_several_the_fullest() {
        assert_eq!(resident_of(SMAPS, 0x20_0000), Some(100 * 1024));
        assert_eq!(resident_of(SMAPS, 0x10_0000), Some(900 * 1024));
        assert_eq!(resident_of(SMAPS, 0x30_0000), None);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "([0-9a-f]{0,20}-?[0-9a-f]{0,20}( |:|\n)|Rss: *-?[0-9]{0,25} kB\n){0,20}", size: u64) {
            resident_of(&text, size);
        }
    }
}
