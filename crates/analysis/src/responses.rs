//! How long a probe's requests took to be answered: before, during and after the migration.

use std::collections::BTreeMap;
use std::ops::Range;

use dunlin_record::{ResponsePhases, Responses};

use crate::moments::Moments;
use crate::probe_log::{ProbeLog, Request};
use crate::units::{figure, ns_in_ms, quantile};

/// Bounds of the histogram from one power of ten to the next.
const BOUNDS_PER_DECADE: f64 = 10.0;

/// The response times of a probe's requests by the time in which they were sent.
pub(crate) fn response_phases(log: &ProbeLog, moments: &Moments) -> ResponsePhases {
    let until_ns = asked_until_ns(&log.requests);
    let sent_in = |time: Range<i64>| responses(&log.requests, time, until_ns);
    ResponsePhases {
        before: sent_in(moments.baseline_start..moments.command),
        during: sent_in(moments.command..moments.end),
        after: sent_in(moments.end..moments.window_end),
    }
}

/// `until_ns`: when nobody asked any more.
fn responses(requests: &[Request], time: Range<i64>, until_ns: i64) -> Responses {
    let sent: Vec<&Request> = requests.iter().filter(|request| time.contains(&request.sent_ns)).collect();
    let mut times_ns: Vec<i64> = sent.iter().filter_map(|request| request.round_trip_ns()).collect();
    times_ns.sort_unstable();
    let n = times_ns.len() as u64;
    let share = |share| quantile(&times_ns, share).map(ns_in_ms);
    let seconds = time.end.min(until_ns).saturating_sub(time.start) as f64 / 1e9;
    Responses {
        n,
        unanswered: sent.len() as u64 - n,
        answered_per_s: figure(n as f64 / seconds).filter(|_| !sent.is_empty()),
        p50: share(0.5),
        p90: share(0.9),
        p99: share(0.99),
        p99_9: share(0.999),
        max: times_ns.last().copied().map(ns_in_ms),
        histogram: histogram(&times_ns),
    }
}

/// When a probe would have asked next after its last request: where it ended sooner than a time, nobody asked from then on.
fn asked_until_ns(requests: &[Request]) -> i64 {
    let sent = || requests.iter().map(|request| request.sent_ns);
    let (Some(first), Some(last)) = (sent().min(), sent().max()) else { return i64::MAX };
    let gaps = i64::try_from(requests.len()).unwrap_or(i64::MAX) - 1;
    last.saturating_add(last.saturating_sub(first).checked_div(gaps).unwrap_or(0))
}

/// The bounds that a time falls under, each with its count. No time is below a microsecond: none is measured so well.
fn histogram(times_ns: &[i64]) -> Vec<(f64, u64)> {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for time_ns in times_ns {
        let ms = ns_in_ms(*time_ns).max(0.001);
        *counts.entry((ms.log10() * BOUNDS_PER_DECADE - 1e-9).ceil() as i32).or_default() += 1;
    }
    let bound_ms = |number: i32| to_four_digits(10_f64.powf(f64::from(number) / BOUNDS_PER_DECADE));
    counts.into_iter().map(|(number, count)| (bound_ms(number), count)).collect()
}

/// Bounds are shown and compared, never computed with any further.
fn to_four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    fn phases(answer: impl Fn(f64) -> Option<f64>) -> ResponsePhases {
        Fixture::pre_copy().with_probe("icmp", answer).outcome().probes["icmp"].response_ms.clone().unwrap()
    }

    #[test]
    fn a_request_belongs_to_the_time_in_which_it_was_sent_whenever_its_answer_came() {
        // Sent 0.01 after they were due; the service was gone from 500 to 700, the migration ended at 543.
        let seen = phases(|at| Some(if (500.0..700.0).contains(&at) { 700.2 } else { at + 0.2 }));
        assert_eq!((seen.before.n, seen.during.n, seen.after.n), (1000, 543, 1000));
        assert_eq!(
            (seen.before.max, seen.during.max, seen.after.max),
            (Some(0.19), Some(200.19), Some(157.19))
        );
        assert_eq!((seen.during.p50, seen.during.p90), (Some(0.19), Some(0.19)), "fewer than a tenth waited");
        assert_eq!((seen.during.p99, seen.during.unanswered), (Some(195.19), 0));
        assert_eq!(seen.before.answered_per_s, Some(1000.0));
    }

    #[test]
    fn what_was_never_answered_is_counted_and_has_no_time() {
        let seen = phases(|at| (!(500.0..540.0).contains(&at)).then_some(at + 0.2));
        assert_eq!((seen.during.n, seen.during.unanswered, seen.during.max), (503, 40, Some(0.19)));
        let silent = phases(|_| None).before;
        assert_eq!((silent.n, silent.unanswered, silent.p50, silent.max), (0, 1000, None, None));
        assert_eq!((silent.answered_per_s, silent.histogram), (Some(0.0), Vec::new()));
    }

    #[test]
    fn a_rate_is_over_the_time_in_which_was_asked() {
        let request = |ms: i64| Request {
            seq: ms,
            sent_ns: ms * 1_000_000,
            lateness_ns: None,
            answered_ns: Some(ms * 1_000_000 + 1000),
            answers: 1,
        };
        let requests: Vec<Request> = (0..=400).step_by(10).map(request).collect();
        // The probe was ended at 400 ms of a second.
        let seen = responses(&requests, 0..1_000_000_000, asked_until_ns(&requests));
        assert_eq!((seen.n, seen.answered_per_s), (41, Some(100.0)));
    }

    #[test]
    fn a_histogram_has_ten_bounds_a_decade_and_every_time_under_one() {
        let seen = histogram(&[0, 1_000_000, 1_000_001_000, 1_258_000, 1_260_000, 1_260_000]);
        assert_eq!(seen, [(0.001, 1), (1.0, 1), (1.259, 1), (1.585, 2), (1259.0, 1)]);
    }
}
