//! Every strategy with real QEMU and real guests, and what their records must hold.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::path::PathBuf;
use std::process::Command;

use dunlin_test_support::skip_vms;
use harness::{Finished, Run, number, seen};
use serde_json::Value;

const STRATEGIES: &str = r#"
[vm]
memory_mib = 128
[trials]
count = 1
limit_s = 60
baseline_s = 0.6
settle_s = 0.6
[[case]]
name = "idle"
[[case]]
name = "post-copy"
strategy = { kind = "post-copy" }
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }
[[case]]
name = "hybrid"
strategy = { kind = "hybrid", after_passes = 1, preempt = false }
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }
[[case]]
name = "suspend"
strategy = { kind = "suspend" }
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = 20 }
[[case]]
name = "suspend-later"
strategy = { kind = "suspend", after_passes = 1 }
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }
qemu.parameters.downtime-limit = 20
[[case]]
name = "two"
vm.count = 2
capture.migration = true
"#;

/// Everything a completed trial must have measured.
fn assert_whole(outcome: &Value) {
    assert_eq!(outcome["status"], "completed", "{outcome:#}");
    for pointer in [
        "/total_time_ms",
        "/wire_bytes/source_tx",
        "/wire_bytes/source_rx",
        "/downtime_ms/reported",
        "/downtime_ms/paused",
        "/phases_ms/initialize",
        "/phases_ms/reserve",
        "/phases_ms/activate",
        "/memory_mib/configured",
        "/memory_mib/allocated",
        "/memory_mib/used",
        "/memory_mib/requested",
        "/ram_bytes",
        "/floor_ms",
        "/link/goodput_mbit",
        "/guest_start_ms",
        "/cpu_percent/source/before",
        "/cpu_percent/source/during",
        "/cpu_percent/source_vcpus/before",
        "/cpu_percent/destination/during",
        "/cpu_percent/destination/after",
        "/cpu_percent/destination_vcpus/after",
        "/cpu_percent/guest/before",
        "/cpu_percent/guest/during",
        "/cpu_percent/guest/after",
    ] {
        assert!(number(outcome, pointer) >= 0.0, "{pointer} in {outcome:#}");
    }
    assert!(!outcome["iterations"].as_array().unwrap().is_empty());
    // The wire carries the hypervisor's bytes and the headers around them.
    assert!(number(outcome, "/wire_bytes/source_tx") > number(outcome, "/ram_bytes"));
    assert!(number(outcome, "/memory_mib/configured") >= number(outcome, "/memory_mib/used"));
    assert!(
        number(outcome, "/cpu_percent/source/before") > number(outcome, "/cpu_percent/source_vcpus/before")
    );
    for probe in ["icmp", "udp"] {
        seen(outcome, probe);
        let by = |whom: &str| number(outcome, &format!("/probes/{probe}/answered_by/{whom}"));
        assert!(by("destination") > 0.0, "{outcome:#}");
        assert!(by("unknown") <= 0.01 * (by("source") + by("destination")) + 1.0, "{outcome:#}");
    }
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_pages").unwrap_or(&Value::from(0)),
        0,
        "{outcome:#}"
    );
}

fn find<'a>(outcomes: &'a [Value], case: &str) -> &'a Value {
    outcomes.iter().find(|outcome| outcome["case"]["name"] == case).unwrap()
}

#[test]
fn vm_every_strategy_moves_the_guest_and_is_measured() {
    need_vms!();
    let finished = Run::start("test-strategies", STRATEGIES).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 7), "{}", finished.story());
    outcomes.iter().for_each(assert_whole);
    // One guest or the other may have been held up all the time on a busy machine, but not all of them.
    let by_source = |outcome: &Value| number(outcome, "/probes/icmp/answered_by/source");
    assert!(outcomes.iter().map(by_source).sum::<f64>() > 0.0, "{}", finished.story());
    for case in ["post-copy", "hybrid"] {
        let outcome = find(&outcomes, case);
        assert!(number(outcome, "/phases_ms/post_copy") > 0.0);
        // What the hypervisor does not count: pages that come after the VM runs.
        let reported = number(outcome, "/downtime_ms/reported");
        assert!(seen(outcome, "icmp").is_none_or(|icmp| icmp > reported), "{outcome:#}");
    }
    let suspend = find(&outcomes, "suspend");
    assert!(number(suspend, "/downtime_ms/paused") > 0.5 * number(suspend, "/total_time_ms"), "{suspend:#}");
    assert!(number(suspend, "/workload/achieved/rate_mib_s") > 0.0);
    // One capture holds both moves; each VM is told its own.
    for outcome in outcomes.iter().filter(|outcome| outcome["case"]["name"] == "two") {
        let counted = number(outcome, "/wire_bytes/source_tx") + number(outcome, "/wire_bytes/source_rx");
        let share = number(outcome, "/capture/overhead/total/wire_bytes") / counted;
        assert!((0.95..1.05).contains(&share), "{share} of {outcome:#}");
    }
    let later = find(&outcomes, "suspend-later");
    assert!(!later["phases_ms"]["pre_copy"].as_array().unwrap().is_empty(), "{later:#}");
    let decisions = finished.events(later["id"].as_str().unwrap());
    assert!(decisions.iter().any(|event| event["action"] == "stop-vm"), "{}", finished.story());
    let vms: Vec<_> =
        outcomes.iter().filter(|outcome| outcome["case"]["name"] == "two").map(|o| &o["vm"]).collect();
    assert_eq!(vms, ["vm0", "vm1"]);
    the_outcomes_come_back_from_events_and_series_alone(&finished);
}

fn the_outcomes_come_back_from_events_and_series_alone(finished: &Finished) {
    // No QEMU on this path.
    let report = || {
        let mut command = harness::dunlin();
        command.arg("report").arg(&finished.folder).arg("--json").env("PATH", "/nowhere").output().unwrap()
    };
    let file = finished.folder.join("trials.jsonl");
    // Trials were made in shuffled order, and come back in that of the cases.
    let lines = || {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let (before, shown) = (lines(), report());
    std::fs::remove_file(&file).unwrap();
    let again = report();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(lines(), before);
    assert_eq!(String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&shown.stdout));
}

/// QEMU 7.2 as `script/fetch-qemu-7.2` leaves it; `None` if it did not.
fn qemu_7_2() -> Option<(PathBuf, PathBuf)> {
    let cache = dunlin_guest::default_cache_dir().ok()?.join("qemu-7.2");
    let (binary, firmware) = (cache.join("bin/qemu-system-x86_64"), cache.join("share/qemu"));
    let version = Command::new(&binary).arg("--version").output().ok()?;
    String::from_utf8_lossy(&version.stdout).contains("version 7.2").then_some((binary, firmware))
}

#[test]
fn vm_qemu_7_2_is_measured_less_what_it_lacks_and_moves_to_the_newer_one() {
    need_vms!();
    let Some((binary, firmware)) = qemu_7_2() else {
        return skip_vms("QEMU 7.2 is not in the cache; script/fetch-qemu-7.2 puts it there");
    };
    let scenario = format!(
        r#"
[vm]
memory_mib = 128
machine = "pc-q35-7.2"
[qemu]
binary = "{binary}"
firmware = "{firmware}"
[trials]
count = 1
limit_s = 60
baseline_s = 0.5
settle_s = 0.5
[[case]]
name = "pre-copy"
[[case]]
name = "hybrid"
strategy = {{ kind = "hybrid", after_passes = 1 }}
workload = {{ kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }}
[[case]]
name = "needs mapped-ram"
qemu.capabilities = {{ mapped-ram = true }}
[[case]]
name = "to the newer"
qemu.destination_binary = "qemu-system-x86_64"
"#,
        binary = binary.display(),
        firmware = firmware.display(),
    );
    let finished = Run::start("test-qemu-7-2", &scenario).finish();
    let outcomes = finished.outcomes();
    assert_eq!(outcomes.len(), 3, "{}", finished.story());
    // Under 7.2's emulation a guest's kernel now and then trips; that guest says nothing about dunlin.
    let tripped = |outcome: &&Value| {
        let error = outcome["error"].as_str().unwrap_or_default();
        ["was the guest restarted?", "did not come up", "vm0 reset itself", "for the agent to answer"]
            .iter()
            .any(|word| error.contains(word))
    };
    let (unlucky, judged): (Vec<_>, Vec<_>) = outcomes.iter().partition(tripped);
    unlucky.iter().for_each(|outcome| println!("not judged, its guest tripped: {outcome}"));
    assert!(!judged.is_empty(), "{}", finished.story());
    assert_eq!(finished.code, Some(if unlucky.is_empty() { 0 } else { 5 }), "{}", finished.story());
    for outcome in judged {
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        assert!(outcome["hypervisor"]["version"].as_str().unwrap().starts_with("7.2"), "{outcome:#}");
        seen(outcome, "icmp");
        assert!(number(outcome, "/downtime_ms/paused") > 0.0);
    }
    let newer = find(&outcomes, "to the newer");
    let version = newer["hypervisor"]["destination_version"].as_str();
    assert!(tripped(&newer) || version.is_some_and(|version| !version.starts_with("7.2")), "{newer:#}");
    // What this QEMU does not know is skipped with the reason, before anything boots.
    assert!(finished.stderr.contains("skipped: needs mapped-ram"), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("QEMU 7.2.22 does not know it")
            || finished.stderr.contains("does not know it")
    );
}
