//! Streams between a guest and the bench over real migrations: whole, cut, and with losses.

mod harness;

use std::net::Ipv4Addr;

use harness::sockets::cut_connections;
use harness::{Run, number};
use serde_json::Value;

const STREAMS: &str = r#"
[vm]
memory_mib = 128
[trials]
count = 1
limit_s = 30
baseline_s = 0.6
settle_s = 1.0
[probes]
udp = false
[[case]]
name = "streams"
[case.workload]
kind = "several"
each = [
  { kind = "tcp-send", rate_mib_s = 2 },
  { kind = "tcp-receive", rate_mib_s = 2 },
  { kind = "udp-send", rate_mib_s = 0.5, datagram_bytes = 500 },
  { kind = "udp-receive", rate_mib_s = 0.5, datagram_bytes = 500 },
]
"#;

#[test]
fn vm_streams_both_ways_live_through_a_move_and_losses_are_dated() {
    need_vms!();
    let finished = Run::start("test-streams", STREAMS).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 1), "{}", finished.story());
    let outcome = &outcomes[0];
    let kinds = ["tcp-send", "tcp-receive", "udp-send", "udp-receive"];
    for (index, kind) in kinds.into_iter().enumerate() {
        let of = |what: &str| format!("/streams/{index}/{what}");
        assert_eq!(outcome.pointer(&of("kind")), Some(&Value::from(kind)));
        for rate in ["rate_before_mib_s", "rate_after_mib_s"] {
            assert!(number(outcome, &of(rate)) > 0.05, "{kind}: {outcome:#}");
        }
        // The guest stands still for a while, whoever sends. What a kernel takes meanwhile hides a part of it.
        let stall_ms = number(outcome, &of("longest_stall/length_ms"));
        assert!((0.0..20_000.0).contains(&stall_ms), "{kind}: {stall_ms} ms");
        assert_eq!(outcome.pointer(&of("breaks")), None, "{kind}: {outcome:#}");
        assert!(number(outcome, &format!("/workload/achieved/parts/{index}/rate_mib_s")) > 0.05);
    }
    // Who receives: the bench, then the guest.
    for received in ["/streams/0/seen", "/workload/achieved/parts/1/stream"] {
        for wrong in ["missing", "late", "repeated", "corrupted"] {
            assert_eq!(number(outcome, &format!("{received}/received/{wrong}")), 0.0, "{outcome:#}");
        }
        assert_eq!(number(outcome, &format!("{received}/connections")), 1.0, "{outcome:#}");
    }
    for index in [2, 3] {
        let lost = number(outcome, &format!("/streams/{index}/lost_datagrams"));
        let losses = outcome.pointer(&format!("/streams/{index}/losses")).and_then(Value::as_array);
        let dated: f64 = losses.into_iter().flatten().map(|loss| number(loss, "/datagrams")).sum();
        println!("{}: {lost} datagrams lost: {losses:?}", kinds[index]);
        assert_eq!(lost, dated, "{outcome:#}");
    }
    // What the bench sends while the source stands still goes to a guest that is about to go.
    assert!(number(outcome, "/streams/3/lost_datagrams") > 0.0, "{outcome:#}");
    let begin_ms = number(outcome, "/streams/3/losses/0/start_ms");
    assert!(begin_ms < number(outcome, "/total_time_ms") + 1000.0, "{outcome:#}");
}

/// The first VM on the lab's service network.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

const CUT: &str = r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[trials]
count = 1
limit_s = 8
baseline_s = 0.4
settle_s = 1.0
[[case]]
name = "cut"
[case.workload]
kind = "several"
each = [
  { kind = "tcp-send", rate_mib_s = 1 },
  { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" },
]
"#;

#[test]
fn vm_a_connection_that_is_cut_is_made_anew_counted_and_dated() {
    need_vms!();
    let mut run = Run::start("test-cut-stream", CUT);
    run.await_migration("01-cut-1");
    let cut: usize = run.inner_pids().into_iter().map(|pid| cut_connections(pid, GUEST)).sum();
    assert_eq!(cut, 1, "one process of the bench has one connection to the guest");
    let finished = run.finish();
    let outcomes = finished.outcomes();
    let outcome = &outcomes[0];
    assert_eq!(outcome["status"], "not-converged", "{}", finished.story());
    let breaks = outcome.pointer("/streams/0/breaks").and_then(Value::as_array).unwrap();
    assert_eq!(breaks.len(), 1, "{outcome:#}");
    assert!(number(&breaks[0], "/connected_ms") >= number(&breaks[0], "/broken_ms"));
    assert!(number(&breaks[0], "/broken_ms") > 0.0);
    for seen in ["/streams/0/seen", "/workload/achieved/parts/0/stream"] {
        assert_eq!(number(outcome, &format!("{seen}/connections")), 2.0, "{outcome:#}");
    }
    assert_eq!(number(outcome, "/streams/0/seen/received/missing"), 0.0, "{outcome:#}");
    assert!(!outcome["flags"].as_array().unwrap().contains(&Value::from("corrupt-memory")), "{outcome:#}");
}
