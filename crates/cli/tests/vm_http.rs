//! A web server in a real guest that is moved while it is asked for pages.

mod harness;

use harness::{Run, number};
use serde_json::Value;

/// The VM stands still for all of its migration.
const SERVED: &str = r#"
[vm]
memory_mib = 192
[probes]
icmp = { interval_ms = 5 }
udp = false
http = { interval_ms = 20, path = "/matrix?order=5" }
[trials]
count = 1
limit_s = 30
baseline_s = 1
settle_s = 2
[[case]]
name = "served"
strategy = { kind = "suspend" }
workload = { kind = "several", each = [{ kind = "http-server", increase_calls = 3 }, { kind = "clock" }] }
"#;

#[test]
fn vm_a_page_is_asked_for_before_during_and_after_a_move_and_the_outage_is_found() {
    need_vms!();
    let finished = Run::start("test-http", SERVED).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 1), "{}", finished.story());
    let outcome = &outcomes[0];
    let asked = |part: &str| {
        let of = |what: &str| number(outcome, &format!("/probes/http/response_ms/{part}/{what}"));
        of("n") + of("unanswered")
    };
    // One is due each 20 ms, whatever becomes of the others.
    assert!((45.0..=51.0).contains(&asked("before")), "{outcome:#}");
    assert!((90.0..=101.0).contains(&asked("after")), "{outcome:#}");
    let expected = number(outcome, "/total_time_ms") / 20.0;
    assert!((asked("during") - expected).abs() <= 0.1 * expected + 2.0, "{expected}: {outcome:#}");
    // Nobody answered while the VM stood still, and whoever asked then waited.
    let paused_ms = number(outcome, "/downtime_ms/paused");
    assert!(number(outcome, "/downtime_ms/http") > 0.8 * paused_ms, "{paused_ms}: {outcome:#}");
    let longest = |part: &str| number(outcome, &format!("/probes/http/response_ms/{part}/max"));
    assert!(longest("during") > 0.8 * paused_ms, "{paused_ms}: {outcome:#}");
    assert_eq!(outcome.pointer("/probes/http/failures/wrong_answer"), Some(&Value::from(0)));
    let served = "/workload/achieved/parts/0";
    assert!(number(outcome, &format!("{served}/http_server/answered")) >= asked("before"));
    assert_eq!(number(outcome, &format!("{served}/http_server/held_mib")), 30.0);
    assert_eq!(outcome.pointer(&format!("{served}/corrupt_pages")), Some(&Value::from(0)));
}
