//! What was seen of the mechanisms that were asked for: what the driver tells, and what the record shows besides.

use dunlin_record::{
    CaptureOutcome, EventKind, Mechanism, MechanismSeen, MigrationState, Strategy, TransportKind,
};

use crate::moments::Moments;
use crate::trial::Trial;

/// Below this share of all bytes a second link was not used.
const CARRIED_SHARE: f64 = 0.05;

/// Each mechanism that was asked for, in the order of [`Mechanism`].
pub(crate) fn mechanisms(
    trial: &Trial,
    moments: &Moments,
    capture: Option<&CaptureOutcome>,
) -> Vec<MechanismSeen> {
    let told = trial.pick(|kind| match kind {
        EventKind::MechanismSeen(seen) => Some(seen.clone()),
        _ => None,
    });
    let connections = capture.filter(|capture| capture.complete).map(|capture| capture.conversations);
    let mut all: Vec<MechanismSeen> = told.map(|seen| by_capture(seen, connections)).collect();
    all.extend(second_link(trial, moments));
    all.extend(post_copy(trial));
    all.sort_by_key(|seen| seen.mechanism);
    all
}

/// Where the driver does not know of connections, a whole capture does.
fn by_capture(seen: MechanismSeen, connections: Option<u64>) -> MechanismSeen {
    let is_of_connections = matches!(seen.mechanism, Mechanism::Channels | Mechanism::Preempt);
    match connections {
        Some(connections) if is_of_connections && seen.used.is_none() => MechanismSeen {
            used: Some(connections > 1),
            evidence: format!("connections captured: {connections}"),
            ..seen
        },
        _ => seen,
    }
}

/// By the interfaces' own counters.
fn second_link(trial: &Trial, moments: &Moments) -> Option<MechanismSeen> {
    if trial.case.transport.kind != TransportKind::Mptcp {
        return None;
    }
    let sent = |network: &str| {
        trial.wire_of(network, "tx_bytes").growth_over(moments.command, moments.end).map(|bytes| bytes as f64)
    };
    let share = sent("migration").zip(sent("migration-2")).and_then(|(first, second)| {
        let share = second / (first + second);
        share.is_finite().then_some(share)
    });
    Some(MechanismSeen {
        mechanism: Mechanism::SecondLink,
        used: share.map(|share| share >= CARRIED_SHARE),
        evidence: share.map_or_else(
            || "its interface was not counted".into(),
            |share| format!("it carried {:.1} % of the bytes sent", share * 100.0),
        ),
    })
}

/// By what the hypervisors said of their state.
fn post_copy(trial: &Trial) -> Option<MechanismSeen> {
    let asked = trial.pick(|kind| match kind {
        EventKind::Decision { action, .. } => (action == "switch-to-post-copy").then_some(()),
        _ => None,
    });
    // A hybrid migration may converge before its switch is due.
    if !matches!(trial.case.strategy, Strategy::PostCopy { .. }) {
        asked.last()?;
    }
    let states = trial.pick(|kind| match kind {
        EventKind::MigrationStatus { state, .. } => *state,
        _ => None,
    });
    let used = states
        .into_iter()
        .any(|state| matches!(state, MigrationState::PostCopy | MigrationState::PostCopyPaused));
    let evidence = if used { "its state was seen" } else { "its state was not seen" };
    Some(MechanismSeen { mechanism: Mechanism::PostCopy, used: Some(used), evidence: evidence.into() })
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Flag, Outcome, Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    fn used(outcome: &Outcome) -> Vec<(Mechanism, Option<bool>)> {
        outcome.mechanisms.iter().map(|seen| (seen.mechanism, seen.used)).collect()
    }

    /// What the source's links had sent when the migration was commanded and when it ended.
    fn over_two_links(second_bytes: Option<i64>) -> Outcome {
        let sent = |bytes: i64| {
            let rows =
                [[ns(-1000.0), 0, 0, 0, 0], [ns(0.0), 100, 0, 0, 0], [ns(600.0), 100 + bytes, 0, 0, 0]];
            Series::from_rows(shapes::WIRE, &rows)
        };
        let fixture = Fixture::pre_copy().with_case(|case| case.transport.kind = TransportKind::Mptcp);
        let fixture = fixture.with_series("wire-host-a-migration", sent(95_000));
        match second_bytes {
            Some(bytes) => fixture.with_series("wire-host-a-migration-2", sent(bytes)).outcome(),
            None => fixture.outcome(),
        }
    }

    #[test]
    fn a_second_link_that_carries_next_to_nothing_is_flagged() {
        let flagged = |outcome: &Outcome| outcome.flags.contains(&Flag::MechanismUnused);
        for (bytes, is_used) in [(95_000, true), (5_000, true), (4_900, false), (400, false), (0, false)] {
            let outcome = over_two_links(Some(bytes));
            assert_eq!(used(&outcome), [(Mechanism::SecondLink, Some(is_used))], "{bytes}");
            assert_eq!(flagged(&outcome), !is_used, "{bytes}");
        }
        let outcome = over_two_links(None);
        assert_eq!((used(&outcome), flagged(&outcome)), (vec![(Mechanism::SecondLink, None)], false));
    }

    #[test]
    fn post_copy_was_asked_for_once_its_switch_was() {
        assert_eq!(used(&Fixture::pre_copy().outcome()), []);
        assert_eq!(used(&Fixture::hybrid().outcome()), [], "it may have converged by itself");
        let decision = EventKind::Decision { action: "switch-to-post-copy".into(), reason: String::new() };
        let hybrid = || Fixture::hybrid().with(499.0, "host-a", decision.clone());
        assert_eq!(used(&hybrid().outcome()), [(Mechanism::PostCopy, Some(true))]);
        let without = hybrid().without(|kind| {
            matches!(kind, EventKind::MigrationStatus { state: Some(MigrationState::PostCopy), .. })
        });
        let outcome = without.outcome();
        assert_eq!(used(&outcome), [(Mechanism::PostCopy, Some(false))]);
        assert!(outcome.flags.contains(&Flag::MechanismUnused));
    }

    #[test]
    fn connections_that_the_driver_knows_nothing_of_are_counted_in_a_whole_capture() {
        let seen = |mechanism, used| MechanismSeen { mechanism, used, evidence: "its own".into() };
        let of = |seen, connections| by_capture(seen, connections).used;
        assert_eq!(of(seen(Mechanism::Preempt, None), Some(2)), Some(true));
        assert_eq!(of(seen(Mechanism::Preempt, None), Some(1)), Some(false));
        assert_eq!(of(seen(Mechanism::Preempt, None), None), None);
        assert_eq!(of(seen(Mechanism::Channels, Some(true)), Some(1)), Some(true));
        assert_eq!(of(seen(Mechanism::Tls, None), Some(2)), None);
    }
}
