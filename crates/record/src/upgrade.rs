//! What files of older versions said in one product's words only, in the words of all.
//!
//! Until 0.1's format had a common state beside the product's word, there was one driver, and its words are these. A file of
//! that time is known by a case without limits. Newer ones have all of it from the driver itself: what that leaves out is
//! absent, whatever its word may look like.

use serde_json::Value;

use crate::{Case, EventKind, Flag, MigrationState, Outcome, PreCopyLimits, Step};

/// The one driver there was.
const DRIVER: &str = "qemu";

/// Fills in what the events of one file did not say, where it is of an older version.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    is_old: bool,
}

impl Upgrade {
    /// The next event. The first of a record has the case, which tells the file's age.
    pub(crate) fn event(&mut self, kind: &mut EventKind) {
        match kind {
            EventKind::TrialStarted { case, .. } => {
                self.is_old = is_old(case);
                self::case(case);
            }
            _ if !self.is_old => {}
            EventKind::MigrationStatus { status, state: state @ None } => *state = state_of(status),
            EventKind::Checkpoint { name, step: step @ None } if name == "src-non-iterable-saved" => {
                *step = Some(Step::LastByteSent);
            }
            EventKind::HypervisorIdentified(identity) if identity.emulated.is_none() => {
                identity.emulated = Some(identity.accelerator == "tcg");
            }
            _ => {}
        }
    }
}

fn is_old(case: &Case) -> bool {
    case.limits.is_none() && case.hypervisor.driver == DRIVER
}

/// Fills in what a case of an older version did not say.
pub(crate) fn case(case: &mut Case) {
    if !is_old(case) {
        return;
    }
    let parameters = case.hypervisor.settings.get("parameters");
    let parameter = |name: &str| parameters.and_then(|all| all.get(name)).and_then(Value::as_f64);
    case.limits = Some(PreCopyLimits {
        downtime_ms: Some(parameter("downtime-limit").unwrap_or(300.0)),
        bandwidth_bytes_s: parameter("max-bandwidth").filter(|bytes_s| *bytes_s > 0.0),
    });
}

/// A downtime that no gap stood out for was 0 in outcomes of older versions, give or take its error: a bound, told as a
/// value.
pub(crate) fn outcome(outcome: &mut Outcome) {
    if !outcome.flags.contains(&Flag::OutageWithinNoise) || !outcome.downtime_at_most_ms.is_unknown() {
        return;
    }
    let (told, errors) = (&mut outcome.downtime_ms, &mut outcome.downtime_error_ms);
    let at_most = &mut outcome.downtime_at_most_ms;
    for (value, error, bound) in [
        (&mut told.icmp, &mut errors.icmp, &mut at_most.icmp),
        (&mut told.udp, &mut errors.udp, &mut at_most.udp),
        (&mut told.tcp, &mut errors.tcp, &mut at_most.tcp),
        (&mut told.http, &mut errors.http, &mut at_most.http),
    ] {
        if *value == Some(0.0) {
            *value = None;
            *bound = error.take();
        }
    }
    if told.icmp.is_none() {
        outcome.migration_time_ms = None;
    }
}

fn state_of(status: &str) -> Option<MigrationState> {
    Some(match status {
        "setup" | "wait-unplug" => MigrationState::Setup,
        "active" => MigrationState::PreCopy,
        "pre-switchover" => MigrationState::AwaitingSwitchOver,
        "device" => MigrationState::SwitchOver,
        "postcopy-active" | "postcopy-device" => MigrationState::PostCopy,
        "postcopy-paused" | "postcopy-recover" | "postcopy-recover-setup" => MigrationState::PostCopyPaused,
        "completed" => MigrationState::Completed,
        "failed" => MigrationState::Failed,
        "cancelling" => MigrationState::Cancelling,
        "cancelled" => MigrationState::Cancelled,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::HypervisorIdentity;

    fn started(settings: &Value) -> EventKind {
        let mut case = json!({
            "name": "c", "vm": {}, "link": {}, "probes": {}, "workload": null, "trials": {},
            "strategy": { "kind": "pre-copy" },
        });
        case.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let started = json!({
            "event": "trial-started", "scenario": "s", "case": case, "trial": 1, "source": "a", "destination": "b",
        });
        serde_json::from_value(started).unwrap()
    }

    /// What a record that begins with such a case tells after its upgrade.
    fn upgraded(settings: &Value) -> [EventKind; 4] {
        let mut kinds = [
            started(settings),
            EventKind::MigrationStatus { status: "postcopy-active".into(), state: None },
            EventKind::Checkpoint { name: "src-non-iterable-saved".into(), step: None },
            EventKind::HypervisorIdentified(HypervisorIdentity {
                name: "n".into(),
                version: "1".into(),
                accelerator: "tcg".into(),
                emulated: None,
            }),
        ];
        let mut upgrade = Upgrade::default();
        kinds.iter_mut().for_each(|kind| upgrade.event(kind));
        kinds
    }

    #[test]
    fn a_record_of_the_one_driver_there_was_gets_the_common_words() {
        let [EventKind::TrialStarted { case, .. }, status, checkpoint, identified] =
            upgraded(&json!({ "qemu": { "parameters": { "max-bandwidth": 1000 } } }))
        else {
            panic!("it begins with the trial")
        };
        let limits = PreCopyLimits { downtime_ms: Some(300.0), bandwidth_bytes_s: Some(1000.0) };
        assert_eq!(case.limits, Some(limits));
        let post_copy = Some(MigrationState::PostCopy);
        assert_eq!(status, EventKind::MigrationStatus { status: "postcopy-active".into(), state: post_copy });
        assert!(matches!(checkpoint, EventKind::Checkpoint { step: Some(Step::LastByteSent), .. }));
        assert!(
            matches!(identified, EventKind::HypervisorIdentified(identity) if identity.emulated == Some(true))
        );
    }

    #[test]
    fn what_a_driver_of_today_leaves_out_stays_absent() {
        for settings in [json!({ "toy": {} }), json!({ "qemu": {}, "limits": {} })] {
            let [_, status, checkpoint, identified] = upgraded(&settings);
            assert!(matches!(status, EventKind::MigrationStatus { state: None, .. }), "{settings}");
            assert!(matches!(checkpoint, EventKind::Checkpoint { step: None, .. }), "{settings}");
            assert!(
                matches!(identified, EventKind::HypervisorIdentified(identity) if identity.emulated.is_none())
            );
        }
    }

    #[test]
    fn a_downtime_that_an_older_version_told_as_0_is_the_bound_that_it_was() {
        let read = |flags: Value| {
            let line = json!({
                "format": 1, "scenario": "s", "case": { "name": "c" }, "trial": 1, "id": "01-c-1", "vm": "vm0",
                "hypervisor": null, "strategy": "pre-copy", "status": "completed", "flags": flags,
                "total_time_ms": 500.0, "migration_time_ms": 500.0, "floor_ms": null, "downtime_floor_ms": null,
                "downtime_ms": { "paused": 30.0, "icmp": 0.0, "udp": 41.0 },
                "downtime_error_ms": { "icmp": 40.0, "udp": 1.5 },
                "probes": {}, "wire_bytes": null, "ram_bytes": null, "iterations": [],
                "phases_ms": { "pre_copy": [] }, "memory_mib": {}, "workload": null, "link": {},
                "guest_start_ms": null,
            });
            let mut outcome = serde_json::from_value(line).unwrap();
            super::outcome(&mut outcome);
            outcome
        };
        let outcome: Outcome = read(json!(["outage-within-noise"]));
        assert_eq!((outcome.downtime_ms.icmp, outcome.downtime_ms.udp), (None, Some(41.0)));
        assert_eq!((outcome.downtime_at_most_ms.icmp, outcome.downtime_error_ms.icmp), (Some(40.0), None));
        assert_eq!((outcome.downtime_at_most_ms.udp, outcome.downtime_error_ms.udp), (None, Some(1.5)));
        assert_eq!(outcome.migration_time_ms, None);
        let untouched: Outcome = read(json!([]));
        assert_eq!((untouched.downtime_ms.icmp, untouched.migration_time_ms), (Some(0.0), Some(500.0)));
    }
}
