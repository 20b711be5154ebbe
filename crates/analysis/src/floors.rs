//! The least total time and downtime that the measured link allows.

use dunlin_record::{Blocks, EventKind, Strategy, TransportKind};

use crate::iterations::passes;
use crate::moments::Moments;
use crate::samples::Samples;
use crate::standstill::carried_bytes;
use crate::storage::storage_before;
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

/// Least total time: non-zero guest pages x 4 KiB, and what has to travel of disks that move, over the link's goodput, in ms;
/// of a VM that stood still, the files that travelled.
pub(crate) fn total_floor_ms(trial: &Trial, moments: &Moments, link: &MeasuredLink) -> Option<f64> {
    if !all_pass_the_link(trial) {
        return None;
    }
    if let Some(transfer) = trial.case.strategy.standstill() {
        return link.time_ms(carried_bytes(trial, transfer)?).and_then(figure);
    }
    let disks = if trial.case.vm.moves_disks() { storage_least_bytes(trial, moments)? } else { 0 };
    link.time_ms(non_zero_bytes(trial, moments)?.saturating_add(disks)).and_then(figure)
}

/// The part of it that disks have, which move while the VM runs.
pub(crate) fn storage_floor_ms(trial: &Trial, moments: &Moments, link: &MeasuredLink) -> Option<f64> {
    let move_live = trial.case.vm.moves_disks() && trial.case.strategy.standstill().is_none();
    if !move_live || !all_pass_the_link(trial) {
        return None;
    }
    link.time_ms(storage_least_bytes(trial, moments)?).and_then(figure)
}

/// The least that has to travel of disks that move: what they hold, or all their blocks where the scenario wants them all.
fn storage_least_bytes(trial: &Trial, moments: &Moments) -> Option<i64> {
    let held = storage_before(trial, moments)?;
    let bytes = match trial.case.storage.blocks {
        Blocks::Allocated | Blocks::Overlay => held.data_bytes,
        Blocks::All => held.virtual_size_bytes,
    };
    bytes.filter(|bytes| *bytes >= 0)
}

/// Least downtime: what was left to send at the stop over the link's goodput, and one round trip, in ms. What was left
/// is what the hypervisor says it sent during the stop, else its last word in the pass before it on what remained, less what passed the wire since. With
/// post-copy nothing but the devices' state need be sent, whose size nobody tells: absent.
pub(crate) fn downtime_floor_ms(trial: &Trial, moments: &Moments, link: &MeasuredLink) -> Option<f64> {
    // Of several connections QEMU counts as sent during the stop what had waited in their queues before it.
    let queued_before = trial.case.transport.channels.is_some();
    if moments.post_copy || queued_before || !all_pass_the_link(trial) {
        return None;
    }
    if let Some(transfer) = trial.case.strategy.standstill() {
        return figure(link.time_ms(carried_bytes(trial, transfer)?)? + link.rtt_ms?);
    }
    let left_bytes = match trial.case.strategy {
        Strategy::Suspend { after_passes: None } => non_zero_bytes(trial, moments)?,
        _ if reported_bytes(trial).is_some() => reported_bytes(trial)?,
        _ => {
            let remaining = Samples::of(trial.vm_series("progress"), "remaining_bytes");
            let stopped = moments.stopped?;
            // Of an earlier pass, most of what is left may be pages that are all zero, or go before the stop.
            let pass = passes(trial, moments).into_iter().rfind(|pass| pass.start_ns < stopped)?;
            let (asked_ns, left_bytes) = remaining.last_point_in(pass.start_ns, stopped)?;
            // What went since it was asked was not left any more.
            let sent = trial.wire("tx_bytes").growth(asked_ns, stopped)?;
            left_bytes.saturating_sub(sent).max(0)
        }
    };
    figure(link.time_ms(left_bytes)? + link.rtt_ms?)
}

/// Whether the pages go over the one link that was measured, as they are: only then does it bound the times.
fn all_pass_the_link(trial: &Trial) -> bool {
    let transport = &trial.case.transport;
    matches!(transport.kind, TransportKind::Tcp | TransportKind::Tls) && transport.compression.is_none()
}

/// What the hypervisor says it sent while the vCPUs were stopped.
fn reported_bytes(trial: &Trial) -> Option<i64> {
    trial
        .pick(|kind| match kind {
            EventKind::HypervisorReport(report) => report.downtime_bytes,
            _ => None,
        })
        .last()
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
        // A migration that did not complete did not see all pages. The count stands still after completion.
        None => normal_pages.last_in(moments.command, moments.completed.map(|_| moments.window_end)?)?,
    };
    (pages >= 0).then(|| pages.saturating_mul(PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use crate::fixture::{Fixture, ns};
    use dunlin_record::{
        Blocks, ChannelCompression, EventKind, Outcome, Series, StorageHeld, Transport, TransportKind, shapes,
    };

    fn floors(outcome: &Outcome) -> (Option<f64>, Option<f64>) {
        (outcome.floor_ms, outcome.downtime_floor_ms)
    }

    #[test]
    fn the_floors_are_what_had_to_be_sent_over_what_the_link_carries() {
        // 8000 pages of content when the second pass began; 1 000 000 bytes left at the stop; 100 000 bytes a ms.
        assert_eq!(floors(&Fixture::pre_copy().outcome()), (Some(327.68), Some(10.2)));
    }

    #[test]
    fn what_went_since_it_was_asked_was_not_left_at_the_stop() {
        let asked = |t_ms: f64| {
            let row = [ns(t_ms), 0, 5_000_000, 0, 0, 0, 0, 1, 0, 0];
            Fixture::pre_copy().with_series("vm0-progress", Series::from_rows(shapes::PROGRESS, &[row]))
        };
        // 10 ms before the stop, at 100 000 bytes a ms; and so long before that more went than was left then.
        assert_eq!(floors(&asked(490.0).outcome()).1, Some(40.2));
        assert_eq!(floors(&asked(410.0).outcome()).1, Some(0.2));
        assert_eq!(floors(&asked(300.0).outcome()).1, None, "in a pass before the last");
    }

    #[test]
    fn disks_that_move_have_to_be_sent_too() {
        let moved = Fixture::pre_copy().with_case(|case| {
            case.vm.shared_storage = false;
            case.vm.swap_mib = Some(8);
        });
        assert_eq!(floors(&moved.outcome()), (None, Some(10.2)), "nobody told what they hold");
        let held = dunlin_record::StorageHeld { data_bytes: Some(1_000_000), ..Default::default() };
        let told = moved.with(-1.0, "host-a", EventKind::StorageHeld(held));
        let outcome = told.outcome();
        assert_eq!(floors(&outcome), (Some(337.68), Some(10.2)));
        assert_eq!(outcome.storage_floor_ms, Some(10.0));
        assert_eq!(Fixture::pre_copy().outcome().storage_floor_ms, None);
    }

    #[test]
    fn all_blocks_have_to_be_sent_where_all_are_asked_for() {
        let held = |virtual_size_bytes| {
            let data_bytes = Some(1_000_000);
            StorageHeld { data_bytes, virtual_size_bytes, ..StorageHeld::default() }
        };
        let with = |blocks, virtual_size_bytes| {
            let outcome = Fixture::pre_copy()
                .with_case(|case| {
                    case.vm.shared_storage = false;
                    case.vm.swap_mib = Some(8);
                    case.storage.blocks = blocks;
                })
                .with(-1.0, "host-a", EventKind::StorageHeld(held(virtual_size_bytes)))
                .outcome();
            (outcome.storage_floor_ms, outcome.floor_ms)
        };
        assert_eq!(with(Blocks::All, Some(50_000_000)), (Some(500.0), Some(827.68)));
        assert_eq!(with(Blocks::All, None), (None, None));
        assert_eq!(with(Blocks::Overlay, None), (Some(10.0), Some(337.68)));
    }

    #[test]
    fn what_passes_another_way_or_compressed_is_not_bounded_by_the_link() {
        let with = |kind, compression| {
            let transport = Transport { kind, compression, ..Transport::default() };
            floors(&Fixture::pre_copy().with_case(|case| case.transport = transport).outcome())
        };
        assert!(with(TransportKind::Tls, None).0.is_some());
        let channels = Transport { channels: Some(2), ..Transport::default() };
        let several = floors(&Fixture::pre_copy().with_case(|case| case.transport = channels).outcome());
        assert!(several.0.is_some() && several.1.is_none());
        assert_eq!(with(TransportKind::Unix, None), (None, None));
        assert_eq!(with(TransportKind::Mptcp, None), (None, None));
        assert_eq!(with(TransportKind::Tcp, Some(ChannelCompression::Zstd)), (None, None));
    }

    #[test]
    fn the_hypervisors_own_count_of_what_it_sent_during_the_stop_is_nearer_than_its_last_word_before() {
        let counted = |bytes| {
            let mut fixture = Fixture::pre_copy();
            for event in &mut fixture.record.events {
                if let EventKind::HypervisorReport(report) = &mut event.kind {
                    report.downtime_bytes = bytes;
                }
            }
            floors(&fixture.outcome()).1
        };
        assert_eq!(counted(None), Some(10.2));
        assert_eq!(counted(Some(500_000)), Some(5.2));
    }

    #[test]
    fn a_vm_suspended_after_some_passes_has_the_rest_left_at_the_stop() {
        let later = Fixture::pre_copy()
            .with_case(|case| case.strategy = dunlin_record::Strategy::Suspend { after_passes: Some(2) });
        assert_eq!(floors(&later.outcome()), (Some(327.68), Some(10.2)));
    }

    #[test]
    fn a_suspended_vm_has_all_its_memory_left_at_the_stop() {
        assert_eq!(floors(&Fixture::suspend().outcome()), (Some(245.76), Some(245.96)));
    }

    #[test]
    fn with_post_copy_the_downtime_has_no_floor_by_pages() {
        assert_eq!(floors(&Fixture::hybrid().outcome()), (Some(327.68), None));
    }

    #[test]
    fn post_copy_within_the_first_pass_counts_all_pages_sent() {
        let at_once = Fixture::hybrid()
            .without(|kind| matches!(kind, EventKind::MigrationPass { pass: 2 | 3 }))
            .with(500.2, "host-a", EventKind::MigrationPass { pass: 2 })
            .with_progress(600.0);
        assert_eq!(floors(&at_once.outcome()).0, Some(491.52));
    }

    #[test]
    fn without_a_measured_link_or_counters_there_is_no_floor() {
        let unmeasured = Fixture::pre_copy().without(|kind| matches!(kind, EventKind::LinkMeasured { .. }));
        assert_eq!(floors(&unmeasured.outcome()), (None, None));
        assert_eq!(floors(&Fixture::pre_copy().without_series("vm0-progress").outcome()), (None, None));
        let link = |goodput_mbit, rtt_ms| EventKind::LinkMeasured {
            link: "migration".into(),
            rate_mbit: None,
            goodput_mbit,
            rtt_ms,
        };
        assert_eq!(floors(&unmeasured.clone().with(-9.0, "", link(0.0, Some(0.2))).outcome()), (None, None));
        assert_eq!(floors(&unmeasured.with(-9.0, "", link(800.0, None)).outcome()), (Some(327.68), None));
    }

    #[test]
    fn a_first_pass_that_was_cut_off_did_not_see_all_pages() {
        let cut_off = Fixture::not_converged().without(|kind| *kind == EventKind::MigrationPass { pass: 2 });
        assert_eq!(floors(&cut_off.outcome()), (None, None));
        assert!(
            cut_off.record.events.iter().any(|event| event.t_ns == ns(1.0)),
            "the first pass is still there"
        );
    }
}
