//! What machine this is, as far as it bears on figures.

use std::fs;

use dunlin_record::HostFingerprint;

/// Reads this machine's fingerprint for the hosts that it is; what cannot be read is absent.
pub(crate) fn read(hosts: String, congestion_control: &str) -> HostFingerprint {
    let cpuinfo = read_text("/proc/cpuinfo").unwrap_or_default();
    let meminfo = read_text("/proc/meminfo").unwrap_or_default();
    HostFingerprint {
        hosts,
        cpu: field(&cpuinfo, "model name").map(str::to_owned),
        cores: std::thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok()),
        memory_mib: field(&meminfo, "MemTotal").and_then(kib).map(|kib| kib / 1024),
        kernel: read_text("/proc/sys/kernel/osrelease"),
        ksm: read_text("/sys/kernel/mm/ksm/run").map(|run| ksm_name(&run).to_owned()),
        thp: read_text("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
        congestion_control: Some(congestion_control.to_owned()),
        more: [("swap_mib", "SwapTotal")]
            .into_iter()
            .filter_map(|(name, key)| {
                Some((name.to_owned(), (kib(field(&meminfo, key)?)? / 1024).to_string()))
            })
            .collect(),
    }
}

/// What this machine is, outside of any testbed.
#[must_use]
pub fn this_machine() -> HostFingerprint {
    HostFingerprint { congestion_control: None, ..read("here".into(), "") }
}

fn read_text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

fn kib(value: &str) -> Option<u64> {
    value.strip_suffix("kB")?.trim().parse().ok()
}

/// The kernel's numbers for `ksm/run` (admin-guide/mm/ksm.rst).
fn ksm_name(run: &str) -> &str {
    match run {
        "0" => "off",
        "1" => "on",
        "2" => "off, unmerged",
        other => other,
    }
}

/// The word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(field("processor\t: 0\nmodel name\t: Fast CPU\n", "model name"), Some("Fast CPU"));
        assert_eq!(field("MemTotal:  2048 kB", "MemTotal").and_then(kib), Some(2048));
        assert_eq!(field("MemTotal", "MemTotal"), None);
        assert_eq!(chosen("always [madvise] never"), Some("madvise".into()));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_cores() {
        let fingerprint = read("here".into(), "cubic");
        assert!(fingerprint.kernel.is_some_and(|kernel| !kernel.is_empty()));
        assert!(fingerprint.cores.is_some_and(|cores| cores > 0));
    }
}
