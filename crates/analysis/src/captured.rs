//! What the capture of the source's interface to the migration network says of a VM's migration.

use dunlin_record::{CaptureOutcome, Conversation, EventKind, RttMs, TrialCapture};

use crate::MigrationOnWire;
use crate::moments::Moments;
use crate::trial::Trial;
use crate::units::{figure, ms_in_ns};

/// What may lie between a conversation's first packet by the capture's stamps and the moment that made it by the
/// bench's, besides the error of the mapping between their clocks.
const SLACK_NS: i64 = 1_000_000;

/// How the capture ended, by the trial's events.
struct Ending {
    is_whole: bool,
    clock_offset_ns: i64,
    clock_error_ns: i64,
}

/// The figures; absent without a capture, or if it holds no conversation of this VM's migration.
pub(crate) fn captured(trial: &Trial, moments: &Moments) -> Option<CaptureOutcome> {
    let capture = trial.record.capture.as_ref()?;
    let TrialCapture { file, account, .. } = capture;
    let ending = ending(trial, file);
    // VMs move one after the other through the same capture. Of one that moves alone all is its own, whatever the clocks
    // say.
    let may_be = |one: &Conversation| {
        trial.case.vm.count <= 1 || begins_within(one, account.start_epoch_ns, ending.as_ref(), moments)
    };
    let migration = MigrationOnWire::find_among(capture, may_be)?;
    let overhead = migration.overhead;
    let is_whole = ending.is_some_and(|ending| ending.is_whole);
    let lacks =
        |one: &&Conversation| one.may_lack_bytes + one.from_a.unseen_bytes + one.from_b.unseen_bytes > 0;
    let has_all = !migration.conversations.iter().any(lacks);
    Some(CaptureOutcome {
        file: file.clone(),
        complete: is_whole && has_all && account.broken_off.is_none() && account.dropped.unwrap_or(0) == 0,
        dropped: account.dropped,
        conversations: migration.conversations.len() as u64,
        first_to_last_packet_ms: figure(migration.length_ms()),
        goodput_mbit_s: migration.goodput_mbit_s().and_then(figure),
        overhead_percent: overhead.percent().and_then(figure),
        overhead,
        retransmissions: migration.retransmissions(),
        out_of_order: migration.count(|flow| flow.out_of_order),
        duplicate_acks: migration.count(|flow| flow.duplicate_acks),
        zero_windows: migration.count(|flow| flow.zero_windows),
        malformed: account.malformed.iter().map(|one| one.packets).sum(),
        rtt_ms: migration.rtt_ms().and_then(rounded),
    })
}

fn ending(trial: &Trial, of_file: &str) -> Option<Ending> {
    let mut endings = trial.pick(|kind| match kind {
        EventKind::CaptureEnded { file, packets, written, clock_offset_ns, clock_error_ns, .. }
            if file == of_file =>
        {
            let is_whole = written >= packets;
            Some(Ending { is_whole, clock_offset_ns: *clock_offset_ns, clock_error_ns: *clock_error_ns })
        }
        _ => None,
    });
    endings.next_back()
}

/// Whether a conversation was opened while this VM moved. Without the stamps' place on the bench's clock that is not known.
fn begins_within(
    one: &Conversation,
    start_epoch_ns: Option<i64>,
    ending: Option<&Ending>,
    moments: &Moments,
) -> bool {
    let (Some(start_epoch_ns), Some(ending)) = (start_epoch_ns, ending) else { return false };
    let begin_ns =
        start_epoch_ns.saturating_add(ms_in_ns(one.start_ms)).saturating_add(ending.clock_offset_ns);
    let slack_ns = ending.clock_error_ns.saturating_add(SLACK_NS);
    let (from_ns, to_ns) = (moments.command.saturating_sub(slack_ns), moments.end.saturating_add(slack_ns));
    (from_ns..=to_ns).contains(&begin_ns)
}

fn rounded(rtt: RttMs) -> Option<RttMs> {
    Some(RttMs {
        samples: rtt.samples,
        p50: figure(rtt.p50)?,
        p90: figure(rtt.p90)?,
        p99: figure(rtt.p99)?,
        max: figure(rtt.max)?,
    })
}

#[cfg(test)]
mod tests {
    use dunlin_record::{
        Amount, BrokenOff, ConversationGraph, Flow, Malformed, Overhead, Retransmissions, Status, WireAccount,
    };

    use super::*;
    use crate::fixture::{Fixture, ended, ns};
    use crate::outcomes;

    const FILE: &str = "host-a-migration.pcapng";
    /// What is added to the file's stamps to get the bench's clock.
    const OFFSET_NS: i64 = -1_700_000_000_000_000_000;

    /// To the listener at this port of the destination, from and to these times in ms after the migrate command.
    fn conversation(port: u16, start_ms: f64, end_ms: f64) -> Conversation {
        let overhead = Overhead {
            total: Amount { packets: 100, wire_bytes: 125_000 },
            goodput_bytes: 100_000,
            goodput_packets: 80,
            ..Overhead::default()
        };
        let rtt_ms = Some(RttMs { samples: 9, p50: 0.1, p90: 0.2, p99: start_ms.abs() / 3.0, max: 4.0 });
        let retransmissions = Retransmissions { fast: 2, ..Retransmissions::default() };
        Conversation {
            number: 1,
            a: "10.78.0.11:40000".into(),
            b: format!("10.78.0.12:{port}"),
            // The capture began one second before the command.
            start_ms: start_ms + 1000.0,
            end_ms: end_ms + 1000.0,
            handshake_rtt_ms: None,
            may_lack_bytes: 0,
            from_a: Flow {
                total: overhead.total,
                out_of_order: 1,
                retransmissions,
                rtt_ms,
                ..Flow::default()
            },
            from_b: Flow { duplicate_acks: 5, zero_windows: 1, ..Flow::default() },
            overhead,
            graph: ConversationGraph::default(),
        }
    }

    fn account(conversations: Vec<Conversation>) -> WireAccount {
        let malformed = vec![Malformed { what: "a header is cut", packets: 3, first_packet: 7 }];
        WireAccount {
            start_epoch_ns: Some(ns(-1000.0) - OFFSET_NS),
            conversations,
            malformed,
            dropped: Some(0),
            ..WireAccount::default()
        }
    }

    fn capture_ended(packets: u64, written: u64) -> EventKind {
        EventKind::CaptureEnded {
            file: FILE.into(),
            packets,
            drops: 0,
            written,
            bytes: 1,
            clock_offset_ns: OFFSET_NS,
            clock_error_ns: 100,
            cut_short: None,
        }
    }

    fn with(fixture: Fixture, account: WireAccount) -> Fixture {
        let mut fixture = fixture.with(1590.0, "", capture_ended(100, 100));
        let trial = fixture.record.id.clone();
        fixture.record.capture = Some(TrialCapture {
            trial,
            file: FILE.into(),
            probed: Vec::new(),
            disks: vec!["10.78.0.12:10809".into()],
            account,
        });
        fixture
    }

    #[test]
    fn channels_to_one_listener_are_told_together() {
        let mut all = account(vec![
            conversation(4444, 1.0, 540.0),
            conversation(4444, 3.0, 541.0),
            // Something else, of less.
            conversation(22, -900.0, 900.0),
        ]);
        all.conversations[2].from_a.total = Amount::default();
        let told = with(Fixture::pre_copy(), all).outcome().capture.unwrap();
        assert_eq!((told.file.as_str(), told.complete, told.dropped), (FILE, true, Some(0)));
        assert_eq!((told.conversations, told.first_to_last_packet_ms), (2, Some(540.0)));
        assert_eq!(told.overhead.total, Amount { packets: 200, wire_bytes: 250_000 });
        // 200,000 bytes in 540 ms.
        assert_eq!((told.goodput_mbit_s, told.overhead_percent), (Some(2.963), Some(20.0)));
        assert_eq!((told.retransmissions.fast, told.retransmissions.total()), (4, 4));
        assert_eq!(
            (told.out_of_order, told.duplicate_acks, told.zero_windows, told.malformed),
            (2, 10, 2, 3)
        );
        let rtt_ms = RttMs { samples: 18, p50: 0.1, p90: 0.2, p99: 1.0, max: 4.0 };
        assert_eq!(told.rtt_ms, Some(rtt_ms));
    }

    #[test]
    fn disks_that_moved_are_part_of_it_whichever_was_more() {
        for disk_bytes in [1_000, 1_000_000] {
            let mut all = account(vec![conversation(4444, 300.0, 540.0), conversation(10_809, 1.0, 510.0)]);
            all.conversations[1].from_a.total.wire_bytes = disk_bytes;
            let told = with(Fixture::pre_copy(), all).outcome().capture.unwrap();
            assert_eq!((told.conversations, told.first_to_last_packet_ms), (2, Some(539.0)), "{disk_bytes}");
        }
    }

    #[test]
    fn without_a_conversation_or_a_migration_there_is_nothing_to_tell() {
        assert_eq!(Fixture::pre_copy().outcome().capture, None);
        assert_eq!(with(Fixture::pre_copy(), account(Vec::new())).outcome().capture, None);
        let before = with(Fixture::before(), account(vec![conversation(4444, 1.0, 2.0)]));
        assert_eq!(before.with(0.0, "", ended(Status::Failed, None)).outcome().capture, None);
    }

    #[test]
    fn a_capture_that_lacks_anything_is_not_complete() {
        let whole = || account(vec![conversation(4444, 1.0, 540.0)]);
        let is_complete = |fixture: Fixture| fixture.outcome().capture.unwrap().complete;
        assert!(is_complete(with(Fixture::pre_copy(), whole())));
        assert!(is_complete(with(Fixture::pre_copy(), WireAccount { dropped: None, ..whole() })));
        let dropped = WireAccount { dropped: Some(1), ..whole() };
        assert!(!is_complete(with(Fixture::pre_copy(), dropped)));
        let mut missed = whole();
        missed.conversations[0].from_a.unseen_bytes = 1;
        assert!(!is_complete(with(Fixture::pre_copy(), missed)));
        let mut let_go = whole();
        let_go.conversations[0].may_lack_bytes = 1;
        assert!(!is_complete(with(Fixture::pre_copy(), let_go)));
        let broken_off = Some(BrokenOff { offset: 7, why: "breaks off".into() });
        assert!(!is_complete(with(Fixture::pre_copy(), WireAccount { broken_off, ..whole() })));
        let cut_short = with(Fixture::pre_copy(), whole()).with(1591.0, "", capture_ended(100, 99));
        assert!(!is_complete(cut_short));
        let unfinished =
            with(Fixture::pre_copy(), whole()).without(|kind| matches!(kind, EventKind::CaptureEnded { .. }));
        assert!(!is_complete(unfinished));
    }

    #[test]
    fn of_vms_that_move_one_after_the_other_each_has_its_own_conversations() {
        let both = account(vec![conversation(4444, 1.0, 540.0), conversation(4445, 5001.0, 5900.0)]);
        let fixture = with(Fixture::pre_copy().with_case(|case| case.vm.count = 2), both);
        let record = fixture.with_second_vm().record;
        let told: Vec<_> = outcomes(&record)
            .unwrap()
            .into_iter()
            .map(|outcome| outcome.capture.and_then(|capture| capture.first_to_last_packet_ms))
            .collect();
        assert_eq!(told, [Some(539.0), Some(899.0)]);
    }
}
