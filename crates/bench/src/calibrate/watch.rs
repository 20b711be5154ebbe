//! The probes of a calibration, and their rows as they come.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, SECOND_NS, now_ns};
use dunlin_probe::{DEFAULT_UDP_PORT, PAYLOAD_BYTES, ProbeKind, ProbeRows, ProbeSpec, RunningProbe};

use super::certificate::ProbeCost;
use super::measure;
use super::rig::Rig;
use crate::Result;

/// How long rows are waited for that should be there: longer than a probe waits for a stamp that does not come.
const ROWS_LIMIT_NS: i64 = 5 * SECOND_NS;
/// How often it is looked whether they are there.
const ROWS_STEP_NS: i64 = 5 * MILLISECOND_NS;
/// How long late answers are waited for once sending has ended.
const LATE_ANSWERS: Duration = Duration::from_millis(300);

/// What a probe saw since its rows were taken last, in the shapes of the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) sent: Vec<[i64; 3]>,
    pub(super) answers: Vec<[i64; 2]>,
}

/// The probes that watch the service.
pub(super) struct Watch {
    interval_ms: f64,
    interval_ns: i64,
    probes: Vec<Watching>,
}

struct Watching {
    name: String,
    probe: RunningProbe,
    fresh: Arc<Mutex<Rows>>,
    /// All that were taken, for the account of the whole.
    taken: Rows,
}

impl Watch {
    /// Starts a probe of each kind.
    pub(super) fn start(target: Ipv4Addr, interval_ms: f64) -> Result<Self> {
        let interval_ns = (interval_ms * 1e6).round() as i64;
        let kinds = [ProbeKind::Icmp, ProbeKind::Udp { port: DEFAULT_UDP_PORT }];
        let start =
            |kind| Watching::start(ProbeSpec { kind, target, interval_ns, payload_bytes: PAYLOAD_BYTES });
        let probes = kinds.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { interval_ms, interval_ns, probes })
    }

    pub(super) fn interval_ms(&self) -> f64 {
        self.interval_ms
    }

    pub(super) fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// Waits until every probe has told what it saw until `until_ns`; returns, by the probes' names, what they told
    /// since this was asked last. Rows of a service that stays silent are returned as they are.
    pub(super) fn take_until(&mut self, rig: &Rig<'_>, until_ns: i64) -> Result<BTreeMap<String, Rows>> {
        rig.rest_until(until_ns)?;
        let deadline = Deadline::at(until_ns + ROWS_LIMIT_NS);
        while !self.probes.iter().all(|probe| probe.reached(until_ns)) && !deadline.passed() {
            rig.rest_until(now_ns() + ROWS_STEP_NS)?;
        }
        Ok(self.probes.iter_mut().map(|probe| (probe.name.clone(), probe.take())).collect())
    }

    /// Ends the probes and accounts for what they cost since they were started.
    pub(super) fn stop(self) -> Result<Vec<ProbeCost>> {
        self.probes.iter().for_each(|probe| probe.probe.end_sending());
        let answers_until = Deadline::after(LATE_ANSWERS);
        self.probes
            .into_iter()
            .map(|mut probe| {
                probe.take();
                let summary = probe.probe.stop(answers_until);
                measure::cost(&probe.name, self.interval_ms, &probe.taken, &summary)
            })
            .collect()
    }
}

impl Watching {
    fn start(spec: ProbeSpec) -> Result<Self> {
        let fresh: Arc<Mutex<Rows>> = Arc::default();
        let filled = Arc::clone(&fresh);
        let sink = Box::new(move |batch: ProbeRows<'_>| {
            let mut rows = lock(&filled);
            match batch {
                ProbeRows::Sent(batch) => rows.sent.extend_from_slice(batch),
                ProbeRows::Answers(batch) => rows.answers.extend_from_slice(batch),
                ProbeRows::Failures(_) => {}
            }
        });
        let probe = dunlin_probe::start(&spec, sink)?;
        Ok(Self { name: spec.kind.to_string(), probe, fresh, taken: Rows::default() })
    }

    /// Whether all is told of the time until then.
    fn reached(&self, until_ns: i64) -> bool {
        let rows = lock(&self.fresh);
        let sent = rows.sent.last().is_some_and(|[_, due_ns, _]| *due_ns >= until_ns);
        sent && rows.answers.last().is_some_and(|[_, arrived_ns]| *arrived_ns >= until_ns)
    }

    fn take(&mut self) -> Rows {
        let rows = std::mem::take(&mut *lock(&self.fresh));
        self.taken.sent.extend_from_slice(&rows.sent);
        self.taken.answers.extend_from_slice(&rows.answers);
        rows
    }
}

/// A sink that panicked while holding the lock leaves whole rows.
fn lock(rows: &Mutex<Rows>) -> MutexGuard<'_, Rows> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}
