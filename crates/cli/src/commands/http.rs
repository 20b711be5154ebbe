//! `dunlin http serve|load`: both ends of a guest's web traffic as plain processes, on any two machines.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dunlin_analysis::quantile;
use dunlin_clock::{Cancel, MachineCpu, now_ns};
use dunlin_traffic::{HTTP_PORT, HttpServer, Load, LoadEvent, LoadSpec, ServerSettings};
use serde::Serialize;

use super::cancel_on_signals;
use crate::address::with_port;
use crate::failure::{Exit, Failure, Result};
use crate::progress::wait;
use crate::terminal;
use crate::time::time;

/// How long until it is seen that it is to end.
const LOOK_UP: Duration = Duration::from_millis(20);
/// The same as a probe's.
const LEAST_INTERVAL: Duration = Duration::from_micros(100);

/// Serve and load the guests' web pages without a guest.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Serve what a guest's workload `http-server` serves, until Ctrl-C
    Serve {
        /// The address at which it can be reached; 0.0.0.0 is every one of this machine's
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
    },
}

pub(crate) fn run(action: Action) -> Result {
    let cancel = cancel_on_signals()?;
    match action {
        Action::Serve { bind, port, increase_calls, memory_limit_mib } => {
            let settings = ServerSettings {
                address: SocketAddrV4::new(bind, port),
                memory_limit_bytes: u64::from(memory_limit_mib) << 20,
                increase_calls,
            };
            serve(&settings, &cancel)
        }
        Action::Load { server, path, interval, duration, json } => {
            if interval < LEAST_INTERVAL {
                return Err(Failure::says(Exit::BadInput, "--interval: expected at least 0.1ms".to_owned()));
            }
            let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
            let spec = LoadSpec { target: server, path, interval_ns };
            let loaded = load(&spec, duration, &cancel)?;
            if json { terminal::print_json(&loaded.json()?) } else { terminal::print(&loaded.text()) }
        }
    }
}

fn serve(settings: &ServerSettings, cancel: &Cancel) -> Result {
    let server = HttpServer::start(settings).map_err(|error| {
        Failure::says(Exit::BadInput, format!("cannot serve at {}: {error}", settings.address))
    })?;
    terminal::say(&format!("serving at {} until Ctrl-C", server.address()));
    while !cancel.is_cancelled() {
        std::thread::sleep(LOOK_UP);
    }
    let served =
        server.stop().map_err(|words| Failure::says(Exit::Failed, format!("the server died: {words}")))?;
    terminal::print(&format!(
        "{} requests answered, {} refused, {} broken off; {} MiB held\n",
        served.answered,
        served.refused,
        served.broken,
        served.held_bytes >> 20
    ))
}

/// What a load came to. Times in ms, absent where nothing was answered; shares of this machine's CPUs in percent of all
/// of them, absent where they were not told.
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
    let mut cpu = MachineCpu::open().ok();
    let before = cpu.as_mut().and_then(|cpu| cpu.read().ok());
    let (load, end) = Load::new(spec);
    let thread = std::thread::Builder::new().name("dunlin-http-load".into()).spawn(move || {
        let mut tally = Tally::default();
        load.run(|event| tally.count(event));
        tally
    });
    let thread =
        thread.map_err(|error| Failure::says(Exit::Failed, format!("cannot start a load: {error}")))?;
    wait("sending requests", duration, cancel);
    // Each request has a limit of its own, after which the load ends by itself.
    if cancel.is_cancelled() {
        end.end_at(now_ns());
    } else {
        end.end_sending();
    }
    let tally = thread.join().map_err(|_| Failure::says(Exit::Failed, "the load died".to_owned()))?;
    let after = cpu.as_mut().and_then(|cpu| cpu.read().ok());
    let machine_cpu_percent = before.zip(after).and_then(|(before, after)| {
        let busy_ns = (after.busy_ns - before.busy_ns) as f64;
        let all_ns = busy_ns + (after.idle_ns - before.idle_ns) as f64;
        (all_ns > 0.0).then(|| 100.0 * busy_ns / all_ns)
    });
    Ok(Loaded::of(&tally, machine_cpu_percent))
}

/// What is kept of a load while it runs.
#[derive(Debug, Default)]
struct Tally {
    /// When each request was sent, by its number; absent where it was not.
    sent_ns: Vec<Option<i64>>,
    responses_ms: Vec<f64>,
    failed: u64,
}

impl Tally {
    fn count(&mut self, event: LoadEvent) {
        match event {
            LoadEvent::Due { sent_ns, .. } => self.sent_ns.push(sent_ns),
            LoadEvent::Answered { seq, arrived_ns } => {
                let sent_ns = usize::try_from(seq).ok().and_then(|seq| *self.sent_ns.get(seq)?);
                self.responses_ms.extend(sent_ns.map(|sent_ns| (arrived_ns - sent_ns) as f64 / 1e6));
            }
            LoadEvent::Failed { .. } => self.failed += 1,
        }
    }
}

impl Loaded {
    fn of(tally: &Tally, machine_cpu_percent: Option<f64>) -> Self {
        let at = |share| quantile(&tally.responses_ms, share);
        Self {
            requests: tally.sent_ns.len() as u64,
            answered: tally.responses_ms.len(),
            failed: tally.failed,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: at(1.0),
            machine_cpu_percent,
        }
    }

    fn text(&self) -> String {
        let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), dunlin_report::number);
        format!(
            "{} requests, {} answered, {} failed\nresponse time in ms: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n\
             this machine's CPUs were busy for {} % of the time\n",
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
        assert!(good.text().contains(&format!("{} answered", good.answered)), "{}", good.text());
        assert!(good.text().lines().all(|line| !line.starts_with(' ')), "{}", good.text());
        let bad = load_of("/nothing");
        assert!(bad.answered == 0 && bad.failed == bad.requests && bad.p50_ms.is_none(), "{bad:?}");
        assert!(bad.text().contains("p50 –"), "{}", bad.text());
        assert_eq!(server.stop().unwrap().answered, good.answered as u64);
    }
}
