//! Sweeps in the page: which cases make one, and what is drawn of it.

use dunlin_record::{PreCopyLimits, Status, Strategy};
use serde_json::json;

use super::{fixture, report};

const SETS_MIB: [u32; 4] = [1, 8, 64, 512];

/// The made-up run with its four cases as one sweep; the greatest working set never converges.
fn run() -> fixture::Run {
    let mut run = fixture::run();
    let titles: Vec<String> = run.info.cases.iter().map(dunlin_record::Case::title).collect();
    for (case, set_mib) in run.info.cases.iter_mut().zip(SETS_MIB) {
        let workload = json!({ "kind": "memory-write", "working_set_mib": set_mib, "rate_mib_s": "full" });
        case.name = "dirty".into();
        case.dials = [("working_set_mib".to_owned(), set_mib.into())].into();
        case.strategy = Strategy::PreCopy;
        case.workload = Some(serde_json::from_value(workload).expect("a workload"));
    }
    for outcome in &mut run.outcomes {
        let index = titles.iter().position(|title| *title == outcome.case.title()).expect("a case");
        outcome.case.name = "dirty".into();
        outcome.case.dials = run.info.cases[index].dials.clone();
        outcome.link.goodput_mbit = Some(800.0);
        outcome.status = if index == 3 { Status::NotConverged } else { Status::Completed };
    }
    run
}

#[test]
fn cases_that_differ_in_one_number_are_drawn_against_it_with_the_law() {
    let page = dunlin_report::html(&report(&run()));
    for name in ["Total time", "Migration data", "Downtimes"] {
        assert!(page.contains(&format!("aria-label=\"{name} against working_set_mib\"")), "{name}");
    }
    // 300 ms at 800 Mbit/s are 30 MB.
    assert!(page.contains("limit × goodput: 28.6 MiB"));
    assert!(page.contains("512: 3 trials not converged"), "they are marked, not left out");
}

#[test]
fn the_law_is_that_of_the_case_s_own_limits() {
    let mut run = run();
    for case in &mut run.info.cases {
        case.limits =
            Some(PreCopyLimits { downtime_ms: Some(1000.0), bandwidth_bytes_s: Some(f64::from(32 << 20)) });
    }
    assert!(dunlin_report::html(&report(&run)).contains("limit × goodput: 32.0 MiB"));
}

#[test]
fn no_law_is_claimed_for_what_it_does_not_hold_for() {
    let mut switching = run();
    switching.info.cases.iter_mut().for_each(|case| case.strategy = Strategy::PostCopy { preempt: true });
    let mut slow = run();
    for (case, set_mib) in slow.info.cases.iter_mut().zip(SETS_MIB) {
        let workload = json!({ "kind": "memory-write", "working_set_mib": set_mib, "rate_mib_s": 5.0 });
        case.workload = Some(serde_json::from_value(workload).unwrap());
    }
    for run in [switching, slow] {
        let page = dunlin_report::html(&report(&run));
        assert!(page.contains("dirty by working_set_mib") && !page.contains("limit × goodput"));
    }
}

#[test]
fn two_cases_or_two_numbers_make_no_sweep() {
    let mut few = run();
    few.outcomes.retain(|outcome| outcome.case.dials["working_set_mib"].as_u64() < Some(64));
    let mut two_numbers = run();
    for outcome in &mut two_numbers.outcomes {
        outcome.case.dials.insert("rate_mib_s".into(), 10.into());
    }
    for run in [few, two_numbers] {
        assert!(!dunlin_report::html(&report(&run)).contains("against working_set_mib"));
    }
}
