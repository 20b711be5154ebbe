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
    let starting_ns = until.map_or(0, |until| until.saturating_sub(first));
    let mut shares = TimeShares { starting_ns, ..TimeShares::default() };
    for (trial, moments) in vms.iter().filter_map(|trial| Some((trial, Moments::of(trial)?))) {
        shares += TimeShares {
            migrating_ns: moments.end.saturating_sub(moments.command),
            observing_ns: observing_ns(trial, &moments, last),
            ..TimeShares::default()
        };
    }
    shares.other_ns = last.saturating_sub(first).saturating_sub(shares.total_ns()).max(0);
    shares
}

/// How long a VM was left alone: from where it was prepared to the command, and from its migration's end to where it
/// was asked again.
fn observing_ns(trial: &Trial, moments: &Moments, last: i64) -> i64 {
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
    moments.command.saturating_sub(from).saturating_add(to.saturating_sub(moments.end))
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
