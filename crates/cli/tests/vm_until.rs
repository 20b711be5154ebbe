//! Trials until their figures are known well enough, with real VMs: ended in between, gone on with, computed again.

mod harness;

use std::fs;

use dunlin_analysis::precise_enough;
use dunlin_record::{Outcome, Percent, RunFolder};
use harness::{Run, outcomes};
use nix::sys::signal::Signal;

const MIN: usize = 6;
const MAX: usize = 9;
const UNTIL_PERCENT: f64 = 80.0;

/// Shuffled, as runs are: the trials of the two cases alternate.
const UNTIL: &str = r#"
[vm]
memory_mib = 128
[probes]
udp = false
[trials]
baseline_s = 0.3
settle_s = 0.3
[[case]]
name = "open"
trials = { until = "80%", min = 6, max = 9 }
[[case]]
name = "counted"
trials.count = 2
"#;

#[test]
fn vm_trials_go_on_until_they_tell_enough_across_an_interruption() {
    need_vms!();
    let mut run = Run::start("test-until", UNTIL);
    let folder = run.folder.clone();
    run.until("three outcomes", || outcomes(&folder).len() >= 3);
    run.signal(Signal::SIGINT);
    let first = run.finish();
    assert_eq!(first.code, Some(130), "{}", first.story());
    let mut last = Run::start_in("test-until", UNTIL, first.dir, folder.clone(), "--resume").finish();
    assert_eq!(last.code, Some(0), "{}", last.story());

    let run = RunFolder::open(&folder).unwrap();
    let all = run.outcomes().unwrap();
    let (open, counted): (Vec<Outcome>, Vec<Outcome>) =
        all.into_iter().partition(|outcome| outcome.case.name == "open");
    assert_eq!(counted.len(), 2, "{}", last.story());
    // Each is made once, none is left out, and the last is the first that sufficed.
    let numbers: Vec<usize> = open.iter().map(|outcome| outcome.trial as usize).collect();
    assert_eq!(numbers, (1..=open.len()).collect::<Vec<_>>(), "{}", last.story());
    let enough = |made: usize| precise_enough(&open[..made], Percent::new(UNTIL_PERCENT).unwrap());
    let sufficed = (MIN..=MAX).find(|made| *made == MAX || enough(*made)).unwrap();
    assert_eq!(open.len(), sufficed, "{}", last.story());

    // A run that is complete has nothing to go on with, and its outcomes follow from its record line by line.
    let lines = fs::read_to_string(run.outcomes_path()).unwrap();
    last = Run::start_in("test-until", UNTIL, last.dir, folder.clone(), "--resume").finish();
    assert_eq!(last.code, Some(0), "{}", last.story());
    assert_eq!(fs::read_to_string(run.outcomes_path()).unwrap(), lines);
    fs::remove_file(run.outcomes_path()).unwrap();
    let told = harness::dunlin().arg("report").arg(&folder).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    assert_eq!(fs::read_to_string(run.outcomes_path()).unwrap(), lines);
}
