//! A time line packed for the page: whole microseconds, and of what is regular only the deviations.

use dunlin_analysis::{Answerer, Mark, ProbeTrack, Request, Span, Timeline, WireTick};
use dunlin_record::Outcome;
use serde::Serialize;

/// Requests of one probe above which usual answers are thinned out: no screen shows more, and the page stays small.
const MOST_REQUESTS: usize = 40_000;

/// How much slower than the median an answer is that is always kept.
const SLOW: f64 = 4.0;

/// The time line as JSON that can stand inside a `<script>` element.
pub(crate) fn packed(timeline: &Timeline, outcome: &Outcome) -> String {
    let data = Packed {
        range: [timeline.start_ms, timeline.end_ms],
        view: view(timeline, outcome),
        probes: timeline.probes.iter().map(track).collect(),
        spans: timeline
            .spans
            .iter()
            .map(|Span { name, start_ms, end_ms }| (name, *start_ms, *end_ms))
            .collect(),
        marks: timeline.marks.iter().map(|Mark { at_ms, label, host }| (*at_ms, label, host)).collect(),
        wire: wire(&timeline.wire),
    };
    let text = serde_json::to_string(&data).expect("a time line holds only strings, numbers and lists");
    // "</script>" or "<!--" in a label would end or change the element that the data stands in.
    text.replace('<', "\\u003c")
}

/// What the page's script reads; see `timeline.js`.
#[derive(Serialize)]
struct Packed<'a> {
    /// First and last moment, in ms.
    range: [f64; 2],
    /// What is shown at first, in ms.
    view: [f64; 2],
    probes: Vec<Track<'a>>,
    spans: Vec<(&'a String, f64, f64)>,
    marks: Vec<(f64, &'a String, &'a Option<String>)>,
    wire: Wire,
}

/// A probe's requests, column by column.
#[derive(Serialize)]
struct Track<'a> {
    name: &'a str,
    interval_us: i64,
    /// One of so many usual answers is kept.
    kept_one_of: usize,
    /// The first sequence number, then the steps from each to the next; only the first if all steps are 1.
    seq: Vec<i64>,
    /// When the first was sent, then by how much each step differs from the interval times the step in sequence.
    sent_us: Vec<i64>,
    /// From request to answer; -1 where none came.
    rtt_us: Vec<i64>,
    /// Runs of requests with the same answerer: how many, and who (0 source, 1 destination, 2 unknown, 3 nobody).
    by: Vec<(usize, u8)>,
}

/// The link's ticks, column by column.
#[derive(Serialize)]
struct Wire {
    /// The first tick's begin, then the steps to the next.
    at_us: Vec<i64>,
    tx_bytes: Vec<i64>,
    rx_bytes: Vec<i64>,
}

/// The migration and a tenth of its length on either side; all there is if it did not take any time.
fn view(timeline: &Timeline, outcome: &Outcome) -> [f64; 2] {
    let last_span = timeline.spans.iter().map(|span| span.end_ms).fold(0.0, f64::max);
    let end = outcome.total_time_ms.unwrap_or(last_span);
    if end > 0.0 {
        [(-0.1 * end).max(timeline.start_ms), (1.1 * end).min(timeline.end_ms)]
    } else {
        [timeline.start_ms, timeline.end_ms]
    }
}

fn track(probe: &ProbeTrack) -> Track<'_> {
    let interval_us = micros(probe.interval_ms);
    let (requests, kept_one_of) = thinned(&probe.requests);
    let mut seq: Vec<i64> = Vec::with_capacity(requests.len());
    let mut sent_us = Vec::with_capacity(requests.len());
    let mut by: Vec<(usize, u8)> = Vec::new();
    let mut last: Option<&Request> = None;
    for request in &requests {
        let step = last.map_or(0, |last| request.seq.cast_signed().wrapping_sub(last.seq.cast_signed()));
        seq.push(if last.is_some() { step } else { request.seq.cast_signed() });
        let before = last.map_or(0, |last| micros(last.sent_ms));
        sent_us
            .push(micros(request.sent_ms).wrapping_sub(before).wrapping_sub(step.wrapping_mul(interval_us)));
        let code = code(request);
        match by.last_mut() {
            Some((amount, last)) if *last == code => *amount += 1,
            _ => by.push((1, code)),
        }
        last = Some(request);
    }
    if seq.iter().skip(1).all(|&step| step == 1) {
        seq.truncate(1);
    }
    let rtt_us =
        requests.iter().map(|request| round_trip(request).map_or(-1, |ms| micros(ms).max(0))).collect();
    Track { name: &probe.name, interval_us, kept_one_of, seq, sent_us, rtt_us, by }
}

fn code(request: &Request) -> u8 {
    match request.by {
        Answerer::Source => 0,
        Answerer::Destination => 1,
        Answerer::Unknown => 2,
        Answerer::Nobody => 3,
    }
}

fn round_trip(request: &Request) -> Option<f64> {
    request.answered_ms.map(|answered| answered - request.sent_ms)
}

/// All requests, or where they are too many: every lost and every slow one, and one of so many of the others.
fn thinned(requests: &[Request]) -> (Vec<Request>, usize) {
    let one_of = requests.len().div_ceil(MOST_REQUESTS).max(1);
    if one_of == 1 {
        return (requests.to_vec(), one_of);
    }
    let mut round_trips: Vec<f64> = requests.iter().filter_map(round_trip).collect();
    round_trips.sort_by(f64::total_cmp);
    let slow = round_trips.get(round_trips.len() / 2).map_or(f64::INFINITY, |median| median * SLOW);
    let telling = |request: &Request| round_trip(request).is_none_or(|ms| ms > slow);
    let kept = requests
        .iter()
        .enumerate()
        .filter(|(index, request)| index.is_multiple_of(one_of) || telling(request));
    (kept.map(|(_, request)| *request).collect(), one_of)
}

fn wire(ticks: &[WireTick]) -> Wire {
    let mut before = 0;
    let at_us = ticks
        .iter()
        .map(|tick| {
            let at = micros(tick.at_ms);
            at.wrapping_sub(std::mem::replace(&mut before, at))
        })
        .collect();
    Wire {
        at_us,
        tx_bytes: ticks.iter().map(|tick| tick.tx_bytes).collect(),
        rx_bytes: ticks.iter().map(|tick| tick.rx_bytes).collect(),
    }
}

fn micros(ms: f64) -> i64 {
    // The cast saturates; what is not a number becomes 0.
    (ms * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seq: u64, sent_ms: f64, rtt_ms: Option<f64>) -> Request {
        let by = if rtt_ms.is_some() { Answerer::Source } else { Answerer::Nobody };
        Request { seq, sent_ms, answered_ms: rtt_ms.map(|rtt| sent_ms + rtt), by }
    }

    #[test]
    fn a_regular_probe_packs_to_its_deviations() {
        let requests = vec![
            request(7, -2.0, Some(0.4)),
            request(8, -0.998, Some(0.5)),
            request(9, 0.0, None),
            request(10, 1.0, Some(1.25)),
        ];
        let track = ProbeTrack { name: "icmp".into(), interval_ms: 1.0, requests };
        let json = serde_json::to_string(&super::track(&track)).unwrap();
        assert_eq!(
            json,
            r#"{"name":"icmp","interval_us":1000,"kept_one_of":1,"seq":[7],"sent_us":[-2000,2,-2,0],"rtt_us":[400,500,-1,1250],"by":[[2,0],[1,3],[1,0]]}"#
        );
    }

    #[test]
    fn a_gap_in_the_sequence_is_kept() {
        let requests = vec![request(1, 0.0, Some(0.4)), request(4, 3.1, Some(0.4))];
        let track = ProbeTrack { name: "udp".into(), interval_ms: 1.0, requests };
        let packed = super::track(&track);
        assert_eq!((packed.seq, packed.sent_us), (vec![1, 3], vec![0, 100]));
    }

    #[test]
    fn thinning_keeps_every_lost_and_every_slow_request() {
        let many = 3 * MOST_REQUESTS as u64;
        let all: Vec<Request> = (0..many)
            .map(|seq| {
                let rtt = if seq % 1000 == 1 { None } else { Some(if seq % 1000 == 2 { 50.0 } else { 0.4 }) };
                request(seq, seq as f64, rtt)
            })
            .collect();
        let (kept, one_of) = thinned(&all);
        assert_eq!(one_of, 3);
        let lost = |requests: &[Request]| requests.iter().filter(|one| one.answered_ms.is_none()).count();
        let slow = |requests: &[Request]| requests.iter().filter(|one| round_trip(one) > Some(40.0)).count();
        assert_eq!((lost(&kept), slow(&kept)), (lost(&all), slow(&all)));
        assert!(kept.len() < all.len() / 2);
    }
}
