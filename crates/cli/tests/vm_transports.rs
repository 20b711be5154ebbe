//! The same migration over every transport, with real QEMU.

mod harness;

use dunlin_record::{Series, read_series};
use dunlin_test_support::skip;
use harness::{Finished, Run};
use serde_json::Value;

const TRANSPORTS: &str = r#"
[vm]
memory_mib = 128
[run]
shuffle = false
[trials]
count = 1
baseline_s = 0.6
settle_s = 0.6
[[case]]
name = "tcp"
[[case]]
name = "zstd"
transport = { channels = 2, compression = "zstd" }
[[case]]
name = "tls"
transport = { kind = "tls", channels = 2 }
[[case]]
name = "unix"
transport.kind = "unix"
[[case]]
name = "refused"
transport.channels = 2
strategy.kind = "post-copy"
[[case]]
name = "mptcp"
transport.kind = "mptcp"
"#;

#[test]
fn vm_every_transport_carries_a_guest_and_its_bytes_are_counted() {
    need_vms!();
    let run = Run::start("transports", TRANSPORTS).finish();
    assert_eq!(run.code, Some(0), "{}", run.story());
    let outcomes = run.outcomes();
    let of = |name: &str| outcomes.iter().find(|outcome| outcome["case"]["name"] == name);
    let sent = |name: &str| {
        let outcome = of(name).unwrap_or_else(|| panic!("no {name}: {}", run.story()));
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        outcome["wire_bytes"]["source_tx"].as_f64().unwrap_or_default()
    };
    let plain = sent("tcp");
    // Guests restored from one template hold nearly the same pages.
    assert!(sent("zstd") < plain * 0.8 && sent("tls") > plain * 0.8, "{}", run.story());
    assert!(sent("unix") < plain * 0.01, "{}", run.story());
    assert!(of("unix").is_some_and(|outcome| outcome["floor_ms"] == Value::Null));
    let source =
        std::fs::read_to_string(run.folder.join("logs/03-tls-1/vm0-host-a-qmp.log")).unwrap_or_default();
    assert!(source.contains("tls-hostname") && !source.contains("PRIVATE KEY"), "{source}");

    let info = std::fs::read_to_string(run.folder.join("run.json")).unwrap_or_default();
    if of("refused").is_none() {
        assert!(info.contains("multifd with post-copy is not supported"), "{info}");
    }
    if of("mptcp").is_none() {
        assert!(info.contains("MPTCP"), "{info}");
        // No package gives it to a kernel, so this fails nowhere.
        return skip("this machine has no MPTCP");
    }
    assert!(sent("mptcp") > plain * 0.8, "{}", run.story());
    for link in ["migration", "migration-2"] {
        assert!(carried(&run, "06-mptcp-1", link) > plain * 0.1, "{link}: {}", run.story());
    }
}

/// What the source sent over a link during a trial, in bytes.
fn carried(run: &Finished, trial: &str, link: &str) -> f64 {
    let path = run.folder.join(format!("series/{trial}/wire-host-a-{link}.zst"));
    let series: Series = read_series(&path).unwrap_or_else(|error| panic!("{error}"));
    let sent: Vec<i64> = series.rows_of::<5>().map(|row| row[1]).collect();
    sent.last().zip(sent.first()).map_or(0.0, |(last, first)| (last - first) as f64)
}
