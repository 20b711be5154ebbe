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
    let wire = trial.wire("tx_bytes");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    /// Number, begin, duration, bytes on the wire, bytes left.
    type Row = (u32, f64, f64, Option<i64>, Option<i64>);

    fn rows(fixture: &Fixture) -> Vec<Row> {
        let row =
            |one: &Iteration| (one.pass, one.start_ms, one.duration_ms, one.wire_bytes, one.remaining_bytes);
        fixture.outcome().iterations.iter().map(row).collect()
    }

    #[test]
    fn a_pass_ends_where_the_next_begins_or_the_vm_stops_or_the_last_byte_is_sent() {
        let expected = [
            (1, 1.0, 399.0, Some(39_900_000), Some(2_800_000)),
            (2, 400.0, 100.0, Some(10_000_000), Some(1_000_000)),
            (3, 500.2, 29.8, Some(2_980_000), None),
        ];
        assert_eq!(rows(&Fixture::pre_copy()), expected);
    }

    #[test]
    fn with_post_copy_the_last_pass_ends_with_the_migration() {
        // The pages were sent by 690; one bare acknowledgement followed.
        assert_eq!(rows(&Fixture::hybrid())[2], (3, 500.2, 199.8, Some(18_980_066), Some(0)));
    }

    #[test]
    fn a_pass_that_was_cut_off_ends_with_the_migration() {
        assert_eq!(rows(&Fixture::not_converged())[1], (2, 400.0, 500.0, Some(50_000_000), Some(0)));
    }

    #[test]
    fn the_hypervisors_rates_are_those_it_said_last_in_the_pass() {
        let iterations = Fixture::pre_copy().outcome().iterations;
        let rates: Vec<_> =
            iterations.iter().map(|one| (one.dirty_rate_mib_s, one.throttle_percent)).collect();
        assert_eq!(rates, [(None, Some(20.0)), (Some(2.0), Some(20.0)), (None, None)]);
    }

    #[test]
    fn without_series_a_pass_still_has_its_times() {
        let bare = Fixture::pre_copy().without_series("vm0-progress").without_series("wire-host-a-migration");
        assert_eq!(rows(&bare)[0], (1, 1.0, 399.0, None, None));
        assert_eq!(rows(&bare.without(|kind| matches!(kind, EventKind::MigrationPass { .. }))), []);
    }

    #[test]
    fn a_pass_told_twice_counts_once() {
        let twice = Fixture::pre_copy().with(410.0, "host-a", EventKind::MigrationPass { pass: 2 });
        assert_eq!(rows(&twice), rows(&Fixture::pre_copy()));
    }
}
