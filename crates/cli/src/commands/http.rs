//! `dunlin http serve|load`: both ends of a guest's web traffic as plain processes, on any two machines.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dunlin_analysis::quantile;
use dunlin_clock::Cancel;
use dunlin_probe::{LoadSummary, start_load};
use dunlin_traffic::{HTTP_PORT, HttpServer, LoadSpec, Served, ServerSettings};
use serde::Serialize;

use super::cancel_on_signals;
use super::on_host::{OnHost, Reached, STOP_LIMIT};
use crate::address::with_port;
use crate::failure::{Exit, Failure, Result};
use crate::progress::{stay, until, wait};
use crate::terminal;
use crate::time::time;

/// The same as a probe's.
const LEAST_INTERVAL: Duration = Duration::from_micros(100);

/// Serve and load the guests' web pages without a guest.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Serve what a guest's workload `http-server` serves, until Ctrl-C
    Serve {
        /// The address at which it can be reached; 0.0.0.0 is every one that this machine, or the host of --on, has
        #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
        bind: Ipv4Addr,
        /// The port
        #[arg(long, default_value_t = HTTP_PORT)]
        port: u16,
        /// So many times 10 MiB are allocated and written before it serves
        #[arg(long, default_value_t = 0)]
        increase_calls: u32,
        /// What calls of /increase_mem may make it hold, in MiB
        #[arg(long, default_value_t = 1024)]
        memory_limit_mib: u32,
        /// End it after this time, as in 10s [default: go on until Ctrl-C]
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        duration: Option<Duration>,
        #[command(flatten)]
        at: OnHost,
    },
    /// Ask a server for a page at a fixed rate, a connection a request, and tell how long answers took
    Load {
        /// The server, as in 10.0.0.1 or 10.0.0.1:8080
        #[arg(value_parser = with_port::<HTTP_PORT>)]
        server: SocketAddrV4,
        /// The page
        #[arg(long, default_value = "/")]
        path: String,
        /// Time between two requests, as in 10ms
        #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = time)]
        interval: Duration,
        /// How long requests are sent, as in 10s
        #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time)]
        duration: Duration,
        /// Print the figures as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: OnHost,
    },
}

pub(crate) fn run(action: Action) -> Result {
    let cancel = cancel_on_signals()?;
    match action {
        Action::Serve { at, bind, port, increase_calls, memory_limit_mib, duration } => {
            let settings = ServerSettings {
                address: SocketAddrV4::new(bind, port),
                memory_limit_bytes: u64::from(memory_limit_mib) << 20,
                increase_calls,
            };
            match at.reach(&cancel)? {
                None => serve(&settings, duration, &cancel),
                Some(reached) => serve_on(&reached, &settings, duration, &cancel),
            }
        }
        Action::Load { at, server, path, interval, duration, json } => {
            if interval < LEAST_INTERVAL {
                return Err(Failure::says(Exit::BadInput, "--interval: expected at least 0.1ms".to_owned()));
            }
            let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
            let spec = LoadSpec { target: server, path, interval_ns };
            let (loaded, machine) = match at.reach(&cancel)? {
                None => (load(&spec, duration, &cancel)?, "this machine".to_owned()),
                Some(reached) => (load_from(&reached, &spec, duration, &cancel)?, reached.name().to_owned()),
            };
            if json { terminal::print_json(&loaded.json()?) } else { terminal::print(&loaded.text(&machine)) }
        }
    }
}

fn serve(settings: &ServerSettings, duration: Option<Duration>, cancel: &Cancel) -> Result {
    let server = HttpServer::start(settings).map_err(|error| {
        Failure::says(Exit::BadInput, format!("cannot serve at {}: {error}", settings.address))
    })?;
    terminal::say(&format!("serving at {} until {}", server.address(), until(duration)));
    stay(duration, || !cancel.is_cancelled());
    let served =
        server.stop().map_err(|words| Failure::says(Exit::Failed, format!("the server died: {words}")))?;
    tell(served)
}

fn serve_on(
    reached: &Reached,
    settings: &ServerSettings,
    duration: Option<Duration>,
    cancel: &Cancel,
) -> Result {
    let refused = |error| reached.refused(&format!("serve at {}", settings.address), &error);
    let (task, at) = reached.helper.serve_http(settings).map_err(refused)?;
    terminal::say(&format!("serving at {at} of {} until {}", reached.name(), until(duration)));
    stay(duration, || !cancel.is_cancelled() && reached.helper.is_well());
    let served = reached.helper.stop_http(task, STOP_LIMIT);
    tell(served.map_err(|error| reached.broke_off("the serving", &error))?)
}

fn tell(served: Served) -> Result {
    terminal::print(&format!(
        "{} requests answered, {} refused, {} broken off; {} MiB held\n",
        served.answered,
        served.refused,
        served.broken,
        served.held_bytes >> 20
    ))
}

/// What a load came to. Times in ms, absent where nothing was answered; shares of the CPUs of the
/// machine that sent the requests in percent of all of them, absent where they were not told.
#[derive(Debug, PartialEq, Serialize)]
struct Loaded {
    requests: u64,
    answered: usize,
    failed: u64,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    p99_9_ms: Option<f64>,
    max_ms: Option<f64>,
    machine_cpu_percent: Option<f64>,
}

fn load(spec: &LoadSpec, duration: Duration, cancel: &Cancel) -> Result<Loaded> {
    let load = start_load(spec).map_err(|error| Failure::new(Exit::Failed, &error))?;
    wait("sending requests", duration, cancel);
    // Each request has a limit of its own, after which the load ends by itself.
    Ok(Loaded::of(&load.stop(!cancel.is_cancelled())))
}

fn load_from(reached: &Reached, spec: &LoadSpec, duration: Duration, cancel: &Cancel) -> Result<Loaded> {
    let load = reached.helper.load_http(spec).map_err(|error| reached.refused("send requests", &error))?;
    reached.wait("sending requests", duration, cancel);
    let stopped = reached.helper.stop_load(&load, !cancel.is_cancelled(), STOP_LIMIT);
    let summary = stopped.map_err(|error| reached.broke_off("the load", &error))?;
    Ok(Loaded::of(&summary))
}

impl Loaded {
    fn of(summary: &LoadSummary) -> Self {
        let times_ms: Vec<f64> = summary.responses_ns.iter().map(|ns| *ns as f64 / 1e6).collect();
        let at = |share| quantile(&times_ms, share);
        let cpu = summary.cpu_busy_ns.zip(summary.cpu_all_ns).filter(|(_, all_ns)| *all_ns > 0);
        Self {
            requests: summary.requests,
            answered: times_ms.len(),
            failed: summary.failed,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: at(1.0),
            machine_cpu_percent: cpu.map(|(busy_ns, all_ns)| 100.0 * busy_ns as f64 / all_ns as f64),
        }
    }

    /// The machine is the one that sent the requests.
    fn text(&self, machine: &str) -> String {
        let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), dunlin_report::number);
        format!(
            "{} requests, {} answered, {} failed\nresponse time in ms: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n\
             {machine}'s CPUs were busy for {} % of the time\n",
            self.requests,
            self.answered,
            self.failed,
            figure(self.p50_ms),
            figure(self.p90_ms),
            figure(self.p99_ms),
            figure(self.p99_9_ms),
            figure(self.max_ms),
            figure(self.machine_cpu_percent)
        )
    }

    fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| {
            Failure::says(Exit::Failed, format!("cannot write the figures as JSON: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_loaded_and_its_answers_are_counted() {
        let settings = ServerSettings {
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            memory_limit_bytes: 0,
            increase_calls: 0,
        };
        let server = HttpServer::start(&settings).unwrap();
        let load_of = |path: &str| {
            let spec = LoadSpec { target: server.address(), path: path.into(), interval_ns: 5_000_000 };
            load(&spec, Duration::from_millis(200), &Cancel::new()).unwrap()
        };
        let good = load_of("/matrix?order=5");
        assert!(good.answered > 0 && good.requests == good.answered as u64 + good.failed, "{good:?}");
        assert!(good.p50_ms <= good.p99_ms && good.p99_ms <= good.max_ms, "{good:?}");
        assert!(
            good.text("this machine").contains(&format!("{} answered", good.answered)),
            "{}",
            good.text("this machine")
        );
        assert!(
            good.text("this machine").lines().all(|line| !line.starts_with(' ')),
            "{}",
            good.text("this machine")
        );
        let bad = load_of("/nothing");
        assert!(bad.answered == 0 && bad.failed == bad.requests && bad.p50_ms.is_none(), "{bad:?}");
        assert!(bad.text("this machine").contains("p50 –"), "{}", bad.text("this machine"));
        assert_eq!(server.stop().unwrap().answered, good.answered as u64);
    }
}
