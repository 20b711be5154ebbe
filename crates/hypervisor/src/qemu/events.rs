//! From QEMU's events to the record's.

use dunlin_clock::HostClock;
use dunlin_record::{Event, EventKind, HostId, MigrationState, VmId};
use serde_json::Value;

use super::qmp::QmpEvent;

/// What a QMP event means in the record; its time is QEMU's own stamp on the bench's clock, by what is known of its host's
/// when it comes. Where nothing is, it is when it came.
pub(super) fn translate(event: QmpEvent, clock: &HostClock, host: &HostId, vm: &VmId) -> Event {
    let stamped = event.epoch_ns.and_then(|epoch_ns| clock.realtime_seen(epoch_ns, event.received_ns));
    let t_ns = stamped.map_or(event.received_ns, |moment| moment.t_ns);
    let status = event.data.get("status").and_then(Value::as_str);
    let pass = event.data.get("pass").and_then(Value::as_u64).and_then(|pass| u32::try_from(pass).ok());
    let kind = match (event.name.as_str(), status, pass) {
        ("MIGRATION", Some(status), _) => {
            EventKind::MigrationStatus { status: status.to_owned(), state: state_of(status) }
        }
        ("MIGRATION_PASS", _, Some(pass)) => EventKind::MigrationPass { pass },
        ("STOP", ..) => EventKind::VcpusStopped,
        ("RESUME", ..) => EventKind::VcpusRunning,
        _ => EventKind::HypervisorEvent { name: event.name, data: event.data },
    };
    Event { t_ns, host: Some(host.clone()), vm: Some(vm.clone()), kind }
}

/// What QEMU's word for a migration's state (`qapi/migration.json`, `MigrationStatus`) means to all.
pub(super) fn state_of(status: &str) -> Option<MigrationState> {
    Some(match status {
        "setup" | "wait-unplug" => MigrationState::Setup,
        "active" => MigrationState::PreCopy,
        "pre-switchover" => MigrationState::AwaitingSwitchOver,
        "device" => MigrationState::SwitchOver,
        "postcopy-active" | "postcopy-device" => MigrationState::PostCopy,
        "postcopy-paused" | "postcopy-recover" | "postcopy-recover-setup" => MigrationState::PostCopyPaused,
        "completed" => MigrationState::Completed,
        "failed" => MigrationState::Failed,
        // Whether the VM goes on at the source is not decided yet.
        "failing" | "cancelling" => MigrationState::Cancelling,
        "cancelled" => MigrationState::Cancelled,
        _ => return None,
    })
}

/// What a host could not do for a disk of the VM, where that is what the event tells.
pub(super) fn disk_failure(event: &QmpEvent) -> Option<String> {
    let text = |key: &str| event.data.get(key).and_then(Value::as_str);
    let told = event.name == "BLOCK_IO_ERROR";
    told.then(|| {
        let disk = text("node-name").unwrap_or("a disk");
        format!(
            "{} {disk}: {}",
            text("operation").unwrap_or("use"),
            text("reason").unwrap_or("no reason given")
        )
    })
}

/// Whether the guest reset itself, as a kernel that panics does. (QEMU tells of a reset of its own, as for the load of a
/// state, with other reasons.)
pub(super) fn is_guest_reset(event: &QmpEvent) -> bool {
    // Where it is not to boot again, QEMU ends instead.
    matches!(event.name.as_str(), "RESET" | "SHUTDOWN")
        && event.data.get("reason").and_then(Value::as_str) == Some("guest-reset")
}

/// Why the VM was shut down, where that is what the event tells (`qapi/run-state.json`, `ShutdownCause`).
pub(super) fn shut_down_reason(event: &QmpEvent) -> Option<String> {
    let reason = event.data.get("reason").and_then(Value::as_str).unwrap_or("no reason given");
    (event.name == "SHUTDOWN").then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use dunlin_clock::Exchange;
    use serde_json::json;

    use super::*;

    fn kind(name: &str, data: Value) -> EventKind {
        let event = QmpEvent { name: name.into(), data, epoch_ns: None, received_ns: 7 };
        translate(event, &HostClock::own(), &HostId::new("host-a"), &VmId::new("vm0")).kind
    }

    #[test]
    fn known_events_get_their_type_and_others_are_kept_as_they_are() {
        assert_eq!(
            kind("MIGRATION", json!({"status": "wait-unplug"})),
            EventKind::MigrationStatus { status: "wait-unplug".into(), state: Some(MigrationState::Setup) }
        );
        assert_eq!(
            kind("MIGRATION", json!({"status": "brand-new"})),
            EventKind::MigrationStatus { status: "brand-new".into(), state: None }
        );
        assert_eq!(kind("MIGRATION_PASS", json!({"pass": 3})), EventKind::MigrationPass { pass: 3 });
        assert_eq!(kind("STOP", Value::Null), EventKind::VcpusStopped);
        let odd = json!({"pass": "three"});
        assert_eq!(
            kind("MIGRATION_PASS", odd.clone()),
            EventKind::HypervisorEvent { name: "MIGRATION_PASS".into(), data: odd }
        );
        assert_eq!(kind("NEW", json!(1)), EventKind::HypervisorEvent { name: "NEW".into(), data: json!(1) });
    }

    #[test]
    fn a_disk_that_fails_is_told_with_the_reason() {
        let failed = |name: &str, data| {
            disk_failure(&QmpEvent { name: name.into(), data, epoch_ns: None, received_ns: 7 })
        };
        let full = json!({"node-name": "data", "operation": "write", "reason": "No space left on device"});
        assert_eq!(failed("BLOCK_IO_ERROR", full.clone()).unwrap(), "write data: No space left on device");
        assert_eq!(failed("BLOCK_IO_ERROR", Value::Null).unwrap(), "use a disk: no reason given");
        assert_eq!(failed("STOP", full), None);
    }

    #[test]
    fn only_the_guests_own_reset_is_one() {
        let is_reset = |name: &str, data| {
            is_guest_reset(&QmpEvent { name: name.into(), data, epoch_ns: None, received_ns: 7 })
        };
        let by_guest = json!({"guest": true, "reason": "guest-reset"});
        assert!(is_reset("RESET", by_guest.clone()) && is_reset("SHUTDOWN", by_guest.clone()));
        assert!(!is_reset("RESET", json!({"guest": false, "reason": "snapshot-load"})));
        assert!(!is_reset("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"})));
        assert!(!is_reset("STOP", by_guest));
    }

    #[test]
    fn the_hypervisors_stamp_is_put_on_the_benchs_clock_where_that_is_known() {
        let t_ns = |epoch_ns, clock: &HostClock| {
            let event = QmpEvent { name: "STOP".into(), data: Value::Null, epoch_ns, received_ns: 77 };
            translate(event, clock, &HostId::new("a"), &VmId::new("v")).t_ns
        };
        let clock = HostClock::of_another();
        assert_eq!(t_ns(Some(100), &clock), 77);
        let (asked_ns, answered_ns) = (50, 50);
        clock.learn(Exchange { asked_ns, answered_ns, monotonic_ns: 0, realtime_ns: 90, apart_ns: 0 });
        assert_eq!(t_ns(Some(100), &clock), 60);
        assert_eq!(t_ns(None, &clock), 77);
        assert_eq!(t_ns(Some(1_000), &clock), 77, "it cannot have happened after it was told");
    }
}
