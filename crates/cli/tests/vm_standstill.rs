//! Moves for which the VM stands still, with real QEMU and real guests: offline to a file, and cold.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use harness::{Finished, Run, number};
use nix::sys::signal::Signal;
use serde_json::Value;

const MOVED: &str = r#"
[run]
shuffle = false
[vm]
memory_mib = 128
shared_storage = false
disk = { size_mib = 256, format = "qcow2", used_mib = 24, compressibility_percent = 50 }
[trials]
count = 1
limit_s = 60
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "offline"
strategy = { kind = "offline" }
workload = { kind = "disk-write", file_mib = 16, rate_mib_s = 4, direct = true }
[[case]]
name = "offline-zstd"
vm.swap_mib = 64
strategy = { kind = "offline", compression = "zstd", threads = 2 }
workload = { kind = "memory-write", working_set_mib = 16, rate_mib_s = 2 }
[[case]]
name = "cold"
strategy = { kind = "cold", compression = "gzip" }
workload = { kind = "disk-write", file_mib = 16, rate_mib_s = 4, direct = true }
[[case]]
name = "cold-scp"
vm.disk = { size_mib = 64, used_mib = 24, compressibility_percent = 50 }
strategy = { kind = "cold", way = "scp", compression = "gzip" }
[[case]]
name = "cold-over-backing"
vm.disk.backing = true
strategy = { kind = "cold" }
[[case]]
name = "cold-shared"
vm.shared_storage = true
strategy = { kind = "cold" }
"#;

#[test]
fn vm_offline_and_cold_moves_bring_the_guest_and_its_disks() {
    need_vms!();
    let finished = Run::start("test-standstill", MOVED).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 6), "{}", finished.story());
    for outcome in &outcomes {
        let title = outcome["case"]["name"].as_str().unwrap();
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        for damage in ["corrupt_disk_pages", "corrupt_pages"] {
            let found = outcome.pointer("/workload/achieved").and_then(|achieved| achieved.get(damage));
            assert!(found.is_none_or(|pages| pages.as_u64() == Some(0) || pages.is_null()), "{outcome:#}");
        }
        let events = finished.events(outcome["id"].as_str().unwrap());
        let stages = stages(&events);
        let is_scp = title == "cold-scp";
        let expected: &[&str] = match title {
            "cold-shared" => &["rest", "wake"],
            "offline" => &["rest", "transfer", "transfer", "wake"],
            "offline-zstd" => &["rest", "transfer", "transfer", "transfer", "wake"],
            _ if is_scp => &["rest", "compress", "transfer", "decompress", "wake"],
            _ => &["rest", "transfer", "wake"],
        };
        assert_eq!(stages, expected, "{title}");
        never_twice(&events);
        // The service was away for nearly all of it, and each file is what it was.
        assert!(
            number(outcome, "/downtime_ms/icmp") > 0.5 * number(outcome, "/total_time_ms"),
            "{outcome:#}"
        );
        for carried in events.iter().filter(|event| event["event"] == "file-carried") {
            let [whole, content, sent] =
                ["file_bytes", "content_bytes", "sent_bytes"].map(|of| carried[of].as_i64().unwrap());
            assert!(content <= whole && sent > 0, "{carried:#}");
            let is_compressed = !matches!(title, "offline" | "cold-over-backing" | "cold-shared");
            assert!(!is_compressed || sent < content, "{title}: {carried:#}");
            assert_ne!(carried["verified"], false, "{carried:#}");
            assert!(is_scp || carried["verified"] == true, "{carried:#}");
        }
    }
    // A backing image that the other host has does not travel.
    let sent = |index: usize| -> i64 {
        let events = finished.events(outcomes[index]["id"].as_str().unwrap());
        events.iter().filter_map(|event| event["content_bytes"].as_i64()).sum()
    };
    assert!(sent(4) < 8 << 20, "{}", sent(4));
}

fn stages(events: &[Value]) -> Vec<&str> {
    let stages = events.iter().filter(|event| event["event"] == "standstill-stage");
    stages.map(|event| event["stage"].as_str().unwrap()).collect()
}

/// From the command on nobody runs it at the source once it has run at the destination.
fn never_twice(events: &[Value]) {
    let runs =
        |host: &'static str| move |event: &&Value| event["event"] == "vcpus-running" && event["host"] == host;
    let command = events.iter().find(|event| event["event"] == "migrate-command").unwrap()["t_ns"].as_i64();
    let there = events.iter().filter(runs("host-b")).map(|event| event["t_ns"].as_i64()).min();
    let again = events
        .iter()
        .filter(runs("host-a"))
        .map(|event| event["t_ns"].as_i64())
        .find(|at| *at > command && there.is_some_and(|there| *at > there));
    assert_eq!(again, None);
}

/// A disk that takes some ten seconds to travel.
fn slow(strategy: &str) -> String {
    format!(
        r#"
[vm]
memory_mib = 128
shared_storage = false
disk = {{ size_mib = 64, used_mib = 24 }}
[link.migration]
rate_mbit = 20
[trials]
count = 1
limit_s = 60
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "slow"
strategy = {{ {strategy} }}
workload = {{ kind = "disk-write", file_mib = 8, rate_mib_s = 1, direct = true }}
"#
    )
}

const SLOW: &str = "01-slow-1";

/// Where the VM is afterwards, and why.
fn is_back(finished: &Finished) -> String {
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    let (outcome, events) = (&outcomes[0], finished.events(SLOW));
    assert_eq!(outcome["status"], "failed", "{outcome:#}");
    let placed = events.iter().find(|event| event["event"] == "vm-placed").unwrap();
    assert_eq!((&placed["place"], &placed["source"]), (&"source".into(), &"runs".into()), "{placed:#}");
    let achieved = outcome.pointer("/workload/achieved").unwrap();
    assert_eq!(achieved["corrupt_disk_pages"], 0, "{outcome:#}");
    never_twice(&events);
    outcome["error"].as_str().unwrap().to_owned()
}

fn await_transfer(run: &mut Run) {
    let folder = run.folder.clone();
    // The events are compressed as they are written: what QEMU's own log says is sooner readable.
    run.until("the VM at rest", || {
        let log = folder.join("logs").join(SLOW).join("vm0-host-a-qmp.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        log.contains("SHUTDOWN") || log.contains(r#""status": "completed""#)
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
}

#[test]
fn vm_a_link_cut_while_files_travel_wakes_the_vm_at_the_source() {
    need_vms!();
    // The other way takes as long, and its sequence is the same: the long tally has both.
    let is_long = std::env::var_os("DUNLIN_LONG").is_some_and(|value| value == "1");
    for strategy in ["kind = \"cold\"", "kind = \"offline\""].into_iter().take(if is_long { 2 } else { 1 }) {
        let mut run = Run::start("test-standstill-cut", &slow(strategy));
        await_transfer(&mut run);
        let cut = run.on_host("host-b", &["ip", "link", "set", "migration", "down"]);
        assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
        let error = is_back(&run.finish());
        assert!(error.contains("host-b") || error.contains("no byte"), "{error}");
    }
}

#[test]
fn vm_that_is_killed_as_it_is_woken_at_the_destination_is_woken_at_the_source() {
    need_vms!();
    let mut run = Run::start("test-standstill-killed", &slow("kind = \"cold\""));
    await_transfer(&mut run);
    // It is there as soon as it is booted.
    let log = run.folder.join("logs").join(SLOW).join("vm0-host-b-qmp.log");
    run.until("a hypervisor at the destination", || log.exists());
    harness::send(run.hypervisor("host-b"), Signal::SIGKILL);
    let error = is_back(&run.finish());
    assert!(error.contains("host-b"), "{error}");
}
