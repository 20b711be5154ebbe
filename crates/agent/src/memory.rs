//! How the guest's memory is used, from `/proc/meminfo`.

use std::fs;

use dunlin_agent_proto::GuestMemory;

/// Reads the guest's memory figures.
pub(crate) fn read() -> Result<GuestMemory, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| format!("read /proc/meminfo: {error}"))?;
    parse(&text)
}

fn parse(meminfo: &str) -> Result<GuestMemory, String> {
    let bytes = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: Option<u64> = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("read {name} in /proc/meminfo: it is not there"))
    };
    Ok(GuestMemory {
        total_bytes: bytes("MemTotal")?,
        free_bytes: bytes("MemFree")?,
        available_bytes: bytes("MemAvailable")?,
        committed_bytes: bytes("Committed_AS")?,
        swap_total_bytes: bytes("SwapTotal")?,
        swap_free_bytes: bytes("SwapFree")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_in_bytes_and_a_missing_one_is_named() {
        let text = "MemTotal:  482944 kB\nMemFree: 1 kB\nMemAvailable:\t2 kB\nCommitted_AS:    700 kB\nHuge: 0\n\
             SwapTotal:       8 kB\nSwapFree:        4 kB\n";
        let memory = parse(text).unwrap();
        assert_eq!(memory.total_bytes, 482_944 * 1024);
        assert_eq!(memory.committed_bytes, 700 * 1024);
        assert_eq!((memory.swap_total_bytes, memory.swap_free_bytes), (8 * 1024, 4 * 1024));
        let said = parse(&text.replace("MemFree", "MemFried")).unwrap_err();
        assert!(said.contains("MemFree"), "{said}");
    }
}
