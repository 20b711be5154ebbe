//! What a migration did to the streams between the guest and the bench.

use dunlin_record::{
    ABSENT, Achieved, EventKind, Series, StreamBreak, StreamLoss, StreamOutcome, StreamSeen, Workload, shapes,
};

use crate::moments::Moments;
use crate::stalls::longest_stall;
use crate::trial::Trial;
use crate::units::{MIB_BYTES, figure, ms_between};

/// Of more losses only the sum is told.
const LOSSES_MAX: usize = 100;

/// The streams among the guest's workloads, in order.
pub(crate) fn streams(trial: &Trial, moments: &Moments) -> Vec<StreamOutcome> {
    let Some(workload) = &trial.case.workload else { return Vec::new() };
    let reported = trial.pick(|kind| match kind {
        EventKind::WorkloadReported { achieved } => Some(achieved.as_ref()),
        _ => None,
    });
    let parts = (0..).zip(workload.with_achieved(reported.last()));
    parts.filter_map(|(number, (asked, done))| stream(trial, moments, number, asked, done)).collect()
}

fn stream(
    trial: &Trial,
    moments: &Moments,
    number: u32,
    asked: &Workload,
    done: Option<&Achieved>,
) -> Option<StreamOutcome> {
    let over_udp = match asked {
        Workload::TcpSend(_) | Workload::TcpReceive(_) => false,
        Workload::UdpSend(_) | Workload::UdpReceive(_) => true,
        _ => return None,
    };
    let ticks = trial.vm_series(&format!("stream-{number}")).map(ticks).unwrap_or_default();
    let seen = seen(trial, number);
    let losses = over_udp.then(|| match asked {
        Workload::UdpSend(_) => seen.and_then(|_| losses_seen(trial, number)),
        _ => losses_told(done?, &ticks),
    });
    let mut losses = losses.flatten();
    if let Some(losses) = &mut losses {
        losses.retain(|(start_ns, end_ns, _)| *end_ns >= moments.command && *start_ns <= moments.window_end);
    }
    let rate = |from_ns, to_ns| rate_mib_s(&ticks, from_ns, to_ns);
    Some(StreamOutcome {
        workload: number,
        kind: asked.kind().to_owned(),
        seen: seen.cloned(),
        rate_before_mib_s: rate(moments.baseline_start, moments.command),
        rate_during_mib_s: rate(moments.command, moments.end),
        rate_after_mib_s: rate(moments.end, moments.window_end),
        longest_stall: longest_stall(ticks.iter().map(|(t_ns, ..)| *t_ns), moments),
        breaks: breaks(trial, moments, number),
        lost_datagrams: losses
            .as_ref()
            .map(|losses| losses.iter().fold(0, |sum: u64, (.., count)| sum.saturating_add(*count))),
        losses: losses
            .unwrap_or_default()
            .into_iter()
            .take(LOSSES_MAX)
            .map(|(start_ns, end_ns, datagrams)| StreamLoss {
                start_ms: ms_between(moments.command, start_ns),
                end_ms: ms_between(moments.command, end_ns),
                datagrams,
            })
            .collect(),
    })
}

/// A tick in which something moved: its begin, bytes and blocks.
type Tick = (i64, i64, i64);
/// Datagrams that were lost: from when, to when, how many.
type Loss = (i64, i64, u64);

fn ticks(series: &Series) -> Vec<Tick> {
    let mut ticks: Vec<Tick> =
        series.rows_of().map(|[t_ns, bytes, blocks]: [i64; 3]| (t_ns, bytes, blocks)).collect();
    ticks.sort_unstable();
    ticks
}

fn seen<'a>(trial: &Trial<'a>, number: u32) -> Option<&'a StreamSeen> {
    let ended = trial.pick(move |kind| match kind {
        EventKind::StreamEnded { workload, seen } if *workload == number => Some(seen),
        _ => None,
    });
    ended.last()
}

/// Absent for an empty time and without any tick: then nothing is known.
fn rate_mib_s(ticks: &[Tick], from_ns: i64, to_ns: i64) -> Option<f64> {
    if ticks.is_empty() || to_ns <= from_ns {
        return None;
    }
    let within = ticks.iter().filter(|(t_ns, ..)| (from_ns..to_ns).contains(t_ns));
    let bytes: f64 = within.map(|(_, bytes, _)| *bytes as f64).sum();
    figure(bytes / MIB_BYTES / (to_ns.saturating_sub(from_ns) as f64 / 1e9))
}

fn breaks(trial: &Trial, moments: &Moments, number: u32) -> Vec<StreamBreak> {
    let mut breaks: Vec<StreamBreak> = Vec::new();
    for event in trial.events().filter(|event| event.t_ns >= moments.command) {
        let at_ms = ms_between(moments.command, event.t_ns);
        match &event.kind {
            EventKind::StreamBroken { workload, .. } if *workload == number => {
                breaks.push(StreamBreak { broken_ms: at_ms, connected_ms: None });
            }
            EventKind::StreamConnected { workload } if *workload == number => {
                if let Some(last) = breaks.last_mut() {
                    last.connected_ms.get_or_insert(at_ms);
                }
            }
            _ => {}
        }
    }
    breaks
}

/// What the bench missed of what the guest sent. Datagrams that came late are no longer lost.
fn losses_seen(trial: &Trial, number: u32) -> Option<Vec<Loss>> {
    let series = trial.vm_series(&format!("disorder-{number}"))?;
    let rows: Vec<[i64; 5]> = series.rows_of().collect();
    let came_late = rows.iter().filter(|row| row[1] == shapes::DISORDER_LATE);
    let mut came_late: Vec<i64> = came_late.map(|row| row[2]).collect();
    came_late.sort_unstable();
    let late = |first: i64, count: i64| {
        let below = |end: i64| came_late.partition_point(|number| *number < end) as u64;
        below(first.saturating_add(count)).saturating_sub(below(first))
    };
    let missing = rows.iter().filter(|row| row[1] == shapes::DISORDER_MISSING);
    let losses = missing.map(|&[t_ns, _, first, count, after_ns]| {
        let start_ns = if after_ns == ABSENT { t_ns } else { after_ns };
        (start_ns, t_ns, u64::try_from(count).unwrap_or(0).saturating_sub(late(first, count)))
    });
    Some(losses.filter(|(.., count)| *count > 0).collect())
}

/// What the guest says it missed of what the bench sent, each dated by when it was sent.
fn losses_told(done: &Achieved, ticks: &[Tick]) -> Option<Vec<Loss>> {
    let received = done.stream.as_ref()?.received.as_ref()?;
    // How many had been sent by the end of each tick.
    let sent: Vec<(i64, u64)> = ticks
        .iter()
        .scan(0_u64, |sent, (t_ns, _, blocks)| {
            *sent = sent.saturating_add(u64::try_from(*blocks).unwrap_or(0));
            Some((*t_ns, *sent))
        })
        .collect();
    let sent_at =
        |number: u64| sent.get(sent.partition_point(|(_, sent)| *sent <= number)).map(|(t_ns, _)| *t_ns);
    let losses = received.lost.iter().filter_map(|lost| {
        let last = lost.first.checked_add(lost.count.checked_sub(1)?)?;
        Some((sent_at(lost.first)?, sent_at(last)?, lost.count))
    });
    Some(losses.collect())
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Flag, LostNumbers, Outage, Rate, Received, TcpStream, UdpStream};

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// A migration from 0 to 543 ms with a stream; the settle time ends at 1543.
    fn with(asked: Workload, moved: &[(f64, i64, i64)]) -> Fixture {
        let rows: Vec<[i64; 3]> =
            moved.iter().map(|&(at_ms, bytes, blocks)| [ns(at_ms), bytes, blocks]).collect();
        Fixture::pre_copy()
            .with_case(|case| case.workload = Some(asked))
            .with_series("vm0-stream-0", Series::from_rows(shapes::STREAM, &rows))
    }

    fn only(fixture: &Fixture) -> StreamOutcome {
        let mut streams = fixture.outcome().streams;
        assert_eq!(streams.len(), 1);
        streams.remove(0)
    }

    fn tcp() -> TcpStream {
        TcpStream { rate_mib_s: Rate::Full }
    }

    fn udp() -> UdpStream {
        UdpStream { datagram_bytes: 100, rate_mib_s: Rate::Full }
    }

    fn ended(received: Received, connections: Option<u64>) -> EventKind {
        let seen = StreamSeen { bytes: 9, connections, received: Some(received) };
        EventKind::StreamEnded { workload: 0, seen }
    }

    #[test]
    fn rates_and_the_longest_stall_are_those_around_the_migration() {
        let mib = 1 << 20;
        let moved = [
            // Longer, but over before the command.
            (-990.0, mib, 1),
            (-400.0, mib, 1),
            (-1.0, 2 * mib, 1),
            (100.0, mib, 1),
            (500.0, mib, 1),
            (900.0, mib, 1),
            (1300.0, mib, 1),
        ];
        let stream = only(&with(Workload::TcpSend(tcp()), &moved));
        assert_eq!((stream.kind.as_str(), stream.workload), ("tcp-send", 0));
        assert_eq!(stream.rate_before_mib_s, Some(4.0));
        assert_eq!(stream.rate_during_mib_s, Some(3.683), "2 MiB in 543 ms");
        assert_eq!(stream.rate_after_mib_s, Some(2.0));
        let stall = stream.longest_stall.unwrap();
        assert_eq!(stall.length_ms, 399.0);
        assert_eq!((stream.lost_datagrams, stream.breaks), (None, Vec::new()));
    }

    #[test]
    fn a_stream_that_never_moves_again_is_stalled_to_the_end_and_one_without_a_series_is_not_known() {
        let stall = only(&with(Workload::TcpSend(tcp()), &[(100.0, 1, 1)])).longest_stall;
        assert_eq!(stall, Some(Outage { start_ms: 101.0, length_ms: 1442.0 }));
        let unknown = with(Workload::TcpSend(tcp()), &[]).without_series("vm0-stream-0");
        let unknown = only(&unknown);
        assert_eq!((unknown.longest_stall, unknown.rate_during_mib_s, unknown.seen), (None, None, None));
    }

    #[test]
    fn breaks_are_paired_with_the_connections_that_follow() {
        let broken = || EventKind::StreamBroken { workload: 0, why: "reset".into() };
        let connected = || EventKind::StreamConnected { workload: 0 };
        let other = EventKind::StreamConnected { workload: 1 };
        let fixture = with(Workload::TcpReceive(tcp()), &[])
            .with(-700.0, "", connected())
            .with(-600.0, "", broken())
            .with(-500.0, "", connected())
            .with(200.0, "", broken())
            .with(205.0, "", other)
            .with(210.0, "", connected())
            .with(700.0, "", broken());
        let expected = [
            StreamBreak { broken_ms: 200.0, connected_ms: Some(210.0) },
            StreamBreak { broken_ms: 700.0, connected_ms: None },
        ];
        assert_eq!(only(&fixture).breaks, expected);
    }

    #[test]
    fn what_the_bench_missed_is_dated_by_the_arrivals_around_it_less_what_came_late() {
        let row =
            |at_ms: f64, kind, number, count, after_ms: f64| [ns(at_ms), kind, number, count, ns(after_ms)];
        let rows = [
            row(-90.0, shapes::DISORDER_MISSING, 5, 2, -100.0),
            row(540.0, shapes::DISORDER_MISSING, 10, 40, 500.0),
            row(541.0, shapes::DISORDER_LATE, 12, 1, 0.0),
            row(600.0, shapes::DISORDER_MISSING, 80, 1, 599.0),
            row(601.0, shapes::DISORDER_LATE, 80, 1, 0.0),
        ];
        let fixture = with(Workload::UdpSend(udp()), &[])
            .with_series("vm0-disorder-0", Series::from_rows(shapes::DISORDER, &rows));
        assert_eq!(only(&fixture).lost_datagrams, None, "the bench's end may have seen more");
        let received = Received { missing: 41, late: 2, ..Received::default() };
        let fixture = fixture.with(1600.0, "", ended(received, None));
        let stream = only(&fixture);
        assert_eq!(stream.lost_datagrams, Some(39));
        assert_eq!(stream.losses, [StreamLoss { start_ms: 500.0, end_ms: 540.0, datagrams: 39 }]);
        assert!(
            !fixture.outcome().flags.contains(&Flag::CorruptStream),
            "loss is in the nature of datagrams"
        );
    }

    #[test]
    fn losses_too_many_to_be_counted_are_the_most_there_can_be() {
        let row = |at_ms: f64| [ns(at_ms), shapes::DISORDER_MISSING, 5, i64::MAX, ns(at_ms)];
        let fixture = with(Workload::UdpSend(udp()), &[])
            .with_series(
                "vm0-disorder-0",
                Series::from_rows(shapes::DISORDER, &[row(500.0), row(501.0), row(502.0)]),
            )
            .with(1600.0, "", ended(Received { missing: u64::MAX, ..Received::default() }, None));
        assert_eq!(only(&fixture).lost_datagrams, Some(u64::MAX));
    }

    #[test]
    fn what_the_guest_missed_is_dated_by_when_the_bench_sent_it() {
        let moved = [(-10.0, 500, 5), (0.0, 500, 5), (500.0, 500, 5), (501.0, 500, 5), (600.0, 500, 5)];
        let lost = vec![LostNumbers { first: 2, count: 1 }, LostNumbers { first: 12, count: 8 }];
        let received = Received { missing: 9, lost, ..Received::default() };
        let stream = StreamSeen { bytes: 1, connections: None, received: Some(received) };
        let achieved = Box::new(Achieved { stream: Some(stream), ..Achieved::default() });
        let fixture = with(Workload::UdpReceive(udp()), &moved);
        assert_eq!(only(&fixture).lost_datagrams, None, "the guest was not asked");
        let stream = only(&fixture.with(1700.0, "", EventKind::WorkloadReported { achieved }));
        assert_eq!(stream.lost_datagrams, Some(8));
        assert_eq!(stream.losses, [StreamLoss { start_ms: 500.0, end_ms: 501.0, datagrams: 8 }]);
    }

    #[test]
    fn a_connection_that_lost_data_is_the_gravest_outcome() {
        let fixture = with(Workload::TcpSend(tcp()), &[]);
        let whole = fixture.clone().with(1600.0, "", ended(Received::default(), Some(1)));
        assert!(!whole.outcome().flags.contains(&Flag::CorruptStream));
        let missing = Received { missing: 1, ..Received::default() };
        let damaged = fixture.with(1600.0, "", ended(missing, Some(1)));
        assert!(damaged.outcome().flags.contains(&Flag::CorruptStream));
    }
}
