//! TCP beside the migrations.

use dunlin_analysis::RateTrack;
use dunlin_record::{AroundMigration, Outage, SocketBuffers, StreamProbe, TcpConnections, TcpStreamOutcome};
use dunlin_report::{csv, html, table};

use crate::fixture::{self, Run};
use crate::report;

fn buffers(send_bytes: u32, receive_bytes: u32) -> SocketBuffers {
    SocketBuffers { send_bytes, receive_bytes }
}

fn connections(local_at_end: SocketBuffers) -> TcpConnections {
    TcpConnections {
        made: 1,
        broken: 0,
        local: buffers(16_384, 131_072),
        remote: buffers(16_385, 131_073),
        local_at_end,
        congestion_control: "cubic".into(),
        retransmitted_segments: Some(18),
    }
}

fn stream(reverse: bool, during: f64) -> TcpStreamOutcome {
    TcpStreamOutcome {
        asked: StreamProbe { reverse, ..StreamProbe::default() },
        rate_mib_s: AroundMigration { before: Some(113.9), during: Some(during), after: None },
        rtt_ms: AroundMigration { before: Some(2.7), during: Some(4.5), after: None },
        longest_stall: Some(Outage { start_ms: 674.0, length_ms: 9.5 }),
        retransmitted_segments: Some(2),
        connections: Some(connections(buffers(2_377_728, 131_072))),
    }
}

/// The idle case with a stream between the hosts, the dirty one with transactions between bench and guest.
fn run() -> Run {
    let mut run = fixture::run();
    let streams = run.outcomes.iter_mut().filter(|outcome| outcome.case.name == "idle");
    for (number, outcome) in (0..).zip(streams) {
        let seen = stream(false, 53.0 + f64::from(number));
        outcome.tcp_streams.insert("hosts_tcp_stream".into(), seen);
        outcome.tcp_streams.insert("tcp_stream".into(), stream(true, 30.0));
    }
    for outcome in run.outcomes.iter_mut().filter(|outcome| outcome.case.name == "dirty") {
        let mut probe = outcome.probes["icmp"].clone();
        probe.connections = Some(connections(buffers(16_384, 131_072)));
        outcome.probes.insert("tcp_rr".into(), probe);
    }
    run
}

#[test]
fn streams_and_transactions_have_their_tables_below_the_summary() {
    let mut run = run();
    let text = table(&report(&run), Some(100));
    let from = text.find("TCP streams").unwrap();
    let until = text.find("Not completed").unwrap();
    let section = &text[from..until];
    assert!(section.lines().all(|line| line.chars().count() <= 100), "{section}");
    insta::assert_snapshot!(section);
    let idle = run.outcomes[0].id.clone();
    let timeline = run.timelines.iter_mut().find(|timeline| timeline.trial == idle).unwrap();
    let ticks = (0..100).map(|tick| (-1000.0 + 20.0 * f64::from(tick), 114.0)).collect();
    timeline.rates = vec![RateTrack { name: "hosts_tcp_stream".into(), unit: "MiB/s", tick_ms: 20.0, ticks }];
    let page = html(&report(&run));
    assert!(page.contains("hosts_tcp_stream over time, idle"));
    assert!(page.contains("TCP beside the migration") && page.contains("source → destination"));
    let without = fixture::run();
    assert!(!html(&report(&without)).contains("TCP beside the migration"));
}

#[test]
fn csv_has_columns_for_each_tcp_probe() {
    let run = run();
    let text = csv(&report(&run));
    let header = text.lines().next().unwrap();
    for column in [
        "hosts_tcp_stream_rate_during_mib_s",
        "tcp_stream_longest_stall_ms",
        "tcp_stream_local_send_buffer_bytes",
        "tcp_rr_during_answered_per_s",
        "tcp_rr_connections_broken",
        "tcp_rr_remote_receive_buffer_bytes",
    ] {
        assert!(header.contains(column), "{column} in {header}");
    }
    let fields = header.split(',').count();
    assert!(text.lines().all(|line| line.split(',').count() >= fields));
    assert!(!csv(&report(&fixture::run())).contains("connections_broken"));
}
