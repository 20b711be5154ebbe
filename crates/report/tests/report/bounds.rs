//! Bounds, probes that tell nothing, clocks that fell behind, and migrations that did not end: told alike in every rendering.

use dunlin_record::{Flag, GuestClock, NotConverged, Outcome, Status};
use dunlin_report::{csv, html, json, table};

use crate::fixture::{self, Run};
use crate::report;

fn changed(change: impl Fn(&mut Outcome)) -> Run {
    let mut run = fixture::run();
    run.outcomes.iter_mut().for_each(change);
    run
}

/// The value of a column in the first line of the CSV; the empty text where it is absent.
fn in_csv(run: &Run, name: &str) -> String {
    let text = csv(&report(run));
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (header, first) = (lines.next().expect("a header"), lines.next().expect("a trial"));
    let column = header.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{name}"));
    first[column].to_owned()
}

fn in_json(run: &Run) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(&json(&report(run))).expect("it is JSON");
    value["trials"][0].take()
}

#[test]
fn a_bound_is_told_as_one_and_nowhere_as_a_value() {
    let run = changed(|outcome| {
        outcome.flags = vec![Flag::OutageWithinNoise];
        outcome.downtime_ms.icmp = None;
        outcome.downtime_error_ms.icmp = None;
        outcome.downtime_at_most_ms.icmp = Some(40.0);
    });
    let text = table(&report(&run), None);
    let line = text.lines().find(|line| line.starts_with("idle")).unwrap();
    assert!(line.contains("≤\u{a0}40.0"), "{text}");
    assert_eq!(in_csv(&run, "downtime_icmp_ms"), "");
    assert_eq!(in_csv(&run, "downtime_icmp_at_most_ms"), "40");
    assert_eq!(in_csv(&run, "downtime_icmp_at_least_ms"), "");
    let value = in_json(&run);
    assert!(value["downtime_ms"]["icmp"].is_null());
    assert_eq!(value["downtime_at_most_ms"]["icmp"], 40.0);
    let page = html(&report(&run));
    assert!(page.contains("≤\u{a0}40.0"));
    assert!(page.contains("icmp: ≤\u{a0}40.0 ms"), "the chart says what it cannot draw");
}

#[test]
fn an_outage_without_end_is_a_bound_from_below() {
    let run = changed(|outcome| {
        outcome.downtime_ms.udp = None;
        outcome.downtime_error_ms.udp = None;
        outcome.downtime_at_least_ms.udp = Some(1099.81);
    });
    assert!(table(&report(&run), None).contains("≥\u{a0}1100"));
    assert_eq!(in_csv(&run, "downtime_udp_at_least_ms"), "1099.81");
    assert!(html(&report(&run)).contains("≥\u{a0}1100"));
}

#[test]
fn a_probe_that_tells_no_downtime_is_told_with_the_reason_and_its_rate() {
    let because = "42.0 % of its 61625 requests before the migration had no answer within 1 s";
    let run = changed(|outcome| {
        outcome.flags = vec![Flag::ProbeUnfit];
        outcome.downtime_ms.udp = None;
        outcome.downtime_error_ms.udp = None;
        let probe = outcome.probes.get_mut("udp").unwrap();
        probe.unfit = Some(because.into());
        probe.sent_per_s = Some(6162.5);
    });
    let text = table(&report(&run), None);
    assert!(
        text.contains(&format!("Probes that tell no downtime:\n{} (udp): {because}", run.outcomes[0].id)),
        "{text}"
    );
    assert_eq!(
        (in_csv(&run, "udp_unfit"), in_csv(&run, "udp_sent_per_s")),
        (because.into(), "6162.5".into())
    );
    assert_eq!(in_json(&run)["probes"]["udp"]["unfit"], because);
    let page = html(&report(&run));
    assert!(page.contains(&format!("tells no downtime: {because}")) && page.contains("held 6162/s"));
}

#[test]
fn a_guests_clock_that_fell_behind_is_told() {
    let run = changed(|outcome| {
        outcome.flags = vec![Flag::GuestClockBehind];
        outcome.guest_clock = Some(GuestClock {
            elapsed_ms: 7000.0,
            monotonic_behind_ms: 3470.2,
            boottime_behind_ms: 3470.1,
            realtime_behind_ms: 3470.3,
            error_ms: 0.6,
        });
    });
    let words = "behind the bench's, in 7000 ms: monotonic 3470, boot-time 3470, wall 3470 ms, ±0.60";
    let text = table(&report(&run), None);
    assert!(text.contains("idle: behind the bench's by 3470 ms, 3 of 3 trials"), "{text}");
    assert!(html(&report(&run)).contains(words));
    assert_eq!(in_csv(&run, "guest_monotonic_behind_ms"), "3470.2");
    assert_eq!(in_json(&run)["guest_clock"]["boottime_behind_ms"], 3470.1);
}

#[test]
fn a_migration_that_did_not_converge_tells_what_kept_it() {
    let mut run = fixture::run();
    let unconverged = |outcome: &&mut Outcome| outcome.status == Status::NotConverged;
    let outcome = run.outcomes.iter_mut().find(unconverged).unwrap();
    outcome.not_converged = Some(NotConverged {
        after_ms: 20_000.0,
        passes: 17,
        remaining_bytes: Some(131_000_000),
        dirty_again_bytes: Some(134_217_728),
        dirty_rate_mib_s: Some(113.0),
        sent_mib_s: Some(112.0),
        downtime_limit_ms: Some(300.0),
        downtime_limit_needed_ms: Some(1142.8),
    });
    let id = outcome.id.clone();
    let sentence = "After each pass 128 MiB were dirty again (the guest wrote 612 MiB/s); 112 MiB/s were sent, which is 33.6 \
                    MiB in the downtime limit of 300 ms. What would end it: post-copy, or a downtime limit above 1143 ms, or \
                    vCPUs throttled by more than 81 %.";
    let text = table(&report(&run), None);
    let line = text.lines().find(|line| line.starts_with(&format!("{id} (not converged)"))).unwrap();
    assert!(line.contains(sentence), "{line}");
    assert!(html(&report(&run)).contains(sentence));
    run.outcomes.retain(|outcome| outcome.id == id);
    assert_eq!(in_csv(&run, "remaining_bytes"), "131000000");
    assert_eq!(in_csv(&run, "downtime_limit_needed_ms"), "1142.8");
    assert_eq!(in_json(&run)["not_converged"]["dirty_again_bytes"], 134_217_728);
}
