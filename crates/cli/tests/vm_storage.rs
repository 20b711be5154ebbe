//! Disks that move with their VM, with real QEMU and real guests: what is whole after the move, and what is left of one that
//! goes wrong half-way.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dunlin_test_support::skip_vms;
use harness::{Finished, Run, number};
use nix::sys::signal::Signal;
use serde_json::Value;

/// When something first happened.
fn when(events: &[Value], host: &str, is_it: impl Fn(&Value) -> bool) -> i64 {
    let found = events.iter().find(|event| event["host"] == host && is_it(event));
    found.unwrap_or_else(|| panic!("not on {host} in {events:#?}"))["t_ns"].as_i64().unwrap()
}

fn source_runs(events: &[Value]) -> bool {
    events.iter().any(|event| event["event"] == "source-checked" && event["running"] == true)
}

const MOVED: &str = r#"
[run]
shuffle = false
[vm]
memory_mib = 128
shared_storage = false
[trials]
count = 1
limit_s = 40
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "write"
vm.disk.size_mib = 128
workload = { kind = "disk-write", file_mib = 16, rate_mib_s = 4, direct = true }
[[case]]
name = "suspend"
vm.disk.size_mib = 128
strategy.kind = "suspend"
transport.kind = "tls"
workload = { kind = "disk-write", file_mib = 16, rate_mib_s = 4 }
[[case]]
name = "post-copy"
vm.disk.size_mib = 128
strategy.kind = "post-copy"
workload = { kind = "disk-read", file_mib = 16, rate_mib_s = 4, direct = true }
[[case]]
name = "hybrid"
vm.disk.size_mib = 128
strategy = { kind = "hybrid", after_passes = 1 }
[case.workload]
kind = "several"
each = [
    { kind = "disk-write", file_mib = 16, rate_mib_s = 4, direct = true },
    { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" },
]
[[case]]
name = "swap"
vm.swap_mib = 128
workload = { kind = "memory-write", working_set_mib = 104, rate_mib_s = 2 }
[[case]]
name = "never"
vm.disk.size_mib = 128
qemu.capabilities.pause-before-switchover = false
"#;

#[test]
fn vm_disks_move_with_their_vm_by_every_strategy() {
    need_vms!();
    let finished = Run::start("test-storage", MOVED).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 5), "{}", finished.story());
    for outcome in &outcomes {
        moved_whole(&finished, outcome);
    }
    let parts = outcomes[3].pointer("/workload/achieved/parts").unwrap();
    assert_eq!(parts[0]["corrupt_disk_pages"], 0, "{parts:#}");
    assert_eq!(parts[1]["corrupt_pages"], 0, "{parts:#}");
    assert!(number(&outcomes[4], "/memory_after_mib/swapped") > 1.0, "{:#}", outcomes[4]);
    assert!(finished.stderr.contains("never") || finished.stdout.contains("never"), "{}", finished.story());
    let run: Value = serde_json::from_slice(&fs::read(finished.folder.join("run.json")).unwrap()).unwrap();
    let because = run.pointer("/skipped/0/because").and_then(Value::as_str).unwrap();
    assert!(because.contains("pause-before-switchover"), "{because}");
}

/// What must hold of every move of a VM with its disks.
fn moved_whole(finished: &Finished, outcome: &Value) {
    assert_eq!(outcome["status"], "completed", "{outcome:#}");
    for damage in ["corrupt_disk_pages", "corrupt_pages"] {
        let found = outcome.pointer("/workload/achieved").unwrap().get(damage);
        assert!(found.is_none_or(|pages| pages.as_u64() == Some(0) || pages.is_null()), "{outcome:#}");
    }
    let (total, storage) = (number(outcome, "/total_time_ms"), number(outcome, "/phases_ms/storage"));
    assert!(storage > 0.0 && storage < total, "{outcome:#}");
    // Setting the memory's migration up is not what takes long.
    assert!(number(outcome, "/phases_ms/initialize") < total - storage, "{outcome:#}");
    let [data, copied, wire] =
        ["data", "copied", "wire"].map(|of| number(outcome, &format!("/storage_bytes/{of}")));
    assert!(data > 0.0 && wire > 0.9 * data, "{outcome:#}");
    assert!(copied >= f64::from(128 << 20), "holes count as copied: {outcome:#}");
    assert!(wire < copied / 2.0, "and cost next to nothing: {outcome:#}");
    assert!(number(outcome, "/floor_ms") < total, "{outcome:#}");
    if let Some(disk) = outcome.get("disk_after_mib") {
        assert!(disk["allocated"].as_f64().unwrap() < 64.0, "holes stay holes: {outcome:#}");
    }
    in_order(&finished.events(outcome["id"].as_str().unwrap()));
}

/// The disks are there before the memory is on its way, and the VM runs nowhere while they change hands.
fn in_order(events: &[Value]) {
    let named = |name: &'static str| move |event: &Value| event["event"] == name;
    let command = when(events, "host-a", named("migrate-command"));
    let after = |event: &Value| event["t_ns"].as_i64().unwrap() >= command;
    let handed_over = when(events, "host-a", named("storage-handed-over"));
    let times = [
        command,
        when(events, "host-a", named("storage-mirror-started")),
        when(events, "host-a", named("storage-mirrored")),
        when(events, "host-a", |event| event["status"] == "setup" && after(event)),
        handed_over,
        when(events, "host-b", |event| event["event"] == "vcpus-running" && after(event)),
    ];
    assert!(times.is_sorted(), "{times:?}");
    let stopped = when(events, "host-a", |event| event["event"] == "vcpus-stopped" && after(event));
    assert!(stopped < handed_over, "{stopped} {handed_over}");
    let runs_again =
        |event: &&Value| event["event"] == "vcpus-running" && event["host"] == "host-a" && after(event);
    assert_eq!(events.iter().find(runs_again), None);
}

/// A full disk behind a slow link: its copy takes some 15 s.
fn slow(limit_s: u32, more: &str) -> String {
    format!(
        r#"
[vm]
memory_mib = 128
shared_storage = false
disk.size_mib = 64
[link.migration]
rate_mbit = 20
[trials]
count = 1
limit_s = {limit_s}
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "slow"
{more}[case.workload]
kind = "several"
each = [
    {{ kind = "disk-read", file_mib = 32, rate_mib_s = 1, direct = true }},
    {{ kind = "disk-write", file_mib = 8, rate_mib_s = 0.5, direct = true }},
]
"#
    )
}

const SLOW: &str = "01-slow-1";

fn monitor_of_source(folder: &Path) -> String {
    fs::read_to_string(folder.join("logs").join(SLOW).join("vm0-host-a-qmp.log")).unwrap_or_default()
}

/// Waits until a part of the disk has been copied.
fn await_mirror(run: &mut Run) {
    let folder: PathBuf = run.folder.clone();
    run.until("a copy under way", || {
        let log = monitor_of_source(&folder);
        log.contains(r#""status": "running", "id": "mirror-dunlin-disk""#)
            && log.matches("query-block-jobs").count() > 10
    });
}

/// What must hold where the copy did not succeed: the VM goes on at the source, with its own disk and nothing else.
fn stayed_at_home(finished: &Finished, status: &str) -> String {
    let outcomes = finished.outcomes();
    let code = if status == "failed" { 5 } else { 0 };
    assert_eq!((finished.code, outcomes.len()), (Some(code), 1), "{}", finished.story());
    let (outcome, events) = (&outcomes[0], finished.events(SLOW));
    assert_eq!(outcome["status"], status, "{outcome:#}");
    assert!(source_runs(&events), "{events:#?}");
    let parts = outcome.pointer("/workload/achieved/parts").unwrap().as_array().unwrap();
    assert!(parts.iter().all(|part| part["corrupt_disk_pages"] == 0), "{outcome:#}");
    assert!(outcome.pointer("/phases_ms/storage").is_none(), "it was never even: {outcome:#}");
    assert_eq!(outcome["total_time_ms"], Value::Null);
    let ran_there = |event: &&Value| event["event"] == "vcpus-running" && event["host"] == "host-b";
    assert_eq!(events.iter().find(ran_there), None);
    // The job was dismissed and the destination's disk let go of; no warning says otherwise.
    let log = monitor_of_source(&finished.folder);
    assert!(log.contains("job-dismiss") && log.contains("blockdev-del"), "{log}");
    assert!(!events.iter().any(|event| event["event"] == "warning"), "{events:#?}");
    outcome["error"].as_str().unwrap().to_owned()
}

#[test]
fn vm_a_destination_killed_while_disks_are_copied_leaves_the_vm_at_the_source() {
    need_vms!();
    let mut run = Run::start("test-storage-killed", &slow(60, ""));
    await_mirror(&mut run);
    harness::send(run.hypervisor("host-b"), Signal::SIGKILL);
    let error = stayed_at_home(&run.finish(), "failed");
    assert!(error.contains("host-b") && error.contains("signal 9"), "{error}");
}

#[test]
fn vm_a_link_cut_while_disks_are_copied_leaves_the_vm_at_the_source() {
    need_vms!();
    let mut run = Run::start("test-storage-cut", &slow(60, ""));
    await_mirror(&mut run);
    let cut = run.on_host("host-b", &["ip", "link", "set", "migration", "down"]);
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    let error = stayed_at_home(&run.finish(), "failed");
    assert!(error.contains("no byte moved"), "{error}");
}

#[test]
fn vm_disks_stay_where_the_user_ends_their_copy() {
    need_vms!();
    let mut run = Run::start("test-storage-ended", &slow(60, ""));
    await_mirror(&mut run);
    run.signal(Signal::SIGINT);
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(130), 1), "{}", finished.story());
    assert_eq!(
        (&outcomes[0]["status"], &outcomes[0]["error"]),
        (&"cancelled".into(), &"ended by the user".into())
    );
    // The guest is not asked any more, but the VM was brought back before it was ended.
    assert!(source_runs(&finished.events(SLOW)), "{:#?}", finished.events(SLOW));
    let log = monitor_of_source(&finished.folder);
    assert!(log.contains("job-dismiss") && log.contains("blockdev-del"), "{log}");
}

#[test]
fn vm_disks_that_are_not_copied_in_time_stay() {
    need_vms!();
    let finished = Run::start("test-storage-limit", &slow(3, "")).finish();
    let error = stayed_at_home(&finished, "not-converged");
    assert!(error.contains("the disks were not copied within 3.0 s"), "{error}");
}

#[test]
fn vm_a_destination_without_room_for_the_disks_is_told() {
    need_vms!();
    let dir = tempfile::tempdir().unwrap();
    // No file system of its own for the destination's disk: a QEMU that may write no file beyond so many KiB, and is told
    // so instead of being killed.
    let cramped = dir.path().join("cramped-qemu");
    fs::write(&cramped, "#!/bin/bash\ntrap '' XFSZ\nulimit -f 8192\nexec qemu-system-x86_64 \"$@\"\n")
        .unwrap();
    fs::set_permissions(&cramped, fs::Permissions::from_mode(0o755)).unwrap();
    for format in ["raw", "qcow2"] {
        let binary = format!(
            "qemu.destination_binary = {:?}\nvm.disk.format = \"{format}\"\n",
            cramped.display().to_string()
        );
        let error = stayed_at_home(&Run::start("test-storage-full", &slow(60, &binary)).finish(), "failed");
        assert!(
            error.contains("could not copy dunlin-disk of vm0") && error.contains("No space left"),
            "{format}: {error}"
        );
    }
}

/// Its memory is dirtied faster than the link carries it, so that the limit finds the disks even and kept so.
const ENDLESS: &str = r#"
[vm]
memory_mib = 128
shared_storage = false
disk.size_mib = 64
[link.migration]
rate_mbit = 200
[trials]
count = 1
limit_s = 8
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "slow"
[case.workload]
kind = "several"
each = [
    { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" },
    { kind = "disk-write", file_mib = 8, rate_mib_s = 1, direct = true },
]
"#;

#[test]
fn vm_disks_that_were_even_are_let_go_of_when_the_memory_does_not_converge() {
    need_vms!();
    let finished = Run::start("test-storage-endless", ENDLESS).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 1), "{}", finished.story());
    let (outcome, events) = (&outcomes[0], finished.events(SLOW));
    assert_eq!(outcome["status"], "not-converged", "{outcome:#}");
    assert!(number(outcome, "/phases_ms/storage") > 0.0, "{outcome:#}");
    assert_eq!(outcome.pointer("/workload/achieved/parts/1/corrupt_disk_pages"), Some(&Value::from(0)));
    assert!(source_runs(&events), "{events:#?}");
    assert!(!events.iter().any(|event| event["event"] == "storage-handed-over"), "{events:#?}");
    assert!(!events.iter().any(|event| event["event"] == "warning"), "{events:#?}");
    let log = monitor_of_source(&finished.folder);
    assert!(log.contains("job-dismiss") && log.contains("blockdev-del"), "{log}");
}

/// QEMU 7.2 as `script/fetch-qemu-7.2` leaves it; `None` if it did not.
fn qemu_7_2() -> Option<PathBuf> {
    let cache = dunlin_guest::default_cache_dir().ok()?.join("qemu-7.2");
    cache.join("bin/qemu-system-x86_64").exists().then_some(cache)
}

#[test]
fn vm_disks_move_under_qemu_7_2_and_from_it_to_the_newer_one() {
    need_vms!();
    let Some(cache) = qemu_7_2() else {
        return skip_vms("QEMU 7.2 is not in the cache; script/fetch-qemu-7.2 puts it there");
    };
    // Its emulation of one instruction trips the guest's kernel as soon as that is busy with a disk.
    let scenario = format!(
        r#"
[vm]
memory_mib = 128
machine = "pc-q35-7.2"
cpu = "qemu64,cx16=off"
shared_storage = false
disk.size_mib = 128
[qemu]
binary = "{cache}/bin/qemu-system-x86_64"
firmware = "{cache}/share/qemu"
[trials]
count = 1
limit_s = 40
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "same"
workload = {{ kind = "disk-write", file_mib = 16, rate_mib_s = 2, direct = true }}
[[case]]
name = "to the newer"
qemu.destination_binary = "qemu-system-x86_64"
workload = {{ kind = "disk-write", file_mib = 16, rate_mib_s = 2, direct = true }}
"#,
        cache = cache.display(),
    );
    let finished = Run::start("test-storage-7-2", &scenario).finish();
    let outcomes = finished.outcomes();
    assert_eq!(outcomes.len(), 2, "{}", finished.story());
    let tripped = |outcome: &&Value| {
        let error = outcome["error"].as_str().unwrap_or_default();
        ["was the guest restarted?", "did not come up", "reset itself"]
            .iter()
            .any(|trip| error.contains(trip))
    };
    let (unlucky, judged): (Vec<_>, Vec<_>) = outcomes.iter().partition(tripped);
    unlucky.iter().for_each(|outcome| println!("not judged, its guest tripped: {outcome}"));
    assert!(!judged.is_empty(), "{}", finished.story());
    for outcome in judged {
        moved_whole(&finished, outcome);
        assert!(outcome["hypervisor"]["version"].as_str().unwrap().starts_with("7.2"), "{outcome:#}");
    }
}
