//! Our own guest, made and moved through libvirt: its figures, and libvirt's own.

use serde_json::Value;

use super::bench::{Bench, Ended, HEAD};
use super::ground::Ground;
use super::is_long;

const CASES: &str = r#"
[[case]]
name = "idle"
[[case]]
name = "hybrid"
strategy = { kind = "hybrid", after_passes = 1 }
workload = { kind = "memory-write", working_set_mib = 96, rate_mib_s = "full" }
[[case]]
name = "suspend"
strategy.kind = "suspend"
"#;

/// For which there is not always time.
const MORE: &str = r#"
[[case]]
name = "post-copy"
strategy.kind = "post-copy"
"#;

/// How much more than libvirt's processed bytes the wire may carry, in percent: headers of Ethernet, IP and TCP are 4.6 % of a
/// full frame's data, and the daemons' own talk and QEMU's acknowledgements come on top.
const MOST_HEADERS_PERCENT: f64 = 5.0;

pub(crate) fn play(ground: &Ground<'_>) {
    let more = if is_long() { MORE } else { "" };
    let scenario = format!("{HEAD}{CASES}{more}").replace("udp = false", "udp = { interval_ms = 2.0 }");
    let ended = Bench::start(ground, &scenario, &[]).finish();
    let outcomes = ended.completed();
    assert_eq!(outcomes.len(), if is_long() { 4 } else { 3 });
    for (number, outcome) in (1..).zip(&outcomes) {
        let case = outcome["case"]["name"].as_str().unwrap();
        let trial = format!("{number:02}-{case}-1");
        figures_are_told(outcome, &trial);
        are_libvirts(outcome, &report(&ended, &trial), &trial);
    }
    assert_eq!(ground.gone(), [""; 0]);
    for host in super::ground::HOSTS {
        assert_eq!(ground.said(host, &["list", "--all", "--name"]), "");
    }
}

fn figures_are_told(outcome: &Value, trial: &str) {
    for figure in ["reported", "paused"] {
        assert!(number(outcome, &format!("/downtime_ms/{figure}")) > 0.0, "{trial}: {outcome:#}");
    }
    // A probe that a busy machine kept from being exact is told with its bound and a flag.
    for probe in ["icmp", "udp"] {
        let told = ["downtime_ms", "downtime_at_most_ms", "downtime_at_least_ms"]
            .iter()
            .any(|figure| outcome.pointer(&format!("/{figure}/{probe}")).is_some_and(Value::is_number));
        assert!(told || outcome["probes"][probe]["unfit"].is_string(), "{trial}: {outcome:#}");
    }
    let has_post_copy = trial.contains("hybrid") || trial.contains("post-copy");
    assert!(outcome["phases_ms"]["initialize"].is_number(), "{trial}: {outcome:#}");
    // Where the last byte went is not told by libvirt, and cannot be counted where pages go on after the start.
    assert_eq!(outcome["phases_ms"]["stop_and_copy"].is_number(), !has_post_copy, "{trial}: {outcome:#}");
    let passes = outcome["iterations"].as_array().unwrap();
    let is_at_once = trial.contains("suspend") || trial.contains("post-copy");
    assert!(is_at_once || !passes.is_empty(), "{trial}: {outcome:#}");
    assert_eq!(outcome["phases_ms"]["post_copy"].is_number(), has_post_copy, "{trial}: {outcome:#}");
}

/// What is told in libvirt's name is what libvirt said.
pub(crate) fn are_libvirts(outcome: &Value, raw: &Value, trial: &str) {
    let of = |name: &str| raw[name].as_f64().unwrap_or_else(|| panic!("{trial}: no {name} in {raw:#}"));
    assert_eq!(number(outcome, "/downtime_ms/reported"), of("downtime"), "{trial}");
    assert_eq!(number(outcome, "/ram_bytes"), of("memory_processed"), "{trial}");
    let above = above_percent(outcome, raw);
    println!(
        "{trial}: total {} ms (libvirt {}), downtime {} ms reported, {} paused, {} icmp; {} processed bytes, the wire \
         {above:.2} % above",
        number(outcome, "/total_time_ms"),
        of("time_elapsed"),
        of("downtime"),
        outcome["downtime_ms"]["paused"],
        outcome["downtime_ms"]["icmp"],
        of("data_processed"),
    );
    assert!((0.0..MOST_HEADERS_PERCENT).contains(&above), "{trial}: {above} %");
}

/// How much more was on the wire than libvirt says to have processed, in percent.
pub(crate) fn above_percent(outcome: &Value, raw: &Value) -> f64 {
    let processed = raw["data_processed"].as_f64().unwrap_or_else(|| panic!("{raw:#}"));
    (number(outcome, "/wire_bytes/source_tx") / processed - 1.0) * 100.0
}

/// libvirt's own account of a trial's migration.
pub(crate) fn report(ended: &Ended, trial: &str) -> Value {
    let events = ended.events(trial);
    let report = events.iter().find(|event| event["event"] == "hypervisor-report");
    report.unwrap_or_else(|| panic!("no report in {trial}"))["raw"].clone()
}

pub(crate) fn number(outcome: &Value, pointer: &str) -> f64 {
    let found = outcome.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{pointer} is absent in {outcome:#}"))
}
