//! What the probes' rows say, by the analysis that every trial goes through: an injection stands for a migration.

use std::collections::BTreeMap;

use dunlin_analysis::outcomes;
use dunlin_probe::ProbeSummary;
use dunlin_record::{
    Captures, Case, DriverSettings, Event, EventKind, HostId, Links, Outcome, Probes, Series, Status,
    StorageSettings, Strategy, Switch, Transport, TrialId, TrialRecord, Trials, VmId, VmSettings, shapes,
};
use dunlin_testbed::Injection;

use super::certificate::ProbeCost;
use super::watch::Rows;
use crate::Result;

/// The name under which the probed host stands in the record.
const VM: &str = "vm0";

/// One injection, and what was seen of it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// The relay's own stamps.
    pub(super) injection: Injection,
    pub(super) interval_ns: i64,
    pub(super) probes: BTreeMap<String, Seen>,
}

/// What one probe saw of an injection.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The downtime as a trial would report it; absent if the analysis has none.
    pub(super) downtime_ms: Option<f64>,
    /// The longest gap before the injection, less one interval.
    pub(super) baseline_gap_ms: Option<f64>,
    /// The requests around it (`seq`, `due_ns`, `sent_ns`).
    pub(super) sent: Vec<[i64; 3]>,
}

impl Sample {
    /// For how long frames did not pass, in ms to the µs, by the relay's own stamps.
    pub(super) fn injected_ms(&self) -> f64 {
        length_ms(&self.injection)
    }
}

/// For how long frames did not pass, in ms to the µs, by the relay's own stamps.
pub(super) fn length_ms(injection: &Injection) -> f64 {
    to_us((injection.end_ns - injection.start_ns) as f64 / 1e6)
}

/// A length in ms to the µs: finer, stamps mean nothing.
pub(super) fn to_us(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// What the probes saw of an injection.
pub(super) fn sample(injection: Injection, interval_ms: f64, rows: BTreeMap<String, Rows>) -> Result<Sample> {
    let mut record = Record::new(interval_ms, injection.start_ns, injection.end_ns);
    for (name, rows) in &rows {
        record.add_probe(name, rows);
    }
    let outcome = record.outcome()?;
    let seen = |(name, rows): (String, Rows)| {
        let (told, at_most) = (&outcome.downtime_ms, &outcome.downtime_at_most_ms);
        let (value_ms, at_most_ms) = match name.as_str() {
            "icmp" => (told.icmp, at_most.icmp),
            "udp" => (told.udp, at_most.udp),
            _ => (None, None),
        };
        // An outage for which no gap stands out was not seen. The certificate asks how far from the truth that is, and nothing
        // within the bound is further from it than none at all.
        let downtime_ms = value_ms.or(at_most_ms.map(|_| 0.0));
        let baseline_gap_ms = outcome.probes.get(&name).and_then(|probe| probe.baseline_gap_ms);
        (name, Seen { downtime_ms, baseline_gap_ms, sent: rows.sent })
    };
    let interval_ns = (interval_ms * 1e6).round() as i64;
    Ok(Sample { injection, interval_ns, probes: rows.into_iter().map(seen).collect() })
}

/// What a probe cost from its start to its end.
pub(super) fn cost(name: &str, interval_ms: f64, rows: &Rows, summary: &ProbeSummary) -> Result<ProbeCost> {
    let due_ns = |row: Option<&[i64; 3]>| row.map_or(0, |[_, due_ns, _]| *due_ns);
    let mut record = Record::new(interval_ms, due_ns(rows.sent.first()), due_ns(rows.sent.last()));
    record.add_probe(name, rows);
    record.add(record.end_ns, ended(name, summary));
    let outcome = record.outcome()?;
    let probe = outcome.probes.get(name);
    Ok(ProbeCost {
        probe: name.to_owned(),
        cpu_percent: probe.and_then(|probe| probe.cpu_percent),
        send_lateness_p99_ms: probe.and_then(|probe| probe.send_lateness_p99_ms),
        realtime_priority: summary.realtime_priority.is_some(),
    })
}

fn ended(name: &str, summary: &ProbeSummary) -> EventKind {
    EventKind::ProbeEnded {
        probe: name.to_owned(),
        cpu_ns: summary.cpu_ns,
        wall_ns: summary.wall_ns,
        send_errors: summary.send_errors,
        drops: summary.drops,
    }
}

/// The record of a trial whose migration took exactly from one moment to another.
struct Record {
    interval_ms: f64,
    start_ns: i64,
    end_ns: i64,
    events: Vec<Event>,
    series: BTreeMap<String, Series>,
}

impl Record {
    fn new(interval_ms: f64, start_ns: i64, end_ns: i64) -> Self {
        let mut record = Self { interval_ms, start_ns, end_ns, events: Vec::new(), series: BTreeMap::new() };
        let host = HostId::new("host-a");
        let started = EventKind::TrialStarted {
            scenario: "calibrate".into(),
            case: Box::new(case(interval_ms)),
            trial: 1,
            source: host.clone(),
            destination: host,
        };
        record.add(start_ns, started);
        record.add(start_ns, EventKind::MigrateCommand);
        record.add(end_ns, EventKind::MigrationCompleted);
        record.add(end_ns, EventKind::TrialEnded { status: Status::Completed, error: None });
        record
    }

    fn add(&mut self, t_ns: i64, kind: EventKind) {
        self.events.push(Event { t_ns, host: None, vm: Some(VmId::new(VM)), kind });
    }

    fn add_probe(&mut self, name: &str, rows: &Rows) {
        let started = EventKind::ProbeStarted {
            probe: name.to_owned(),
            interval_ms: Some(self.interval_ms),
            realtime_priority: false,
        };
        self.add(self.start_ns, started);
        let mut add = |what, series| self.series.insert(format!("{VM}-probe-{name}-{what}"), series);
        add("sent", Series::from_rows(shapes::PROBE_SENT, &rows.sent));
        add("answers", Series::from_rows(shapes::PROBE_ANSWERS, &rows.answers));
    }

    fn outcome(self) -> Result<Outcome> {
        let id = TrialId::new("calibrate");
        let record =
            TrialRecord { id, events: self.events, series: self.series, capture: None, truncated: false };
        let not_started = || dunlin_analysis::AnalysisError::NotStarted { trial: record.id.clone() };
        // The record names one VM, so it has one outcome.
        Ok(outcomes(&record)?.pop().ok_or_else(not_started)?)
    }
}

/// A case whose outages count only if they overlap the injection, or the two intervals after it: in an injection shorter
/// than an interval there may be no answer to show that the service was there at all.
fn case(interval_ms: f64) -> Case {
    Case {
        name: "calibrate".into(),
        dials: BTreeMap::new(),
        vm: VmSettings::default(),
        hypervisor: DriverSettings::default(),
        limits: None,
        link: Links::default(),
        storage: StorageSettings::default(),
        switch: Switch::default(),
        probes: Probes::default(),
        workload: None,
        capture: Captures::default(),
        strategy: Strategy::PreCopy,
        transport: Transport::default(),
        trials: Trials { settle_s: 2.0 * interval_ms / 1e3, ..Trials::default() },
    }
}

#[cfg(test)]
mod tests {
    use dunlin_clock::MILLISECOND_NS;
    use dunlin_testbed::{Crossing, Fault};

    use super::*;

    const START_NS: i64 = 1_000 * MILLISECOND_NS;

    fn injection(length_ms: i64) -> Injection {
        let end_ns = START_NS + length_ms * MILLISECOND_NS;
        Injection {
            fault: Fault::Drop,
            asked_start_ns: START_NS,
            start_ns: START_NS,
            asked_end_ns: end_ns,
            end_ns,
            a_to_b: Crossing::default(),
            b_to_a: Crossing::default(),
        }
    }

    /// A request each ms from 0.4 to 1999.4, answered 0.2 later unless `lost` says otherwise of its number.
    fn rows(lost: impl Fn(i64) -> bool) -> Rows {
        let due = |seq: i64| seq * MILLISECOND_NS + 400_000;
        Rows {
            sent: (0..2000).map(|seq| [seq, due(seq), due(seq) + 10_000]).collect(),
            answers: (0..2000).filter(|seq| !lost(*seq)).map(|seq| [seq, due(seq) + 200_000]).collect(),
        }
    }

    fn downtimes(injection: Injection, icmp: Rows, udp: Rows) -> [Option<f64>; 2] {
        let rows = [("icmp".to_owned(), icmp), ("udp".to_owned(), udp)].into();
        let sample = sample(injection, 1.0, rows).unwrap();
        ["icmp", "udp"].map(|name| sample.probes[name].downtime_ms)
    }

    #[test]
    fn each_probe_is_read_by_its_own_rows() {
        let seen = downtimes(injection(20), rows(|seq| (1000..1020).contains(&seq)), rows(|_| false));
        assert_eq!(seen, [Some(20.0), Some(0.0)]);
    }

    #[test]
    fn gaps_that_do_not_overlap_the_injection_are_not_its_own() {
        let is_lost = |seq| (1000..1020).contains(&seq) || (1100..1300).contains(&seq);
        assert_eq!(downtimes(injection(20), rows(is_lost), rows(is_lost)), [Some(20.0); 2]);
    }

    #[test]
    fn an_injection_too_short_to_be_seen_is_measured_as_nothing() {
        let mut short = injection(1);
        short.end_ns = short.start_ns + 100_000;
        assert_eq!(downtimes(short, rows(|_| false), rows(|_| false)), [Some(0.0); 2]);
    }

    #[test]
    fn the_cost_is_that_of_the_whole_time() {
        let mut rows = rows(|_| false);
        for row in &mut rows.sent[0..100] {
            row[2] = row[1] + 7 * MILLISECOND_NS;
        }
        let summary = ProbeSummary {
            cpu_ns: 30,
            wall_ns: 1000,
            sent: 2000,
            skipped: 0,
            send_errors: 0,
            last_send_error: None,
            unstamped_requests: 0,
            answers: 2000,
            unstamped_answers: 0,
            receive_errors: 0,
            drops: 0,
            realtime_priority: None,
            clock_error_ns: None,
        };
        let cost = cost("udp", 1.0, &rows, &summary).unwrap();
        assert_eq!((cost.cpu_percent, cost.send_lateness_p99_ms), (Some(3.0), Some(7.0)));
    }
}
