//! One probe's requests and answers, joined.

use std::collections::HashMap;

use dunlin_record::{ABSENT, EventKind, Series, shapes};

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
        let name_of = |series: &str| Some(series.strip_prefix(&prefix)?.strip_suffix("-sent")?.to_owned());
        trial
            .record
            .series
            .iter()
            .filter_map(|(series, sent)| {
                let name = name_of(series)?;
                let interval_ms = interval_ms(trial, &name)?;
                let answers = trial.vm_series(&format!("probe-{name}-answers"));
                Some(Self::join(name, interval_ms, sent, answers))
            })
            .collect()
    }

    /// When sending ended.
    pub(crate) fn last_sent_ns(&self) -> Option<i64> {
        self.requests.iter().map(|request| request.sent_ns).max()
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
        }
    }
}

/// The interval a probe was started with, else the one asked for.
fn interval_ms(trial: &Trial, name: &str) -> Option<f64> {
    let started = trial.pick(|kind| match kind {
        EventKind::ProbeStarted { probe, interval_ms, .. } if probe == name => Some(*interval_ms),
        _ => None,
    });
    let asked = match name {
        "icmp" => trial.case.probes.icmp.as_ref(),
        "udp" => trial.case.probes.udp.as_ref(),
        _ => None,
    };
    started.last().or(asked.map(|probe| probe.interval_ms)).filter(|ms| ms.is_finite() && *ms > 0.0)
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
