//! How the guest's clocks fared: a hypervisor that stops a VM may stop its clocks with it, and inside nothing shows it.

use dunlin_record::{Event, EventKind, GuestClock, Strategy};

use crate::moments::Moments;
use crate::trial::Trial;
use crate::units::ns_in_ms;

/// Above this share of the time watched a clock is behind: `compare`, too, takes no smaller change for worth telling.
const BEHIND_SHARE: f64 = 0.05;

/// A reading of the guest's clocks, all in ns.
#[derive(Debug, Clone, Copy)]
struct Reading {
    bench: i64,
    monotonic: i64,
    boottime: i64,
    realtime: i64,
    error: i64,
}

impl Reading {
    fn of(event: &Event) -> Option<Self> {
        let EventKind::GuestClocks { monotonic_ns, boottime_ns, realtime_ns, error_ns } = event.kind else {
            return None;
        };
        Some(Self {
            bench: event.t_ns,
            monotonic: monotonic_ns,
            boottime: boottime_ns,
            realtime: realtime_ns,
            error: error_ns.max(0),
        })
    }
}

/// From the last reading before the migration (before a stop that came before the command) to the last of all. Absent where the
/// guest booted anew in between: the clocks of one boot say nothing of another's.
pub(crate) fn guest_clock(trial: &Trial, moments: &Moments) -> Option<GuestClock> {
    if matches!(trial.case.strategy, Strategy::Cold(_)) {
        return None;
    }
    let begin = moments.stopped.unwrap_or(moments.command).min(moments.command);
    let before = trial.events().filter_map(Reading::of).rfind(|read| read.bench <= begin)?;
    let after = trial.events().filter_map(Reading::of).rfind(|read| read.bench >= moments.end)?;
    let elapsed = after.bench.saturating_sub(before.bench);
    let behind = |clock: fn(&Reading) -> i64| {
        ns_in_ms(elapsed.saturating_sub(clock(&after).saturating_sub(clock(&before))))
    };
    Some(GuestClock {
        elapsed_ms: ns_in_ms(elapsed),
        monotonic_behind_ms: behind(|read| read.monotonic),
        boottime_behind_ms: behind(|read| read.boottime),
        realtime_behind_ms: behind(|read| read.realtime),
        error_ms: ns_in_ms(before.error.saturating_add(after.error)),
    })
}

/// Whether rates by the guest's own clock are too high by more than matters.
pub(crate) fn is_behind(clock: &GuestClock) -> bool {
    clock.monotonic_behind_ms - clock.error_ms > clock.elapsed_ms * BEHIND_SHARE
}

#[cfg(test)]
mod tests {
    use dunlin_record::{FileCompression, Flag, Transfer, Workload};

    use super::*;
    use crate::fixture::Fixture;

    /// The guest booted 100 s before the command; its monotonic clock is behind by so much since then.
    fn read(behind_ms: f64) -> impl Fn(f64) -> EventKind {
        move |at_ms| {
            let since_boot = |behind_ms: f64| ((100_000.0 + at_ms - behind_ms) * 1e6) as i64;
            EventKind::GuestClocks {
                monotonic_ns: since_boot(behind_ms),
                boottime_ns: since_boot(behind_ms),
                realtime_ns: since_boot(0.0) + 1_700_000_000_000_000_000,
                error_ns: 250_000,
            }
        }
    }

    fn with(behind_ms: f64) -> Fixture {
        Fixture::pre_copy().with(-900.0, "", read(7.0)(-900.0)).with(-10.0, "", read(0.0)(-10.0)).with(
            1543.0,
            "",
            read(behind_ms)(1543.0),
        )
    }

    #[test]
    fn a_guest_whose_clock_stood_still_is_told_by_how_much() {
        let working = with(500.0).with_case(|case| case.workload = Some(Workload::Clock));
        let outcome = working.outcome();
        let clock = GuestClock {
            elapsed_ms: 1553.0,
            monotonic_behind_ms: 500.0,
            boottime_behind_ms: 500.0,
            realtime_behind_ms: 0.0,
            error_ms: 0.5,
        };
        assert_eq!(outcome.guest_clock, Some(clock));
        assert_eq!(outcome.flags, [Flag::GuestClockBehind]);
        assert_eq!(with(500.0).outcome().flags, [], "there is no rate that suffers by it");
    }

    #[test]
    fn a_guest_that_booted_anew_has_other_clocks_and_not_those_of_before_behind() {
        let booted = |at_ms: f64, since_boot_ms: f64| {
            let since_boot = (since_boot_ms * 1e6) as i64;
            let kind = EventKind::GuestClocks {
                monotonic_ns: since_boot,
                boottime_ns: since_boot,
                realtime_ns: (at_ms * 1e6) as i64,
                error_ns: 250_000,
            };
            (at_ms, kind)
        };
        let cold = [booted(-10.0, 100_000.0), booted(132_000.0, 20_000.0)]
            .into_iter()
            .fold(Fixture::cold(FileCompression::None), |fixture, (at_ms, kind)| {
                fixture.with(at_ms, "", kind)
            })
            .with_case(|case| case.workload = Some(Workload::Clock));
        let outcome = cold.outcome();
        assert_eq!((outcome.guest_clock, outcome.flags), (None, vec![]));
        // One that was only saved goes on with the clocks it had: that they stood still is told.
        let offline = cold.with_case(|case| case.strategy = Strategy::Offline(Transfer::default()));
        assert_eq!(offline.outcome().flags, [Flag::GuestClockBehind]);
    }

    #[test]
    fn what_changes_no_rate_by_5_percent_is_told_and_not_flagged() {
        let outcome = with(78.0).outcome();
        assert_eq!(outcome.guest_clock.unwrap().monotonic_behind_ms, 78.0);
        assert_eq!(outcome.flags, []);
        assert_eq!(with(-3.0).outcome().guest_clock.unwrap().monotonic_behind_ms, -3.0);
    }

    #[test]
    fn without_a_reading_on_either_side_nothing_is_known() {
        assert_eq!(Fixture::pre_copy().outcome().guest_clock, None);
        let before_only = Fixture::pre_copy().with(-10.0, "", read(0.0)(-10.0));
        assert_eq!(before_only.outcome().guest_clock, None);
        // Asked when the VM had been stopped for its move, and could not have answered.
        let stopped = Fixture::suspend().with(-2.0, "", read(0.0)(-2.0)).with(1543.0, "", read(9.0)(1543.0));
        assert_eq!(stopped.outcome().guest_clock, None);
    }
}
