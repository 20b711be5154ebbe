//! How long a probe's answers took before the migration, which is what is usual.

use crate::moments::Moments;
use crate::probe_log::{ProbeLog, Request};

/// An answer that took longer is late: the slowest before the migration, but at least one interval.
pub(crate) fn usual_trip_ns(log: &ProbeLog, baseline_trips: &[i64]) -> i64 {
    baseline_trips.last().map_or(log.interval_ns, |slowest| log.interval_ns.max(*slowest))
}

/// Round trips of the requests that were sent and answered before the migration, sorted.
pub(crate) fn baseline_round_trips(log: &ProbeLog, moments: &Moments) -> Vec<i64> {
    let before = |request: &&Request| {
        request.sent_ns >= moments.baseline_start
            && request.answered_ns.is_some_and(|t_ns| t_ns.max(request.sent_ns) < moments.command)
    };
    let mut trips: Vec<i64> = log.requests.iter().filter(before).filter_map(Request::round_trip_ns).collect();
    trips.sort_unstable();
    trips
}
