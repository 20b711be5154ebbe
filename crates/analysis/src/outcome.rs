//! Puts a VM's figures together to its outcome.

use dunlin_record::{
    ANALYSIS, CaseLabel, CpuPercent, DowntimeMs, EventKind, FORMAT, Flag, HostId, HypervisorIdentity,
    HypervisorLabel, HypervisorReport, LinkOutcome, MemoryMib, Moment, Outcome, Status, TrialRecord,
    WireBytes, WorkloadOutcome,
};

use crate::AnalysisError;
use crate::captured::captured;
use crate::cpu_percent::cpu_percent;
use crate::flags::flags;
use crate::floors::{MeasuredLink, downtime_floor_ms, storage_floor_ms, total_floor_ms};
use crate::guest_clock::{guest_clock, is_behind};
use crate::host_clocks::{By, HostClocks};
use crate::iterations::iterations;
use crate::mechanisms::mechanisms;
use crate::moments::Moments;
use crate::not_converged::not_converged;
use crate::observers::{Observations, observe};
use crate::phases::Phases;
use crate::standstill::{files, standstill_ms};
use crate::storage::{
    compared, disk_mib, mib, network_bytes, steps, storage_after_mib, storage_bytes, storage_mib,
};
use crate::streams::streams;
use crate::switch::switch_bytes;
use crate::tcp_streams::tcp_streams;
use crate::trial::Trial;
use crate::units::{error_in_ms, figure, ms_between};

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
    let storage_steps = moments.and_then(|moments| steps(trial, moments, &seen));
    let mut all_flags = flags(trial, moments);
    all_flags.extend(seen.flags);
    let (wire_bytes_snmp, doubt) = moments.map_or((None, None), |moments| switch_bytes(trial, moments));
    all_flags.extend(doubt);
    let capture = moments.and_then(|moments| captured(trial, moments));
    let mechanisms = moments.map_or_else(Vec::new, |moments| mechanisms(trial, moments, capture.as_ref()));
    if mechanisms.iter().any(|seen| seen.used == Some(false)) {
        all_flags.insert(Flag::MechanismUnused);
    }
    let clocks = HostClocks::of(trial);
    let phases = moments.map(|moments| Phases::of(trial, moments)).unwrap_or_default();
    let guest_clock = moments.and_then(|moments| guest_clock(trial, moments));
    // Without a workload there is no rate that suffers by it.
    let behind = guest_clock.filter(|clock| is_behind(clock) && trial.case.workload.is_some());
    all_flags.extend(behind.map(|_| Flag::GuestClockBehind));
    Outcome {
        format: FORMAT,
        analysis: ANALYSIS,
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
        mechanisms,
        total_time_ms,
        migration_time_ms: migration_time_ms(total_time_ms, seen.downtime_ms.icmp),
        floor_ms: moments.and_then(|moments| total_floor_ms(trial, moments, &link)),
        storage_floor_ms: moments.and_then(|moments| storage_floor_ms(trial, moments, &link)),
        downtime_floor_ms: moments.and_then(|moments| downtime_floor_ms(trial, moments, &link)),
        downtime_ms: DowntimeMs {
            reported: report
                .and_then(|report| report.downtime_ms)
                .and_then(figure)
                .filter(|_| trial.completed()),
            paused: moments.and_then(paused_ms),
            ..seen.downtime_ms
        },
        downtime_error_ms: DowntimeMs {
            // What is reported is the hypervisor's own account, by the clock of one host.
            paused: moments.and_then(|moments| paused_error_ms(moments, &clocks)),
            ..seen.downtime_error_ms
        },
        downtime_at_most_ms: seen.downtime_at_most_ms,
        downtime_at_least_ms: seen.downtime_at_least_ms,
        probes: seen.probes,
        tcp_streams: moments.map(|moments| tcp_streams(trial, moments)).unwrap_or_default(),
        wire_bytes: moments.and_then(|moments| wire_bytes(trial, moments)),
        wire_bytes_snmp,
        capture,
        ram_bytes: report.and_then(|report| report.ram_bytes),
        storage_bytes: moments.and_then(|moments| storage_bytes(trial, moments)),
        storage_network_bytes: moments.and_then(|moments| network_bytes(trial, moments)),
        storage_steps,
        storage_compared: compared(trial),
        standstill_ms: moments.and_then(|moments| standstill_ms(trial, moments)),
        files: files(trial),
        iterations: moments.map_or_else(Vec::new, |moments| iterations(trial, moments)),
        phases_ms: phases.lengths(),
        phases_error_ms: phases.errors(&clocks),
        cpu_percent: moments
            .map(|moments| cpu_percent(trial, moments))
            .filter(|cpu| *cpu != CpuPercent::default()),
        memory_mib: memory_mib(trial, Moment::Before).unwrap_or_default(),
        memory_after_mib: memory_mib(trial, Moment::After),
        disk_mib: disk_mib(trial, Moment::Before),
        disk_after_mib: disk_mib(trial, Moment::After),
        storage_mib: moments.and_then(|moments| storage_mib(trial, moments)),
        storage_after_mib: moments.and_then(|moments| storage_after_mib(trial, moments)),
        workload: workload(trial),
        guest_clock,
        not_converged: moments
            .filter(|_| status == Status::NotConverged && trial.case.strategy.standstill().is_none())
            .map(|moments| not_converged(trial, moments)),
        streams: moments.map_or_else(Vec::new, |moments| streams(trial, moments)),
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

/// The stop is stamped at one host, the start at the other.
fn paused_error_ms(moments: &Moments, clocks: &HostClocks) -> Option<f64> {
    moments.completed?;
    let (stopped, running) = ((moments.stopped?, By::Source), (moments.running?, By::Destination));
    clocks.error_between_ns(stopped, running).map(error_in_ms)
}

fn wire_bytes(trial: &Trial, moments: &Moments) -> Option<WireBytes> {
    let grown = |column| trial.wire(column).growth_over(moments.command, moments.end);
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

fn memory_mib(trial: &Trial, when: Moment) -> Option<MemoryMib> {
    let told = trial.pick(|kind| match kind {
        EventKind::MemoryHeld { moment, held } if *moment == when => Some(held),
        _ => None,
    });
    told.last().map(|held| MemoryMib {
        configured: mib(held.configured_bytes),
        allocated: mib(held.allocated_bytes),
        used: mib(held.used_bytes),
        requested: mib(held.requested_bytes),
        dirtied: mib(held.dirtied_bytes),
        swapped: mib(held.swapped_bytes),
    })
}

fn workload(trial: &Trial) -> Option<WorkloadOutcome> {
    let achieved = trial.pick(|kind| match kind {
        EventKind::WorkloadReported { achieved } => Some(achieved.as_ref()),
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

#[cfg(test)]
mod tests {
    use dunlin_record::{
        Achieved, DiskHeld, DiskMib, Event, MemoryHeld, MemoryWrite, Rate, Series, Workload, shapes,
    };

    use super::*;
    use crate::fixture::{Fixture, achieved, ended, ns};

    #[test]
    fn the_times_of_a_completed_migration() {
        let outcome = Fixture::pre_copy().outcome();
        assert_eq!(outcome.status, Status::Completed);
        assert_eq!(outcome.total_time_ms, Some(543.0));
        assert_eq!(outcome.migration_time_ms, Some(503.0));
        let downtime =
            DowntimeMs { reported: Some(4.0), paused: Some(40.0), icmp: Some(40.0), ..DowntimeMs::default() };
        assert_eq!(outcome.downtime_ms, downtime);
        assert_eq!(outcome.flags, []);
    }

    #[test]
    fn with_post_copy_the_service_is_gone_for_longer_than_the_vcpus() {
        let outcome = Fixture::hybrid().outcome();
        let downtime = DowntimeMs {
            reported: Some(4.0),
            paused: Some(10.0),
            icmp: Some(150.0),
            ..DowntimeMs::default()
        };
        assert_eq!(outcome.downtime_ms, downtime);
        assert_eq!((outcome.total_time_ms, outcome.migration_time_ms), (Some(700.0), Some(550.0)));
    }

    #[test]
    fn a_suspended_vm_is_paused_from_a_stop_before_the_command() {
        let outcome = Fixture::suspend().outcome();
        assert_eq!((outcome.total_time_ms, outcome.downtime_ms.paused), (Some(326.0), Some(330.0)));
        assert_eq!(outcome.migration_time_ms, None, "no probe ran");
    }

    #[test]
    fn who_what_and_where_come_from_the_record() {
        let outcome = Fixture::pre_copy().outcome();
        assert_eq!((outcome.scenario.as_str(), outcome.trial, outcome.id.as_str()), ("demo", 2, "01-idle-1"));
        assert_eq!((outcome.strategy.as_str(), outcome.vm.as_str()), ("pre-copy", "vm0"));
        assert_eq!(outcome.guest_start_ms, Some(150.5));
        assert_eq!(outcome.ram_bytes, Some(77));
        assert_eq!(outcome.link, LinkOutcome { rate_mbit: Some(1000.0), goodput_mbit: Some(800.0) });
        let memory = MemoryMib {
            configured: Some(512.0),
            allocated: Some(100.0),
            dirtied: Some(0.5),
            ..MemoryMib::default()
        };
        assert_eq!(outcome.memory_mib, memory);
        let mut hypervisor = HypervisorLabel {
            name: "toy".into(),
            version: "10.0.2".into(),
            destination_version: None,
            accelerator: "kvm".into(),
        };
        assert_eq!(outcome.hypervisor.as_ref(), Some(&hypervisor));

        let mut upgrade = Fixture::pre_copy();
        for event in
            upgrade.record.events.iter_mut().filter(|event| event.host == Some(HostId::new("host-b")))
        {
            if let EventKind::HypervisorIdentified(identity) = &mut event.kind {
                identity.version = "10.1.0".into();
            }
        }
        hypervisor.destination_version = Some("10.1.0".into());
        assert_eq!(upgrade.outcome().hypervisor, Some(hypervisor));
    }

    #[test]
    fn what_was_held_is_told_before_and_after_and_a_disk_only_where_there_is_one() {
        let memory = |swapped_bytes| MemoryHeld { swapped_bytes, ..MemoryHeld::default() };
        let disk =
            |used_bytes| DiskHeld { virtual_size_bytes: Some(1 << 30), used_bytes, ..DiskHeld::default() };
        let after = Moment::After;
        let outcome = Fixture::pre_copy()
            .with(
                -1100.0,
                "host-a",
                EventKind::DiskHeld { moment: Moment::Before, held: disk(Some(1 << 20)) },
            )
            .with(1500.0, "host-b", EventKind::MemoryHeld { moment: after, held: memory(Some(3 << 20)) })
            .with(1500.0, "host-b", EventKind::DiskHeld { moment: after, held: disk(None) })
            .outcome();
        assert_eq!((outcome.memory_mib.allocated, outcome.memory_mib.swapped), (Some(100.0), None));
        let memory = MemoryMib { swapped: Some(3.0), ..MemoryMib::default() };
        assert_eq!(outcome.memory_after_mib, Some(memory));
        let disk = DiskMib { virtual_size: Some(1024.0), allocated: None, used: Some(1.0) };
        assert_eq!(outcome.disk_mib, Some(disk));
        assert_eq!(outcome.disk_after_mib, Some(DiskMib { used: None, ..disk }));
        let without = Fixture::pre_copy().outcome();
        assert_eq!((without.memory_after_mib, without.disk_mib, without.disk_after_mib), (None, None, None));
    }

    #[test]
    fn bytes_on_the_wire_are_those_between_the_command_and_the_migrations_end() {
        // The counters are read each 10 ms; by 550 two bare acknowledgements had followed the last byte.
        let bytes = WireBytes { source_tx: 53_000_132, source_rx: 1_060_000 };
        assert_eq!(Fixture::pre_copy().outcome().wire_bytes, Some(bytes));
        let bytes = WireBytes { source_tx: 90_000_000, source_rx: 1_800_000 };
        assert_eq!(Fixture::not_converged().outcome().wire_bytes, Some(bytes));
        assert_eq!(Fixture::pre_copy().without_series("wire-host-a-migration").outcome().wire_bytes, None);
    }

    #[test]
    fn bytes_of_probes_between_the_hosts_are_not_the_migrations() {
        // 1000 bytes sent and 10 received each millisecond, from 100 ms before the command on.
        let of_probes: Vec<[i64; 5]> = (-10..100)
            .map(|tick| [ns(f64::from(tick) * 10.0), tick_sum(tick, 10_000), tick_sum(tick, 100), 0, 0])
            .collect();
        let probed = Fixture::pre_copy()
            .with_series("wire-host-a-migration-probes", Series::from_rows(shapes::WIRE, &of_probes));
        // In the 550 ms between the readings that enclose the migration.
        let bytes = WireBytes { source_tx: 53_000_132 - 550_000, source_rx: 1_060_000 - 5_500 };
        assert_eq!(probed.outcome().wire_bytes, Some(bytes));
    }

    fn tick_sum(tick: i32, bytes: i64) -> i64 {
        i64::from(tick + 10) * bytes
    }

    #[test]
    fn a_workload_is_told_with_what_it_achieved() {
        let asked = Workload::MemoryWrite(MemoryWrite::new(16, Rate::Full));
        let fixture = Fixture::pre_copy().with_case(|case| case.workload = Some(asked.clone()));
        let workload = WorkloadOutcome { asked, achieved: None };
        assert_eq!(fixture.outcome().workload.as_ref(), Some(&workload));
        let achieved_rate = Achieved {
            elapsed_s: Some(1.0),
            rate_mib_s: Some(30.0),
            passes: Some(1),
            corrupt_pages: Some(0),
            ..Achieved::default()
        };
        let workload = WorkloadOutcome { achieved: Some(achieved_rate), ..workload };
        let reported = fixture.with(1590.0, "", achieved(20.0, 0)).with(1595.0, "", achieved(30.0, 0));
        assert_eq!(reported.outcome().workload, Some(workload));
    }

    #[test]
    fn a_migration_that_did_not_complete_has_no_times_of_a_move() {
        let outcome = Fixture::not_converged().outcome();
        assert_eq!(
            (outcome.status, outcome.error.as_deref()),
            (Status::NotConverged, Some("the limit of 0.9 s passed"))
        );
        assert_eq!((outcome.total_time_ms, outcome.migration_time_ms), (None, None));
        assert_eq!((outcome.downtime_ms.reported, outcome.downtime_ms.paused), (None, None));
    }

    #[test]
    fn a_trial_that_never_came_to_its_migration_has_an_outcome_all_the_same() {
        let error = Some("the guest's kernel does not boot");
        let outcome = Fixture::before().with(0.0, "", ended(Status::Failed, error)).outcome();
        assert_eq!((outcome.status, outcome.error.as_deref()), (Status::Failed, error));
        assert_eq!((outcome.total_time_ms, outcome.wire_bytes), (None, None));
        assert_eq!(outcome.link.goodput_mbit, Some(800.0));
    }

    #[test]
    fn a_record_that_breaks_off_is_a_failed_trial() {
        let outcome =
            Fixture::pre_copy().without(|kind| matches!(kind, EventKind::TrialEnded { .. })).outcome();
        assert_eq!((outcome.status, outcome.total_time_ms), (Status::Failed, None));
        assert_eq!(outcome.error.as_deref(), Some("the record breaks off before the trial's end"));
        assert_eq!(outcome.flags, [Flag::RecordTruncated]);
    }

    #[test]
    fn a_record_without_its_begin_cannot_be_analysed() {
        let fixture = Fixture::pre_copy().without(|kind| matches!(kind, EventKind::TrialStarted { .. }));
        let error = outcomes(&fixture.record).unwrap_err();
        assert_eq!(error.to_string(), "cannot analyse trial 01-idle-1: its events hold no trial-started");
    }

    #[test]
    fn each_vm_has_its_own_outcome() {
        let mut record = Fixture::pre_copy().with_second_vm().record;
        record.events.retain(|event| !matches!(event.kind, EventKind::TrialEnded { .. }));
        let all_well = Event { t_ns: ns(9000.0), host: None, vm: None, kind: ended(Status::Completed, None) };
        record.events.push(all_well);
        let all = outcomes(&record).unwrap();
        assert_eq!(all.iter().map(|outcome| outcome.vm.as_str()).collect::<Vec<_>>(), ["vm0", "vm1"]);
        assert_eq!(all.iter().map(|outcome| outcome.total_time_ms).collect::<Vec<_>>(), [Some(543.0); 2]);
        assert_eq!(all[1].probes.len(), 0, "no probe watched the second");
    }

    #[test]
    fn what_is_said_of_the_vm_goes_before_what_is_said_of_the_trial() {
        let mut record = Fixture::pre_copy().record;
        let of_the_trial =
            Event { t_ns: ns(9000.0), host: None, vm: None, kind: ended(Status::Failed, Some("vm1 failed")) };
        record.events.push(of_the_trial);
        assert_eq!(outcomes(&record).unwrap()[0].status, Status::Completed);
    }

    #[test]
    fn a_trial_without_events_of_a_vm_has_the_outcome_of_the_first() {
        let mut record = Fixture::before().record;
        record.events.truncate(1);
        let all = outcomes(&record).unwrap();
        assert_eq!(all.iter().map(|outcome| outcome.vm.as_str()).collect::<Vec<_>>(), ["vm0"]);
    }
}
