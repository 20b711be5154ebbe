//! The probes of one guest's service, on the bench.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_probe::{
    DEFAULT_UDP_PORT, PAYLOAD_BYTES, ProbeKind, ProbeRows, ProbeSpec, ProbeSummary, RunningHttpProbe,
    RunningProbe, Sink, start_http,
};
use dunlin_record::{ABSENT, EventKind, HttpProbe, Journal, Probe, shapes};
use dunlin_traffic::{HTTP_PORT, LoadSpec};

use super::load::Load;
use super::tcp_probing::TcpProbing;
use super::{Guest, Run, event};
use crate::Result;
use crate::recording::SeriesHandle;

/// How long late answers are waited for once sending has ended.
const LATE_ANSWERS: Duration = Duration::from_millis(300);
/// The same for HTTP: a connection that was asked for while nobody answered is asked for again after 1 s (RFC 6298).
const LATE_PAGES: Duration = Duration::from_millis(1500);

/// The probes of one guest's service.
pub(super) struct Probing<'a> {
    running: Vec<Running>,
    tcp: TcpProbing<'a>,
}

struct Running {
    name: String,
    prober: Prober,
    series: Vec<SeriesHandle>,
    interval_ms: f64,
    load: Arc<Load>,
}

enum Prober {
    Echo(RunningProbe),
    Http(RunningHttpProbe),
}

impl<'a> Probing<'a> {
    /// Starts the probes that the case asks for.
    pub(super) fn start(run: &Run<'a>, guest: &Guest, journal: &mut Journal) -> Result<Self> {
        let probes = &run.trial.case.probes;
        let tcp = TcpProbing::start(run, guest, journal)?;
        let mut probing = Self { running: Vec::new(), tcp };
        let Some(address) = guest.address else {
            let why = if guest.is_paused() { "it is paused" } else { "its address is not known" };
            let text = format!("{why}, so nothing probes it");
            journal.keep(&event(None, Some(&guest.id), EventKind::Warning { text }))?;
            return Ok(probing);
        };
        let kinds =
            [(ProbeKind::Icmp, &probes.icmp), (ProbeKind::Udp { port: DEFAULT_UDP_PORT }, &probes.udp)];
        for (kind, asked) in kinds {
            if let Some(Probe { interval_ms }) = *asked {
                let spec = ProbeSpec {
                    kind,
                    target: address,
                    interval_ns: ms_in_ns(interval_ms),
                    payload_bytes: PAYLOAD_BYTES,
                };
                let start = |sink| Ok(Prober::Echo(dunlin_probe::start(&spec, sink)?));
                probing.add(run, guest, &kind.to_string(), interval_ms, start, journal)?;
            }
        }
        if let Some(HttpProbe { interval_ms, path }) = &probes.http {
            let spec = LoadSpec {
                target: SocketAddrV4::new(address, HTTP_PORT),
                path: path.clone(),
                interval_ns: ms_in_ns(*interval_ms),
            };
            let start = |sink| Ok(Prober::Http(start_http(&spec, sink)?));
            probing.add(run, guest, "http", *interval_ms, start, journal)?;
        }
        Ok(probing)
    }

    fn add(
        &mut self,
        run: &Run<'_>,
        guest: &Guest,
        name: &str,
        interval_ms: f64,
        start: impl FnOnce(Sink) -> Result<Prober>,
        journal: &mut Journal,
    ) -> Result<()> {
        let series = |what, shape| run.recording.series(&format!("{}-probe-{name}-{what}", guest.id), shape);
        let sent = series("sent", shapes::PROBE_SENT)?;
        let answers = series("answers", shapes::PROBE_ANSWERS)?;
        let failures = if name == "http" { Some(series("failures", shapes::PROBE_FAILURES)?) } else { None };
        let handles =
            [Some(&sent), Some(&answers), failures.as_ref()].into_iter().flatten().cloned().collect();
        let load = Arc::new(Load::default());
        let count = Arc::clone(&load);
        let prober = start(Box::new(move |rows: ProbeRows<'_>| match rows {
            ProbeRows::Sent(rows) => {
                count.sent(rows.iter().filter(|row| row[2] != ABSENT).count());
                sent.push(rows.as_flattened());
            }
            ProbeRows::Answers(rows) => {
                count.answered(rows.len());
                answers.push(rows.as_flattened());
            }
            ProbeRows::Failures(rows) => {
                if let Some(failures) = &failures {
                    failures.push(rows.as_flattened());
                }
            }
        }))?;
        let realtime_priority = prober.realtime_priority().is_some();
        let started = EventKind::ProbeStarted {
            probe: name.to_owned(),
            interval_ms: Some(interval_ms),
            realtime_priority,
        };
        journal.keep(&event(None, Some(&guest.id), started))?;
        self.running.push(Running { name: name.to_owned(), prober, series: handles, interval_ms, load });
        Ok(())
    }

    /// The first probe that has not been answered yet.
    pub(super) fn unanswered(&self) -> Option<&str> {
        let silent = self.running.iter().find(|running| !running.load.is_answered());
        silent.map(|running| running.name.as_str()).or_else(|| self.tcp.unanswered())
    }

    /// Notes how the probes are answered before anything else is asked of the guest.
    pub(super) fn mark(&self) {
        self.running.iter().for_each(|running| running.load.mark());
    }

    /// Counts anew how the probes are answered, as after a move.
    pub(super) fn count_anew(&self) {
        self.running.iter().for_each(|running| running.load.count_anew());
    }

    /// What the probes ask, in words, if that is more than the guest can answer.
    pub(super) fn drowning(&self) -> Option<String> {
        let each = |running: &Running| running.load.drowning(&running.name, running.interval_ms);
        let told: Vec<String> = self.running.iter().filter_map(each).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// Ends the probes and tells what they cost.
    pub(super) fn stop(self, guest: &Guest, journal: &mut Journal) -> Result<()> {
        for running in &self.running {
            running.prober.end_sending();
        }
        let deadlines = [LATE_ANSWERS, LATE_PAGES].map(Deadline::after);
        for Running { name, prober, series, .. } in self.running {
            let summary = prober.stop(deadlines);
            series.iter().for_each(SeriesHandle::finish);
            if let Some(error_ns) = summary.clock_error_ns {
                let mapped = EventKind::ClockMapped { clock: name.clone(), offset_ns: 0, error_ns };
                journal.keep(&event(None, Some(&guest.id), mapped))?;
            }
            let ended = EventKind::ProbeEnded {
                probe: name,
                cpu_ns: summary.cpu_ns,
                wall_ns: summary.wall_ns,
                send_errors: summary.send_errors,
                drops: summary.drops,
            };
            journal.keep(&event(None, Some(&guest.id), ended))?;
        }
        self.tcp.stop(guest, journal)
    }
}

impl Prober {
    fn realtime_priority(&self) -> Option<u8> {
        match self {
            Self::Echo(probe) => probe.realtime_priority(),
            Self::Http(probe) => probe.realtime_priority(),
        }
    }

    fn end_sending(&self) {
        match self {
            Self::Echo(probe) => probe.end_sending(),
            Self::Http(probe) => probe.end_sending(),
        }
    }

    fn stop(self, [answers_until, pages_until]: [Deadline; 2]) -> ProbeSummary {
        match self {
            Self::Echo(probe) => probe.stop(answers_until),
            Self::Http(probe) => probe.stop(pages_until),
        }
    }
}

fn ms_in_ns(ms: f64) -> i64 {
    (ms * 1e6) as i64
}
