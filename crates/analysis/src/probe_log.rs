//! One probe's requests and answers, joined.

use std::collections::HashMap;

use dunlin_record::{ABSENT, EventKind, RequestFailure, Series, shapes};

use crate::transactions;
use crate::trial::Trial;
use crate::units::ms_in_ns;

/// One probe's requests and answers.
#[derive(Debug)]
pub(crate) struct ProbeLog {
    /// As in `icmp`.
    pub(crate) name: String,
    /// Time between two requests.
    pub(crate) interval_ms: f64,
    /// The same in whole ns; above 0.
    pub(crate) interval_ns: i64,
    /// The requests that left, in the order of their sequence numbers.
    pub(crate) requests: Vec<Request>,
    /// When the requests that never left should have.
    pub(crate) unsent_due_ns: Vec<i64>,
    /// When any answer arrived, in the order of time.
    pub(crate) arrivals_ns: Vec<i64>,
    /// Until when the last request's answer was waited for, where that is known.
    pub(crate) waited_until_ns: Option<i64>,
    /// Why requests have no good answer, each with when it left or should have; absent for a probe that does not say.
    pub(crate) failures: Option<Vec<(i64, RequestFailure)>>,
}

/// One request that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) seq: i64,
    /// When it left: by the kernel's stamp, else when it was due.
    pub(crate) sent_ns: i64,
    /// How much later than due it left; absent without the kernel's stamp.
    pub(crate) lateness_ns: Option<i64>,
    /// When its first answer arrived.
    pub(crate) answered_ns: Option<i64>,
    /// How many answers came.
    pub(crate) answers: u64,
}

impl Request {
    /// From leaving to the first answer; absent if none came.
    pub(crate) fn round_trip_ns(&self) -> Option<i64> {
        Some(self.answered_ns?.saturating_sub(self.sent_ns).max(0))
    }
}

/// The answers to one request.
#[derive(Default)]
struct Answers {
    first_ns: Option<i64>,
    count: u64,
}

impl ProbeLog {
    /// The logs of all probes of a VM that sent and whose interval is known, in the order of their names.
    pub(crate) fn of_vm(trial: &Trial) -> Vec<Self> {
        let prefix = format!("{}-probe-", trial.vm);
        let name_of = |series: &str, what| Some(series.strip_prefix(&prefix)?.strip_suffix(what)?.to_owned());
        trial
            .record
            .series
            .iter()
            .filter_map(|(series, sent)| {
                if let Some(name) = name_of(series, "-transactions") {
                    return transactions::log(trial, name, sent);
                }
                let name = name_of(series, "-sent")?;
                let interval_ms = interval_ms(trial, &name)?;
                let answers = trial.vm_series(&format!("probe-{name}-answers"));
                let failures = trial.vm_series(&format!("probe-{name}-failures"));
                let mut log = Self::join(name, interval_ms, sent, answers);
                log.failures = failures.map(|failures| collect_failures(sent, failures));
                Some(log)
            })
            .collect()
    }

    /// When the last answer that did not come should have: when sending ended, or where a request waits for the answer to
    /// the one before it, when waiting did.
    pub(crate) fn last_due_ns(&self) -> Option<i64> {
        self.requests.iter().map(|request| request.sent_ns).chain(self.waited_until_ns).max()
    }

    fn join(name: String, interval_ms: f64, sent: &Series, answers: Option<&Series>) -> Self {
        let (mut by_seq, arrivals_ns) = collect_answers(answers);
        let mut rows: Vec<[i64; shapes::PROBE_SENT.len()]> =
            sent.rows_of().filter(|row| row[0] != ABSENT).collect();
        rows.sort_unstable();
        rows.dedup_by_key(|row| row[0]);
        // Where the kernel stamps what leaves, a request with neither stamp nor answer never left: the kernel refused
        // it, or the prober was too late for it. Where it stamps nothing, the moment due stands in for the stamp.
        let kernel_stamps = rows.iter().any(|[_, _, sent_ns]| *sent_ns != ABSENT);
        let (mut requests, mut unsent_due_ns) = (Vec::with_capacity(rows.len()), Vec::new());
        for [seq, due_ns, stamp_ns] in rows {
            let answers = by_seq.remove(&seq).unwrap_or_default();
            let sent_ns = if stamp_ns == ABSENT { due_ns } else { stamp_ns };
            if sent_ns == ABSENT {
                continue;
            }
            if stamp_ns == ABSENT && kernel_stamps && answers.count == 0 {
                unsent_due_ns.push(due_ns);
                continue;
            }
            let is_timed = stamp_ns != ABSENT && due_ns != ABSENT;
            let lateness_ns = is_timed.then(|| stamp_ns.saturating_sub(due_ns).max(0));
            requests.push(Request {
                seq,
                sent_ns,
                lateness_ns,
                answered_ns: answers.first_ns,
                answers: answers.count,
            });
        }
        Self {
            name,
            interval_ms,
            interval_ns: ms_in_ns(interval_ms).max(1),
            requests,
            unsent_due_ns,
            arrivals_ns,
            waited_until_ns: None,
            failures: None,
        }
    }
}

/// The interval a probe was started with, else the one asked for.
fn interval_ms(trial: &Trial, name: &str) -> Option<f64> {
    let started = trial.pick(|kind| match kind {
        EventKind::ProbeStarted { probe, interval_ms, .. } if probe == name => *interval_ms,
        _ => None,
    });
    let probes = &trial.case.probes;
    let asked = match name {
        "icmp" => probes.icmp.as_ref().map(|probe| probe.interval_ms),
        "udp" => probes.udp.as_ref().map(|probe| probe.interval_ms),
        "http" => probes.http.as_ref().map(|probe| probe.interval_ms),
        _ => None,
    };
    started.last().or(asked).filter(|ms| ms.is_finite() && *ms > 0.0)
}

/// The answers by sequence number, and when each arrived in the order of time.
fn collect_answers(series: Option<&Series>) -> (HashMap<i64, Answers>, Vec<i64>) {
    let mut by_seq: HashMap<i64, Answers> = HashMap::new();
    let mut arrivals_ns = Vec::new();
    for [seq, arrived_ns] in series.into_iter().flat_map(Series::rows_of) {
        if arrived_ns == ABSENT {
            continue;
        }
        arrivals_ns.push(arrived_ns);
        let answers = by_seq.entry(seq).or_default();
        answers.count += 1;
        answers.first_ns = Some(answers.first_ns.map_or(arrived_ns, |first| first.min(arrived_ns)));
    }
    arrivals_ns.sort_unstable();
    (by_seq, arrivals_ns)
}

/// Why requests failed, each with when it left, or where it did not, should have.
fn collect_failures(sent: &Series, failures: &Series) -> Vec<(i64, RequestFailure)> {
    let when = |[seq, due_ns, sent_ns]: [i64; 3]| (seq, if sent_ns == ABSENT { due_ns } else { sent_ns });
    let times_ns: HashMap<i64, i64> = sent.rows_of().map(when).collect();
    let failed = |[seq, _, code]: [i64; 3]| Some((*times_ns.get(&seq)?, RequestFailure::of_code(code)?));
    failures.rows_of().filter_map(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    fn log(sent: &[[i64; 3]], answers: &[[i64; 2]]) -> ProbeLog {
        let sent = Series::from_rows(shapes::PROBE_SENT, sent);
        let answers = Series::from_rows(shapes::PROBE_ANSWERS, answers);
        ProbeLog::join("icmp".into(), 1.0, &sent, Some(&answers))
    }

    #[test]
    fn requests_are_joined_with_their_first_answer_whatever_the_order() {
        let log = log(&[[2, 20, 21], [1, 10, 12]], &[[2, 40], [9, 5], [2, 30], [1, ABSENT]]);
        let requests = [
            Request { seq: 1, sent_ns: 12, lateness_ns: Some(2), answered_ns: None, answers: 0 },
            Request { seq: 2, sent_ns: 21, lateness_ns: Some(1), answered_ns: Some(30), answers: 2 },
        ];
        assert_eq!(log.requests, requests);
        assert_eq!(log.requests[1].round_trip_ns(), Some(9));
        assert_eq!(log.arrivals_ns, [5, 30, 40], "an answer to whatever request is an answer");
        assert_eq!(log.last_due_ns(), Some(21));
    }

    #[test]
    fn a_request_without_stamp_left_if_it_was_answered_or_nothing_is_stamped_at_all() {
        let some_stamps = log(&[[1, 10, 11], [2, 20, ABSENT], [3, 30, ABSENT]], &[[2, 25]]);
        assert_eq!(some_stamps.requests.iter().map(|request| request.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(some_stamps.unsent_due_ns, [30]);
        let no_stamps = log(&[[1, 10, ABSENT], [2, 20, ABSENT]], &[[2, 25]]);
        assert_eq!(no_stamps.requests.len(), 2);
        assert_eq!(no_stamps.requests[0].lateness_ns, None);
    }

    #[test]
    fn a_probe_has_the_interval_it_was_started_with_else_the_one_asked_for() {
        let started = |interval_ms| EventKind::ProbeStarted {
            probe: "icmp".into(),
            interval_ms,
            realtime_priority: false,
        };
        let interval = |fixture: &Fixture| fixture.probe_log().1.interval_ms;
        let asked = Fixture::pre_copy();
        assert_eq!(interval(&asked), 1.0);
        assert_eq!(interval(&asked.clone().with(-1000.0, "", started(Some(0.5)))), 0.5);
        let unknown =
            asked.with_case(|case| case.probes.icmp = None).with(-1000.0, "", started(Some(f64::NAN)));
        assert!(unknown.outcome().probes.is_empty());
    }
}
