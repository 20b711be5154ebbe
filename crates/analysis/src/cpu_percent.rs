//! How busy CPUs were with a VM before, during and after its migration.

use dunlin_record::{CpuPercent, CpuShares, EventKind, HostId, Strategy};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;
use crate::units::figure;

/// Over less than this a share says nothing: the guest's kernel counts in ticks of up to 10 ms.
const LEAST_NS: i64 = 20_000_000;

/// The shares of CPU time that the record tells.
pub(crate) fn cpu_percent(trial: &Trial, moments: &Moments) -> CpuPercent {
    let settle_ns = (trial.case.trials.settle_s * 1e9).max(0.0) as i64;
    let spans = Spans { moments, settled: moments.end.saturating_add(settle_ns) };
    let process =
        |host: &HostId, column| spans.sampled(&Samples::of(trial.vm_series(&format!("cpu-{host}")), column));
    CpuPercent {
        source: process(trial.source, "process_ns"),
        source_vcpus: process(trial.source, "vcpus_ns"),
        destination: process(trial.destination, "process_ns"),
        destination_vcpus: process(trial.destination, "vcpus_ns"),
        guest: guest_shares(trial, &spans),
    }
}

fn guest_shares(trial: &Trial, spans: &Spans<'_>) -> CpuShares {
    let shares = spans.asked(&guest(trial));
    match trial.case.strategy {
        // It booted anew in between, and counts from that on.
        Strategy::Cold(_) => CpuShares { during: None, ..shares },
        _ => shares,
    }
}

/// What the guest's CPUs had done each time it was asked: `(t_ns, busy_ns)` in the order of time.
fn guest(trial: &Trial) -> Vec<(i64, i64)> {
    let asked = trial.events().filter_map(|event| match event.kind {
        EventKind::GuestCpu { busy_ns, .. } => Some((event.t_ns, busy_ns)),
        _ => None,
    });
    asked.collect()
}

struct Spans<'a> {
    moments: &'a Moments,
    /// The end of the time to settle.
    settled: i64,
}

impl Spans<'_> {
    /// Of a counter that was read at a fixed cadence: over the part of each span that was sampled, as a process need
    /// not live through all of it.
    fn sampled(&self, counter: &Samples) -> CpuShares {
        let share = |from: i64, to: i64| {
            let (first, last) = counter.extent()?;
            let (from, to) = (from.max(first), to.min(last));
            share(counter.growth(from, to)?, to.saturating_sub(from))
        };
        CpuShares {
            before: share(self.moments.baseline_start, self.moments.command),
            during: share(self.moments.command, self.moments.end),
            after: share(self.moments.end, self.settled),
        }
    }

    /// Of a counter that was asked for a few times: between the answers that are nearest to each span's ends.
    fn asked(&self, points: &[(i64, i64)]) -> CpuShares {
        let (before, later) =
            points.split_at(points.partition_point(|point| point.0 <= self.moments.command));
        let after = &later[later.partition_point(|point| point.0 < self.moments.end)..];
        let share = |from: Option<&(i64, i64)>, to: Option<&(i64, i64)>| {
            let (&(from_ns, start), &(to_ns, end)) = (from?, to?);
            share(end.saturating_sub(start), to_ns.saturating_sub(from_ns))
        };
        CpuShares {
            before: share(before.first(), before.last()),
            during: share(before.last(), after.first()),
            after: share(after.first(), after.last()),
        }
    }
}

fn share(cpu_ns: i64, during_ns: i64) -> Option<f64> {
    let is_known = cpu_ns >= 0 && during_ns >= LEAST_NS;
    is_known.then(|| figure(cpu_ns as f64 / during_ns as f64 * 100.0)).flatten()
}

#[cfg(test)]
mod tests {
    use dunlin_record::{ABSENT, FileCompression, Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    const MS: i64 = 1_000_000;

    fn of(fixture: &Fixture) -> CpuPercent {
        fixture.outcome().cpu_percent.unwrap()
    }

    fn shares(before: f64, during: f64, after: f64) -> CpuShares {
        CpuShares { before: Some(before), during: Some(during), after: Some(after) }
    }

    #[test]
    fn the_hypervisors_shares_are_of_the_time_that_passed() {
        // 10 % of a core before the command, 150 % (half of it vCPUs) for 543 ms, nothing after.
        let rows = [
            [ns(-1500.0), 5 * MS, 5 * MS],
            [ns(0.0), 155 * MS, 105 * MS],
            [ns(543.0), 155 * MS + 814_500_000, 105 * MS + 407_250_000],
            [ns(1543.0), 155 * MS + 814_500_000, ABSENT],
        ];
        let fixture =
            Fixture::pre_copy().with_series("vm0-cpu-host-a", Series::from_rows(shapes::PROCESS_CPU, &rows));
        let cpu = of(&fixture);
        assert_eq!(cpu.source, shares(10.0, 150.0, 0.0));
        assert_eq!((cpu.source_vcpus.during, cpu.source_vcpus.after), (Some(75.0), None));
        assert_eq!((cpu.destination, cpu.guest), (CpuShares::default(), CpuShares::default()));
    }

    #[test]
    fn a_process_that_does_not_live_through_a_span_is_judged_by_its_share_of_it() {
        let rows = [[ns(-400.0), 0, 0], [ns(0.0), 200 * MS, 0], [ns(100.0), 300 * MS, 0]];
        let fixture =
            Fixture::pre_copy().with_series("vm0-cpu-host-b", Series::from_rows(shapes::PROCESS_CPU, &rows));
        let expected = CpuShares { before: Some(50.0), during: Some(100.0), after: None };
        assert_eq!(of(&fixture).destination, expected);
    }

    #[test]
    fn the_guests_share_is_taken_between_the_answers_around_each_span() {
        let asked =
            |at_ms: f64, busy_ms: i64| (at_ms, EventKind::GuestCpu { busy_ns: busy_ms * MS, idle_ns: 0 });
        let mut fixture = Fixture::pre_copy();
        for (at_ms, kind) in [asked(-1010.0, 0), asked(-10.0, 500), asked(590.0, 740), asked(1590.0, 1740)] {
            fixture = fixture.with(at_ms, "", kind);
        }
        assert_eq!(of(&fixture).guest, shares(50.0, 40.0, 100.0));
        let silent = fixture
            .without(|kind| matches!(kind, EventKind::GuestCpu { busy_ns, .. } if *busy_ns > 500 * MS));
        let expected = CpuShares { before: Some(50.0), ..CpuShares::default() };
        assert_eq!(of(&silent).guest, expected, "it did not answer after the move");
    }

    #[test]
    fn what_a_guest_counted_in_one_boot_is_not_subtracted_from_what_it_did_in_the_next() {
        let asked =
            |at_ms: f64, busy_ms: i64| (at_ms, EventKind::GuestCpu { busy_ns: busy_ms * MS, idle_ns: 0 });
        let mut cold = Fixture::cold(FileCompression::None);
        for (at_ms, kind) in
            [asked(-1010.0, 0), asked(-10.0, 500), asked(130_010.0, 9000), asked(131_010.0, 9250)]
        {
            cold = cold.with(at_ms, "", kind);
        }
        let expected = CpuShares { before: Some(50.0), during: None, after: Some(25.0) };
        assert_eq!(of(&cold).guest, expected);
    }

    #[test]
    fn a_record_without_such_counters_has_no_shares() {
        assert_eq!(Fixture::pre_copy().outcome().cpu_percent, None);
    }
}
