//! Each probe's account of a migration, and the downtimes the probes saw.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_record::{DowntimeMs, EventKind, FailureCounts, Flag, Outage, ProbeOutcome};

use crate::answers::Passages;
use crate::fitness::Fitness;
use crate::moments::Moments;
use crate::outages::{Gap, Outages};
use crate::probe_log::{ProbeLog, Request};
use crate::responses::response_phases;
use crate::round_trips::{baseline_round_trips, usual_trip_ns};
use crate::tcp_streams::connections;
use crate::trial::Trial;
use crate::units::{figure, ms_between, ns_in_ms, quantile};

/// Above this share of late requests, a prober is late.
const LATE_SHARE: f64 = 0.01;

/// What all probes of a VM say.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    pub(crate) probes: BTreeMap<String, ProbeOutcome>,
    /// The longest outage of each probe; `reported` and `paused` stay absent.
    pub(crate) downtime_ms: DowntimeMs,
    pub(crate) downtime_error_ms: DowntimeMs,
    pub(crate) downtime_at_most_ms: DowntimeMs,
    pub(crate) downtime_at_least_ms: DowntimeMs,
    /// When, after the command, an outage of a probe began that went on when the probe ended.
    pub(crate) unfinished_start_ms: BTreeMap<String, f64>,
    pub(crate) flags: BTreeSet<Flag>,
}

/// A probe's longest outage, in ms.
enum Downtime {
    /// So long, give or take an error.
    Seen { length_ms: f64, error_ms: Option<f64> },
    /// No longer than what was usual, in which it may hide.
    AtMost(f64),
    /// It went on when the probe ended.
    AtLeast(f64),
}

/// What the probes of a VM say of its migration.
pub(crate) fn observe(trial: &Trial, moments: &Moments) -> Observations {
    let mut all = Observations::default();
    for log in ProbeLog::of_vm(trial) {
        let outages = Outages::find(&log, moments);
        let fitness = Fitness::of(trial, &log, moments);
        let outcome = account(trial, moments, &log, &outages, fitness);
        if is_late(&log, moments) {
            all.flags.insert(Flag::ProberLate);
        }
        if outcome.unfit.is_some() {
            all.flags.insert(Flag::ProbeUnfit);
        } else if let Some(pick) = downtime_of(&log.name) {
            match downtime(moments, &log, &outages, outcome.error_ms) {
                Some(Downtime::Seen { length_ms, error_ms }) => {
                    *pick(&mut all.downtime_ms) = Some(length_ms);
                    *pick(&mut all.downtime_error_ms) = error_ms;
                }
                Some(Downtime::AtMost(bound_ms)) => {
                    *pick(&mut all.downtime_at_most_ms) = Some(bound_ms);
                    all.flags.insert(Flag::OutageWithinNoise);
                }
                Some(Downtime::AtLeast(bound_ms)) => {
                    *pick(&mut all.downtime_at_least_ms) = Some(bound_ms);
                    all.flags.insert(Flag::OutageUnfinished);
                }
                None => {}
            }
        }
        if let Some(gap) = outages.gaps.iter().find(|gap| gap.is_unfinished) {
            let start_ms = ms_between(moments.command, gap.start_ns);
            all.unfinished_start_ms.insert(log.name.clone(), start_ms);
        }
        all.probes.insert(log.name, outcome);
    }
    all
}

/// Which downtime a probe tells; none where it does not observe the VM's service.
pub(crate) fn downtime_of(probe: &str) -> Option<fn(&mut DowntimeMs) -> &mut Option<f64>> {
    Some(match probe {
        "icmp" => |downtimes| &mut downtimes.icmp,
        "udp" => |downtimes| &mut downtimes.udp,
        "tcp_rr" => |downtimes| &mut downtimes.tcp,
        "http" => |downtimes| &mut downtimes.http,
        _ => return None,
    })
}

/// The longest outage; a bound where answers came in the window and no gap stands out, or one was open at the end. Absent
/// where nothing was ever answered, or the probe was over before the migration.
fn downtime(moments: &Moments, log: &ProbeLog, outages: &Outages, error_ms: Option<f64>) -> Option<Downtime> {
    Some(match outages.longest() {
        Some(gap) if gap.is_unfinished => Downtime::AtLeast(ns_in_ms(gap.missing_ns)),
        Some(gap) => Downtime::Seen { length_ms: ns_in_ms(gap.missing_ns), error_ms },
        None if !log.arrivals_ns.iter().any(|t_ns| is_in_window(*t_ns, moments)) => return None,
        // It is one of the gaps that there were, and shorter than the error nothing can be told.
        None => {
            let longest_ms = outages.longest_ns.map_or(0.0, ns_in_ms);
            Downtime::AtMost(longest_ms.max(error_ms.unwrap_or_else(|| ns_in_ms(log.interval_ns))))
        }
    })
}

fn account(
    trial: &Trial,
    moments: &Moments,
    log: &ProbeLog,
    outages: &Outages,
    fitness: Fitness,
) -> ProbeOutcome {
    let is_fit = fitness.unfit.is_none();
    let in_window: Vec<&Request> =
        log.requests.iter().filter(|request| is_in_window(request.sent_ns, moments)).collect();
    let baseline_trips = baseline_round_trips(log, moments);
    let usual_trip_ns = usual_trip_ns(log, &baseline_trips);
    let is_late = |request: &Request| request.round_trip_ns().is_some_and(|trip| trip > usual_trip_ns);
    let mut lateness: Vec<i64> = in_window.iter().filter_map(|request| request.lateness_ns).collect();
    lateness.sort_unstable();
    let outage = |gap: &Gap| Outage {
        start_ms: ms_between(moments.command, gap.start_ns),
        length_ms: ns_in_ms(gap.missing_ns),
    };
    ProbeOutcome {
        sent: in_window.len() as u64,
        lost: in_window.iter().filter(|request| request.answers == 0).count() as u64,
        late: in_window.iter().filter(|request| is_late(request)).count() as u64,
        duplicated: in_window.iter().map(|request| request.answers.saturating_sub(1)).sum(),
        interval_ms: log.interval_ms,
        error_ms: error_ms(trial, log, &baseline_trips).filter(|_| is_fit),
        baseline_gap_ms: outages.baseline_ns.map(ns_in_ms),
        send_lateness_p99_ms: quantile(&lateness, 0.99).map(ns_in_ms),
        cpu_percent: cpu_percent(trial, &log.name),
        answered_by: Passages::of(trial, &log.name).map(|passages| passages.count(in_window.iter().copied())),
        outages: outages.gaps.iter().filter(|_| is_fit).map(outage).collect(),
        response_ms: Some(response_phases(log, moments)),
        failures: log.failures.as_ref().map(|failures| {
            let mut counts = FailureCounts::default();
            let in_window = failures.iter().filter(|(t_ns, _)| is_in_window(*t_ns, moments));
            in_window.for_each(|(_, failure)| counts.add(*failure));
            counts
        }),
        connections: connections(trial, &log.name),
        sent_per_s: fitness.sent_per_s,
        baseline_unanswered_percent: fitness.unanswered_percent,
        unfit: fitness.unfit,
    }
}

fn is_in_window(t_ns: i64, moments: &Moments) -> bool {
    (moments.command..=moments.window_end).contains(&t_ns)
}

/// By how much an outage may be off: one interval, the jitter of the round trips before the migration and the error of
/// the clock's mapping. Absent where nothing was answered before the migration.
fn error_ms(trial: &Trial, log: &ProbeLog, baseline_trips: &[i64]) -> Option<f64> {
    let median = quantile(baseline_trips, 0.5)?;
    let mut jitter: Vec<i64> =
        baseline_trips.iter().map(|trip| trip.saturating_sub(median).saturating_abs()).collect();
    jitter.sort_unstable();
    let clock_error_ns = trial.pick(|kind| match kind {
        EventKind::ClockMapped { error_ns, .. } => Some(*error_ns),
        _ => None,
    });
    // No mapping was recorded where no stamp needed one.
    let clock_error_ns = clock_error_ns.max().unwrap_or(0).max(0);
    let jitter_ns = quantile(&jitter, 0.99)?;
    Some(ns_in_ms(log.interval_ns.saturating_add(jitter_ns).saturating_add(clock_error_ns)))
}

/// Whether too many of the window's requests left later than one interval after they were due, or never.
fn is_late(log: &ProbeLog, moments: &Moments) -> bool {
    let sent = log.requests.iter().filter(|request| is_in_window(request.sent_ns, moments));
    let unsent = log.unsent_due_ns.iter().filter(|due_ns| is_in_window(**due_ns, moments)).count();
    let (mut late, mut all) = (unsent, unsent);
    for request in sent {
        all += 1;
        late += usize::from(request.lateness_ns.is_some_and(|lateness| lateness > log.interval_ns));
    }
    late as f64 > all as f64 * LATE_SHARE
}

fn cpu_percent(trial: &Trial, name: &str) -> Option<f64> {
    let costs = trial.pick(|kind| match kind {
        EventKind::ProbeEnded { probe, cpu_ns, wall_ns, .. } if probe == name => Some((*cpu_ns, *wall_ns)),
        _ => None,
    });
    let (cpu_ns, wall_ns) = costs.last().filter(|(cpu_ns, wall_ns)| *cpu_ns >= 0 && *wall_ns > 0)?;
    figure(cpu_ns as f64 / wall_ns as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use dunlin_record::{ABSENT, HttpProbe, Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns, probe_ended};

    fn with_sent(sent: impl Fn(i64) -> i64) -> Fixture {
        let rows: Vec<_> = (-1000..=1600).map(|at| [at + 1000, ns(at as f64), sent(at)]).collect();
        Fixture::pre_copy().with_series("vm0-probe-icmp-sent", Series::from_rows(shapes::PROBE_SENT, &rows))
    }

    #[test]
    fn requests_of_the_window_are_counted() {
        // The window is 0..=1543, but requests leave 0.01 after they are due.
        let probe = &Fixture::pre_copy().outcome().probes["icmp"];
        assert_eq!((probe.sent, probe.lost, probe.late, probe.duplicated), (1543, 40, 0, 0));
        let held = Fixture::pre_copy()
            .with_probe("icmp", |at| Some(if (500.0..540.0).contains(&at) { 540.2 } else { at + 0.2 }));
        let probe = &held.outcome().probes["icmp"];
        assert_eq!((probe.sent, probe.lost, probe.late), (1543, 0, 40));
    }

    #[test]
    fn an_answer_is_late_only_if_it_is_slower_than_all_before_the_migration() {
        let slow_before = Fixture::pre_copy().with_probe("icmp", |at| {
            Some(
                at + if at == -500.0 {
                    8.2
                } else if (500.0..540.0).contains(&at) {
                    540.2 - at
                } else {
                    0.2
                },
            )
        });
        // Those sent at 500 to 531 waited 9.2 and more; the one at 532 waited 8.2, no more than that at -500.
        assert_eq!(slow_before.outcome().probes["icmp"].late, 32);
    }

    #[test]
    fn an_answer_that_comes_twice_is_counted_once_as_duplicated() {
        let answers = [[1010, ns(10.2)], [1010, ns(10.3)], [1011, ns(11.2)]];
        let twice = Fixture::pre_copy()
            .with_series("vm0-probe-icmp-answers", Series::from_rows(shapes::PROBE_ANSWERS, &answers));
        assert_eq!(twice.outcome().probes["icmp"].duplicated, 1);
    }

    #[test]
    fn the_downtime_is_the_longest_outage_with_its_error() {
        let outcome =
            Fixture::pre_copy().with_probe("udp", |at| (!(300.0..302.0).contains(&at)).then_some(at + 0.4));
        let outcome = outcome
            .with_case(|case| case.probes.udp = Some(dunlin_record::Probe { interval_ms: 1.0 }))
            .outcome();
        assert_eq!(outcome.downtime_ms.icmp, Some(40.0));
        assert_eq!(outcome.downtime_ms.udp, Some(2.0));
        // One interval, no jitter, 2 µs of clock mapping.
        assert_eq!(outcome.downtime_error_ms.icmp, Some(1.002));
        assert_eq!(outcome.probes["icmp"].outages, [Outage { start_ms: 499.2, length_ms: 40.0 }]);
        assert_eq!(outcome.probes["icmp"].baseline_gap_ms, Some(0.0));
        assert_eq!(outcome.flags, []);
    }

    #[test]
    fn the_jitter_before_the_migration_adds_to_the_error() {
        // One in ten is 0.3 later: more than 1 % of the baseline.
        let jittery = Fixture::pre_copy()
            .with_probe("icmp", |at| Some(at + 0.2 + if at % 10.0 == 0.0 { 0.3 } else { 0.0 }));
        assert_eq!(jittery.outcome().probes["icmp"].error_ms, Some(1.302));
    }

    #[test]
    fn what_came_before_the_baseline_was_warming_up_and_is_not_usual() {
        let slow_start = |baseline_s| {
            let fixture = Fixture::pre_copy()
                .with_probe("icmp", |at| (!(-900.0..-850.0).contains(&at)).then_some(at + 0.2))
                .with_case(|case| case.trials.baseline_s = baseline_s);
            fixture.outcome().probes["icmp"].baseline_gap_ms
        };
        assert_eq!(slow_start(1.0), Some(50.0));
        assert_eq!(slow_start(0.5), Some(0.0));
    }

    #[test]
    fn an_outage_within_the_noise_is_a_bound_and_no_value() {
        // A hiccup of 40 ms before the migration, and one in it.
        let held = |at: f64| match at {
            -540.0..-500.0 => -499.8,
            500.0..540.0 => 540.2,
            _ => at + 0.2,
        };
        let outcome = Fixture::pre_copy().with_probe("icmp", move |at| Some(held(at))).outcome();
        assert_eq!(outcome.downtime_ms.icmp, None);
        assert_eq!(outcome.probes["icmp"].baseline_gap_ms, Some(40.0));
        assert_eq!((outcome.downtime_at_most_ms.icmp, outcome.downtime_error_ms.icmp), (Some(40.0), None));
        assert_eq!(outcome.migration_time_ms, None);
        assert_eq!(outcome.flags, [Flag::OutageWithinNoise]);
    }

    #[test]
    fn a_bound_is_the_longest_gap_that_there_was_but_not_below_the_error() {
        // The hiccup before the migration says nothing of how long the service was gone in it.
        let at_most = |gone_until: f64| {
            let is_gone = move |at: f64| (-515.0..-500.0).contains(&at) || (500.0..gone_until).contains(&at);
            let answered = move |at: f64| (!is_gone(at)).then_some(at + 0.2);
            Fixture::pre_copy().with_probe("icmp", answered).outcome().downtime_at_most_ms.icmp
        };
        assert_eq!(at_most(510.0), Some(10.0));
        // One interval and 2 µs of clock mapping.
        assert_eq!(at_most(500.0), Some(1.002));
    }

    #[test]
    fn an_outage_without_end_is_a_bound_and_leaves_no_migration_time() {
        let outcome = Fixture::pre_copy().with_probe("icmp", |at| (at < 500.0).then_some(at + 0.2)).outcome();
        assert_eq!(outcome.downtime_ms.icmp, None);
        assert_eq!(
            (outcome.downtime_at_least_ms.icmp, outcome.downtime_error_ms.icmp),
            (Some(1099.81), None)
        );
        assert_eq!(outcome.flags, [Flag::OutageUnfinished]);
        assert_eq!(outcome.migration_time_ms, None, "it outlasted the migration");
    }

    #[test]
    fn a_probe_that_was_never_answered_or_never_asked_has_no_downtime() {
        let outcome = Fixture::pre_copy().with_probe("icmp", |_| None).outcome();
        assert_eq!(outcome.downtime_ms.icmp, None);
        assert_eq!(outcome.probes["icmp"].lost, 1543);
        assert_eq!(outcome.probes["icmp"].error_ms, None);
        let without = Fixture::pre_copy().without_series("vm0-probe-icmp-sent").outcome();
        assert_eq!(without.downtime_ms.icmp, None);
        assert!(without.probes.is_empty());
        let over_before = Fixture::pre_copy()
            .with_series(
                "vm0-probe-icmp-sent",
                Series::from_rows(shapes::PROBE_SENT, &[[0, ns(-9.0), ns(-9.0)]]),
            )
            .with_series(
                "vm0-probe-icmp-answers",
                Series::from_rows(shapes::PROBE_ANSWERS, &[[0, ns(-8.0)]]),
            );
        assert_eq!(over_before.outcome().downtime_ms.icmp, None);
    }

    #[test]
    fn a_service_that_suffered_is_told_even_where_the_migration_did_not_complete() {
        let outcome = Fixture::not_converged()
            .with_probe("icmp", |at| (!(700.0..750.0).contains(&at)).then_some(at + 0.2))
            .outcome();
        assert_eq!(outcome.downtime_ms.icmp, Some(50.0));
        // The window lasts until the trial's end, at 1600: the request due then left after it.
        assert_eq!(outcome.probes["icmp"].sent, 1600);
    }

    #[test]
    fn a_prober_is_late_where_more_than_one_in_a_hundred_left_an_interval_late_or_never() {
        let is_flagged = |fixture: Fixture| fixture.outcome().flags.contains(&Flag::ProberLate);
        let late_of_200 = |count: i64| {
            with_sent(move |at| {
                ns(at as f64) + if at.rem_euclid(200) < count { 1_000_001 } else { 1_000_000 }
            })
        };
        assert!(!is_flagged(late_of_200(1)));
        assert!(is_flagged(late_of_200(5)));
        assert!(is_flagged(with_sent(|at| if (500..540).contains(&at) { ABSENT } else { ns(at as f64) })));
        assert_eq!(late_of_200(5).outcome().probes["icmp"].send_lateness_p99_ms, Some(1.0));
    }

    #[test]
    fn requests_without_a_good_answer_are_counted_by_why() {
        // Of those sent at -10, 10 and 20 one was before the window; the one due at 30 was never sent.
        let failed = [[990, ns(-5.0), 1], [1010, ns(12.0), 1], [1020, ns(5020.0), 3], [1030, ns(30.0), 0]];
        let sent: Vec<_> = (-1000..=1600)
            .map(|at| [at + 1000, ns(at as f64), if at == 30 { ABSENT } else { ns(at as f64) }])
            .collect();
        let outcome = Fixture::pre_copy()
            .with_probe("http", |at| {
                (at < 0.0 || !(500.0..560.0).contains(&at) && at % 10.0 != 0.0).then_some(at + 0.2)
            })
            .with_case(|case| case.probes.http = Some(HttpProbe { interval_ms: 1.0, path: "/".into() }))
            .with_series("vm0-probe-http-sent", Series::from_rows(shapes::PROBE_SENT, &sent))
            .with_series("vm0-probe-http-failures", Series::from_rows(shapes::PROBE_FAILURES, &failed))
            .outcome();
        let counts = FailureCounts { not_sent: 1, broken: 1, wrong_answer: 0, timed_out: 1 };
        assert_eq!(outcome.probes["http"].failures, Some(counts));
        assert_eq!(outcome.probes["icmp"].failures, None, "it does not say");
        assert!(outcome.downtime_ms.http.is_some_and(|length_ms| (60.0..=62.0).contains(&length_ms)));
    }

    #[test]
    fn a_probe_tells_its_cost() {
        assert_eq!(Fixture::pre_copy().outcome().probes["icmp"].cpu_percent, None);
        let ended = Fixture::pre_copy().with(1600.0, "", probe_ended("icmp", 0, 0));
        assert_eq!(ended.outcome().probes["icmp"].cpu_percent, Some(2.5));
    }
}
