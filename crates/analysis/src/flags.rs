//! Reasons not to trust a figure fully, other than what the probes tell of themselves.

use std::collections::BTreeSet;

use dunlin_record::{Achieved, EventKind, Flag, Rate, StreamSeen, Workload};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;

/// Above this share of busy time a machine is saturated.
const SATURATED_SHARE: f64 = 0.95;
/// Below this share of the rate asked for, a workload was not what was asked.
const REACHED_SHARE: f64 = 0.9;

/// The flags of a trial.
pub(crate) fn flags(trial: &Trial, moments: Option<&Moments>) -> BTreeSet<Flag> {
    let raised = [
        (Flag::HostSaturated, moments.is_some_and(|moments| host_saturated(trial, moments))),
        (Flag::EmulatedCpu, emulated_cpu(trial)),
        (Flag::ProberLost, prober_lost(trial)),
        (Flag::PassagesLost, passages_lost(trial)),
        (Flag::CaptureIncomplete, capture_incomplete(trial)),
        (Flag::WorkloadBelowRate, workload_below_rate(trial)),
        (Flag::CorruptMemory, found_damaged(trial, |done| [done.corrupt_pages, done.wrong_results])),
        (Flag::CorruptDisk, found_damaged(trial, |done| [done.corrupt_disk_pages, None])),
        (Flag::CorruptStream, corrupt_stream(trial)),
        (Flag::CorruptCopy, corrupt_copy(trial)),
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
            EventKind::HypervisorIdentified(identity) => identity.emulated,
            _ => None,
        })
        .any(|is_emulated| is_emulated)
}

fn prober_lost(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::ProbeEnded { send_errors, drops, .. } => Some(*send_errors > 0 || *drops > 0),
            _ => None,
        })
        .any(|lost| lost)
}

fn passages_lost(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::PassagesEnded { drops } => Some(*drops),
            _ => None,
        })
        .any(|drops| drops > 0)
}

fn capture_incomplete(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::CaptureEnded { packets, written, .. } => Some(written < packets),
            _ => None,
        })
        .any(|lacks| lacks)
}

fn workload_below_rate(trial: &Trial) -> bool {
    let Some(workload) = &trial.case.workload else { return false };
    let reported = trial.pick(|kind| match kind {
        EventKind::WorkloadReported { achieved } => Some(achieved.as_ref()),
        _ => None,
    });
    let below = |(asked, achieved): (&Workload, Option<&Achieved>)| match asked.rate() {
        Some(Rate::MibPerSecond(asked)) => achieved
            .and_then(|achieved| achieved.rate_mib_s)
            .is_some_and(|achieved| achieved < asked * REACHED_SHARE),
        Some(Rate::Full) | None => false,
    };
    workload.with_achieved(reported.last()).any(below)
}

/// Whether a workload counted any damage where `counts` looks.
fn found_damaged(trial: &Trial, counts: impl Fn(&Achieved) -> [Option<u64>; 2]) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::WorkloadReported { achieved } => Some(achieved.parts()),
            _ => None,
        })
        .flatten()
        .flat_map(counts)
        .any(|count| count.is_some_and(|count| count > 0))
}

/// Whether either end of a stream saw what must never happen to it.
fn corrupt_stream(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::WorkloadReported { achieved } => {
                Some(achieved.parts().iter().any(|part| part.stream.as_ref().is_some_and(is_damaged)))
            }
            EventKind::StreamEnded { seen, .. } => Some(is_damaged(seen)),
            _ => None,
        })
        .any(|damaged| damaged)
}

/// Whether what was brought to the other host is not the same there.
fn corrupt_copy(trial: &Trial) -> bool {
    trial
        .pick(|kind| match kind {
            EventKind::StorageCompared { differs_at_bytes, .. } => Some(differs_at_bytes.is_some()),
            EventKind::FileCarried(carried) => Some(carried.verified == Some(false)),
            _ => None,
        })
        .any(|differs| differs)
}

fn is_damaged(seen: &StreamSeen) -> bool {
    seen.damage().is_some()
}

#[cfg(test)]
mod tests {
    use dunlin_record::{FileCarried, MemoryWrite, Series, Status, shapes};

    use super::*;
    use crate::fixture::{Fixture, achieved, ended, ns, probe_ended};

    fn flags(fixture: &Fixture) -> Vec<Flag> {
        fixture.outcome().flags
    }

    #[test]
    fn a_machine_that_was_hardly_ever_idle_during_the_migration_is_saturated() {
        // Idle before the migration, then busy for a share of the time.
        let with_share = |percent: i64| {
            let rows = [
                [ns(-1000.0), 0, 0],
                [ns(0.0), 0, 1_000_000],
                [ns(543.0), percent * 1000, 1_000_000 + (100 - percent) * 1000],
                [ns(2000.0), percent * 1000, 2_000_000],
            ];
            Fixture::pre_copy().with_series("cpu-host-a", Series::from_rows(shapes::CPU, &rows))
        };
        assert_eq!(flags(&with_share(96)), [Flag::HostSaturated]);
        assert_eq!(flags(&with_share(95)), []);
        assert_eq!(flags(&Fixture::pre_copy()), []);
    }

    #[test]
    fn an_emulated_cpu_is_told() {
        let mut fixture = Fixture::pre_copy();
        for event in &mut fixture.record.events {
            if let EventKind::HypervisorIdentified(identity) = &mut event.kind {
                identity.emulated = Some(true);
            }
        }
        assert_eq!(flags(&fixture), [Flag::EmulatedCpu]);
    }

    #[test]
    fn losses_of_the_prober_and_of_the_record_on_the_taps_are_told_apart() {
        let with = |probe: &str, send_errors, drops| {
            flags(&Fixture::pre_copy().with(1600.0, "", probe_ended(probe, send_errors, drops)))
        };
        assert_eq!(with("icmp", 0, 0), []);
        assert_eq!(with("icmp", 1, 0), [Flag::ProberLost]);
        assert_eq!(with("udp", 0, 1), [Flag::ProberLost]);
        let taps = |drops| flags(&Fixture::pre_copy().with(1600.0, "", EventKind::PassagesEnded { drops }));
        assert_eq!(taps(0), []);
        assert_eq!(taps(1), [Flag::PassagesLost]);
    }

    #[test]
    fn a_workload_that_fell_short_or_found_foreign_content_is_told() {
        let with = |rate_mib_s: Rate, kind: EventKind| {
            let fixture = Fixture::pre_copy().with_case(|case| {
                case.workload = Some(Workload::MemoryWrite(MemoryWrite::new(16, rate_mib_s)));
            });
            flags(&fixture.with(1700.0, "", kind))
        };
        assert_eq!(with(Rate::MibPerSecond(20.0), achieved(18.0, 0)), []);
        assert_eq!(with(Rate::MibPerSecond(20.0), achieved(17.9, 0)), [Flag::WorkloadBelowRate]);
        assert_eq!(with(Rate::Full, achieved(0.1, 0)), []);
        assert_eq!(with(Rate::Full, achieved(18.0, 1)), [Flag::CorruptMemory]);
    }

    #[test]
    fn each_of_several_workloads_is_held_to_its_own_rate() {
        let paced = |rate_mib_s| Workload::MemoryWrite(MemoryWrite::new(16, Rate::MibPerSecond(rate_mib_s)));
        let with = |rates: [f64; 2]| {
            let parts = rates.map(|rate| Achieved { rate_mib_s: Some(rate), ..Achieved::default() });
            let achieved = Box::new(Achieved::of_parts(parts.into()));
            let fixture = Fixture::pre_copy().with_case(|case| {
                case.workload =
                    Some(Workload::Several { each: vec![paced(20.0), Workload::Clock, paced(1.0)] });
            });
            flags(&fixture.with(1700.0, "", EventKind::WorkloadReported { achieved }))
        };
        assert_eq!(with([20.0, 0.1]), [], "the clock has no rate");
        assert_eq!(with([10.0, 1.0]), [Flag::WorkloadBelowRate]);
    }

    #[test]
    fn a_copy_that_is_not_the_same_is_damage() {
        let compared = |differs_at_bytes| {
            let disk = "disk".to_owned();
            flags(&Fixture::pre_copy().with(
                535.0,
                "host-a",
                EventKind::StorageCompared { disk, compared_bytes: 4096, differs_at_bytes },
            ))
        };
        assert_eq!(compared(None), []);
        assert_eq!(compared(Some(0)), [Flag::CorruptCopy]);
        let carried = |verified| {
            let carried = FileCarried { verified, ..FileCarried::default() };
            flags(&Fixture::pre_copy().with(535.0, "host-a", EventKind::FileCarried(carried)))
        };
        assert_eq!(carried(Some(true)), []);
        assert_eq!(carried(None), [], "nobody compared");
        assert_eq!(carried(Some(false)), [Flag::CorruptCopy]);
        assert!(Flag::CorruptCopy.is_damage());
    }

    #[test]
    fn a_record_that_breaks_off_is_told() {
        let mut fixture = Fixture::pre_copy();
        fixture.record.truncated = true;
        assert_eq!(flags(&fixture), [Flag::RecordTruncated]);
        let without_end =
            Fixture::not_converged().without(|kind| matches!(kind, EventKind::TrialEnded { .. }));
        assert!(flags(&without_end).contains(&Flag::RecordTruncated));
        let ended_again = without_end.with(1600.0, "", ended(Status::NotConverged, None));
        assert!(!flags(&ended_again).contains(&Flag::RecordTruncated));
    }
}
