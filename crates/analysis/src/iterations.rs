//! The passes over the memory: when each ran, and what it sent and left.

use dunlin_record::{EventKind, Iteration};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;
use crate::units::{MIB_BYTES, PAGE_BYTES, figure, ms_between};

/// One pass over the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

/// The passes in the order of time. One ends where the next begins or the vCPUs stop; one that begins after the stop
/// ends with the last byte (with post-copy: with the migration).
pub(crate) fn passes(trial: &Trial, moments: &Moments) -> Vec<Pass> {
    let mut begins: Vec<(u32, i64)> = Vec::new();
    for event in trial.events_on(trial.source) {
        let EventKind::MigrationPass { pass } = event.kind else { continue };
        let is_new = begins.iter().all(|(number, _)| *number != pass);
        if is_new && (moments.command..=moments.end).contains(&event.t_ns) {
            begins.push((pass, event.t_ns));
        }
    }
    let last_end = moments.last_byte.filter(|_| !moments.post_copy).unwrap_or(moments.end);
    let ends = begins.iter().skip(1).map(|(_, start_ns)| *start_ns).chain([moments.end]);
    let bounded = |((number, start_ns), next): (&(u32, i64), i64)| {
        let stop = moments.stopped.filter(|stop| stop > start_ns);
        let end_ns = next.min(stop.unwrap_or(last_end)).max(*start_ns);
        Pass { number: *number, start_ns: *start_ns, end_ns }
    };
    begins.iter().zip(ends).map(bounded).collect()
}

/// What each pass did.
pub(crate) fn iterations(trial: &Trial, moments: &Moments) -> Vec<Iteration> {
    let progress = trial.vm_series("progress");
    let remaining = Samples::of(progress, "remaining_bytes");
    let dirty_rate = Samples::of(progress, "dirty_rate_pages_s");
    let throttle = Samples::of(progress, "throttle_percent");
    let wire = Samples::of(trial.migration_wire(), "tx_bytes");
    let account = |pass: Pass| {
        let last_word = |samples: &Samples| samples.last_in(pass.start_ns, pass.end_ns);
        Iteration {
            pass: pass.number,
            start_ms: ms_between(moments.command, pass.start_ns),
            duration_ms: ms_between(pass.start_ns, pass.end_ns),
            wire_bytes: wire.growth(pass.start_ns, pass.end_ns),
            remaining_bytes: last_word(&remaining),
            dirty_rate_mib_s: last_word(&dirty_rate)
                .and_then(|pages| figure(pages as f64 * PAGE_BYTES as f64 / MIB_BYTES)),
            throttle_percent: last_word(&throttle).map(|percent| percent as f64),
        }
    };
    passes(trial, moments).into_iter().map(account).collect()
}
