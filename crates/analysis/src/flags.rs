//! Reasons not to trust a figure fully, other than what the probes tell of themselves.

use std::collections::BTreeSet;

use dunlin_record::{EventKind, Flag, Rate, Workload};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;

/// The name under which the record on the hosts' taps reports its cost and its losses.
const PASSAGES: &str = "passages";
/// Above this share of busy time a machine is saturated.
const SATURATED_SHARE: f64 = 0.95;
/// Below this share of the rate asked for, a workload was not what was asked.
const REACHED_SHARE: f64 = 0.9;

/// The flags of a trial.
pub(crate) fn flags(trial: &Trial, moments: Option<&Moments>) -> BTreeSet<Flag> {
    let raised = [
        (Flag::HostSaturated, moments.is_some_and(|moments| host_saturated(trial, moments))),
        (Flag::EmulatedCpu, emulated_cpu(trial)),
        (Flag::ProberLost, lost(trial, |name| name != PASSAGES)),
        (Flag::PassagesLost, lost(trial, |name| name == PASSAGES)),
        (Flag::WorkloadBelowRate, workload_below_rate(trial)),
        (Flag::CorruptMemory, corrupt_memory(trial)),
        (Flag::RecordTruncated, trial.record.truncated || trial.ending().is_none()),
    ];
    raised.into_iter().filter(|(_, is_raised)| *is_raised).map(|(flag, _)| flag).collect()
}

/// Whether any machine whose CPU time was recorded had hardly any to spare during the migration: not only the hosts,
/// the prober needs some too.
fn host_saturated(trial: &Trial, moments: &Moments) -> bool {
    let machines = trial.record.series.iter().filter(|(name, _)| name.starts_with("cpu-"));
    let mut busy_shares = machines.filter_map(|(_, series)| {
        let grown = |column| {
            Samples::of(Some(series), column).growth_over(moments.command, moments.end).map(|ns| ns as f64)
        };
        let (busy, idle) = (grown("busy_ns")?, grown("idle_ns")?);
        Some(busy / (busy + idle))
    });
    busy_shares.any(|share| share > SATURATED_SHARE)
}

fn emulated_cpu(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::HypervisorIdentified(identity) => Some(identity.accelerator == "tcg"),
            _ => None,
        })
        .any(|is_emulated| is_emulated)
}

fn lost(trial: &Trial, is_meant: impl Fn(&str) -> bool) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::ProbeEnded { probe, send_errors, drops, .. } => Some((probe, *send_errors, *drops)),
            _ => None,
        })
        .any(|(probe, send_errors, drops)| is_meant(probe) && (send_errors > 0 || drops > 0))
}

fn workload_below_rate(trial: &Trial) -> bool {
    let Some(Workload::MemoryWrite { rate_mib_s: Rate::MibPerSecond(asked), .. }) = trial.case.workload
    else {
        return false;
    };
    let achieved = trial.pick(|kind| match kind {
        EventKind::WorkloadReported { achieved } => Some(achieved.rate_mib_s),
        _ => None,
    });
    achieved.last().is_some_and(|achieved| achieved < asked * REACHED_SHARE)
}

fn corrupt_memory(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::WorkloadReported { achieved } => Some(achieved.corrupt_pages),
            _ => None,
        })
        .any(|corrupt_pages| corrupt_pages > 0)
}
