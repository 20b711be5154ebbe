//! Where a trial's time went: to the migration itself, to observing around it, to starting the guest, to the rest.

use std::ops::AddAssign;

use dunlin_record::{Event, EventKind, Moment, TrialRecord};

use crate::moments::Moments;
use crate::trial::Trial;

/// Where time went, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeShares {
    /// From the migrate commands to the migrations' ends.
    pub migrating_ns: i64,
    /// With the VM left alone, before and after, to see how it does.
    pub observing_ns: i64,
    /// Until the guests answered.
    pub starting_ns: i64,
    /// All else.
    pub other_ns: i64,
}

impl TimeShares {
    /// All of it.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        [self.observing_ns, self.starting_ns, self.other_ns]
            .into_iter()
            .fold(self.migrating_ns, i64::saturating_add)
    }
}

impl AddAssign for TimeShares {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more);
        add(&mut self.migrating_ns, other.migrating_ns);
        add(&mut self.observing_ns, other.observing_ns);
        add(&mut self.starting_ns, other.starting_ns);
        add(&mut self.other_ns, other.other_ns);
    }
}

/// Where a trial's time went, from its first event to its last; nothing where its record does not say what was asked.
#[must_use]
pub fn time_shares(record: &TrialRecord) -> TimeShares {
    let vms = Trial::each_vm(record).unwrap_or_default();
    let times = || record.events.iter().map(|event| event.t_ns);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return TimeShares::default() };
    if vms.is_empty() {
        return TimeShares::default();
    }
    let ready = record.events.iter().filter(|event| matches!(event.kind, EventKind::GuestReady { .. }));
    // A trial whose guest never came up did nothing else.
    let went_on = |event: &Event| {
        matches!(
            event.kind,
            EventKind::DestinationLaunched
                | EventKind::ProbeStarted { .. }
                | EventKind::VmFound { .. }
                | EventKind::MigrateCommand
        )
    };
    let until =
        ready.map(|event| event.t_ns).max().or_else(|| (!record.events.iter().any(went_on)).then_some(last));
    let starting = until.map(|until| (first, until));
    let moved: Vec<(&Trial, Moments)> =
        vms.iter().filter_map(|trial| Some((trial, Moments::of(trial)?))).collect();
    let migrating: Vec<Span> = moved.iter().map(|(_, moments)| (moments.command, moments.end)).collect();
    let observing: Vec<Span> =
        moved.iter().flat_map(|(trial, moments)| observed(trial, moments, last)).collect();
    split((first, last), &migrating, starting.as_slice(), &observing)
}

/// From one moment to another.
type Span = (i64, i64);

/// Gives each part of the whole to one share: of several VMs, one is observed while another is moved.
fn split((first, last): Span, migrating: &[Span], starting: &[Span], observing: &[Span]) -> TimeShares {
    let spans = || migrating.iter().chain(starting).chain(observing);
    let mut cuts: Vec<i64> = spans().flat_map(|(from, to)| [*from, *to]).chain([first, last]).collect();
    cuts.retain(|cut| (first..=last).contains(cut));
    cuts.sort_unstable();
    let mut shares = TimeShares::default();
    for (from, to) in cuts.iter().zip(cuts.iter().skip(1)) {
        let lies_in = |spans: &[Span]| spans.iter().any(|(start, end)| start <= from && to <= end);
        let share = if lies_in(migrating) {
            &mut shares.migrating_ns
        } else if lies_in(starting) {
            &mut shares.starting_ns
        } else if lies_in(observing) {
            &mut shares.observing_ns
        } else {
            &mut shares.other_ns
        };
        *share = share.saturating_add(to.saturating_sub(*from));
    }
    shares
}

/// When a VM was left alone: from where it was prepared to the command, and from its migration's end to where it was
/// asked again.
fn observed(trial: &Trial, moments: &Moments, last: i64) -> [Span; 2] {
    let prepared = |event: &&Event| {
        event.t_ns <= moments.command
            && matches!(
                event.kind,
                EventKind::DestinationListening | EventKind::ProbeStarted { .. } | EventKind::VmFound { .. }
            )
    };
    let asked = |event: &&Event| {
        event.t_ns >= moments.end
            && matches!(
                event.kind,
                EventKind::ProbeEnded { .. } | EventKind::MemoryHeld { moment: Moment::After, .. }
            )
    };
    let from = trial.events().rfind(prepared).map_or(moments.command, |event| event.t_ns);
    let to = trial.events().find(asked).map_or(last, |event| event.t_ns);
    [(from, moments.command), (moments.end, to)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, probe_ended};

    const MS: i64 = 1_000_000;

    fn shares(fixture: &Fixture) -> [i64; 4] {
        let TimeShares { migrating_ns, observing_ns, starting_ns, other_ns } = time_shares(&fixture.record);
        [migrating_ns, observing_ns, starting_ns, other_ns].map(|ns| ns / MS)
    }

    fn probed(fixture: Fixture) -> Fixture {
        let started =
            EventKind::ProbeStarted { probe: "icmp".into(), interval_ms: Some(1.0), realtime_priority: true };
        fixture.with(-1000.0, "", started)
    }

    #[test]
    fn a_trial_is_started_observed_moved_and_observed() {
        assert_eq!(shares(&probed(Fixture::pre_copy())), [543, 2100, 700, 300]);
        let asked = probed(Fixture::pre_copy()).with(1543.0, "", probe_ended("icmp", 0, 0));
        assert_eq!(shares(&asked), [543, 2000, 700, 400]);
        assert_eq!(shares(&probed(Fixture::not_converged())), [900, 1700, 700, 300]);
    }

    #[test]
    fn what_never_moved_is_start_and_rest() {
        let broken = Fixture::before().with(-1000.0, "", EventKind::PassagesEnded { drops: 0 });
        assert_eq!(shares(&broken), [0, 0, 700, 300]);
    }

    #[test]
    fn a_guest_that_never_came_up_was_being_started() {
        let mut broken = Fixture::before();
        broken.record.events.retain(|event| event.t_ns < crate::fixture::ns(-1600.0));
        let broken = broken.with(-1000.0, "", EventKind::PassagesEnded { drops: 0 });
        assert_eq!(shares(&broken), [0, 0, 1000, 0]);
    }

    #[test]
    fn a_vm_that_was_found_was_not_started() {
        let mut found = Fixture::pre_copy();
        found.record.events.retain(|event| {
            !matches!(
                event.kind,
                EventKind::GuestReady { .. }
                    | EventKind::DestinationLaunched
                    | EventKind::DestinationListening
            )
        });
        let kind = EventKind::VmFound { address: None, told_by: None, paused: false };
        assert_eq!(shares(&found.with(-1900.0, "host-a", kind)), [543, 3000, 0, 100]);
    }

    #[test]
    fn what_is_of_several_vms_at_once_is_counted_once() {
        // One is moved from 20 to 40 and the other from 60 to 80, both observed from 10 to 90.
        let (migrating, observing) = ([(20, 40), (60, 80)], [(10, 20), (40, 90), (10, 60), (80, 90)]);
        let shares = split((0, 100), &migrating, &[(0, 15)], &observing);
        let expected = TimeShares { migrating_ns: 40, observing_ns: 35, starting_ns: 15, other_ns: 10 };
        assert_eq!((shares, shares.total_ns()), (expected, 100));
    }

    #[test]
    fn shares_add_up() {
        let fixture = probed(Fixture::pre_copy());
        let mut sum = time_shares(&fixture.record);
        assert_eq!(sum.total_ns(), 3643 * MS);
        sum += sum;
        assert_eq!(sum.total_ns(), 2 * 3643 * MS);
    }

    #[test]
    fn a_record_without_its_beginning_has_no_shares() {
        let mut fixture = Fixture::pre_copy();
        fixture.record.events.remove(0);
        assert_eq!(time_shares(&fixture.record), TimeShares::default());
    }
}
