//! Columns of what outside observers saw.

use std::collections::BTreeSet;

use dunlin_record::{Outcome, ProbeOutcome, Responses, TcpConnections, TcpStreamOutcome};

use super::{Column, column};
use crate::words::RESPONSE_PARTS;

/// The accounts of every probe that any outcome names.
pub(super) fn probes(outcomes: &[Outcome]) -> Vec<Column<'_>> {
    fn of<'a, T: ToString>(
        probe: &'a str,
        what: &str,
        value: impl Fn(&ProbeOutcome) -> Option<T> + 'a,
    ) -> Column<'a> {
        column(format!("{probe}_{what}"), move |outcome| outcome.probes.get(probe).and_then(&value))
    }
    let names: BTreeSet<&String> = outcomes.iter().flat_map(|outcome| outcome.probes.keys()).collect();
    names
        .into_iter()
        .flat_map(|name| {
            let mut columns = vec![
                of(name, "interval_ms", |probe| Some(probe.interval_ms)),
                of(name, "sent", |probe| Some(probe.sent)),
                of(name, "lost", |probe| Some(probe.lost)),
                of(name, "late", |probe| Some(probe.late)),
                of(name, "duplicated", |probe| Some(probe.duplicated)),
                of(name, "answered_by_source", |probe| probe.answered_by.map(|by| by.source)),
                of(name, "answered_by_destination", |probe| probe.answered_by.map(|by| by.destination)),
                of(name, "outages", |probe| Some(probe.outages.len())),
                of(name, "baseline_gap_ms", |probe| probe.baseline_gap_ms),
                of(name, "send_lateness_p99_ms", |probe| probe.send_lateness_p99_ms),
                of(name, "cpu_percent", |probe| probe.cpu_percent),
                of(name, "sent_per_s", |probe| probe.sent_per_s),
                of(name, "baseline_unanswered_percent", |probe| probe.baseline_unanswered_percent),
                of(name, "unfit", |probe| probe.unfit.clone()),
            ];
            if outcomes
                .iter()
                .any(|outcome| outcome.probes.get(name).is_some_and(|probe| probe.failures.is_some()))
            {
                columns.extend([
                    of(name, "not_sent", |probe| probe.failures.map(|failed| failed.not_sent)),
                    of(name, "broken", |probe| probe.failures.map(|failed| failed.broken)),
                    of(name, "wrong_answers", |probe| probe.failures.map(|failed| failed.wrong_answer)),
                    of(name, "timed_out", |probe| probe.failures.map(|failed| failed.timed_out)),
                ]);
            }
            if outcomes.iter().any(|outcome| transacted_on(outcome, name).is_some()) {
                columns.extend(connections(name, transacted_on));
            }
            for (part, times) in RESPONSE_PARTS {
                let of = |what: &str, value: fn(&Responses) -> Option<f64>| {
                    of(name, &format!("{part}_{what}"), move |probe| {
                        value(times(probe.response_ms.as_ref()?))
                    })
                };
                columns.extend([
                    of("unanswered", |times| Some(times.unanswered as f64)),
                    of("answered_per_s", |times| times.answered_per_s),
                    of("response_p50_ms", |times| times.p50),
                    of("response_p99_ms", |times| times.p99),
                    of("response_max_ms", |times| times.max),
                ]);
            }
            columns
        })
        .collect()
}

fn transacted_on<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a TcpConnections> {
    outcome.probes.get(name)?.connections.as_ref()
}

/// What became of every TCP stream that any outcome names.
pub(super) fn tcp_streams(outcomes: &[Outcome]) -> Vec<Column<'_>> {
    let names: BTreeSet<&String> = outcomes.iter().flat_map(|outcome| outcome.tcp_streams.keys()).collect();
    names.into_iter().flat_map(|name| tcp_stream(name)).collect()
}

fn tcp_stream(name: &str) -> Vec<Column<'_>> {
    fn of<'a, T: ToString>(
        name: &'a str,
        what: &str,
        value: impl Fn(&TcpStreamOutcome) -> Option<T> + 'a,
    ) -> Column<'a> {
        column(format!("{name}_{what}"), move |outcome| value(outcome.tcp_streams.get(name)?))
    }
    let mut columns = vec![
        of(name, "rate_before_mib_s", |stream| stream.rate_mib_s.before),
        of(name, "rate_during_mib_s", |stream| stream.rate_mib_s.during),
        of(name, "rate_after_mib_s", |stream| stream.rate_mib_s.after),
        of(name, "rtt_before_ms", |stream| stream.rtt_ms.before),
        of(name, "rtt_during_ms", |stream| stream.rtt_ms.during),
        of(name, "rtt_after_ms", |stream| stream.rtt_ms.after),
        of(name, "longest_stall_ms", |stream| stream.longest_stall.map(|stall| stall.length_ms)),
        of(name, "retransmitted_segments", |stream| stream.retransmitted_segments),
    ];
    columns.extend(connections(name, |outcome, name| outcome.tcp_streams.get(name)?.connections.as_ref()));
    columns
}

/// The connections of a TCP probe.
fn connections(
    probe: &str,
    of: for<'a> fn(&'a Outcome, &str) -> Option<&'a TcpConnections>,
) -> Vec<Column<'_>> {
    type Value = fn(&TcpConnections) -> u64;
    let columns: [(&str, Value); 6] = [
        ("connections", |all| all.made),
        ("connections_broken", |all| all.broken),
        ("local_send_buffer_bytes", |all| all.local.send_bytes.into()),
        ("local_receive_buffer_bytes", |all| all.local.receive_bytes.into()),
        ("remote_send_buffer_bytes", |all| all.remote.send_bytes.into()),
        ("remote_receive_buffer_bytes", |all| all.remote.receive_bytes.into()),
    ];
    columns
        .map(|(what, value)| column(format!("{probe}_{what}"), move |outcome| of(outcome, probe).map(value)))
        .into()
}
