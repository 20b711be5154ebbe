//! Workloads with real QEMU and real guests: what they achieve, what the hypervisor sees of it, and what damage they find.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use dunlin_record::{Event, EventKind, RunFolder, Series, TrialRecord};
use harness::{Run, SOUGHT, number};
use serde_json::Value;

const PAGE_MIB: f64 = 4096.0 / 1_048_576.0;
const WORKING_SET_MIB: f64 = 64.0;
const RATES_MIB_S: [f64; 3] = [1.0, 20.0, 200.0];

/// Passes of seconds, and never an end but for the smallest of them.
const PACED: &str = r#"
[run]
shuffle = false
[vm]
memory_mib = 192
[link.migration]
rate_mbit = 200
[qemu.parameters]
downtime-limit = 1
[trials]
count = 1
limit_s = 14
baseline_s = 0.4
settle_s = 0.2
[[case]]
name = "paced"
workload = { kind = "memory-write", working_set_mib = 64, rate_mib_s = [1, 20, 200] }
"#;

#[test]
fn vm_the_dirty_rate_is_that_asked_for_and_the_hypervisor_counts_the_same_pages() {
    need_vms!();
    let finished = Run::start("test-rates", PACED).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 3), "{}", finished.story());
    let run = RunFolder::open(&finished.folder).unwrap();
    for (outcome, asked_mib_s) in outcomes.iter().zip(RATES_MIB_S) {
        let achieved_mib_s = number(outcome, "/workload/achieved/rate_mib_s");
        assert!(achieved_mib_s <= 1.1 * asked_mib_s, "{achieved_mib_s} of {asked_mib_s} MiB/s");
        if outcome["status"] == "not-converged" {
            // What kept it from its end is told, also at the terminal.
            assert!(number(outcome, "/not_converged/dirty_again_bytes") > 0.0, "{outcome:#}");
            assert!(number(outcome, "/not_converged/sent_mib_s") > 0.0, "{outcome:#}");
            // A slow pass may once have left less than the limit of 1 ms; one at full speed never does.
            let least_ms = if asked_mib_s < WORKING_SET_MIB { 0.0 } else { 1.0 };
            let needed_ms = number(outcome, "/not_converged/downtime_limit_needed_ms");
            assert!(needed_ms > least_ms, "{outcome:#}");
            assert!(finished.stdout.contains("What would end it: post-copy"), "{}", finished.stdout);
        }
        assert_eq!(outcome.pointer("/workload/achieved/corrupt_pages"), Some(&Value::from(0)));
        if outcome["flags"].as_array().unwrap().contains(&Value::from("host-saturated")) {
            // The guest did not get the time for its work; that says nothing about the workload.
            println!("not judged: {asked_mib_s} MiB/s, as the machine was saturated");
            continue;
        }
        assert!(achieved_mib_s >= 0.9 * asked_mib_s, "{achieved_mib_s} of {asked_mib_s} MiB/s");
        let trials = run.trials().unwrap();
        let id = trials.iter().find(|trial| outcome["id"] == trial.as_str()).unwrap();
        the_hypervisor_counts_what_is_written(&run.read_trial(id).unwrap(), asked_mib_s);
    }
}

/// A pass sends what was dirtied in the one before it: what the rate makes of its time, at most the working set.
fn the_hypervisor_counts_what_is_written(record: &TrialRecord, rate_mib_s: f64) {
    let is_pass = |event: &&Event| matches!(event.kind, EventKind::MigrationPass { .. });
    let starts_ns: Vec<i64> = record.events.iter().filter(is_pass).map(|event| event.t_ns).collect();
    let progress = &record.series["vm0-progress"];
    let sent_mib = |from_ns, to_ns| (pages_by(progress, to_ns) - pages_by(progress, from_ns)) * PAGE_MIB;
    let mut compared = 0;
    for pass in starts_ns.windows(3) {
        let before_s = (pass[1] - pass[0]) as f64 / 1e9;
        // In a short pass the hypervisor's own rhythm and the guest's system weigh more than the workload.
        if before_s < 0.8 {
            continue;
        }
        let expected_mib = (rate_mib_s * before_s).min(WORKING_SET_MIB);
        let sent_mib = sent_mib(pass[1], pass[2]);
        // The guest's system and the agent's counts dirty some pages of their own.
        assert!(
            sent_mib > 0.6 * expected_mib && sent_mib < 1.4 * expected_mib + 4.0,
            "{rate_mib_s} MiB/s for {before_s:.2} s: {sent_mib:.1} MiB sent, {expected_mib:.1} expected"
        );
        compared += 1;
    }
    assert!(compared > 0, "no pass of {rate_mib_s} MiB/s was long enough: {starts_ns:?}");
}

/// The pages that the hypervisor had sent by then, between its nearest two counts.
fn pages_by(progress: &Series, t_ns: i64) -> f64 {
    let rows = progress.rows_of::<10>();
    let counts: Vec<(i64, f64)> =
        rows.filter(|row| row[4] >= 0).map(|[t_ns, _, _, _, pages, ..]| (t_ns, pages as f64)).collect();
    let after = counts.iter().position(|(t, _)| *t >= t_ns).unwrap_or(counts.len() - 1);
    let ((t0, p0), (t1, p1)) = (counts[after.saturating_sub(1)], counts[after]);
    if t1 == t0 { p1 } else { p0 + (p1 - p0) * ((t_ns - t0) as f64 / (t1 - t0) as f64).clamp(0.0, 1.0) }
}

const KINDS: &str = r#"
[vm]
memory_mib = 128
[trials]
count = 1
limit_s = 30
baseline_s = 0.6
settle_s = 0.6
[[case]]
name = "read"
workload = { kind = "memory-read", working_set_mib = 16, allocated_mib = 24, rate_mib_s = 20, pattern = "uniform" }
[[case]]
name = "cpu"
workload = { kind = "cpu", priority = 1 }
[[case]]
name = "clock"
workload = { kind = "clock" }
[[case]]
name = "stopped"
strategy = { kind = "suspend" }
workload = { kind = "clock" }
[[case]]
name = "several"
[case.workload]
kind = "several"
each = [{ kind = "clock" }, { kind = "memory-write", working_set_mib = 8, rate_mib_s = 5 }]
[[case]]
name = "dials"
strategy = { kind = "hybrid", after_passes = 1 }
[case.workload]
kind = "memory-write"
working_set_mib = 8
allocated_mib = 16
rate_mib_s = 20
bytes_per_page = 4096
pattern = "zipf"
compressibility_percent = 50
"#;

#[test]
fn vm_every_kind_of_workload_says_what_it_achieved_and_finds_itself_whole() {
    need_vms!();
    let finished = Run::start("test-workloads", KINDS).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 6), "{}", finished.story());
    let find = |case: &str| outcomes.iter().find(|outcome| outcome["case"]["name"] == case).unwrap();
    for outcome in &outcomes {
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
    }
    let read = find("read");
    assert!(number(read, "/workload/achieved/rate_mib_s") > 1.0);
    assert_eq!(read.pointer("/workload/achieved/corrupt_pages"), Some(&Value::from(0)));
    assert_eq!(read.pointer("/memory_mib/dirtied"), Some(&Value::Null), "nothing is written on purpose");
    let cpu = find("cpu");
    assert!(number(cpu, "/workload/achieved/operations_per_s") > 1.0);
    assert_eq!(cpu.pointer("/workload/achieved/wrong_results"), Some(&Value::from(0)));
    let user = number(cpu, "/workload/achieved/user_percent");
    // A busy machine keeps the guest from its share, but nothing gives it more.
    assert!(user > 0.0 && user < 85.0, "{user} % instead of 75 %");
    let clock = find("clock");
    assert!(number(clock, "/workload/achieved/clock/looks") > 100.0);
    assert!(number(clock, "/workload/achieved/clock/longest_gap_ms") > 0.0);
    // The clocks stand still with the vCPUs, which nothing inside shows.
    let stopped = find("stopped");
    let (paused, behind) =
        (number(stopped, "/downtime_ms/paused"), number(stopped, "/guest_clock/monotonic_behind_ms"));
    let error = number(stopped, "/guest_clock/error_ms") + 0.1 * paused;
    assert!((behind - paused).abs() < error.max(50.0), "{stopped:#}");
    assert!(number(stopped, "/workload/achieved/clock/longest_gap_ms") < 0.9 * paused, "{stopped:#}");
    let several = find("several");
    assert!(number(several, "/workload/achieved/parts/0/clock/looks") > 100.0);
    assert!(number(several, "/workload/achieved/parts/1/rate_mib_s") > 1.0);
    assert_eq!(several.pointer("/workload/achieved/parts/1/corrupt_pages"), Some(&Value::from(0)));
    assert_eq!(number(several, "/memory_mib/dirtied"), 8.0);
    let dials = find("dials");
    assert_eq!(dials.pointer("/workload/achieved/corrupt_pages"), Some(&Value::from(0)));
    assert_eq!(dials.pointer("/workload/achieved/passes"), None, "pages at random have no passes");
}

/// Time to find the guest's memory before its migration begins.
const DAMAGED: &str = r#"
[vm]
memory_mib = 128
[trials]
count = 1
limit_s = 30
baseline_s = 6
settle_s = 0.4
[[case]]
name = "damaged"
workload = { kind = "memory-write", working_set_mib = 8, rate_mib_s = 1 }
"#;

#[test]
fn vm_a_flipped_byte_in_the_guests_memory_is_the_gravest_outcome() {
    need_vms!();
    let mut run = Run::start("test-corrupt", DAMAGED);
    // The destination is launched when the workload runs already.
    let log = run.folder.join("logs/01-damaged-1/vm0-host-b-qmp.log");
    run.until("a destination", || log.exists());
    flip_a_byte_of_the_working_set(run.hypervisor("host-a"), 128);
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    let outcome = &outcomes[0];
    assert_eq!(outcome.pointer("/workload/achieved/corrupt_pages"), Some(&Value::from(1)), "{outcome:#}");
    assert_eq!(outcome["status"], "failed");
    assert!(outcome["error"].as_str().unwrap().contains("memory was corrupted"), "{outcome:#}");
    assert!(outcome["flags"].as_array().unwrap().contains(&Value::from("corrupt-memory")), "{outcome:#}");
    assert!(finished.stdout.contains("MEMORY WAS CORRUPTED"), "{}", finished.stdout);
}

/// Does to a page what a faulty migration would: through the hypervisor's memory, unseen by it.
fn flip_a_byte_of_the_working_set(hypervisor: u32, memory_mib: u64) {
    let process = Path::new("/proc").join(hypervisor.to_string());
    let memory = File::options().read(true).write(true).open(process.join("mem")).unwrap();
    let maps = fs::read_to_string(process.join("maps")).unwrap();
    let (start, end) = maps.lines().find_map(|line| mapping_of(line, memory_mib << 20)).unwrap();
    let mut chunk = vec![0; 1 << 20];
    for place in (start..end).step_by(chunk.len()) {
        memory.read_exact_at(&mut chunk, place).unwrap();
        let words = chunk.chunks_exact(8).position(|word| word == SOUGHT.to_ne_bytes());
        if let Some(word) = words {
            let place = place + 8 * word as u64;
            return memory.write_all_at(&[!SOUGHT.to_ne_bytes()[0]], place).unwrap();
        }
    }
    panic!("the working set is not in the guest's memory");
}

/// The begin and end of a mapping of this size.
fn mapping_of(line: &str, bytes: u64) -> Option<(u64, u64)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (end - start == bytes).then_some((start, end))
}
