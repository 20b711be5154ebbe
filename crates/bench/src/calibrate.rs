//! The certificate of the probes: outages of known length on the service path, measured as in any trial.
//!
//! A relay between bench and service network drops or holds frames at known times and stamps what it does. The probes
//! watch a host behind it, and their rows go through the analysis that every trial goes through, each injection as if
//! it were a migration. What is measured must be within one interval and 1 ms of the relay's stamps.

mod certificate;
mod measure;
mod noise;
mod ping;
mod rig;
mod schedule;
mod watch;

use std::time::Duration;

use dunlin_clock::{Cancel, MILLISECOND_NS, now_ns};
use dunlin_testbed::Inside;

use crate::Result;
use certificate::Findings;
pub use certificate::{
    Calibration, Cell, Excluded, PingAccount, PingReading, ProbeCost, ProbeReading, Verdict,
};
use measure::Sample;
use noise::noise;
use rig::Rig;
use schedule::{Planned, Schedule};
use watch::Watch;

/// How long the probes run before the first outage.
const WARM_UP_NS: i64 = 1000 * MILLISECOND_NS;
/// How long an outage is planned ahead: the gaps in this time are the baseline it must stand out of.
const LEAD_NS: i64 = 200 * MILLISECOND_NS;

/// A calibration to be made.
#[derive(Debug, Clone)]
pub struct CalibrationOrder<'a> {
    /// The lengths of the outages, in ms.
    pub sizes_ms: &'a [u32],
    /// How many of each length are dropped, and how many held.
    pub repetitions: u32,
    /// Time between two requests of a probe, in ms.
    pub interval_ms: f64,
    /// The user's wish to end it.
    pub cancel: &'a Cancel,
}

/// How far a calibration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationProgress {
    /// Outages made, those that told nothing included.
    pub done: usize,
    /// Outages to be made in all; grows with those that have to be made again.
    pub total: usize,
    /// What is done next, as in "drop 300 ms".
    pub doing: String,
    /// How long the rest takes.
    pub left: Duration,
}

/// Makes outages of known lengths and says whether the probes measure them truly. Takes some minutes.
///
/// # Errors
/// Where the lab or a probe cannot be had, the lab breaks, or the user ends it.
pub fn calibrate(
    inside: &Inside,
    order: &CalibrationOrder<'_>,
    observer: &mut dyn FnMut(&CalibrationProgress),
) -> Result<Calibration> {
    let rig = Rig::up(inside, order.cancel)?;
    let mut findings = Findings::default();
    let mut watch = Watch::start(rig.target(), order.interval_ms)?;
    rig.rest_until(now_ns() + WARM_UP_NS)?;
    let mut schedule = Schedule::new(order.sizes_ms, order.repetitions);
    while let Some(planned) = schedule.next() {
        observer(&schedule.progress(&planned, ping::expected(order.sizes_ms)));
        let sample = one_outage(&rig, &mut watch, &planned, schedule.phase())?;
        match noise(&sample) {
            None => findings.sound.push((planned, sample)),
            Some(why) => {
                findings.excluded.push(Excluded { fault: planned.fault, asked_ms: planned.asked_ms, why });
                schedule.again(planned);
            }
        }
    }
    findings.cost = watch.stop()?;
    findings.ping = ping::compare(&rig, order, observer)?;
    Ok(Calibration::of(order, findings))
}

/// Makes one outage and reads what the probes say of it.
fn one_outage(rig: &Rig<'_>, watch: &mut Watch, planned: &Planned, phase: f64) -> Result<Sample> {
    // Outages must meet the probes' rhythm at every phase, not at the one that our own waits happen to keep.
    let at_ns = now_ns() + LEAD_NS;
    let at_ns = at_ns - at_ns % watch.interval_ns() + (phase * watch.interval_ns() as f64) as i64;
    let injection = rig.inject(planned.fault, at_ns, planned.length_ns())?;
    let rows = watch.take_until(rig, injection.end_ns + planned.settle_ns())?;
    measure::sample(injection, watch.interval_ms(), rows)
}
