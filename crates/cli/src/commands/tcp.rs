//! `dunlin tcp serve|rr|stream`: both ends of the TCP probes as plain processes, on any two machines.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_analysis::quantile;
use dunlin_clock::Cancel;
use dunlin_probe::start_tcp;
use dunlin_record::{
    ABSENT, ProbeConnection, RequestResponse, SocketBuffers, StreamProbe, TcpConnections, TcpProbe,
};
use dunlin_traffic::{MESSAGE_BYTES_MAX, TCP_TEST_PORT, TcpResponder};
use serde::Serialize;

use super::cancel_on_signals;
use crate::address::with_port;
use crate::failure::{Exit, Failure, Result};
use crate::progress::wait;
use crate::terminal;
use crate::time::time;

/// How long until it is seen that it is to end.
const LOOK_UP: Duration = Duration::from_millis(20);
const MIB: f64 = 1024.0 * 1024.0;

/// Request/response and streams over TCP between two machines, as beside a migration.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Respond to `rr` and `stream`, until Ctrl-C
    Serve {
        /// The address at which it can be reached; 0.0.0.0 is every one of this machine's
        #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
        bind: Ipv4Addr,
        /// The port
        #[arg(long, default_value_t = TCP_TEST_PORT)]
        port: u16,
    },
    /// Make one transaction after the other on one connection, as netperf's TCP_RR
    Rr {
        #[command(flatten)]
        common: Common,
        /// Bytes of each request
        #[arg(long, value_name = "BYTES", default_value_t = 1, value_parser = message())]
        request_bytes: u32,
        /// Bytes of each response
        #[arg(long, value_name = "BYTES", default_value_t = 1, value_parser = message())]
        response_bytes: u32,
    },
    /// Send as much as one connection takes, as netperf's TCP_STREAM
    Stream {
        #[command(flatten)]
        common: Common,
        /// Let the server send
        #[arg(long)]
        reverse: bool,
        /// Bytes handed to the kernel at a time
        #[arg(long, value_name = "BYTES", default_value_t = 131_072, value_parser = message())]
        message_bytes: u32,
    },
}

#[derive(clap::Args)]
pub(crate) struct Common {
    /// Where `dunlin tcp serve` runs, as in 10.0.0.1 or 10.0.0.1:7008
    #[arg(value_parser = with_port::<TCP_TEST_PORT>)]
    server: SocketAddrV4,
    /// How long, as in 10s
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// Set both ends' send buffers; their kernels tune them otherwise
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(2048..=1 << 30))]
    send_buffer_bytes: Option<u32>,
    /// Set both ends' receive buffers
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(2048..=1 << 30))]
    receive_buffer_bytes: Option<u32>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn message() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MESSAGE_BYTES_MAX))
}

pub(crate) fn run(action: Action) -> Result {
    let cancel = cancel_on_signals()?;
    match action {
        Action::Serve { bind, port } => serve(SocketAddrV4::new(bind, port), &cancel),
        Action::Rr { common, request_bytes, response_bytes } => {
            let Common { send_buffer_bytes, receive_buffer_bytes, .. } = common;
            let asked =
                RequestResponse { request_bytes, response_bytes, send_buffer_bytes, receive_buffer_bytes };
            let measured = measure(&common, &TcpProbe::RequestResponse(asked), &cancel)?;
            show(&common, &Transactions::of(&measured))
        }
        Action::Stream { common, reverse, message_bytes } => {
            let Common { send_buffer_bytes, receive_buffer_bytes, .. } = common;
            let asked = StreamProbe { reverse, message_bytes, send_buffer_bytes, receive_buffer_bytes };
            let measured = measure(&common, &TcpProbe::Stream(asked), &cancel)?;
            show(&common, &Streamed::of(&measured))
        }
    }
}

fn serve(address: SocketAddrV4, cancel: &Cancel) -> Result {
    let cannot = |error| Failure::says(Exit::BadInput, format!("cannot serve at {address}: {error}"));
    let (responder, end) = TcpResponder::listen(address).map_err(cannot)?;
    terminal::say(&format!("serving at {} until Ctrl-C", responder.address()));
    let thread = std::thread::spawn(move || responder.serve());
    while !cancel.is_cancelled() && !thread.is_finished() {
        std::thread::sleep(LOOK_UP);
    }
    drop(end);
    let served = thread.join().map_err(|_| Failure::says(Exit::Failed, "the server died".to_owned()))?;
    served.map_err(|error| Failure::says(Exit::Failed, format!("cannot take more connections: {error}")))
}

/// What a probe saw.
struct Measured {
    values: Vec<i64>,
    connections: Vec<ProbeConnection>,
}

fn measure(common: &Common, probe: &TcpProbe, cancel: &Cancel) -> Result<Measured> {
    let values = Arc::new(Mutex::new(Vec::new()));
    let rows = Arc::clone(&values);
    let sink = Box::new(move |more: &[i64]| {
        rows.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(more);
    });
    let running =
        start_tcp(common.server, probe, sink).map_err(|error| Failure::new(Exit::Failed, &error))?;
    wait("measuring", common.duration, cancel);
    let connections = running.stop().connections;
    if connections.is_empty() {
        let nobody = Failure::says(Exit::Failed, format!("nobody answered at {}", common.server));
        return Err(nobody.hint("run `dunlin tcp serve` there"));
    }
    let values = std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Measured { values, connections })
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
trait Figures: Serialize {
    fn text(&self) -> String;
}

fn show(common: &Common, figures: &impl Figures) -> Result {
    if !common.json {
        return terminal::print(&figures.text());
    }
    let text = serde_json::to_string_pretty(figures)
        .map_err(|error| Failure::says(Exit::Failed, format!("cannot write the figures as JSON: {error}")))?;
    terminal::print_json(&(text + "\n"))
}

/// What came of transactions. Times in ms, absent where nothing was answered.
#[derive(Debug, Serialize)]
struct Transactions {
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
    fn of(measured: &Measured) -> Self {
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
struct Streamed {
    bytes: i64,
    seconds: f64,
    rate_mib_s: Option<f64>,
    rate_mbit_s: Option<f64>,
    /// The median of this end's smoothed round-trip time.
    rtt_ms: Option<f64>,
    connections: Option<TcpConnections>,
}

impl Streamed {
    fn of(measured: &Measured) -> Self {
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
