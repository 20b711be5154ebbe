//! Whether a probe is fit to tell an outage: only if it was answered well while nothing happened yet.

use dunlin_record::EventKind;

use crate::moments::Moments;
use crate::probe_log::{ProbeLog, Request};
use crate::trial::Trial;
use crate::units::{figure, quantile};

/// A probe that loses a greater share of its baseline shows gaps of its own.
const MOST_UNANSWERED: f64 = 0.02;
/// An answer that takes longer is as good as none: what it says of the service is old when it comes.
const ANSWER_LIMIT_NS: i64 = 1_000_000_000;
/// A probe that sends less than this share of the rate asked for did not hold it.
const HELD_SHARE: f64 = 0.95;

const SECOND_NS: f64 = 1e9;

/// How a probe fared before the migration.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Fitness {
    /// The rate it really held: requests that left a second.
    pub(crate) sent_per_s: Option<f64>,
    /// Of its requests in the baseline, those without an answer in time, in percent.
    pub(crate) unanswered_percent: Option<f64>,
    /// Why it tells no outage; absent where it is fit to.
    pub(crate) unfit: Option<String>,
}

impl Fitness {
    pub(crate) fn of(trial: &Trial, log: &ProbeLog, moments: &Moments) -> Self {
        let sent_per_s = sent_per_s(log, moments.baseline_start, moments.window_end);
        let baseline = baseline(log, moments);
        let unanswered = baseline.iter().filter(|request| !is_answered_in_time(request)).count();
        let share = unanswered as f64 / baseline.len() as f64;
        let unfit = if share > MOST_UNANSWERED {
            Some(format!(
                "{:.1} % of its {} requests before the migration had no answer within 1 s{}",
                share * 100.0,
                baseline.len(),
                not_held(trial, log, sent_per_s).unwrap_or_default()
            ))
        } else {
            None
        };
        Self { sent_per_s, unanswered_percent: figure(share * 100.0), unfit }
    }
}

fn is_answered_in_time(request: &Request) -> bool {
    request.round_trip_ns().is_some_and(|trip_ns| trip_ns <= ANSWER_LIMIT_NS)
}

/// The requests of the baseline, but for those that the stop of the VM may have overtaken.
fn baseline<'a>(log: &'a ProbeLog, moments: &Moments) -> Vec<&'a Request> {
    let from_ns = moments.baseline_start;
    let until_ns = moments.stopped.unwrap_or(moments.command).min(moments.command);
    let sent_in = |until_ns: i64| {
        log.requests.iter().filter(move |request| (from_ns..until_ns).contains(&request.sent_ns))
    };
    let mut trips_ns: Vec<i64> =
        sent_in(until_ns).filter(|one| is_answered_in_time(one)).filter_map(Request::round_trip_ns).collect();
    trips_ns.sort_unstable();
    let under_way_ns = log.interval_ns.saturating_add(quantile(&trips_ns, 0.99).unwrap_or(0));
    let half_ns = until_ns.saturating_sub(from_ns) / 2;
    sent_in(until_ns.saturating_sub(under_way_ns.min(half_ns))).collect()
}

fn sent_per_s(log: &ProbeLog, from_ns: i64, to_ns: i64) -> Option<f64> {
    let sent_ns =
        || log.requests.iter().map(|request| request.sent_ns).filter(|t_ns| (from_ns..=to_ns).contains(t_ns));
    let span_ns = sent_ns().max()?.saturating_sub(sent_ns().min()?);
    (span_ns > 0).then(|| (sent_ns().count() - 1) as f64 / (span_ns as f64 / SECOND_NS)).and_then(figure)
}

/// What is to be added where a probe sent less than it was to.
fn not_held(trial: &Trial, log: &ProbeLog, sent_per_s: Option<f64>) -> Option<String> {
    let keeps_pace = trial.pick(|kind| match kind {
        EventKind::ProbeStarted { probe, interval_ms, .. } if *probe == log.name => {
            Some(interval_ms.is_some())
        }
        _ => None,
    });
    let asked_per_s = 1000.0 / log.interval_ms;
    let sent_per_s = sent_per_s.filter(|sent| *sent < asked_per_s * HELD_SHARE)?;
    keeps_pace
        .last()
        .unwrap_or(true)
        .then(|| format!("; asked to send {asked_per_s:.0} a second, it sent {sent_per_s:.0}"))
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Flag, Outcome, Series, shapes};

    use crate::fixture::{Fixture, ns};

    /// Answers after 0.2 ms, but for a share of the requests (of each hundred the first) before the migration.
    fn losing(of_hundred: i64) -> Fixture {
        Fixture::pre_copy().with_probe("icmp", move |at| {
            let lost = at < 0.0 && (at as i64).rem_euclid(100) < of_hundred;
            (!lost && !(500.0..540.0).contains(&at)).then_some(at + 0.2)
        })
    }

    fn assert_unfit(outcome: &Outcome, because: &str) {
        assert_eq!(outcome.downtime_ms.icmp, None);
        assert_eq!((outcome.downtime_at_most_ms.icmp, outcome.downtime_at_least_ms.icmp), (None, None));
        assert_eq!(outcome.downtime_error_ms.icmp, None);
        assert_eq!(outcome.migration_time_ms, None);
        assert!(outcome.flags.contains(&Flag::ProbeUnfit), "{:?}", outcome.flags);
        let probe = &outcome.probes["icmp"];
        assert_eq!(probe.outages, []);
        assert!(probe.unfit.as_ref().unwrap().contains(because), "{:?}", probe.unfit);
    }

    #[test]
    fn a_probe_that_loses_more_than_2_percent_of_its_baseline_has_no_downtime() {
        let good = losing(1).outcome();
        assert_eq!(good.downtime_ms.icmp, Some(40.0));
        assert_eq!(good.probes["icmp"].unfit, None);
        let bad = losing(3).outcome();
        assert_unfit(&bad, "3.0 % of its 999 requests before the migration had no answer within 1 s");
        assert_eq!(bad.probes["icmp"].baseline_unanswered_percent, Some(3.003));
    }

    #[test]
    fn a_dead_probe_has_no_downtime_whatever_answers_come_in_the_window() {
        let outcome = Fixture::pre_copy()
            .with_probe("icmp", |at| ((200.0..300.0).contains(&at) || at > 700.0).then_some(at + 0.2))
            .outcome();
        assert_unfit(&outcome, "100.0 % of its");
    }

    #[test]
    fn answers_that_come_seconds_late_are_as_good_as_none() {
        let outcome = Fixture::pre_copy().with_probe("icmp", |at| Some(at + 2500.0)).outcome();
        assert_unfit(&outcome, "100.0 % of its");
    }

    #[test]
    fn what_a_stop_before_the_command_overtook_was_not_lost_by_the_probe() {
        // 30 of 1000 requests are under way when the VM is stopped.
        let outcome = Fixture::suspend()
            .with_probe("icmp", |at| (!(-35.0..330.0).contains(&at)).then_some(at + 30.0))
            .outcome();
        assert_eq!(outcome.probes["icmp"].unfit, None);
    }

    #[test]
    fn the_rate_that_a_probe_held_is_told() {
        assert_eq!(Fixture::pre_copy().outcome().probes["icmp"].sent_per_s, Some(1000.0));
        // Every other request left, and none was answered.
        let sent: Vec<_> = (-500..=800)
            .map(|at| [at, ns(f64::from(at as i32) * 2.0), ns(f64::from(at as i32) * 2.0)])
            .collect();
        let slow = Fixture::pre_copy()
            .with_probe("icmp", |_| None)
            .with_series("vm0-probe-icmp-sent", Series::from_rows(shapes::PROBE_SENT, &sent))
            .outcome();
        assert_eq!(slow.probes["icmp"].sent_per_s, Some(500.0));
        assert_unfit(&slow, "; asked to send 1000 a second, it sent 500");
    }
}
