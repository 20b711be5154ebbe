//! The TCP probes of a trial: bench to guest on the service network, host to host on the migration network.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_probe::{RunningTcpProbe, TcpProbeSummary, start_tcp};
use dunlin_record::{ABSENT, Event, EventKind, Journal, TcpPath, TcpProbe, shapes};
use dunlin_testbed::{Helper, HelperTask, Network, TestbedError};
use dunlin_traffic::TCP_TEST_PORT;

use super::{Guest, Run, event};
use crate::Result;
use crate::recording::SeriesHandle;

/// How long a helper may take to end a probe.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The TCP probes of one guest's migration. Dropping them ends them.
pub(super) struct TcpProbing<'a> {
    running: Vec<Running<'a>>,
    /// What responds to those between the hosts; ends after them.
    responder: Option<HostTask<'a>>,
}

struct Running<'a> {
    name: &'static str,
    prober: Prober<'a>,
    series: SeriesHandle,
    answered: Arc<AtomicBool>,
}

/// Where the measuring end is.
enum Prober<'a> {
    Bench(RunningTcpProbe),
    Host(HostTask<'a>),
}

impl<'a> TcpProbing<'a> {
    /// Starts those that the case asks for.
    pub(super) fn start(run: &Run<'a>, guest: &Guest, journal: &mut Journal) -> Result<Self> {
        let mut probing = Self { running: Vec::new(), responder: None };
        for (name, path, probe) in run.trial.case.probes.tcp() {
            let peer = match (path, guest.address) {
                (TcpPath::Service, None) => continue,
                (TcpPath::Service, Some(address)) => SocketAddrV4::new(address, TCP_TEST_PORT),
                (TcpPath::Hosts, _) => probing.respond(run)?,
            };
            let (what, shape) = match probe {
                TcpProbe::RequestResponse(_) => ("transactions", shapes::PROBE_TRANSACTIONS),
                TcpProbe::Stream(_) => ("samples", shapes::PROBE_SAMPLES),
            };
            let series = run.recording.series(&format!("{}-probe-{name}-{what}", guest.id), shape)?;
            let answered = Arc::new(AtomicBool::new(false));
            let (seen, rows) = (Arc::clone(&answered), series.clone());
            let sink = Box::new(move |values: &[i64]| {
                // The second column of a transaction is its answer's time; a stream is sampled once it is connected.
                if values.chunks_exact(shape.len()).any(|row| row[1] != ABSENT) {
                    seen.store(true, Ordering::Relaxed);
                }
                rows.push(values);
            });
            let prober = match path {
                TcpPath::Service => Prober::Bench(start_tcp(peer, &probe, sink)?),
                TcpPath::Hosts => {
                    let [source, _] = helpers(run)?;
                    Prober::Host(HostTask::new(source, source.probe_tcp(peer, probe, sink)?))
                }
            };
            let started =
                EventKind::ProbeStarted { probe: name.into(), interval_ms: None, realtime_priority: false };
            journal.keep(&event(None, Some(&guest.id), started))?;
            probing.running.push(Running { name, prober, series, answered });
        }
        Ok(probing)
    }

    /// Where the destination host responds, from now on at the latest. By its port the probes' frames are told from the
    /// migration's.
    fn respond(&mut self, run: &Run<'a>) -> Result<SocketAddrV4> {
        let address = run.world.hosts()?[1].address(Network::Migration).ok_or_else(between_hosts)?;
        let at = SocketAddrV4::new(address, TCP_TEST_PORT);
        if self.responder.is_none() {
            let [_, destination] = helpers(run)?;
            self.responder = Some(HostTask::new(destination, destination.respond_tcp(at)?.0));
        }
        Ok(at)
    }

    /// The first that has not been answered yet.
    pub(super) fn unanswered(&self) -> Option<&str> {
        let silent = self.running.iter().find(|running| !running.answered.load(Ordering::Relaxed));
        silent.map(|running| running.name)
    }

    /// Ends the probes and tells what they cost, and on which connections they ran.
    pub(super) fn stop(self, guest: &Guest, journal: &mut Journal) -> Result<()> {
        for running in &self.running {
            if let Prober::Bench(probe) = &running.prober {
                probe.end();
            }
        }
        let mut first_error = None;
        for Running { name, prober, series, .. } in self.running {
            let summary = match prober {
                Prober::Bench(probe) => Ok(probe.stop()),
                Prober::Host(task) => task.stop(|helper, task| helper.stop_tcp(task, STOP_LIMIT)),
            };
            series.finish();
            match summary {
                Ok(summary) => tell(name, summary, guest, journal)?,
                // The others are ended all the same.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(responder) = self.responder {
            responder.stop(|helper, task| helper.stop(task, STOP_LIMIT))?;
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The helpers of both hosts.
fn helpers<'a>(run: &Run<'a>) -> Result<[&'a Helper; 2]> {
    match run.world.helpers()? {
        [Some(source), Some(destination)] => Ok([source, destination]),
        _ => Err(between_hosts().into()),
    }
}

fn between_hosts() -> TestbedError {
    TestbedError::Unsupported {
        what: "a TCP probe between the hosts".into(),
        because: "nothing of ours can run on them".into(),
    }
}

fn tell(name: &str, summary: TcpProbeSummary, guest: &Guest, journal: &mut Journal) -> Result<()> {
    let TcpProbeSummary { cpu_ns, wall_ns, connections } = summary;
    for connection in connections {
        let t_ns = connection.connected_ns;
        let kind = EventKind::ProbeConnection { probe: name.to_owned(), connection };
        journal.keep(&Event { t_ns, host: None, vm: Some(guest.id.clone()), kind })?;
    }
    let ended = EventKind::ProbeEnded { probe: name.to_owned(), cpu_ns, wall_ns, send_errors: 0, drops: 0 };
    Ok(journal.keep(&event(None, Some(&guest.id), ended))?)
}

/// Something that a host's helper does. Dropping it ends it.
struct HostTask<'a> {
    helper: &'a Helper,
    /// Absent once ended.
    task: Option<HelperTask>,
}

impl<'a> HostTask<'a> {
    fn new(helper: &'a Helper, task: HelperTask) -> Self {
        Self { helper, task: Some(task) }
    }

    fn stop<T: Default>(
        mut self,
        stop: impl FnOnce(&Helper, HelperTask) -> Result<T, TestbedError>,
    ) -> Result<T, TestbedError> {
        self.task.take().map_or_else(|| Ok(T::default()), |task| stop(self.helper, task))
    }
}

impl Drop for HostTask<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            // Of a trial that has failed already, so what it comes to is of no interest.
            let _ = self.helper.stop(task, STOP_LIMIT);
        }
    }
}
