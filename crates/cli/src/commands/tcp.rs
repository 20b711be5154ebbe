//! `dunlin tcp serve|rr|stream`: both ends of the TCP probes as plain processes, on any two machines.

mod figures;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_probe::{TcpSink, start_tcp};
use dunlin_record::{RequestResponse, StreamProbe, TcpProbe};
use dunlin_traffic::{MESSAGE_BYTES_MAX, TCP_TEST_PORT, TcpResponder};

use super::cancel_on_signals;
use super::on_host::{OnHost, Reached, STOP_LIMIT};
use crate::address::with_port;
use crate::failure::{Exit, Failure, Result};
use crate::progress::{stay, until, wait};
use crate::terminal;
use crate::time::time;
use figures::{Measured, Streamed, Transactions, show};

/// Request/response and streams over TCP between two machines, as beside a migration.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Respond to `rr` and `stream`, until Ctrl-C
    Serve {
        /// The address at which it can be reached; 0.0.0.0 is every one that this machine, or the host of --on, has
        #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
        bind: Ipv4Addr,
        /// The port
        #[arg(long, default_value_t = TCP_TEST_PORT)]
        port: u16,
        /// End it after this time, as in 10s [default: go on until Ctrl-C]
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        duration: Option<Duration>,
        #[command(flatten)]
        at: OnHost,
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
    #[command(flatten)]
    at: OnHost,
}

fn message() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MESSAGE_BYTES_MAX))
}

pub(crate) fn run(action: Action) -> Result {
    let cancel = cancel_on_signals()?;
    match action {
        Action::Serve { at, bind, port, duration } => {
            let address = SocketAddrV4::new(bind, port);
            match at.reach(&cancel)? {
                None => serve(address, duration, &cancel),
                Some(reached) => serve_on(&reached, address, duration, &cancel),
            }
        }
        Action::Rr { common, request_bytes, response_bytes } => {
            let Common { send_buffer_bytes, receive_buffer_bytes, .. } = common;
            let asked =
                RequestResponse { request_bytes, response_bytes, send_buffer_bytes, receive_buffer_bytes };
            let measured = measure(&common, &TcpProbe::RequestResponse(asked), &cancel)?;
            show(&Transactions::of(&measured), common.json)
        }
        Action::Stream { common, reverse, message_bytes } => {
            let Common { send_buffer_bytes, receive_buffer_bytes, .. } = common;
            let asked = StreamProbe { reverse, message_bytes, send_buffer_bytes, receive_buffer_bytes };
            let measured = measure(&common, &TcpProbe::Stream(asked), &cancel)?;
            show(&Streamed::of(&measured), common.json)
        }
    }
}

fn serve(address: SocketAddrV4, duration: Option<Duration>, cancel: &Cancel) -> Result {
    let cannot = |error| Failure::says(Exit::BadInput, format!("cannot serve at {address}: {error}"));
    let (responder, end) = TcpResponder::listen(address).map_err(cannot)?;
    terminal::say(&format!("serving at {} until {}", responder.address(), until(duration)));
    let thread = std::thread::spawn(move || responder.serve());
    stay(duration, || !cancel.is_cancelled() && !thread.is_finished());
    drop(end);
    let served = thread.join().map_err(|_| Failure::says(Exit::Failed, "the server died".to_owned()))?;
    served.map_err(|error| Failure::says(Exit::Failed, format!("cannot take more connections: {error}")))
}

fn serve_on(reached: &Reached, address: SocketAddrV4, duration: Option<Duration>, cancel: &Cancel) -> Result {
    let (task, at) = reached
        .helper
        .respond_tcp(address)
        .map_err(|error| reached.refused(&format!("serve at {address}"), &error))?;
    terminal::say(&format!("serving at {at} of {} until {}", reached.name(), until(duration)));
    stay(duration, || !cancel.is_cancelled() && reached.helper.is_well());
    let stopped = reached.helper.stop(task, STOP_LIMIT);
    stopped.map(drop).map_err(|error| reached.broke_off("the serving", &error))
}

fn measure(common: &Common, probe: &TcpProbe, cancel: &Cancel) -> Result<Measured> {
    let values = Arc::new(Mutex::new(Vec::new()));
    let rows = Arc::clone(&values);
    let sink: TcpSink = Box::new(move |more: &[i64]| {
        rows.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(more);
    });
    let summary = match common.at.reach(cancel)? {
        None => {
            let running =
                start_tcp(common.server, probe, sink).map_err(|error| Failure::new(Exit::Failed, &error))?;
            wait("measuring", common.duration, cancel);
            running.stop()
        }
        Some(reached) => {
            let task = reached
                .helper
                .probe_tcp(common.server, *probe, sink)
                .map_err(|error| reached.refused("measure", &error))?;
            reached.wait("measuring", common.duration, cancel);
            let stopped = reached.helper.stop_tcp(task, STOP_LIMIT);
            stopped.map_err(|error| reached.broke_off("the measurement", &error))?
        }
    };
    if summary.connections.is_empty() {
        let nobody = Failure::says(Exit::Failed, format!("nobody answered at {}", common.server));
        return Err(nobody.hint("run `dunlin tcp serve` there"));
    }
    let values = std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Measured { values, connections: summary.connections })
}
