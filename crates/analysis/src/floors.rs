//! The least total time and downtime that the measured link allows.

use dunlin_record::{EventKind, Strategy};

use crate::iterations::passes;
use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;
use crate::units::{PAGE_BYTES, figure};

/// What the migration link carried when it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct MeasuredLink {
    pub(crate) rate_mbit: Option<f64>,
    pub(crate) goodput_mbit: Option<f64>,
    rtt_ms: Option<f64>,
}

impl MeasuredLink {
    /// The last measurement of the migration link in a trial.
    pub(crate) fn of(trial: &Trial) -> Self {
        let measured = trial.pick(|kind| match kind {
            EventKind::LinkMeasured { link, rate_mbit, goodput_mbit, rtt_ms } if link == "migration" => {
                Some(Self { rate_mbit: *rate_mbit, goodput_mbit: Some(*goodput_mbit), rtt_ms: *rtt_ms })
            }
            _ => None,
        });
        measured.last().unwrap_or_default()
    }

    fn time_ms(&self, bytes: i64) -> Option<f64> {
        let goodput_mbit = self.goodput_mbit.filter(|goodput| *goodput > 0.0)?;
        (bytes >= 0).then(|| bytes as f64 * 8.0 / (goodput_mbit * 1000.0))
    }
}

/// Least total time: non-zero guest pages x 4 KiB over the link's goodput, in ms.
pub(crate) fn total_floor_ms(trial: &Trial, moments: &Moments, link: &MeasuredLink) -> Option<f64> {
    link.time_ms(non_zero_bytes(trial, moments)?).and_then(figure)
}

/// Least downtime: what was left to send at the stop over the link's goodput, and one round trip, in ms. With
/// post-copy nothing but the devices' state need be sent, whose size nobody tells: absent.
pub(crate) fn downtime_floor_ms(trial: &Trial, moments: &Moments, link: &MeasuredLink) -> Option<f64> {
    if moments.post_copy {
        return None;
    }
    let left_bytes = match trial.case.strategy {
        Strategy::Suspend => non_zero_bytes(trial, moments)?,
        _ => {
            let remaining = Samples::of(trial.vm_series("progress"), "remaining_bytes");
            remaining.last_in(moments.command, moments.stopped?)?
        }
    };
    figure(link.time_ms(left_bytes)? + link.rtt_ms?)
}

/// The guest's non-zero pages in bytes: those that a first pass over all of its memory sent with their content.
///
/// Where the stop cut the first pass short (post-copy asked for at once), no page was sent twice but those written
/// meanwhile, so that all that was sent stands for it.
fn non_zero_bytes(trial: &Trial, moments: &Moments) -> Option<i64> {
    let normal_pages = Samples::of(trial.vm_series("progress"), "normal_pages");
    let passes = passes(trial, moments);
    let ran_until = moments.stopped.unwrap_or(moments.end);
    let second = passes.iter().find(|pass| pass.number == 2 && pass.start_ns < ran_until);
    let pages = match second {
        Some(second) => normal_pages.at(second.start_ns)?,
        // An end that was never reached did not see all pages.
        None => normal_pages.last_in(moments.command, moments.completed?)?,
    };
    (pages >= 0).then(|| pages.saturating_mul(PAGE_BYTES))
}
