//! Builds a trial's time line from its record.

use dunlin_record::{Event, EventKind, TrialRecord};

use crate::answers::Passages;
use crate::moments::Moments;
use crate::phases::Phases;
use crate::probe_log::ProbeLog;
use crate::samples::Samples;
use crate::timeline::{Answerer, Mark, ProbeTrack, Request, Timeline, WireTick};
use crate::trial::Trial;
use crate::units::ms_between;

const TICK_NS: i64 = 10_000_000;
/// An hour of ticks: stamps that lie farther apart are not believed.
const MOST_TICKS: i64 = 360_000;

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
        EventKind::MigrationStatus { status } => status,
        EventKind::Checkpoint { name } => name,
        EventKind::Decision { action, .. } => action,
        EventKind::ProcessEnded { how, .. } => return Some(format!("process-ended: {how}")),
        _ => return None,
    };
    Some(words.to_owned())
}

/// Bytes per tick, counted from the migrate command, from the counters interpolated to the ticks' bounds.
fn wire(trial: &Trial, moments: &Moments) -> Vec<WireTick> {
    let series = trial.migration_wire();
    let (tx, rx) = (Samples::of(series, "tx_bytes"), Samples::of(series, "rx_bytes"));
    let Some((first_ns, last_ns)) = tx.extent() else { return Vec::new() };
    let ticks_until = |t_ns: i64| t_ns.saturating_sub(moments.command).div_euclid(TICK_NS);
    let first = ticks_until(first_ns).saturating_add(1).max(-MOST_TICKS);
    let end = ticks_until(last_ns.min(moments.window_end)).min(MOST_TICKS);
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
