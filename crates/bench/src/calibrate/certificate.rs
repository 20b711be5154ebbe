//! What a calibration found, and the verdict on it.

use std::collections::BTreeSet;

use dunlin_testbed::Fault;
use serde::{Serialize, Serializer};

use super::CalibrationOrder;
use super::measure::{Sample, to_us};
use super::schedule::Planned;

/// What a measurement may be off by beyond one interval, in ms.
const SLACK_MS: f64 = 1.0;
/// Of the outages of a size made in one way, this share must be measured within the bound.
const SHARE_WITHIN: f64 = 0.9;

/// The certificate. Lengths are in ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Failed if any reading failed, else inconclusive if any was.
    pub verdict: Verdict,
    /// Time between two requests of each probe.
    pub interval_ms: f64,
    /// By how much a measurement may be off: one interval and 1 ms.
    pub bound_ms: f64,
    /// Outages asked for of each size made in one way.
    pub repetitions: u32,
    /// What was measured, for each size and way.
    pub cells: Vec<Cell>,
    /// Outages that told nothing, because the machine was held up while they were made.
    pub excluded: Vec<Excluded>,
    /// What the probes cost.
    pub cost: Vec<ProbeCost>,
    /// What ping would have said; absent if it is not installed.
    pub ping: Option<Vec<PingAccount>>,
}

/// The verdict on a calibration or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At least nine of ten outages were measured within the bound.
    Passed,
    /// They were not, nor could they have been with those that told nothing.
    Failed,
    /// It depends on outages that told nothing.
    Inconclusive,
}

/// The outages of one size made in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// `drop` or `hold`.
    #[serde(serialize_with = "serialize_fault")]
    pub fault: Fault,
    /// The length asked for.
    pub asked_ms: u32,
    /// The lengths that came of it, by the relay's own stamps.
    pub injected_ms: Vec<f64>,
    /// The middle of these.
    pub injected_median_ms: Option<f64>,
    /// What each probe made of them.
    pub readings: Vec<ProbeReading>,
}

/// What one probe made of the outages of one size made in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeReading {
    /// As in `icmp`.
    pub probe: String,
    /// What it measured of each, in the order of the injected lengths; absent where the analysis had no figure.
    pub measured_ms: Vec<Option<f64>>,
    /// The middle of what it measured.
    pub median_ms: Option<f64>,
    /// Measured less injected where that is furthest from 0; absent if anything was not measured at all.
    pub worst_error_ms: Option<f64>,
    /// How many it measured within the bound.
    pub within: u32,
    /// Whether that is enough.
    pub verdict: Verdict,
}

/// An outage that told nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// `drop` or `hold`.
    #[serde(serialize_with = "serialize_fault")]
    pub fault: Fault,
    /// The length asked for.
    pub asked_ms: u32,
    /// By what the machine's being held up showed.
    pub why: String,
}

/// What a probe cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeCost {
    /// As in `icmp`.
    pub probe: String,
    /// CPU time of its threads over its running time, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// How late requests left, 99th percentile.
    pub send_lateness_p99_ms: Option<f64>,
    /// Whether its sender had real-time priority.
    pub realtime_priority: bool,
}

/// What ping would have said of one outage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PingAccount {
    /// The length asked for.
    pub asked_ms: u32,
    /// The length that came of it, by the relay's own stamps.
    pub injected_ms: f64,
    /// What ping counted; absent if it could not be understood.
    #[serde(flatten)]
    pub reading: Option<PingReading>,
}

/// What ping counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PingReading {
    /// Requests it sent.
    pub sent: u64,
    /// Answers it got.
    pub received: u64,
    /// Lost requests times the interval it was asked for.
    pub lost_times_interval_ms: f64,
}

/// What came out of the outages, as they were made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) sound: Vec<(Planned, Sample)>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) cost: Vec<ProbeCost>,
    pub(super) ping: Option<Vec<PingAccount>>,
}

impl Calibration {
    pub(super) fn of(order: &CalibrationOrder<'_>, findings: Findings) -> Self {
        let bound_ms = order.interval_ms + SLACK_MS;
        let cell = |fault, asked_ms| {
            let planned = Planned { fault, asked_ms };
            let of_this = findings.sound.iter().filter(|(of, _)| *of == planned);
            let samples: Vec<&Sample> = of_this.map(|(_, sample)| sample).collect();
            cell(&planned, &samples, order.repetitions, bound_ms)
        };
        let mut cells = Vec::new();
        for fault in [Fault::Drop, Fault::Hold] {
            cells.extend(order.sizes_ms.iter().map(|asked_ms| cell(fault, *asked_ms)));
        }
        Self {
            verdict: overall(cells.iter().flat_map(|cell| &cell.readings).map(|reading| reading.verdict)),
            interval_ms: order.interval_ms,
            bound_ms,
            repetitions: order.repetitions,
            cells,
            excluded: findings.excluded,
            cost: findings.cost,
            ping: findings.ping,
        }
    }

    /// CPU time of all probes together, in percent of one core; absent if that of any was not measured.
    #[must_use]
    pub fn cpu_percent(&self) -> Option<f64> {
        self.cost.iter().map(|cost| cost.cpu_percent).sum()
    }
}

fn cell(planned: &Planned, samples: &[&Sample], repetitions: u32, bound_ms: f64) -> Cell {
    let injected_ms: Vec<f64> = samples.iter().map(|sample| sample.injected_ms()).collect();
    let names: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.probes.keys()).collect();
    let read = |name: &String| {
        let measured_ms = samples.iter().map(|sample| sample.probes.get(name)?.downtime_ms).collect();
        reading(name, measured_ms, &injected_ms, repetitions, bound_ms)
    };
    let readings = names.into_iter().map(read).collect();
    Cell {
        fault: planned.fault,
        asked_ms: planned.asked_ms,
        injected_median_ms: median(injected_ms.clone()),
        injected_ms,
        readings,
    }
}

fn reading(
    probe: &str,
    measured_ms: Vec<Option<f64>>,
    injected_ms: &[f64],
    repetitions: u32,
    bound_ms: f64,
) -> ProbeReading {
    let errors_ms: Vec<Option<f64>> = measured_ms
        .iter()
        .zip(injected_ms)
        .map(|(measured, injected)| Some(to_us((*measured)? - injected)))
        .collect();
    let within = errors_ms.iter().flatten().filter(|error| error.abs() <= bound_ms).count();
    // Absent if any is, for nothing is further off than what was not measured.
    let known: Option<Vec<f64>> = errors_ms.iter().copied().collect();
    ProbeReading {
        probe: probe.to_owned(),
        median_ms: median(measured_ms.iter().flatten().copied().collect()),
        worst_error_ms: known
            .and_then(|errors| errors.into_iter().max_by(|a, b| a.abs().total_cmp(&b.abs()))),
        within: u32::try_from(within).unwrap_or(u32::MAX),
        verdict: verdict(within, measured_ms.len(), repetitions as usize),
        measured_ms,
    }
}

/// Enough within the bound, too many outside of it, or neither as yet.
fn verdict(within: usize, sound: usize, planned: usize) -> Verdict {
    let needed = (planned as f64 * SHARE_WITHIN).ceil() as usize;
    if within >= needed {
        Verdict::Passed
    } else if sound - within > planned - needed {
        Verdict::Failed
    } else {
        Verdict::Inconclusive
    }
}

/// The verdict on a whole with these parts.
fn overall(parts: impl Iterator<Item = Verdict>) -> Verdict {
    let parts: Vec<Verdict> = parts.collect();
    if parts.contains(&Verdict::Failed) {
        Verdict::Failed
    } else if parts.is_empty() || parts.contains(&Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Passed
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(to_us((lower + upper) / 2.0))
}

/// `drop` or `hold`.
pub(super) fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Drop => "drop",
        Fault::Hold => "hold",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn serialize_fault<S: Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(fault_name(*fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_pass_and_two_outside_fail_whatever_told_nothing() {
        for (within, sound, expected) in [
            (10, 10, Verdict::Passed),
            (9, 10, Verdict::Passed),
            (9, 9, Verdict::Passed),
            (8, 10, Verdict::Failed),
            (0, 2, Verdict::Failed),
            (8, 8, Verdict::Inconclusive),
            (8, 9, Verdict::Inconclusive),
            (0, 0, Verdict::Inconclusive),
        ] {
            assert_eq!(verdict(within, sound, 10), expected, "{within} of {sound}");
        }
        assert_eq!(verdict(1, 2, 2), Verdict::Failed, "of two, both must be within");
    }

    #[test]
    fn a_reading_tells_the_middle_the_worst_error_and_how_many_were_within_the_bound() {
        let measured = vec![Some(20.5), Some(17.9), Some(22.0), Some(19.0)];
        let read = reading("icmp", measured, &[20.0, 20.0, 20.0, 20.5], 4, 2.0);
        assert_eq!((read.median_ms, read.within, read.verdict), (Some(19.75), 3, Verdict::Failed));
        assert_eq!(read.worst_error_ms, Some(-2.1));
    }

    #[test]
    fn what_was_not_measured_is_not_within_the_bound_and_has_no_worst_error() {
        let read = reading("icmp", vec![Some(1.0), None], &[1.0, 1.0], 2, 2.0);
        assert_eq!((read.median_ms, read.within, read.worst_error_ms), (Some(1.0), 1, None));
        let none = reading("icmp", Vec::new(), &[], 2, 2.0);
        assert_eq!((none.median_ms, none.worst_error_ms, none.verdict), (None, None, Verdict::Inconclusive));
    }

    #[test]
    fn a_failed_part_fails_the_whole_and_nothing_at_all_proves_nothing() {
        use Verdict::{Failed, Inconclusive, Passed};
        assert_eq!(overall([Passed, Inconclusive, Failed].into_iter()), Failed);
        assert_eq!(overall([Passed, Inconclusive].into_iter()), Inconclusive);
        assert_eq!(overall([Passed, Passed].into_iter()), Passed);
        assert_eq!(overall([].into_iter()), Inconclusive);
    }
}
