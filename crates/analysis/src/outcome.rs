//! Puts a VM's figures together to its outcome.

use dunlin_record::{
    CaseLabel, DowntimeMs, EventKind, FORMAT, HostId, HypervisorIdentity, HypervisorLabel, HypervisorReport,
    LinkOutcome, MemoryHeld, MemoryMib, Moment, Outcome, Status, TrialRecord, WireBytes, WorkloadOutcome,
};

use crate::AnalysisError;
use crate::flags::flags;
use crate::floors::{MeasuredLink, downtime_floor_ms, total_floor_ms};
use crate::iterations::iterations;
use crate::moments::Moments;
use crate::observers::{Observations, observe};
use crate::phases::Phases;
use crate::samples::Samples;
use crate::trial::Trial;
use crate::units::{MIB_BYTES, figure, ms_between};

/// The outcome of a trial for each of its VMs, in the order of their ids; for `vm0` where no event names a VM.
///
/// What the record lacks leaves figures absent; the same record gives the same outcomes, whatever the order of its
/// events.
///
/// # Errors
/// Where the record does not say what was asked.
pub fn outcomes(record: &TrialRecord) -> Result<Vec<Outcome>, AnalysisError> {
    Ok(Trial::each_vm(record)?.iter().map(outcome).collect())
}

fn outcome(trial: &Trial) -> Outcome {
    let moments = Moments::of(trial);
    let moments = moments.as_ref();
    let seen = moments.map_or_else(Observations::default, |moments| observe(trial, moments));
    let (status, error) = trial
        .ending()
        .map_or((Status::Failed, Some("the record breaks off before the trial's end")), |ending| ending);
    let total_time_ms = moments.and_then(|moments| Some(ms_between(moments.command, moments.completed?)));
    let report = report(trial);
    let link = MeasuredLink::of(trial);
    let mut all_flags = flags(trial, moments);
    all_flags.extend(seen.flags);
    Outcome {
        format: FORMAT,
        scenario: trial.scenario.to_owned(),
        case: CaseLabel { name: trial.case.name.clone(), dials: trial.case.dials.clone() },
        trial: trial.number,
        id: trial.record.id.clone(),
        vm: trial.vm.clone(),
        hypervisor: hypervisor(trial),
        strategy: trial.case.strategy.name().to_owned(),
        status,
        error: error.map(str::to_owned),
        flags: all_flags.into_iter().collect(),
        total_time_ms,
        migration_time_ms: migration_time_ms(total_time_ms, seen.downtime_ms.icmp),
        floor_ms: moments.and_then(|moments| total_floor_ms(trial, moments, &link)),
        downtime_floor_ms: moments.and_then(|moments| downtime_floor_ms(trial, moments, &link)),
        downtime_ms: DowntimeMs {
            reported: report
                .and_then(|report| report.downtime_ms)
                .and_then(figure)
                .filter(|_| trial.completed()),
            paused: moments.and_then(paused_ms),
            ..seen.downtime_ms
        },
        downtime_error_ms: seen.downtime_error_ms,
        probes: seen.probes,
        wire_bytes: moments.and_then(|moments| wire_bytes(trial, moments)),
        ram_bytes: report.and_then(|report| report.ram_bytes),
        iterations: moments.map_or_else(Vec::new, |moments| iterations(trial, moments)),
        phases_ms: moments.map(|moments| Phases::of(trial, moments).lengths()).unwrap_or_default(),
        memory_mib: memory_mib(trial),
        workload: workload(trial),
        link: LinkOutcome { rate_mbit: link.rate_mbit, goodput_mbit: link.goodput_mbit.and_then(figure) },
        guest_start_ms: guest_start_ms(trial),
    }
}

/// Total time less the ICMP downtime. Absent where the downtime exceeds it: an outage that goes on past completion.
fn migration_time_ms(total_time_ms: Option<f64>, icmp_ms: Option<f64>) -> Option<f64> {
    figure(total_time_ms? - icmp_ms?).filter(|time| *time >= 0.0)
}

fn paused_ms(moments: &Moments) -> Option<f64> {
    moments.completed?;
    Some(ms_between(moments.stopped?, moments.running?))
}

fn wire_bytes(trial: &Trial, moments: &Moments) -> Option<WireBytes> {
    let grown =
        |column| Samples::of(trial.migration_wire(), column).growth_over(moments.command, moments.end);
    Some(WireBytes { source_tx: grown("tx_bytes")?, source_rx: grown("rx_bytes")? })
}

fn report<'a>(trial: &Trial<'a>) -> Option<&'a HypervisorReport> {
    let reports = trial.pick(|kind| match kind {
        EventKind::HypervisorReport(report) => Some(report),
        _ => None,
    });
    reports.last()
}

fn hypervisor(trial: &Trial) -> Option<HypervisorLabel> {
    let on = |host: &HostId| identity(trial, host);
    let destination_version = on(trial.destination).map(|identity| identity.version.clone());
    on(trial.source).map(|source| HypervisorLabel {
        name: source.name.clone(),
        version: source.version.clone(),
        destination_version: destination_version.filter(|version| *version != source.version),
        accelerator: source.accelerator.clone(),
    })
}

fn identity<'a>(trial: &Trial<'a>, host: &HostId) -> Option<&'a HypervisorIdentity> {
    trial.events_on(host).find_map(|event| match &event.kind {
        EventKind::HypervisorIdentified(identity) => Some(identity),
        _ => None,
    })
}

fn memory_mib(trial: &Trial) -> MemoryMib {
    let mut before = trial.pick(|kind| match kind {
        EventKind::MemoryHeld { moment: Moment::Before, held } => Some(*held),
        _ => None,
    });
    let MemoryHeld { configured_bytes, allocated_bytes, used_bytes, requested_bytes, dirtied_bytes } =
        before.next_back().unwrap_or_default();
    let mib = |bytes: Option<i64>| {
        bytes.filter(|bytes| *bytes >= 0).and_then(|bytes| figure(bytes as f64 / MIB_BYTES))
    };
    MemoryMib {
        configured: mib(configured_bytes),
        allocated: mib(allocated_bytes),
        used: mib(used_bytes),
        requested: mib(requested_bytes),
        dirtied: mib(dirtied_bytes),
    }
}

fn workload(trial: &Trial) -> Option<WorkloadOutcome> {
    let achieved = trial.pick(|kind| match kind {
        EventKind::WorkloadReported { achieved } => Some(achieved),
        _ => None,
    });
    Some(WorkloadOutcome { asked: trial.case.workload.clone()?, achieved: achieved.last().cloned() })
}

fn guest_start_ms(trial: &Trial) -> Option<f64> {
    let took_ms = trial.pick(|kind| match kind {
        EventKind::GuestReady { took_ms, .. } => Some(*took_ms),
        _ => None,
    });
    took_ms.last().and_then(figure)
}
