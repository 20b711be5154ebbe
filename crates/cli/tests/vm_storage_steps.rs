//! How disks are copied while their VM runs, with real QEMU and real guests: which blocks, in two steps, held back or paused for;
//! and what is left of it when the other end goes away.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;

use dunlin_test_support::skip;
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

/// Why something was decided, each time.
fn why(events: &[Value], action: &str) -> Vec<String> {
    let decisions = named(events, "decision").into_iter().filter(|event| event["action"] == action);
    decisions.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
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
    let finished = Run::start("test-steps-limit", &case("steps", 100, 8, TWO_STEPS)).finish();
    let (outcome, events) = only(&finished, 0);
    assert_eq!(outcome["status"], "not-converged", "{outcome:#}");
    assert_eq!(named(&events, "storage-moved").len(), 1, "{events:#?}");
    runs_at_source(&outcome, &events, "/parts/1/corrupt_disk_pages");
    let told = outcome["error"].as_str().unwrap();
    assert!(
        told.contains("it has its new disks since then, at nbd://10.78.0.12:10809/vm0-dunlin-disk"),
        "{told}"
    );
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

/// A guest that writes as fast as it can, and more than this link carries. Its memory would not get through beside that: it follows
/// when the VM is stopped.
const FAST: &str = r#"
[vm]
memory_mib = 128
shared_storage = false
disk = { size_mib = 64, used_mib = 4 }
[link.migration]
rate_mbit = 40
[trials]
count = 1
limit_s = 100
baseline_s = 0.4
settle_s = 0.3
[run]
shuffle = false
[strategy]
kind = "suspend"
[workload]
kind = "disk-write"
file_mib = 24
rate_mib_s = "full"
[[case]]
name = "in-step"
[[case]]
name = "paused"
storage = { writes = "background", pause_after_s = 3 }
"#;

#[test]
fn vm_writes_that_no_copy_catches_up_with_are_held_back_or_the_vm_is_paused_for_them() {
    need_vms!();
    if std::env::var_os("DUNLIN_LONG").is_none_or(|value| value != "1") {
        return skip(
            "80 s of a guest that outruns its copies, as the driver's own test does: DUNLIN_LONG=1 runs it",
        );
    }
    let finished = Run::start("test-in-step", FAST).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 2), "{}", finished.story());
    let why_in_step_and_stopped = outcomes.iter().map(|outcome| {
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        let corrupt = outcome.pointer("/workload/achieved/corrupt_disk_pages");
        assert_eq!(corrupt, Some(&Value::from(0)), "{outcome:#}");
        let events = finished.events(outcome["id"].as_str().unwrap());
        ["mirror-in-step", "stop-vm"].map(|action| why(&events, action))
    });
    let [in_step, paused] = &why_in_step_and_stopped.collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(in_step[0].len(), 1, "{in_step:?}");
    assert!(paused[0].is_empty(), "{paused:?}");
    let stopped_for_the_copy = |why: &&String| why.contains("not caught up within 3 s");
    assert_eq!(in_step[1].iter().filter(stopped_for_the_copy).count(), 0, "{in_step:?}");
    assert_eq!(paused[1].iter().filter(stopped_for_the_copy).count(), 1, "{paused:?}");
}

/// Its disks are then behind a server that is there no more: its writes wait, and fail in the end.
#[test]
fn vm_whose_new_disks_have_lost_their_server_is_told_of() {
    need_vms!();
    if std::env::var_os("DUNLIN_LONG").is_none_or(|value| value != "1") {
        return skip("a minute of a guest that waits for its disks' server: DUNLIN_LONG=1 runs it");
    }
    let mut run = Run::start("test-steps-server", &case("steps", 100, 12, TWO_STEPS));
    run.await_migration("01-steps-1");
    let serves = |pid: &u32| {
        harness::cmdline(*pid).first().is_some_and(|program| program.ends_with("qemu-storage-daemon"))
    };
    // Of this run alone: others may have such servers.
    let server = run.inner_pids().into_iter().find(serves).unwrap();
    harness::send(server, Signal::SIGKILL);
    let (outcome, events) = only(&run.finish(), 5);
    assert_eq!(outcome["status"], "failed", "{outcome:#}");
    let placed = named(&events, "vm-placed");
    assert_eq!(
        (&placed[0]["place"], &placed[0]["source"]),
        (&"source".into(), &"runs".into()),
        "{placed:#?}"
    );
    let told = outcome["error"].as_str().unwrap();
    assert!(told.contains("it has its new disks since then, at nbd://10.78.0.12:10809"), "{told}");
    assert!(told.contains("the server of its new disks is gone") && told.contains("signal 9"), "{told}");
}
