//! How disks are copied while their VM runs, with real QEMU and real guests: which blocks, in two steps, held back or paused for;
//! and what is left of it when the other end goes away.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;

use harness::{Finished, Run, number};
use nix::sys::signal::Signal;
use serde_json::Value;

const MIB: f64 = 1024.0 * 1024.0;

/// One case of a VM whose disk moves.
fn case(name: &str, rate_mbit: u32, limit_s: u32, more: &str) -> String {
    format!(
        r#"
[vm]
memory_mib = 128
shared_storage = false
[link.migration]
rate_mbit = {rate_mbit}
[trials]
count = 1
limit_s = {limit_s}
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "{name}"
{more}"#
    )
}

/// The only outcome, and its events.
fn only(finished: &Finished, code: i32) -> (Value, Vec<Value>) {
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(code), 1), "{}", finished.story());
    let events = finished.events(outcomes[0]["id"].as_str().unwrap());
    (outcomes[0].clone(), events)
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn decided<'a>(events: &'a [Value], what: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == "decision" && event["action"] == what).collect()
}

/// The VM runs at the source, its disk is whole, and it never ran at the destination.
fn runs_at_source(outcome: &Value, events: &[Value], part: &str) {
    let placed = named(events, "vm-placed");
    assert_eq!(
        (&placed[0]["place"], &placed[0]["source"]),
        (&"source".into(), &"runs".into()),
        "{placed:#?}"
    );
    let corrupt = outcome.pointer("/workload/achieved").and_then(|achieved| achieved.pointer(part));
    assert_eq!(corrupt, Some(&Value::from(0)), "{outcome:#}");
    let ran_there = |event: &&Value| event["event"] == "vcpus-running" && event["host"] == "host-b";
    assert_eq!(events.iter().find(ran_there), None);
}

const BLOCKS: &str = r#"
vm.disk = { size_mib = 512, format = "qcow2", used_mib = 24 }
storage.blocks = ["allocated", "all"]
"#;

#[test]
fn vm_only_what_a_disk_holds_passes_the_wire_unless_all_of_it_is_asked_for() {
    need_vms!();
    let finished = Run::start("test-blocks", &case("blocks", 2000, 60, BLOCKS)).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 2), "{}", finished.story());
    for outcome in &outcomes {
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        assert!(number(outcome, "/storage_bytes/data") < 64.0 * MIB, "{outcome:#}");
    }
    let [allocated, all] = &outcomes[..] else { panic!("{}", finished.story()) };
    // With the memory, as the hypervisor counts it; what is left of 1.15 is headers.
    let of = |figure: &str| number(allocated, figure);
    let [held, memory, sent] = ["/storage_bytes/data", "/ram_bytes", "/wire_bytes/source_tx"].map(of);
    assert!(sent < 1.15 * (held + memory), "{sent} of {held} and {memory}: {allocated:#}");
    assert!(of("/storage_bytes/wire") > held, "{allocated:#}");
    assert!(number(all, "/storage_bytes/wire") >= 512.0 * MIB, "{all:#}");
}

/// Its disk moves, but its memory does not in the limit.
const TWO_STEPS: &str = r#"
vm.disk.size_mib = 64
storage.two_steps = true
[case.workload]
kind = "several"
each = [
    { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" },
    { kind = "disk-write", file_mib = 8, rate_mib_s = 1, direct = true },
]
"#;

#[test]
fn vm_with_its_new_disks_stays_at_the_source_where_its_memory_does_not_follow() {
    need_vms!();
    let finished = Run::start("test-steps-limit", &case("steps", 200, 10, TWO_STEPS)).finish();
    let (outcome, events) = only(&finished, 0);
    assert_eq!(outcome["status"], "not-converged", "{outcome:#}");
    assert_eq!(named(&events, "storage-moved").len(), 1, "{events:#?}");
    runs_at_source(&outcome, &events, "/parts/1/corrupt_disk_pages");
    let told = outcome["error"].as_str().unwrap();
    assert!(told.contains("it has its new disks since then, at 10.78.0.12:10809"), "{told}");
}

#[test]
fn vm_with_its_new_disks_stays_at_the_source_when_the_destination_is_killed() {
    need_vms!();
    let mut run = Run::start("test-steps-killed", &case("steps", 200, 60, TWO_STEPS));
    run.await_migration("01-steps-1");
    harness::send(run.hypervisor("host-b"), Signal::SIGKILL);
    let (outcome, events) = only(&run.finish(), 5);
    assert_eq!(outcome["status"], "failed", "{outcome:#}");
    assert_eq!(named(&events, "storage-moved").len(), 1, "{events:#?}");
    runs_at_source(&outcome, &events, "/parts/1/corrupt_disk_pages");
    let told = outcome["error"].as_str().unwrap();
    assert!(told.contains("signal 9") && told.contains("it has its new disks since then"), "{told}");
}

#[test]
fn vm_with_its_old_disks_stays_at_the_source_when_the_link_is_cut_in_the_first_of_two_steps() {
    need_vms!();
    let slow = r#"
vm.disk = { size_mib = 64, used_mib = 24 }
storage.two_steps = true
workload = { kind = "disk-write", file_mib = 8, rate_mib_s = 0.5, direct = true }
"#;
    let mut run = Run::start("test-steps-cut", &case("steps", 20, 60, slow));
    let log = run.folder.join("logs/01-steps-1/vm0-host-a-qmp.log");
    run.until("a copy under way", || {
        fs::read_to_string(&log).is_ok_and(|log| log.matches("query-block-jobs").count() > 10)
    });
    let cut = run.on_host("host-b", &["ip", "link", "set", "migration", "down"]);
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    let (outcome, events) = only(&run.finish(), 5);
    assert_eq!(named(&events, "storage-moved").len(), 0, "{events:#?}");
    runs_at_source(&outcome, &events, "/corrupt_disk_pages");
    let told = outcome["error"].as_str().unwrap();
    assert!(!told.contains("new disks"), "{told}");
}

/// Both ends' disks are even, and the memory is on its way, or the VM is stopped for its switch-over already.
const ONE_STEP: &str = r#"
vm.disk.size_mib = 64
[case.workload]
kind = "several"
each = [
    { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" },
    { kind = "disk-write", file_mib = 8, rate_mib_s = 1, direct = true },
]
"#;

#[test]
fn vm_goes_on_with_its_own_disks_when_the_destination_is_killed_while_its_memory_moves() {
    need_vms!();
    let mut run = Run::start("test-memory-killed", &case("memory", 200, 60, ONE_STEP));
    run.await_migration("01-memory-1");
    harness::send(run.hypervisor("host-b"), Signal::SIGKILL);
    let (outcome, events) = only(&run.finish(), 5);
    assert_eq!(named(&events, "storage-mirrored").len(), 1, "{events:#?}");
    assert_eq!(named(&events, "storage-handed-over").len(), 0, "{events:#?}");
    runs_at_source(&outcome, &events, "/parts/1/corrupt_disk_pages");
    assert!(outcome["error"].as_str().unwrap().contains("signal 9"), "{outcome:#}");
}

#[test]
fn vm_goes_on_with_its_own_disks_when_the_destination_is_killed_after_they_were_handed_over() {
    need_vms!();
    // What is left takes seconds, so that the switch-over can be met.
    let long = format!("qemu.parameters.downtime-limit = 20000\n{ONE_STEP}");
    let mut run = Run::start("test-hand-over-killed", &case("over", 60, 60, &long));
    let log = run.folder.join("logs/01-over-1/vm0-host-a-qmp.log");
    run.until("the hand-over", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains(r#""data": {"status": "device"}"#))
    });
    harness::send(run.hypervisor("host-b"), Signal::SIGKILL);
    let (outcome, events) = only(&run.finish(), 5);
    assert_eq!(named(&events, "storage-handed-over").len(), 1, "{events:#?}");
    runs_at_source(&outcome, &events, "/parts/1/corrupt_disk_pages");
}

/// A guest that writes several times as much as this link carries.
const FAST: &str = r#"
vm.disk = { size_mib = 64, used_mib = 4 }
workload = { kind = "disk-write", file_mib = 32, rate_mib_s = 12, direct = true }
"#;

#[test]
fn vm_writes_that_no_copy_catches_up_with_are_held_back_or_the_vm_is_paused_for_them() {
    need_vms!();
    let finished = Run::start("test-in-step", &case("fast", 24, 100, FAST)).finish();
    let (outcome, events) = only(&finished, 0);
    assert_eq!(outcome["status"], "completed", "{outcome:#}");
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_disk_pages"),
        Some(&Value::from(0)),
        "{outcome:#}"
    );
    assert_eq!(decided(&events, "mirror-in-step").len(), 1, "{events:#?}");

    let background = format!("storage = {{ writes = \"background\", pause_after_s = 4 }}\n{FAST}");
    let finished = Run::start("test-paused", &case("fast", 24, 100, &background)).finish();
    let (outcome, events) = only(&finished, 0);
    assert_eq!(outcome["status"], "completed", "{outcome:#}");
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_disk_pages"),
        Some(&Value::from(0)),
        "{outcome:#}"
    );
    assert_eq!(decided(&events, "mirror-in-step").len(), 0, "{events:#?}");
    let paused = decided(&events, "hold-source");
    assert_eq!(paused.len(), 1, "{events:#?}");
    assert!(paused[0]["reason"].as_str().unwrap().contains("4"), "{paused:#?}");
}
