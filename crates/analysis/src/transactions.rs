//! The log of a probe that makes one transaction after the other: it keeps no interval, so what is usual stands for one.

use dunlin_record::{ABSENT, EventKind, RequestFailure, Series};

use crate::probe_log::{ProbeLog, Request};
use crate::trial::Trial;
use crate::units::{ns_in_ms, quantile};

/// The log of transactions; absent where fewer than two were answered. The interval is the median time between two answers
/// before the migrate command, or where there are none before it, between any.
pub(crate) fn log(trial: &Trial, name: String, series: &Series) -> Option<ProbeLog> {
    let mut rows: Vec<[i64; 3]> = series.rows_of().filter(|row: &[i64; 3]| row[0] != ABSENT).collect();
    rows.sort_unstable();
    let requests: Vec<Request> = (0..)
        .zip(&rows)
        .map(|(seq, &[sent_ns, arrived_ns, _])| {
            let answered_ns = (arrived_ns != ABSENT).then_some(arrived_ns);
            Request { seq, sent_ns, lateness_ns: None, answered_ns, answers: answered_ns.is_some().into() }
        })
        .collect();
    let mut arrivals_ns: Vec<i64> = requests.iter().filter_map(|request| request.answered_ns).collect();
    arrivals_ns.sort_unstable();
    let command = trial.events().find(|event| event.kind == EventKind::MigrateCommand);
    let before = command.map_or(0, |event| arrivals_ns.partition_point(|t_ns| *t_ns < event.t_ns));
    let interval_ns = usual_gap(&arrivals_ns[..before]).or_else(|| usual_gap(&arrivals_ns))?.max(1);
    let failed = |&[sent_ns, _, code]: &[i64; 3]| Some((sent_ns, RequestFailure::of_code(code)?));
    // The last one that broke, or was cut off by the probe's end, waited until then.
    let is_open = requests.last().is_some_and(|last| last.answered_ns.is_none());
    let ended = trial.pick(|kind| match kind {
        EventKind::ProbeConnection { probe, connection } if *probe == name => Some(connection.ended_ns),
        _ => None,
    });
    let waited_until_ns = ended.last().filter(|_| is_open);
    Some(ProbeLog {
        name,
        waited_until_ns,
        interval_ms: ns_in_ms(interval_ns),
        interval_ns,
        requests,
        unsent_due_ns: Vec::new(),
        arrivals_ns,
        failures: Some(rows.iter().filter_map(failed).collect()),
    })
}

fn usual_gap(arrivals_ns: &[i64]) -> Option<i64> {
    let mut gaps: Vec<i64> = arrivals_ns.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    gaps.sort_unstable();
    quantile(&gaps, 0.5)
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Flag, ProbeConnection, SocketBuffers, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// Transactions of 0.2 ms from -1000 to 1600 ms, none of which ends in `gone`: the one under way then ends after it.
    fn with(name: &str, gone: std::ops::Range<f64>) -> Fixture {
        let mut rows = Vec::new();
        let mut at = -1000.0;
        while at < 1600.0 {
            let end = if gone.contains(&(at + 0.2)) { gone.end } else { at + 0.2 };
            rows.push([ns(at), ns(end), ABSENT]);
            at = end;
        }
        let series = Series::from_rows(shapes::PROBE_TRANSACTIONS, &rows);
        Fixture::pre_copy().with_series(&format!("vm0-probe-{name}-transactions"), series)
    }

    #[test]
    fn an_outage_is_the_wait_of_one_transaction_less_what_one_usually_takes() {
        let outcome = with("tcp_rr", 500.0..560.0).outcome();
        assert_eq!(outcome.downtime_ms.tcp, Some(60.0));
        let probe = &outcome.probes["tcp_rr"];
        assert_eq!((probe.interval_ms, probe.error_ms), (0.2, Some(0.202)));
        assert_eq!((probe.lost, probe.late, probe.outages.len()), (0, 1, 1));
        let response = probe.response_ms.as_ref().unwrap();
        assert_eq!((response.before.n, response.before.answered_per_s), (5000, Some(5000.0)));
        assert_eq!((response.during.max, response.after.p50), (Some(60.2), Some(0.2)));
        assert_eq!(outcome.flags, []);
    }

    #[test]
    fn between_hosts_there_is_no_downtime_and_no_doubt_about_one() {
        let outcome = with("hosts_tcp_rr", 5000.0..5000.0).outcome();
        assert_eq!(outcome.downtime_ms.tcp, None);
        assert_eq!(outcome.probes["hosts_tcp_rr"].response_ms.as_ref().unwrap().during.n, 2715);
        assert!(!outcome.flags.contains(&Flag::OutageWithinNoise));
        assert!(with("tcp_rr", 5000.0..5000.0).outcome().flags.contains(&Flag::OutageWithinNoise));
    }

    #[test]
    fn a_transaction_that_broke_is_a_failure_and_one_that_was_cut_off_is_none() {
        let rows = [
            [ns(-3.0), ns(-2.0), ABSENT],
            [ns(-2.0), ns(-1.0), ABSENT],
            [ns(1.0), ABSENT, RequestFailure::Broken.code()],
            [ns(4.0), ns(5.0), ABSENT],
            [ns(5.0), ABSENT, ABSENT],
        ];
        let series = Series::from_rows(shapes::PROBE_TRANSACTIONS, &rows);
        let probe = &Fixture::pre_copy()
            .with_series("vm0-probe-tcp_rr-transactions", series)
            .outcome()
            .probes["tcp_rr"];
        assert_eq!((probe.sent, probe.lost, probe.failures.unwrap().broken), (3, 2, 1));
        assert_eq!(probe.interval_ms, 1.0);
    }

    #[test]
    fn an_answer_that_was_waited_for_to_the_end_is_an_outage_without_end() {
        let mut rows: Vec<[i64; 3]> =
            (-1000..500).map(|at| [ns(f64::from(at)), ns(f64::from(at + 1)), ABSENT]).collect();
        rows.push([ns(500.0), ABSENT, ABSENT]);
        let buffers = SocketBuffers { send_bytes: 1, receive_bytes: 1 };
        let connection = ProbeConnection {
            peer: "10.77.0.100:7008".into(),
            connected_ns: ns(-1000.0),
            ended_ns: ns(1600.0),
            broken: None,
            local: buffers,
            remote: buffers,
            local_at_end: buffers,
            congestion_control: "cubic".into(),
            retransmitted_segments: None,
        };
        let told = EventKind::ProbeConnection { probe: "tcp_rr".into(), connection };
        let series = Series::from_rows(shapes::PROBE_TRANSACTIONS, &rows);
        let outcome = Fixture::pre_copy()
            .with_series("vm0-probe-tcp_rr-transactions", series)
            .with(-1000.0, "", told)
            .outcome();
        assert_eq!((outcome.downtime_ms.tcp, outcome.downtime_at_least_ms.tcp), (None, Some(1099.0)));
        assert!(outcome.flags.contains(&Flag::OutageUnfinished));
    }

    #[test]
    fn fewer_than_two_answers_tell_nothing() {
        let series = Series::from_rows(shapes::PROBE_TRANSACTIONS, &[[ns(0.0), ns(1.0), ABSENT]]);
        let outcome = Fixture::pre_copy().with_series("vm0-probe-tcp_rr-transactions", series).outcome();
        assert!(!outcome.probes.contains_key("tcp_rr"));
    }
}
