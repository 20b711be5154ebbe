//! What goes wrong for real: killed hypervisors and dunlins, cut links, full disks, starved guests, impatient users.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dunlin_test_support::skip_vms;
use harness::lab::HeldLab;
use harness::{Run, foreign_namespaces, outcomes, pids};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A guest that dirties memory faster than this link carries it: its migration goes on until it is ended.
fn endless(limit_s: u32, trials: u32) -> String {
    format!(
        r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[trials]
count = {trials}
limit_s = {limit_s}
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "endless"
workload = {{ kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }}
"#
    )
}

const IDLE: &str = r#"
[vm]
memory_mib = 128
[trials]
baseline_s = 0.4
settle_s = 0.4
"#;

fn has_flag(outcome: &Value, flag: &str) -> bool {
    outcome["flags"].as_array().is_some_and(|flags| flags.contains(&Value::from(flag)))
}

fn source_runs(events: &[Value]) -> bool {
    events.iter().any(|event| event["event"] == "source-checked" && event["running"] == true)
}

#[test]
fn vm_a_destination_that_is_killed_fails_its_trial_only() {
    need_vms!();
    let mut run = Run::start("test-killed-destination", &endless(8, 2));
    run.await_migration("01-endless-1");
    let victim = run.hypervisor("host-b");
    harness::send(victim, Signal::SIGKILL);
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 2), "{}", finished.story());
    assert_eq!(outcomes[0]["status"], "failed");
    let error = outcomes[0]["error"].as_str().unwrap();
    assert!(error.contains("host-b") && error.contains("signal 9"), "{error}");
    assert!(source_runs(&finished.events("01-endless-1")), "{:#?}", finished.events("01-endless-1"));
    // The workload went on at the source and found its memory as it had left it.
    assert_eq!(
        outcomes[0].pointer("/workload/achieved/corrupt_pages"),
        Some(&Value::from(0)),
        "{}",
        outcomes[0]
    );
    if outcomes[1]["status"] == "completed" && has_flag(&outcomes[1], "host-saturated") {
        println!("not judged: the second trial, whose guest was starved until it could be moved");
        return;
    }
    assert_eq!(outcomes[1]["status"], "not-converged", "{}", finished.story());
    assert!(source_runs(&finished.events("01-endless-2")));
    the_hypervisor_sees_what_the_workload_says_it_writes(&outcomes[1]);
}

/// A workload that an optimiser has removed would report a rate and dirty nothing.
fn the_hypervisor_sees_what_the_workload_says_it_writes(outcome: &Value) {
    let achieved = outcome.pointer("/workload/achieved").unwrap();
    assert!(achieved["passes"].as_u64() > Some(1), "{achieved:#}");
    let iterations = outcome["iterations"].as_array().unwrap();
    // The first pass carries the whole guest, the last one was cut off; each in between the whole working set.
    let between = &iterations[1..iterations.len() - 1];
    assert!(!between.is_empty(), "{iterations:#?}");
    for iteration in between {
        let sent = iteration["wire_bytes"].as_f64().unwrap();
        assert!(sent > 0.7 * f64::from(32 << 20) && sent < 2.0 * f64::from(32 << 20), "{iteration:#}");
    }
}

#[test]
fn vm_a_link_that_is_cut_fails_its_trial_only() {
    need_vms!();
    let mut run = Run::start("test-cut-link", &endless(40, 1));
    run.await_migration("01-endless-1");
    let cut = run.on_host("host-b", &["ip", "link", "set", "migration", "down"]);
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    assert_eq!(outcomes[0]["status"], "failed");
    let error = outcomes[0]["error"].as_str().unwrap();
    assert!(error.contains("no byte moved"), "{error}");
    assert!(source_runs(&finished.events("01-endless-1")), "{:#?}", finished.events("01-endless-1"));
}

/// The source's main loop stands still then, while it sends what is left: only what is out of band is heard.
#[test]
fn vm_a_link_that_is_cut_in_the_switch_over_leaves_the_vm_running_at_its_source() {
    need_vms!();
    let scenario = r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 100
[qemu.parameters]
downtime-limit = 20000
[trials]
count = 1
limit_s = 8
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "long"
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }
"#;
    let mut run = Run::start("test-cut-switch-over", scenario);
    let log = run.folder.join("logs/01-long-1/vm0-host-a-qmp.log");
    let has_stopped = |log: &str| log.contains(r#""event": "STOP""#);
    run.await_migration("01-long-1");
    run.until("the stop", || fs::read_to_string(&log).is_ok_and(|log| has_stopped(&log)));
    let cut = run.on_host("host-b", &["ip", "link", "set", "migration", "down"]);
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    let events = finished.events("01-long-1");
    let placed = events.iter().find(|event| event["event"] == "vm-placed").unwrap();
    assert_eq!((&placed["place"], &placed["source"]), (&"source".into(), &"runs".into()), "{placed}");
}

#[test]
fn vm_a_run_ended_by_the_user_keeps_what_it_measured_and_goes_on_later() {
    need_vms!();
    let scenario = format!("{IDLE}count = 3\n[[case]]\nname = \"idle\"\n");
    let mut run = Run::start("test-interrupted", &scenario);
    let folder = run.folder.clone();
    run.until("the first outcome", || outcomes(&folder).len() == 1);
    // Meanwhile nobody else writes there.
    let toml = folder.with_file_name("scenario.toml");
    let other =
        harness::dunlin().arg("bench").args([&toml, Path::new("--resume"), &folder]).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(3), "{said}");
    assert!(said.contains("is being written by another run"), "{said}");
    run.signal(Signal::SIGINT);
    let first = run.finish();
    assert_eq!(first.code, Some(130), "{}", first.story());
    assert!((1..3).contains(&first.outcomes().iter().filter(|line| line["status"] == "completed").count()));
    let kept = first.outcomes()[0].clone();
    let (folder, dir) = (first.folder.clone(), first.dir);
    // A trial whose series nobody can read is made again; this one no run writes, so it must be gone.
    let series = folder.join("series/01-idle-2");
    fs::create_dir_all(&series).unwrap();
    fs::write(series.join("foreign.zst"), zstd::encode_all(&b"{}\n"[..], 1).unwrap()).unwrap();
    let again = Run::start_in("test-interrupted", &scenario, dir, folder.clone(), "--resume").finish();
    let outcomes = again.outcomes();
    assert_eq!((again.code, outcomes.len()), (Some(0), 3), "{}", again.story());
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "completed"), "{}", again.story());
    assert_eq!(outcomes[0], kept);
    assert!(!series.join("foreign.zst").exists());
    let info: Value = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    assert_eq!(info["resumed"][0]["differences"], serde_json::json!([]), "{info:#}");
    assert_eq!(info["resumed"][0]["kept"][0], "01-idle-1", "{info:#}");
    assert!(info["software"]["source_hypervisors"][0].as_str().unwrap().starts_with("qemu "), "{info:#}");
}

#[test]
fn vm_a_guest_that_does_not_come_up_is_told_with_its_last_words() {
    need_vms!();
    let scenario =
        format!("{IDLE}count = 1\n[[case]]\nname = \"lost\"\nvm.kernel_args = \"rdinit=/nowhere\"\n");
    let finished = Run::start("test-lost-guest", &scenario).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    let error = outcomes[0]["error"].as_str().unwrap();
    assert!(error.contains("did not come up on host-a"), "{error}");
    assert!(error.contains("Kernel panic"), "{error}");
}

/// A server that has promised callers more memory than the other workload then leaves.
const STARVED: &str = r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[trials]
count = 1
limit_s = 20
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "starved"
[case.workload]
kind = "several"
each = [
    { kind = "http-server" },
    { kind = "memory-write", working_set_mib = 40, rate_mib_s = "full" },
]
"#;

/// Asks for more memory until nobody answers.
const GREED: &str = r#"
for call in 1 2 3 4 5 6; do
    exec 3<>/dev/tcp/10.77.0.100/8080
    printf 'GET /increase_mem HTTP/1.1\r\nHost: vm0\r\nConnection: close\r\n\r\n' >&3
    timeout 2 cat <&3 | grep -q 200 || exit 0
done
"#;

#[test]
fn vm_a_guest_that_dies_of_its_workload_is_told_with_its_kernels_words() {
    need_vms!();
    let mut run = Run::start("test-starved", STARVED);
    run.await_migration("01-starved-1");
    run.on_host("bench", &["bash", "-c", GREED]);
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    assert_eq!(outcomes[0]["status"], "failed");
    let error = outcomes[0]["error"].as_str().unwrap();
    // The workload is a part of init, without which the kernel cannot go on.
    assert!(error.contains("vm0 reset itself on host-a"), "{error}");
    assert!(error.contains("Kernel panic") && error.contains("memory"), "{error}");
}

#[test]
fn vm_a_full_disk_ends_the_run_and_leaves_earlier_trials_whole() {
    need_vms!();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), "900k") else {
        return skip_vms("no small disk can be mounted here");
    };
    let folder = disk.0.join("run");
    let scenario = format!("{IDLE}count = 30\n[[case]]\nname = \"idle\"\n");
    let finished = Run::start_in("test-full-disk", &scenario, dir, folder, "--out").finish();
    let outcomes = finished.outcomes();
    assert_eq!(finished.code, Some(1), "{}", finished.story());
    assert!(finished.stderr.contains("No space left on device"), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
    assert!((1..30).contains(&outcomes.len()), "{}", finished.story());
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "completed"), "{}", finished.story());
    drop(disk);
}

/// A file system that is quickly full.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at)
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn vm_a_killed_dunlin_leaves_nothing_behind() {
    need_vms!();
    let stray_before = strays();
    let mut run = Run::start("test-killed-dunlin", &endless(60, 1));
    run.await_migration("01-endless-1");
    let inner = run.inner_pids();
    let namespaces = foreign_namespaces(&inner);
    // The lab is there: the inner dunlin, two helpers, two hypervisors; its own pid and mount namespace; a network
    // namespace each for the bench and both hosts.
    assert!(inner.len() >= 5, "{inner:?}");
    assert!(namespaces.len() >= 5, "{namespaces:?}");
    run.signal(Signal::SIGKILL);
    let began = harness::now();
    let left = || {
        let alive: Vec<u32> =
            inner.iter().copied().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
        let used = foreign_namespaces(&pids());
        (alive, namespaces.intersection(&used).cloned().collect::<Vec<_>>())
    };
    while left() != (vec![], vec![]) {
        assert!(began.elapsed() < Duration::from_secs(5), "left after 5 s: {:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("dunlin"), "{mounts}");
    assert_eq!(strays(), stray_before);
}

/// Files that a lab could have left outside of its own world: sockets, taps, half-made templates.
fn strays() -> Vec<String> {
    let templates = dunlin_guest::default_cache_dir().unwrap().join("templates");
    let mut found = Vec::new();
    for folder in [Path::new("/run"), Path::new("/run/netns"), Path::new("/sys/class/net"), &templates] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.path().display().to_string());
        found.extend(names.filter(|name| !name.ends_with(".template")));
    }
    found.sort();
    found
}

#[test]
fn vm_a_lab_lives_until_it_is_ended_and_can_be_joined() {
    need_vms!();
    let mut lab = HeldLab::up("test-lab", &format!("{IDLE}[[case]]\nname = \"idle\"\n"));
    let shell = |lab: &HeldLab, host: &str, script: &str| {
        let output = lab.run(host, &["sh", "-c", script]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // The VM answers the bench; each host has its own devices.
    assert_eq!(shell(&lab, "bench", "ping -c 1 -W 5 10.77.0.100 >/dev/null; echo $?").1, "0\n");
    assert!(shell(&lab, "host-a", "cat /proc/net/dev").1.contains("tap-vm0"));
    assert_eq!(shell(&lab, "host-a", "exit 7").0, Some(7));
    assert_eq!(shell(&lab, "host-z", "true").0, Some(4));
    // A shell's end is not the lab's.
    assert!(lab.is_up());
    assert_eq!(lab.end(), Some(0));
}

/// Post-copy that goes on for some seconds after its switch.
fn slow_post_copy() -> String {
    r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[qemu.parameters]
max-postcopy-bandwidth = 8000000
[trials]
count = 1
limit_s = 30
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "slow"
strategy = { kind = "post-copy" }
"#
    .into()
}

#[test]
fn vm_a_destination_that_stands_still_after_the_switch_is_waited_for_and_completes() {
    need_vms!();
    let mut run = Run::start("test-stopped-destination", &slow_post_copy());
    let log = run.folder.join("logs/01-slow-1/vm0-host-b-qmp.log");
    let switched = |log: &str| log.contains(r#""event": "MIGRATION", "data": {"status": "postcopy-active"}"#);
    run.until("the switch", || fs::read_to_string(&log).is_ok_and(|log| switched(&log)));
    let victim = run.hypervisor("host-b");
    harness::send(victim, Signal::SIGSTOP);
    // Longer than a stall may last, so that the migration is given up where it can be.
    std::thread::sleep(Duration::from_secs(9));
    harness::send(victim, Signal::SIGCONT);
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 1), "{}", finished.story());
    assert_eq!(outcomes[0]["status"], "completed", "the last word is what both ends say in the end");
    let events = finished.events("01-slow-1");
    let decided = |action: &str| events.iter().any(|event| event["action"] == action);
    assert!(decided("see-through"), "{events:#?}");
    assert!(
        !decided("cancel") && !decided("break-connections") && !decided("end-destination"),
        "{events:#?}"
    );
    let placed = events.iter().find(|event| event["event"] == "vm-placed").unwrap();
    assert_eq!(
        (&placed["place"], &placed["destination"]),
        (&"destination".into(), &"runs".into()),
        "{placed}"
    );
}

#[test]
fn vm_a_paused_vm_arrives_paused() {
    need_vms!();
    let scenario = format!(
        r#"{IDLE}count = 1
[[case]]
name = "pre"
vm.paused = true
[[case]]
name = "post"
vm.paused = true
strategy.kind = "post-copy"
"#
    );
    let finished = Run::start("test-paused", &scenario).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.story());
    for (outcome, trial) in finished.outcomes().iter().zip(["01-pre-1", "02-post-1"]) {
        assert_eq!(outcome["status"], "completed", "{trial}");
        let events = finished.events(trial);
        let placed = events.iter().find(|event| event["event"] == "vm-placed").unwrap();
        assert_eq!(
            (&placed["place"], &placed["destination"]),
            (&"destination".into(), &"holds".into()),
            "{placed}"
        );
        let resumed =
            events.iter().position(|event| event["event"] == "vcpus-running" && event["host"] == "host-b");
        let arrived = events.iter().position(|event| event["event"] == "migration-completed");
        assert!(resumed > arrived, "it runs there only when its owner lets it: {events:#?}");
    }
}

/// Both probes every 0.1 ms are more than an emulated guest can answer.
const DROWNED: &str = r#"
[vm]
memory_mib = 128
[trials]
count = 1
baseline_s = 2
settle_s = 0.4
[probes]
icmp = { interval_ms = 0.1 }
udp  = { interval_ms = 0.1 }
[[case]]
name = "drowned"
"#;

#[test]
fn vm_probes_that_the_guest_cannot_answer_tell_no_downtime_and_are_named_where_its_agent_is_silent() {
    need_vms!();
    let finished = Run::start("test-drowned", DROWNED).finish();
    let outcomes = finished.outcomes();
    assert_eq!(outcomes.len(), 1, "{}", finished.story());
    let outcome = &outcomes[0];
    if outcome["status"] == "failed" {
        let error = outcome["error"].as_str().unwrap();
        assert!(
            error.contains("the probes drown the guest") || error.contains("no answer to the"),
            "{error}"
        );
    } else {
        // A guest that is fast enough, or nearly: a probe that was answered badly tells nothing.
        for probe in ["icmp", "udp"] {
            let unanswered =
                harness::number(outcome, &format!("/probes/{probe}/baseline_unanswered_percent"));
            assert_eq!(outcome["probes"][probe]["unfit"].is_string(), unanswered > 2.0, "{outcome:#}");
            harness::seen(outcome, probe);
        }
    }
}
