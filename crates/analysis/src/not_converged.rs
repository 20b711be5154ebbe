//! What kept a migration from its end: how much was dirty again at each pass, and what the link took away meanwhile.

use dunlin_record::NotConverged;

use crate::iterations::{Pass, passes};
use crate::moments::Moments;
use crate::samples::Samples;
use crate::statistics::median;
use crate::trial::Trial;
use crate::units::{MIB_BYTES, PAGE_BYTES, figure, ms_between};

/// The account of a migration that was given up.
pub(crate) fn not_converged(trial: &Trial, moments: &Moments) -> NotConverged {
    let progress = trial.vm_series("progress");
    let remaining = Samples::of(progress, "remaining_bytes");
    let dirty_rate = Samples::of(progress, "dirty_rate_pages_s");
    let passes = passes(trial, moments);
    // Of the first pass nobody says what was dirty: it sends all there is.
    let again: Vec<&Pass> = passes.iter().filter(|pass| pass.number > 1).collect();
    let dirty_again: Vec<f64> = again.iter().filter_map(|pass| most(&remaining, pass)).collect();
    let rates: Vec<f64> = again
        .iter()
        .filter_map(|pass| dirty_rate.last_in(pass.start_ns, pass.end_ns))
        .map(|pages| pages as f64 * PAGE_BYTES as f64 / MIB_BYTES)
        .collect();
    let after_ms = ms_between(moments.command, moments.end);
    let sent_bytes = trial.wire("tx_bytes").growth_over(moments.command, moments.end);
    let bytes_per_ms = sent_bytes.map(|bytes| bytes as f64 / after_ms).filter(|rate| *rate > 0.0);
    let least = dirty_again.iter().copied().min_by(f64::total_cmp);
    NotConverged {
        after_ms,
        passes: u32::try_from(passes.len()).unwrap_or(u32::MAX),
        remaining_bytes: remaining.last_in(moments.command, moments.end),
        dirty_again_bytes: median(&dirty_again).map(|bytes| bytes as i64),
        dirty_rate_mib_s: median(&rates).and_then(figure),
        sent_mib_s: bytes_per_ms.and_then(|rate| figure(rate * 1000.0 / MIB_BYTES)),
        downtime_limit_ms: trial.case.limits.and_then(|limits| limits.downtime_ms),
        downtime_limit_needed_ms: least.zip(bytes_per_ms).and_then(|(bytes, rate)| figure(bytes / rate)),
    }
}

/// What was left at the begin of a pass: the counter is read now and then, so the most that it said within the pass. A short one
/// may have been read at its end only, when nothing was left: that says nothing of its begin.
fn most(remaining: &Samples, pass: &Pass) -> Option<f64> {
    let within = remaining.points().iter().filter(|(t_ns, _)| (pass.start_ns..=pass.end_ns).contains(t_ns));
    within.map(|(_, bytes)| *bytes as f64).max_by(f64::total_cmp).filter(|bytes| *bytes > 0.0)
}

#[cfg(test)]
mod tests {
    use dunlin_record::{ABSENT, NotConverged, PreCopyLimits, Series, shapes};

    use crate::fixture::{Fixture, ns};

    #[test]
    fn a_migration_that_did_not_converge_tells_what_kept_it() {
        let limits = PreCopyLimits { downtime_ms: Some(10.0), bandwidth_bytes_s: None };
        let outcome = Fixture::not_converged().with_case(|case| case.limits = Some(limits)).outcome();
        let expected = NotConverged {
            after_ms: 900.0,
            passes: 2,
            remaining_bytes: Some(0),
            dirty_again_bytes: Some(2_800_000),
            dirty_rate_mib_s: Some(2.0),
            sent_mib_s: outcome.not_converged.unwrap().sent_mib_s,
            downtime_limit_ms: Some(10.0),
            downtime_limit_needed_ms: outcome.not_converged.unwrap().downtime_limit_needed_ms,
        };
        assert_eq!(outcome.not_converged, Some(expected));
        // 100 000 bytes a ms, to a reading of the counters each 10 ms.
        let (sent, needed) = (expected.sent_mib_s.unwrap(), expected.downtime_limit_needed_ms.unwrap());
        assert!((sent - 95.4).abs() < 2.0, "{sent}");
        assert!((needed - 28.0).abs() < 1.0, "{needed}");
        assert!(outcome.wire_bytes.is_some(), "what it sent is told too");
    }

    #[test]
    fn a_pass_that_was_read_at_its_end_only_says_nothing_of_its_begin() {
        let row = |at_ms, remaining| {
            let mut row = [ABSENT; 10];
            (row[0], row[2]) = (ns(at_ms), remaining);
            row
        };
        let read_at_ends = Series::from_rows(shapes::PROGRESS, &[row(20.0, 90_000_000), row(880.0, 0)]);
        let told = Fixture::not_converged().with_series("vm0-progress", read_at_ends).outcome();
        let told = told.not_converged.unwrap();
        assert_eq!((told.dirty_again_bytes, told.downtime_limit_needed_ms), (None, None));
    }

    #[test]
    fn what_was_not_counted_is_absent_and_who_completed_has_no_account() {
        let bare =
            Fixture::not_converged().without_series("vm0-progress").without_series("wire-host-a-migration");
        let told = bare.outcome().not_converged.unwrap();
        assert_eq!(
            (told.remaining_bytes, told.sent_mib_s, told.downtime_limit_needed_ms),
            (None, None, None)
        );
        assert_eq!(Fixture::pre_copy().outcome().not_converged, None);
    }
}
