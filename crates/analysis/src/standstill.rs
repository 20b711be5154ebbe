//! The parts of a move for which the VM stood still, and the files that were brought to the other host meanwhile.

use dunlin_record::{
    EventKind, FileCarried, FileCompression, FileOutcome, StandstillMs, StandstillStage, Transfer,
};

use crate::host_clocks::By;
use crate::moments::Moments;
use crate::phases::{Stretch, stretch};
use crate::trial::Trial;
use crate::units::{figure, ns_in_ms};

/// The parts in the order of their begin. Each lasts until the next one begins, the last until completion: where a migration
/// did not complete, that one has no end.
pub(crate) fn stages(trial: &Trial, moments: &Moments) -> Vec<(StandstillStage, Stretch)> {
    let begins: Vec<_> = begins(trial, moments).collect();
    let ends = begins.iter().skip(1).map(|(_, t_ns)| Some(*t_ns)).chain([moments.completed]);
    let part = |((stage, from_ns), to_ns): (&(StandstillStage, i64), Option<i64>)| {
        Some((*stage, stretch(Some(*from_ns), to_ns, [By::Bench; 2])?))
    };
    begins.iter().zip(ends).filter_map(part).collect()
}

fn begins<'a>(trial: &Trial<'a>, moments: &Moments) -> impl Iterator<Item = (StandstillStage, i64)> {
    let command = moments.command;
    trial.events().filter(move |event| event.t_ns >= command).filter_map(|event| match event.kind {
        EventKind::StandstillStage { stage } => Some((stage, event.t_ns)),
        _ => None,
    })
}

/// How long each part took; absent where no such part was seen at all.
pub(crate) fn standstill_ms(trial: &Trial, moments: &Moments) -> Option<StandstillMs> {
    let ended = stages(trial, moments);
    let begun: Vec<StandstillStage> = begins(trial, moments).map(|(stage, _)| stage).collect();
    let all_of = |wanted: StandstillStage| {
        let parts: Vec<i64> = ended
            .iter()
            .filter(|(stage, _)| *stage == wanted)
            .map(|(_, part)| part.end_ns.saturating_sub(part.start_ns))
            .collect();
        // One without an end would be missing from the sum.
        let is_whole = begun.iter().filter(|stage| **stage == wanted).count() == parts.len();
        (is_whole && !parts.is_empty()).then(|| ns_in_ms(parts.into_iter().fold(0, i64::saturating_add)))
    };
    let parts = StandstillMs {
        rest: all_of(StandstillStage::Rest),
        compress: all_of(StandstillStage::Compress),
        transfer: all_of(StandstillStage::Transfer),
        decompress: all_of(StandstillStage::Decompress),
        wake: all_of(StandstillStage::Wake),
    };
    (!parts.is_unknown()).then_some(parts)
}

/// What a part is called.
pub(crate) fn stage_name(stage: StandstillStage) -> &'static str {
    match stage {
        StandstillStage::Rest => "rest",
        StandstillStage::Compress => "compress",
        StandstillStage::Transfer => "transfer",
        StandstillStage::Decompress => "decompress",
        StandstillStage::Wake => "wake",
    }
}

/// The files that were brought to the other host, in their order.
pub(crate) fn files(trial: &Trial) -> Vec<FileOutcome> {
    carried(trial).map(file).collect()
}

fn carried<'a>(trial: &Trial<'a>) -> impl Iterator<Item = &'a FileCarried> {
    trial.pick(|kind| match kind {
        EventKind::FileCarried(carried) => Some(carried),
        _ => None,
    })
}

fn file(carried: &FileCarried) -> FileOutcome {
    let FileCarried { content_bytes, sent_bytes, .. } = *carried;
    FileOutcome {
        file: carried.file.clone(),
        file_bytes: carried.file_bytes,
        content_bytes,
        sent_bytes,
        sent_percent: (content_bytes > 0)
            .then_some(sent_bytes as f64 / content_bytes as f64 * 100.0)
            .and_then(figure),
        compress_ms: carried.compress_ms.and_then(figure),
        transfer_ms: carried.transfer_ms.and_then(figure),
        decompress_ms: carried.decompress_ms.and_then(figure),
        overlapped: carried.overlapped,
        threads: carried.threads,
        verified: carried.verified,
    }
}

/// What had to travel of all files: their content, or what it was compressed to. Absent unless the move completed, for then
/// there may have been more of them.
pub(crate) fn carried_bytes(trial: &Trial, transfer: &Transfer) -> Option<i64> {
    if !trial.completed() {
        return None;
    }
    let bytes = carried(trial).map(|file| match transfer.compression {
        FileCompression::None => file.content_bytes,
        FileCompression::Gzip | FileCompression::Zstd => file.sent_bytes,
    });
    let bytes: Vec<i64> = bytes.collect();
    let is_known = !bytes.is_empty() && bytes.iter().all(|bytes| *bytes >= 0);
    is_known.then(|| bytes.into_iter().fold(0, i64::saturating_add))
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Flag, Status};

    use super::*;
    use crate::fixture::{Fixture, ended};

    const NONE: FileCompression = FileCompression::None;

    #[test]
    fn the_parts_of_a_cold_move_follow_one_another_and_fill_its_total_time() {
        let outcome = Fixture::cold(FileCompression::Gzip).outcome();
        let parts = StandstillMs {
            rest: Some(4000.0),
            compress: Some(30_000.0),
            transfer: Some(61_000.0),
            decompress: Some(15_000.0),
            wake: Some(20_000.0),
        };
        assert_eq!(outcome.standstill_ms, Some(parts));
        let sum: f64 = parts.named().iter().filter_map(|(_, ms)| *ms).sum();
        // The first part begins 1 ms after the command.
        assert_eq!(outcome.total_time_ms, Some(sum + 1.0));
        assert_eq!(Fixture::pre_copy().outcome().standstill_ms, None);
    }

    #[test]
    fn several_files_add_up_and_are_told_one_by_one() {
        let outcome = Fixture::cold(FileCompression::Gzip).outcome();
        let told: Vec<_> = outcome
            .files
            .iter()
            .map(|file| (file.file.as_str(), file.sent_bytes, file.sent_percent))
            .collect();
        assert_eq!(told, [("disk", 300_000_000, Some(30.0)), ("swap", 0, None)]);
        assert_eq!(outcome.files[0].verified, Some(true));
    }

    #[test]
    fn a_part_without_an_end_is_absent_and_so_is_the_sum_it_belongs_to() {
        let broken = Fixture::cold(NONE)
            .without(|kind| {
                matches!(kind, EventKind::TrialEnded { .. } | EventKind::MigrationCompleted)
                    || *kind == EventKind::StandstillStage { stage: StandstillStage::Wake }
            })
            .with(131_000.0, "", ended(Status::Failed, Some("the link is gone")));
        let parts = broken.outcome().standstill_ms.unwrap();
        assert_eq!((parts.rest, parts.transfer, parts.wake), (Some(4000.0), None, None));
    }

    #[test]
    fn the_floor_is_what_travelled_over_the_link() {
        let floors = |fixture: &Fixture| {
            let outcome = fixture.outcome();
            (outcome.floor_ms, outcome.downtime_floor_ms, outcome.storage_floor_ms)
        };
        // 100 000 bytes a ms: the content of 1 000 000 000 bytes, or the 300 000 000 it was compressed to.
        assert_eq!(floors(&Fixture::cold(NONE)), (Some(10_000.0), Some(10_000.2), None));
        assert_eq!(floors(&Fixture::cold(FileCompression::Gzip)), (Some(3000.0), Some(3000.2), None));
        let untold = Fixture::cold(NONE).without(|kind| matches!(kind, EventKind::FileCarried(_)));
        assert_eq!(floors(&untold), (None, None, None));
    }

    #[test]
    fn phases_of_a_live_migration_are_none_of_a_standstill_and_its_parts_are_drawn() {
        let fixture = Fixture::cold(NONE);
        let phases = fixture.outcome().phases_ms;
        assert_eq!((phases.reserve, phases.stop_and_copy, phases.initialize), (Some(100.0), None, None));
        let names: Vec<_> = fixture.timeline().spans.into_iter().map(|span| span.name).collect();
        assert_eq!(names, ["reserve", "rest", "transfer", "transfer", "wake"]);
    }

    #[test]
    fn the_vcpus_of_a_cold_move_stood_still_from_the_stop_to_the_boot_where_both_were_seen() {
        let cold = Fixture::cold(NONE);
        assert_eq!(cold.outcome().downtime_ms.paused, None);
        let seen = cold.with(4000.0, "host-a", EventKind::VcpusStopped).with(
            110_500.0,
            "host-b",
            EventKind::VcpusRunning,
        );
        assert_eq!(seen.outcome().downtime_ms.paused, Some(106_500.0));
    }

    #[test]
    fn an_outage_of_minutes_over_shut_down_and_boot_is_as_long_as_nobody_answered() {
        // Gone 2 s after the command, while the guest shuts down; back 1 s before its agent answers, at 130 001.
        let cold = Fixture::cold(NONE)
            .with_long_probe("icmp", 133_000, |at| (!(2000.0..129_000.0).contains(&at)).then_some(at + 0.2));
        let outcome = cold.outcome();
        assert_eq!(outcome.downtime_ms.icmp, Some(127_000.0));
        assert_eq!(outcome.downtime_error_ms.icmp, Some(1.002));
        assert_eq!(outcome.migration_time_ms, Some(3001.0));
        assert_eq!(outcome.flags, []);
        let probe = &outcome.probes["icmp"];
        assert_eq!((probe.outages.len(), probe.lost), (1, 127_000));
        // One that sees no end within the time to settle is a bound.
        let never = cold.with_long_probe("icmp", 133_000, |at| (at < 2000.0).then_some(at + 0.2)).outcome();
        assert_eq!((never.downtime_ms.icmp, never.flags), (None, vec![Flag::OutageUnfinished]));
        assert!(never.downtime_at_least_ms.icmp.is_some_and(|bound_ms| bound_ms > 130_000.0));
    }
}
