//! Builds a trial's time line from its record.

use dunlin_record::{ABSENT, Event, EventKind, Series, TcpProbe, TrialRecord};

use crate::answers::{Answerer, Passages};
use crate::moments::Moments;
use crate::phases::Phases;
use crate::probe_log::ProbeLog;
use crate::samples::Samples;
use crate::stories::stories;
use crate::tcp_streams::Taken;
use crate::timeline::{Mark, ProbeTrack, RateTrack, Request, Timeline, WireTick};
use crate::trial::Trial;
use crate::units::{MIB_BYTES, ms_between, ns_in_ms};

const TICK_NS: i64 = 10_000_000;
const RATE_TICK_NS: i64 = 20_000_000;
/// A minute and a half: nobody looks at more of it.
const MOST_RATE_TICKS: i64 = 4_500;
/// Counters are read about once a tick. Stamps that would make this many ticks of one reading are not believed.
const MOST_TICKS_A_SAMPLE: usize = 100;

/// The time line of a trial's first VM; absent where the record does not say what was asked, or no migration was
/// commanded.
pub fn timeline(record: &TrialRecord) -> Option<Timeline> {
    let trial = Trial::each_vm(record).ok()?.into_iter().next()?;
    let moments = Moments::of(&trial)?;
    let spans = Phases::of(&trial, &moments).spans(moments.command);
    let probes = probes(&trial, &moments);
    let first_sent_ms = probes.iter().flat_map(|probe| &probe.requests).map(|request| request.sent_ms);
    let start_ms = spans.iter().map(|span| span.start_ms).chain(first_sent_ms).fold(0.0, f64::min);
    Some(Timeline {
        trial: record.id.clone(),
        start_ms,
        end_ms: ms_between(moments.command, moments.window_end),
        marks: marks(&trial, &moments, start_ms),
        wire: wire(&trial, &moments),
        stories: stories(&trial, &moments),
        rates: rates(&trial, &moments),
        probes,
        spans,
    })
}

fn probes(trial: &Trial, moments: &Moments) -> Vec<ProbeTrack> {
    let track = |log: ProbeLog| {
        let passages = Passages::of(trial, &log.name);
        let requests = log.requests.iter().map(|request| Request {
            seq: u64::try_from(request.seq).unwrap_or_default(),
            sent_ms: ms_between(moments.command, request.sent_ns),
            answered_ms: request.answered_ns.map(|t_ns| ms_between(moments.command, t_ns)),
            by: match &passages {
                Some(passages) => passages.answerer(request),
                None if request.answered_ns.is_some() => Answerer::Unknown,
                None => Answerer::Nobody,
            },
        });
        ProbeTrack { requests: requests.collect(), interval_ms: log.interval_ms, name: log.name }
    };
    ProbeLog::of_vm(trial).into_iter().map(track).collect()
}

/// What the TCP probes carried from the baseline's begin to the end of settling.
fn rates(trial: &Trial, moments: &Moments) -> Vec<RateTrack> {
    let of_probe = |(name, _, probe): (&'static str, _, TcpProbe)| {
        let series = |what: &str| trial.vm_series(&format!("probe-{name}-{what}"));
        let (unit, scale, counter) = match probe {
            TcpProbe::Stream(_) => ("MiB/s", MIB_BYTES, Taken::of(series("samples")?).bytes),
            TcpProbe::RequestResponse(_) => ("transactions/s", 1.0, answers(series("transactions")?)),
        };
        let tick = |index: i64| {
            let from_ns = moments.baseline_start.saturating_add(index.saturating_mul(RATE_TICK_NS));
            let grown = counter.growth(from_ns, from_ns.saturating_add(RATE_TICK_NS))?;
            let per_s = grown as f64 / scale / (RATE_TICK_NS as f64 / 1e9);
            Some((ms_between(moments.command, from_ns), per_s))
        };
        let length_ns = moments.window_end.saturating_sub(moments.baseline_start);
        let ticks = (0..(length_ns / RATE_TICK_NS).min(MOST_RATE_TICKS)).filter_map(tick).collect();
        Some(RateTrack { name: name.to_owned(), unit, tick_ms: ns_in_ms(RATE_TICK_NS), ticks })
    };
    trial.case.probes.tcp().into_iter().filter_map(of_probe).collect()
}

/// How many transactions had been answered by each answer.
fn answers(series: &Series) -> Samples {
    let mut arrivals_ns: Vec<i64> =
        series.rows_of().map(|row: [i64; 3]| row[1]).filter(|t_ns| *t_ns != ABSENT).collect();
    arrivals_ns.sort_unstable();
    Samples::from_points(arrivals_ns.into_iter().zip(1..).collect())
}

fn marks(trial: &Trial, moments: &Moments, start_ms: f64) -> Vec<Mark> {
    let mark = |event: &Event| {
        let at_ms = ms_between(moments.command, event.t_ns);
        (at_ms >= start_ms && event.t_ns <= moments.window_end).then_some(Mark {
            at_ms,
            label: label(&event.kind)?,
            host: event.host.as_ref().map(ToString::to_string),
        })
    };
    trial.events().filter_map(mark).collect()
}

/// The words for an event worth a mark.
fn label(kind: &EventKind) -> Option<String> {
    let words = match kind {
        EventKind::MigrateCommand => "migrate-command",
        EventKind::MigrationCompleted => "migration-completed",
        EventKind::VcpusStopped => "vcpus-stopped",
        EventKind::VcpusRunning => "vcpus-running",
        EventKind::MigrationStatus { status, .. } => status,
        EventKind::Checkpoint { name, .. } => name,
        EventKind::Decision { action, .. } => action,
        EventKind::ProcessEnded { how, .. } => return Some(format!("process-ended: {how}")),
        _ => return None,
    };
    Some(words.to_owned())
}

/// Bytes per tick, counted from the migrate command, from the counters interpolated to the ticks' bounds.
fn wire(trial: &Trial, moments: &Moments) -> Vec<WireTick> {
    let (tx, rx) = (trial.wire("tx_bytes"), trial.wire("rx_bytes"));
    let Some((first_ns, last_ns)) = tx.extent() else { return Vec::new() };
    let ticks_until = |t_ns: i64| t_ns.saturating_sub(moments.command).div_euclid(TICK_NS);
    let first = ticks_until(first_ns).saturating_add(1);
    let end = ticks_until(last_ns.min(moments.window_end));
    if end.saturating_sub(first) > (tx.points().len() * MOST_TICKS_A_SAMPLE) as i64 {
        return Vec::new();
    }
    let tick = |index: i64| {
        let from_ns = moments.command.saturating_add(index.saturating_mul(TICK_NS));
        let to_ns = from_ns.saturating_add(TICK_NS);
        Some(WireTick {
            at_ms: ms_between(moments.command, from_ns),
            tx_bytes: tx.growth(from_ns, to_ns)?,
            rx_bytes: rx.growth(from_ns, to_ns)?,
        })
    };
    (first..end).filter_map(tick).collect()
}

#[cfg(test)]
mod tests {
    use crate::fixture::{Fixture, ns};
    use crate::{Answerer, Mark, Request, Span};
    use dunlin_record::{Series, shapes};

    #[test]
    fn it_begins_with_the_first_sign_and_ends_with_the_settling() {
        let line = Fixture::pre_copy().timeline();
        assert_eq!((line.start_ms, line.end_ms), (-1500.0, 1543.0));
    }

    #[test]
    fn a_tcp_probes_rate_is_told_in_ticks_around_the_migration() {
        let rows: Vec<[i64; 3]> = (-1100..1600)
            .map(|at| [ns(f64::from(at)), ns(f64::from(at) + 0.5), dunlin_record::ABSENT])
            .filter(|row| !(ns(500.0)..ns(540.0)).contains(&row[0]))
            .collect();
        let line = Fixture::pre_copy()
            .with_case(|case| case.probes.hosts_tcp_rr = Some(dunlin_record::RequestResponse::default()))
            .with_series(
                "vm0-probe-hosts_tcp_rr-transactions",
                Series::from_rows(shapes::PROBE_TRANSACTIONS, &rows),
            )
            .timeline();
        let [track] = &line.rates[..] else { panic!("{:?}", line.rates) };
        assert_eq!(
            (track.name.as_str(), track.unit, track.tick_ms),
            ("hosts_tcp_rr", "transactions/s", 20.0)
        );
        assert_eq!(track.ticks[0], (-1000.0, 1000.0));
        assert_eq!(track.ticks.iter().map(|(at_ms, _)| *at_ms).next_back(), Some(1520.0));
        // One answer before and one after 40 ms without any.
        let stalled: f64 =
            track.ticks.iter().filter(|tick| tick.0 == 500.0 || tick.0 == 520.0).map(|tick| tick.1).sum();
        assert!(stalled <= 100.0, "{stalled}");
    }

    #[test]
    fn requests_tell_when_they_left_and_who_answered() {
        let seen = Series::from_rows(shapes::PASSAGES, &[[0, 1005, 1, ns(5.1)]]);
        let line = Fixture::pre_copy().with_series("vm0-passages-host-a", seen).timeline();
        let [track] = line.probes.as_slice() else { panic!("one probe ran") };
        let request = |seq: u64, sent_ms: f64, answered_ms, by| Request { seq, sent_ms, answered_ms, by };
        assert_eq!((track.name.as_str(), track.interval_ms, track.requests.len()), ("icmp", 1.0, 2601));
        assert_eq!(track.requests[1005], request(1005, 5.01, Some(5.2), Answerer::Source));
        assert_eq!(track.requests[1006], request(1006, 6.01, Some(6.2), Answerer::Unknown));
        assert_eq!(track.requests[1500], request(1500, 500.01, None, Answerer::Nobody));
        let unwatched = Fixture::pre_copy().timeline();
        assert_eq!(unwatched.probes[0].requests[1005].by, Answerer::Unknown);
        assert_eq!(unwatched.probes[0].requests[1500].by, Answerer::Nobody);
    }

    #[test]
    fn phases_and_passes_are_spans_in_order() {
        let span = |name: &str, start_ms, end_ms| Span { name: name.into(), start_ms, end_ms };
        let expected = [
            span("reserve", -1500.0, -1400.0),
            span("initialize", 0.0, 2.0),
            span("pass 1", 2.0, 400.0),
            span("pass 2", 400.0, 500.0),
            span("stop-and-copy", 500.0, 530.0),
            span("activate", 530.0, 540.0),
            span("commit", 540.0, 542.0),
        ];
        assert_eq!(Fixture::pre_copy().timeline().spans, expected);
    }

    #[test]
    fn moments_are_marked_with_their_host() {
        let marks = Fixture::pre_copy().timeline().marks;
        let labels: Vec<_> = marks.iter().map(|mark| mark.label.as_str()).collect();
        let expected = [
            "migrate-command",
            "its Setup",
            "its PreCopy",
            "its PreCopy",
            "vcpus-stopped",
            "its SwitchOver",
            "its last byte",
            "vcpus-running",
            "its Completed",
            "its Completed",
            "migration-completed",
        ];
        assert_eq!(labels, expected);
        let stopped = Mark { at_ms: 500.0, label: "vcpus-stopped".into(), host: Some("host-a".into()) };
        assert!(marks.contains(&stopped));
    }

    #[test]
    fn the_wire_is_told_in_ticks_of_the_migration() {
        let ticks = Fixture::pre_copy().timeline().wire;
        let of = |at_ms: f64| {
            let tick = ticks.iter().find(|tick| tick.at_ms == at_ms).unwrap();
            (tick.tx_bytes, tick.rx_bytes)
        };
        assert_eq!(of(-10.0), (0, 0));
        assert_eq!(of(0.0), (1_000_000, 20_000));
        assert_eq!(of(520.0), (1_000_000, 20_000));
        assert_eq!(of(530.0), (66, 0));
        assert!(ticks.windows(2).all(|pair| pair[1].at_ms == pair[0].at_ms + 10.0), "no tick is left out");
        assert_eq!(ticks.last().unwrap().at_ms, 1530.0);
    }

    #[test]
    fn without_a_migration_there_is_no_time_line() {
        assert_eq!(crate::timeline(&Fixture::before().record), None);
    }
}
