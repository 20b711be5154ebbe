//! What TCP probes saw, in figures for people and as JSON.

use dunlin_analysis::quantile;
use dunlin_record::{ABSENT, ProbeConnection, SocketBuffers, TcpConnections};
use serde::Serialize;

use crate::failure::{Exit, Failure, Result};
use crate::terminal;

const MIB: f64 = 1024.0 * 1024.0;

/// What a probe saw.
pub(super) struct Measured {
    pub(super) values: Vec<i64>,
    pub(super) connections: Vec<ProbeConnection>,
}

fn connections(measured: &Measured) -> Option<TcpConnections> {
    TcpConnections::of(&measured.connections.iter().collect::<Vec<_>>())
}

fn connections_text(connections: Option<&TcpConnections>) -> String {
    let Some(TcpConnections { made, broken, local, remote, local_at_end, congestion_control, .. }) =
        connections
    else {
        return String::new();
    };
    let buffers = |of: &SocketBuffers| format!("send {}, receive {}", of.send_bytes, of.receive_bytes);
    let sent_again = connections.and_then(|all| all.retransmitted_segments);
    format!(
        "socket buffers in bytes: local {}; remote {}; local at the end {}\nconnections: {made} made, {broken} broken; \
         {congestion_control}; {} segments sent again\n",
        buffers(local),
        buffers(remote),
        buffers(local_at_end),
        sent_again.map_or_else(|| "–".to_owned(), |segments| segments.to_string())
    )
}

/// Figures that can be shown.
pub(super) trait Figures: Serialize {
    fn text(&self) -> String;
}

pub(super) fn show(figures: &impl Figures, as_json: bool) -> Result {
    if !as_json {
        return terminal::print(&figures.text());
    }
    let text = serde_json::to_string_pretty(figures)
        .map_err(|error| Failure::says(Exit::Failed, format!("cannot write the figures as JSON: {error}")))?;
    terminal::print_json(&(text + "\n"))
}

/// What came of transactions. Times in ms, absent where nothing was answered.
#[derive(Debug, Serialize)]
pub(super) struct Transactions {
    answered: usize,
    failed: usize,
    /// Over the time from the first request to the last answer.
    transactions_per_s: Option<f64>,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    p99_9_ms: Option<f64>,
    max_ms: Option<f64>,
    connections: Option<TcpConnections>,
}

impl Transactions {
    pub(super) fn of(measured: &Measured) -> Self {
        let rows = measured.values.as_chunks::<3>().0;
        let answered: Vec<&[i64; 3]> = rows.iter().filter(|row| row[1] != ABSENT).collect();
        let times_ms: Vec<f64> = answered.iter().map(|row| (row[1] - row[0]) as f64 / 1e6).collect();
        let at = |share| quantile(&times_ms, share);
        let length_ns = answered.last().zip(answered.first()).map(|(last, first)| last[1] - first[0]);
        Self {
            answered: answered.len(),
            failed: rows.iter().filter(|row| row[2] != ABSENT).count(),
            transactions_per_s: length_ns.map(|length_ns| answered.len() as f64 / (length_ns as f64 / 1e9)),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: at(1.0),
            connections: connections(measured),
        }
    }
}

impl Figures for Transactions {
    fn text(&self) -> String {
        format!(
            "{} transactions, {} a second, {} failed\nresponse time in ms: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n{}",
            self.answered,
            figure(self.transactions_per_s),
            self.failed,
            figure(self.p50_ms),
            figure(self.p90_ms),
            figure(self.p99_ms),
            figure(self.p99_9_ms),
            figure(self.max_ms),
            connections_text(self.connections.as_ref())
        )
    }
}

/// What came of a stream, from the first sample of each connection to its last.
#[derive(Debug, Serialize)]
pub(super) struct Streamed {
    bytes: i64,
    seconds: f64,
    rate_mib_s: Option<f64>,
    rate_mbit_s: Option<f64>,
    /// The median of this end's smoothed round-trip time.
    rtt_ms: Option<f64>,
    connections: Option<TcpConnections>,
}

impl Streamed {
    pub(super) fn of(measured: &Measured) -> Self {
        let rows = measured.values.as_chunks::<6>().0;
        let of_connection = |rows: &[[i64; 6]]| {
            let (first, last) = (rows.first()?, rows.last()?);
            Some((last[2] - first[2], last[0] - first[0]))
        };
        let parts = rows.chunk_by(|one, next| one[1] == next[1]).filter_map(of_connection);
        let (bytes, length_ns) = parts.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let seconds = length_ns as f64 / 1e9;
        let per_s = (length_ns > 0).then(|| bytes as f64 / seconds);
        let rtts_ms: Vec<f64> = rows.iter().filter(|row| row[4] > 0).map(|row| row[4] as f64 / 1e3).collect();
        Self {
            bytes,
            seconds,
            rate_mib_s: per_s.map(|rate| rate / MIB),
            rate_mbit_s: per_s.map(|rate| rate * 8.0 / 1e6),
            rtt_ms: quantile(&rtts_ms, 0.5),
            connections: connections(measured),
        }
    }
}

impl Figures for Streamed {
    fn text(&self) -> String {
        format!(
            "{} MiB in {} s: {} MiB/s, {} Mbit/s\nround-trip time in ms: {}\n{}",
            figure(Some(self.bytes as f64 / MIB)),
            figure(Some(self.seconds)),
            figure(self.rate_mib_s),
            figure(self.rate_mbit_s),
            figure(self.rtt_ms),
            connections_text(self.connections.as_ref())
        )
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), dunlin_report::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: &[i64]) -> Measured {
        Measured { values: values.to_vec(), connections: Vec::new() }
    }

    #[test]
    fn transactions_a_second_are_over_the_time_they_took() {
        let second = 1_000_000_000;
        let rows = [0, second, ABSENT, second, 3 * second, ABSENT, 3 * second, ABSENT, 1];
        let seen = Transactions::of(&measured(&rows));
        assert_eq!((seen.answered, seen.failed, seen.transactions_per_s), (2, 1, Some(2.0 / 3.0)));
        assert_eq!((seen.p50_ms, seen.max_ms), (Some(1500.0), Some(2000.0)));
        let nothing = Transactions::of(&measured(&[]));
        assert_eq!((nothing.transactions_per_s, nothing.p50_ms), (None, None));
        assert!(nothing.text().contains("– a second"), "{}", nothing.text());
    }

    #[test]
    fn a_stream_is_added_up_over_its_connections() {
        let mib = 1 << 20;
        let second = 1_000_000_000;
        let rows = [
            [0, 1, 5, 0, 0, 10],
            [second, 1, 5 + 10 * mib, 0, 2000, 10],
            [9 * second, 2, 7, 0, 4000, 10],
            [10 * second, 2, 7 + 30 * mib, 0, 4000, 10],
        ];
        let seen = Streamed::of(&measured(rows.as_flattened()));
        assert_eq!((seen.seconds, seen.rate_mib_s, seen.rtt_ms), (2.0, Some(20.0), Some(4.0)));
        assert_eq!(Streamed::of(&measured(&[])).rate_mib_s, None);
    }
}
