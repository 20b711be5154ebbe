//! QEMU's trace point `vmstate_downtime_checkpoint` (>= 8.2), read from its standard error.
//!
//! With `-msg timestamp=on` the log backend writes `PID@SECONDS.MICROSECONDS:vmstate_downtime_checkpoint NAME`.

use dunlin_clock::HostClock;
use dunlin_record::{Event, EventKind, HostId, Step, VmId};

/// The trace point's name, as `-trace` wants it.
pub(super) const TRACE_POINT: &str = "vmstate_downtime_checkpoint";

/// The checkpoints in a QEMU's standard error, on the bench's clock; other lines are passed over. None where nothing is known
/// of the host's clock.
pub(super) fn parse_checkpoints(text: &str, clock: &HostClock, host: &HostId, vm: &VmId) -> Vec<Event> {
    text.lines()
        .filter_map(parse_line)
        .filter_map(|(epoch_ns, name)| {
            Some(Event {
                t_ns: clock.realtime(epoch_ns)?.t_ns,
                host: Some(host.clone()),
                vm: Some(vm.clone()),
                kind: EventKind::Checkpoint { name: name.to_owned(), step: step_of(name) },
            })
        })
        .collect()
}

/// What a checkpoint means to all (QEMU, `migration/savevm.c`, `qemu_savevm_state_complete_precopy`).
fn step_of(name: &str) -> Option<Step> {
    (name == "src-non-iterable-saved").then_some(Step::LastByteSent)
}

fn parse_line(line: &str) -> Option<(i64, &str)> {
    let (stamp, rest) = line.split_once(':')?;
    let name = rest.strip_prefix(TRACE_POINT)?.trim();
    let (seconds, microseconds) = stamp.split_once('@')?.1.split_once('.')?;
    let seconds: i64 = seconds.parse().ok()?;
    let microseconds: i64 = microseconds.parse().ok().filter(|_| microseconds.len() == 6)?;
    Some((seconds.checked_mul(1_000_000_000)?.checked_add(microseconds * 1_000)?, name))
}

#[cfg(test)]
mod tests {
    use dunlin_clock::Exchange;

    use super::*;

    #[test]
    fn checkpoints_are_found_among_other_lines() {
        let text = "2026-11-21T01:05:13.1Z qemu-system-x86_64: warning: x\n\
                    9609@1795223113.090419:vmstate_downtime_checkpoint src-iterable-saved\n\
                    9609@1795223113.09:vmstate_downtime_checkpoint cut-stamp\n\
                    9609@1795223113.134600:vmstate_downtime_checkpoint src-non-iterable-saved\n";
        let clock = HostClock::of_another();
        let parse = || parse_checkpoints(text, &clock, &HostId::new("host-a"), &VmId::new("vm0"));
        assert_eq!(parse(), [], "nothing is known of its clock");
        let realtime_ns = 1_795_223_113_090_419_000;
        let at_ns = 90_419_000;
        clock.learn(Exchange {
            asked_ns: at_ns,
            answered_ns: at_ns,
            monotonic_ns: 0,
            realtime_ns,
            apart_ns: 0,
        });
        let found: Vec<_> = parse().into_iter().map(|event| (event.t_ns, event.kind)).collect();
        assert_eq!(
            found,
            [
                (90_419_000, EventKind::Checkpoint { name: "src-iterable-saved".into(), step: None }),
                (
                    134_600_000,
                    EventKind::Checkpoint {
                        name: "src-non-iterable-saved".into(),
                        step: Some(Step::LastByteSent)
                    }
                ),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = parse_checkpoints(&text, &HostClock::own(), &HostId::new("a"), &VmId::new("v"));
        }
    }
}
