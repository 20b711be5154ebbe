//! The renderings of a made-up run: whole outputs by snapshot, the page by what must hold of it.

mod bounds;
mod fixture;
mod foreign;
mod mechanisms;
mod overhead;
mod performance;
mod storage;
mod sweep;
mod wire;

use dunlin_record::{Outcome, Status};
use dunlin_report::{Report, csv, html, json, table};

use fixture::{HOSTILE, Run};

fn report(run: &Run) -> Report<'_> {
    Report { info: &run.info, outcomes: &run.outcomes, timelines: &run.timelines, captures: &run.captures }
}

#[test]
fn the_table_fits_a_hundred_columns() {
    let run = fixture::run();
    let text = table(&report(&run), Some(100));
    let grid = text.lines().take_while(|line| !line.is_empty());
    assert!(grid.clone().count() > 10);
    for line in grid {
        assert!(line.chars().count() <= 100, "{line}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_that_was_interrupted_says_what_was_not_run_and_why() {
    let mut run = fixture::run();
    run.outcomes.truncate(1);
    run.info.skipped.push(dunlin_record::SkippedCase {
        title: "hybrid 128".into(),
        because: "post-copy needs userfaultfd,\nwhich this kernel refuses".into(),
    });
    let page = html(&report(&run));
    assert!(page.contains("<b>hybrid 128</b> was skipped"));
    insta::assert_snapshot!(table(&report(&run), Some(100)));
}

#[test]
fn every_setting_that_was_asked_is_on_the_page_and_in_json_with_what_differs_first() {
    let mut run = fixture::run();
    run.info.software.source_hypervisors = vec!["toy 1".into()];
    run.info.software.destination_hypervisors = vec!["toy 2".into()];
    run.info.software.guest_kernels = vec!["6.1-guest".into()];
    for case in &mut run.info.cases {
        case.hypervisor.settings.insert("extra_args".into(), serde_json::json!(["-device", "balloon"]));
    }
    run.info.cases[1].hypervisor.settings.insert("destination_binary".into(), "/opt/new".into());
    let page = html(&report(&run));
    for told in
        ["At the source: toy 1; at the destination: toy 2; the guests' kernel: 6.1-guest", "-device balloon"]
    {
        assert!(page.contains(told), "{told}");
    }
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(place("destination_binary</th>") < place("Every setting that is the same in all cases"));
    let json: serde_json::Value = serde_json::from_str(&json(&report(&run))).unwrap();
    let asked = &json["run"]["cases"][1]["asked"];
    assert!(asked.to_string().contains("/opt/new"), "{asked}");
}

#[test]
fn the_vms_of_a_trial_are_kept_apart() {
    let mut run = fixture::run();
    run.outcomes.truncate(1);
    let mut second = run.outcomes[0].clone();
    second.vm = dunlin_record::VmId::new("vm1");
    second.total_time_ms = Some(999.0);
    run.outcomes.push(second);
    let text = table(&report(&run), None);
    for (vm, total) in [("idle vm0", "805"), ("idle vm1", "999")] {
        let line = text.lines().find(|line| line.starts_with(vm)).unwrap_or_else(|| panic!("{vm} in {text}"));
        assert!(line.contains("1/1") && line.contains(total), "{line}");
    }
    let page = html(&report(&run));
    assert_eq!(page.matches("<canvas").count(), 1, "the time line is that of the first VM only");
    assert!(page.contains("that of its first VM, vm0"));
}

#[test]
fn json_holds_the_run_and_every_outcome_unchanged() {
    let run = fixture::run();
    let value: serde_json::Value = serde_json::from_str(&json(&report(&run))).unwrap();
    let trials: Vec<Outcome> = serde_json::from_value(value["trials"].clone()).unwrap();
    assert_eq!(trials, run.outcomes);
    insta::assert_snapshot!(serde_json::to_string_pretty(&value["run"]).unwrap());
    insta::assert_snapshot!("json_trial", serde_json::to_string_pretty(&value["trials"][3]).unwrap());
}

#[test]
fn outliers_are_marked_and_the_precision_that_was_asked_for_is_told() {
    let mut run = fixture::run();
    run.info.cases[0].trials.until = dunlin_record::Percent::new(5.0);
    let idle = run.outcomes[0].clone();
    let totals = [800.0, 810.0, 790.0, 805.0, 795.0, 2400.0];
    run.outcomes = (1..)
        .zip(totals)
        .map(|(trial, total)| Outcome { trial, total_time_ms: Some(total), ..idle.clone() })
        .collect();
    let line = format!("{}: total_time_ms 2400 (median 802)", idle.id);
    let text = table(&report(&run), None);
    assert_eq!(text.matches(&line).count(), 1, "{text}");
    // Half of 790 to 2400, of 802.5.
    assert!(text.contains("6/6") && text.contains("±100 %"), "{text}");
    assert!(html(&report(&run)).contains(&line));
    let value: serde_json::Value = serde_json::from_str(&json(&report(&run))).unwrap();
    assert_eq!(value["run"]["cases"][0]["outliers"][0]["value"], 2400.0);
    assert_eq!(value["trials"].as_array().unwrap().len(), 6, "nothing is dropped");
    run.outcomes.truncate(4);
    assert!(!table(&report(&run), None).contains("Outliers"));
}

#[test]
fn csv_has_a_line_a_trial_below_its_header() {
    let run = fixture::run();
    let text = csv(&report(&run));
    assert_eq!(text.matches("\r\n").count(), 1 + run.outcomes.len());
    insta::assert_snapshot!(text.replace('\r', "␍"));
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let run = fixture::run();
    let page = html(&report(&run));
    for outside in ["http://", "https://", "src=", "href=", "url(", "@import", "fetch(", "import("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_page_escapes_what_the_run_said() {
    let mut run = fixture::run();
    run.info.title = HOSTILE.into();
    run.outcomes[0].case.name = HOSTILE.into();
    run.timelines[0].spans[0].name = HOSTILE.into();
    run.timelines[0].marks[0].host = Some(HOSTILE.into());
    run.timelines[0].probes[0].name = HOSTILE.into();
    let page = html(&report(&run));
    assert!(!page.contains("<script>alert"), "the text stands in the page as it is");
    // One script element of data a time line, and the page's own.
    assert_eq!(page.matches("<script").count(), run.timelines.len() + 1);
    assert_eq!(page.matches("</script>").count(), run.timelines.len() + 1);
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert"));
    assert!(page.contains("\\u003c/script>\\u003cscript>alert"));
}

#[test]
fn the_page_shows_every_trial_and_a_time_line_for_each_that_has_one() {
    let mut run = fixture::run();
    let without = run.timelines.pop().unwrap();
    let page = html(&report(&run));
    assert_eq!(page.matches("<details class=\"trial\"").count(), run.outcomes.len());
    assert_eq!(page.matches("<details class=\"trial\" open").count(), run.info.cases.len());
    for outcome in &run.outcomes {
        let drawn = page.contains(&format!("Time line of trial {}\"", outcome.id));
        assert_eq!(drawn, outcome.id != without.trial, "{}", outcome.id);
    }
    let unfinished = run.outcomes.iter().filter(|outcome| outcome.status != Status::Completed).count();
    // Each has its mark in the chart of total times and in that of downtimes.
    assert_eq!(page.matches("class=\"mark ").count(), 2 * unfinished);
}

#[test]
fn the_data_in_the_page_is_what_the_time_line_holds() {
    let run = fixture::run();
    let page = html(&report(&run));
    let start = "<script type=\"application/json\">";
    let packed: Vec<serde_json::Value> = page
        .split(start)
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("</script>").next().unwrap()).unwrap())
        .collect();
    assert_eq!(packed.len(), run.timelines.len());
    for (packed, timeline) in packed.iter().zip(&run.timelines) {
        let (track, probe) = (&packed["probes"][0], &timeline.probes[0]);
        let steps: Vec<i64> = serde_json::from_value(track["sent_us"].clone()).unwrap();
        let mut sent_us = steps[0];
        for (request, step) in probe.requests.iter().skip(1).zip(&steps[1..]) {
            sent_us += 1000 + step;
            assert!((sent_us as f64 / 1000.0 - request.sent_ms).abs() < 0.001, "{}", request.seq);
        }
        let rtt_us: Vec<i64> = serde_json::from_value(track["rtt_us"].clone()).unwrap();
        let lost = probe.requests.iter().filter(|request| request.answered_ms.is_none()).count();
        assert_eq!(rtt_us.len(), probe.requests.len());
        assert_eq!(rtt_us.iter().filter(|rtt| **rtt < 0).count(), lost);
    }
}

#[test]
fn the_page_shows_response_times_of_every_probe_and_case_before_during_and_after() {
    let run = fixture::run();
    let page = html(&report(&run));
    for case in &run.info.cases {
        for probe in ["icmp", "udp"] {
            let chart = format!("Response times of {probe}, {}\"", case.title());
            assert_eq!(page.matches(&chart).count(), 1, "{chart}");
        }
    }
    assert_eq!(page.matches("class=\"histogram t-during\"").count(), 2 * run.info.cases.len());
    // Three trials of 1000 requests each.
    assert!(page.contains(">before: 3000 answered<"));
    let mut without = fixture::run();
    without
        .outcomes
        .iter_mut()
        .for_each(|one| one.probes.values_mut().for_each(|probe| probe.response_ms = None));
    assert!(!html(&report(&without)).contains("Response times"), "as of runs recorded before there were any");
}

#[test]
fn a_page_of_twelve_long_trials_stays_small_and_is_the_same_each_time() {
    let run = fixture::run();
    let page = html(&report(&run));
    let requests: usize =
        run.timelines.iter().flat_map(|line| &line.probes).map(|probe| probe.requests.len()).sum();
    assert!(requests > 150_000);
    assert!(page.len() < requests * 25, "{} bytes for {requests} requests", page.len());
    assert_eq!(page, html(&report(&fixture::run())));
}

#[test]
fn an_empty_run_renders() {
    let mut run = fixture::run();
    run.outcomes.clear();
    run.timelines.clear();
    run.info.cases.clear();
    let report = report(&run);
    assert!(html(&report).contains("0 trials"));
    assert!(table(&report, Some(100)).contains("total"));
    assert_eq!(csv(&report).lines().count(), 1);
    assert!(json(&report).contains("\"trials\": []"));
}
