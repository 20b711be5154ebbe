//! What a migration did to the TCP streams beside it, and the connections of all TCP probes.

use std::collections::BTreeMap;

use dunlin_record::{AroundMigration, EventKind, Series, TcpConnections, TcpProbe, TcpStreamOutcome};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::stalls::{TICK_NS, longest_stall};
use crate::trial::Trial;
use crate::units::{MIB_BYTES, figure, quantile};

/// The streams that the case asked for and that were sampled, by their names.
pub(crate) fn tcp_streams(trial: &Trial, moments: &Moments) -> BTreeMap<String, TcpStreamOutcome> {
    let asked = trial.case.probes.tcp().into_iter();
    let streams = asked.filter_map(|(name, _, probe)| {
        let TcpProbe::Stream(asked) = probe else { return None };
        let series = trial.vm_series(&format!("probe-{name}-samples"))?;
        let taken = Taken::of(series);
        let outcome = TcpStreamOutcome {
            asked,
            rate_mib_s: around(moments, |from_ns, to_ns| taken.rate_mib_s(from_ns, to_ns)),
            rtt_ms: around(moments, |from_ns, to_ns| taken.rtt_ms(from_ns, to_ns)),
            longest_stall: longest_stall(taken.moving_ns.iter().copied(), moments),
            retransmitted_segments: taken
                .retransmitted
                .growth_over(moments.command, moments.window_end)
                .and_then(|segments| u64::try_from(segments).ok()),
            connections: connections(trial, name),
        };
        Some((name.to_owned(), outcome))
    });
    streams.collect()
}

/// The connections of a TCP probe taken together; absent where none is told of.
pub(crate) fn connections(trial: &Trial, name: &str) -> Option<TcpConnections> {
    let told = trial.pick(|kind| match kind {
        EventKind::ProbeConnection { probe, connection } if probe == name => Some(connection),
        _ => None,
    });
    TcpConnections::of(&told.collect::<Vec<_>>())
}

fn around(moments: &Moments, of: impl Fn(i64, i64) -> Option<f64>) -> AroundMigration {
    AroundMigration {
        before: of(moments.baseline_start, moments.command),
        during: of(moments.command, moments.end),
        after: of(moments.end, moments.window_end),
    }
}

/// A stream's samples, its connections laid end to end.
pub(crate) struct Taken {
    /// Payload that had come by each sample.
    pub(crate) bytes: Samples,
    retransmitted: Samples,
    /// Time and smoothed round-trip time of each.
    rtts: Vec<(i64, i64)>,
    /// The begins of the ticks at whose ends more had come.
    moving_ns: Vec<i64>,
}

impl Taken {
    pub(crate) fn of(series: &Series) -> Self {
        let mut rows: Vec<[i64; 6]> = series.rows_of().collect();
        rows.sort_unstable();
        let (mut bytes, mut retransmitted) = (Vec::new(), Vec::new());
        let (mut moved, mut sent_again) = (0_i64, 0_i64);
        let mut moving_ns = Vec::new();
        let mut last: Option<[i64; 6]> = None;
        for row in &rows {
            // The counters of a new connection begin anew, behind its first words.
            if let Some(last) = last.filter(|last| last[1] == row[1]) {
                let more = row[2].saturating_sub(last[2]).max(0);
                moved = moved.saturating_add(more);
                sent_again = sent_again.saturating_add(row[3].saturating_sub(last[3]).max(0));
                if more > 0 {
                    moving_ns.push(row[0].saturating_sub(TICK_NS));
                }
            }
            bytes.push((row[0], moved));
            retransmitted.push((row[0], sent_again));
            last = Some(*row);
        }
        Self {
            bytes: Samples::from_points(bytes),
            retransmitted: Samples::from_points(retransmitted),
            rtts: rows.iter().filter(|row| row[4] > 0).map(|row| (row[0], row[4])).collect(),
            moving_ns,
        }
    }

    /// Absent where less than half of the time was sampled.
    fn rate_mib_s(&self, from_ns: i64, to_ns: i64) -> Option<f64> {
        let (first_ns, last_ns) = self.bytes.extent()?;
        let (from, to) = (from_ns.max(first_ns), to_ns.min(last_ns));
        let sampled_ns = to.checked_sub(from)?;
        if sampled_ns <= 0 || sampled_ns < to_ns.saturating_sub(from_ns) / 2 {
            return None;
        }
        figure(self.bytes.growth(from, to)? as f64 / MIB_BYTES / (sampled_ns as f64 / 1e9))
    }

    fn rtt_ms(&self, from_ns: i64, to_ns: i64) -> Option<f64> {
        let within = self.rtts.iter().filter(|(t_ns, _)| (from_ns..to_ns).contains(t_ns));
        let mut rtts_us: Vec<i64> = within.map(|(_, rtt_us)| *rtt_us).collect();
        rtts_us.sort_unstable();
        figure(quantile(&rtts_us, 0.5)? as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Outage, ProbeConnection, SocketBuffers, StreamProbe, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    const MIB: i64 = 1 << 20;

    /// 125 MiB/s until the command, 62.5 while the migration lasts, none from 500 to 550 ms, and 125 again.
    fn rows() -> Vec<[i64; 6]> {
        let mut bytes = 0;
        let mut rows = Vec::new();
        for at in -1000..1600 {
            bytes += match at {
                1..=500 => MIB / 16,
                501..=550 => 0,
                _ => MIB / 8,
            };
            let (connection, counted) = if at < 600 { (1, bytes) } else { (2, bytes - 7 * MIB) };
            let retransmitted = i64::from(at > 400 && at < 600) * 3;
            rows.push([
                ns(f64::from(at)),
                connection,
                counted,
                retransmitted,
                200 + i64::from(at.clamp(0, 1)),
                10,
            ]);
        }
        rows
    }

    fn fixture(rows: &[[i64; 6]]) -> Fixture {
        Fixture::pre_copy()
            .with_case(|case| case.probes.hosts_tcp_stream = Some(StreamProbe::default()))
            .with_series("vm0-probe-hosts_tcp_stream-samples", Series::from_rows(shapes::PROBE_SAMPLES, rows))
    }

    fn stream(fixture: &Fixture) -> TcpStreamOutcome {
        fixture.outcome().tcp_streams["hosts_tcp_stream"].clone()
    }

    #[test]
    fn rates_are_of_the_time_before_during_and_after() {
        let seen = stream(&fixture(&rows()));
        let AroundMigration { before, during, after } = seen.rate_mib_s;
        assert_eq!(before, Some(125.0));
        // 500 of its 543 ms went at 62.5 MiB/s.
        assert_eq!(during, Some(57.551));
        // Of these 1000 ms the first 7 stood still, and the first millisecond of the new connection is its base.
        assert_eq!(after, Some(124.0));
        assert_eq!(
            seen.rtt_ms,
            AroundMigration { before: Some(0.2), during: Some(0.201), after: Some(0.201) }
        );
        assert_eq!(seen.retransmitted_segments, Some(3));
    }

    #[test]
    fn a_stall_is_the_time_between_two_ticks_that_moved() {
        assert_eq!(
            stream(&fixture(&rows())).longest_stall,
            Some(Outage { start_ms: 500.0, length_ms: 50.0 })
        );
    }

    #[test]
    fn what_was_hardly_sampled_has_no_rate() {
        let rows: Vec<[i64; 6]> = rows().into_iter().filter(|row| row[0] > ns(-300.0)).collect();
        let seen = stream(&fixture(&rows));
        assert_eq!(seen.rate_mib_s.before, None);
        assert!(seen.rate_mib_s.during.is_some());
        let nothing = stream(&fixture(&[]));
        assert_eq!((nothing.rate_mib_s, nothing.retransmitted_segments), (AroundMigration::default(), None));
        let not_asked = fixture(&rows).with_case(|case| case.probes.hosts_tcp_stream = None);
        assert!(not_asked.outcome().tcp_streams.is_empty());
    }

    #[test]
    fn connections_are_told_together() {
        let buffers = |send_bytes| SocketBuffers { send_bytes, receive_bytes: 131_072 };
        let connection = |broken: Option<&str>, local, local_at_end| EventKind::ProbeConnection {
            probe: "hosts_tcp_stream".into(),
            connection: ProbeConnection {
                peer: "10.78.0.12:7008".into(),
                connected_ns: 0,
                ended_ns: 9,
                broken: broken.map(Into::into),
                local: buffers(local),
                remote: buffers(7),
                local_at_end: buffers(local_at_end),
                congestion_control: "cubic".into(),
                retransmitted_segments: Some(2),
            },
        };
        let told = fixture(&rows()).with(-900.0, "", connection(Some("reset"), 16_384, 87_040)).with(
            700.0,
            "",
            connection(None, 16_385, 2_626_560),
        );
        let expected = TcpConnections {
            made: 2,
            broken: 1,
            local: buffers(16_384),
            remote: buffers(7),
            local_at_end: buffers(2_626_560),
            congestion_control: "cubic".into(),
            retransmitted_segments: Some(4),
        };
        assert_eq!(stream(&told).connections, Some(expected));
        assert_eq!(stream(&fixture(&rows())).connections, None);
    }
}
