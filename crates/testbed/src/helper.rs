//! The bench's side of a helper: our own binary run again on a host, which does there what has to be done there and
//! streams what it sees back.

mod at_end;
pub(crate) mod bytes;
mod carry_ends;
pub(crate) mod carrying;
mod echo;
mod file_asks;
pub(crate) mod for_host;
mod hearing;
pub(crate) mod host_protocol;
mod http;
mod http_ends;
mod launched;
mod pipe;
pub(crate) mod protocol;
pub(crate) mod remote;
mod responder;
mod routes;
mod serve;
pub(crate) mod services;
mod stamps;
pub(crate) mod streams;

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dunlin_clock::{Deadline, Exchange, HostClock, now_ns};
use dunlin_probe::TcpProbeSummary;
use dunlin_record::{HostId, TcpProbe, shapes};
use dunlin_wire::{CaptureSpec, CaptureSummary, Filter, RowSink, Summary};

use crate::goodput::Arrived;
use crate::{Result, TestbedError};
pub use http::HostLoad;
use pipe::RequestPipe;
use protocol::{Ask, FrameError, Request, Tell, write_frame};
use routes::{Routes, read_reports};
pub use serve::{serve as serve_helper, serve_remote as serve_remote_helper};
use stamps::Stamps;

/// How long a helper may take to begin what it is asked, on a machine that is busy with other things.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a helper may take to end once its input has ended.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How often that is looked at.
const END_STEP: Duration = Duration::from_millis(2);
/// How long it may take to read a request.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How often a clock is asked in a burst; the quickest answer counts.
const CLOCK_EXCHANGES: usize = 5;

/// A helper on a host. Dropping it ends it and all it does. All stamps that leave it are on the bench's clock.
#[derive(Debug)]
pub struct Helper {
    host: HostId,
    stamps: Stamps,
    child: Child,
    requests: Arc<Mutex<Option<RequestPipe>>>,
    routes: Routes,
    reader: Option<JoinHandle<()>>,
    next_id: AtomicU32,
}

/// Something a helper does until [`Helper::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HelperTask(u32);

impl Helper {
    /// Takes over a freshly spawned `dunlin helper` whose standard input and output are pipes, and waits until it
    /// answers. `clock` is its host's, by which all it stamps is put on the bench's clock; that of another machine learns
    /// here how it stands.
    ///
    /// # Errors
    /// Where the child has no pipes, or does not answer as a helper does.
    pub fn start(host: HostId, mut child: Child, clock: HostClock) -> Result<Self> {
        let pipes = child.stdin.take().zip(child.stdout.take());
        let routes = Routes::default();
        let mut helper = Self {
            host,
            stamps: Stamps::new(clock),
            child,
            requests: Arc::default(),
            routes: routes.clone(),
            reader: None,
            next_id: AtomicU32::new(0),
        };
        let Some((requests, reports)) = pipes else {
            return Err(helper.failed("its standard input and output are not pipes"));
        };
        let requests =
            RequestPipe::new(requests).map_err(TestbedError::io("prepare the pipe to a helper"))?;
        *helper.requests() = Some(requests);
        let reader = Builder::new().name(format!("helper-{}", helper.host));
        let reader = reader.spawn(move || read_reports(reports, &routes));
        helper.reader =
            Some(reader.map_err(TestbedError::io("start the thread that reads a helper's reports"))?);
        let answer = helper.ask(Ask::Ping, None)?.next("an answer", START_LIMIT)?;
        if answer != Tell::Pong {
            return Err(helper.unexpected(&answer));
        }
        let clock = helper.stamps.clock();
        if !clock.is_own() {
            clock.learn(helper.exchange(START_LIMIT)?);
        }
        Ok(helper)
    }

    /// Asks its host for the time, in a short burst of questions; of them the one that took least time. Any thread may ask
    /// while others do, again and again; what is learnt of it is the clock's ([`HostClock::learn`]).
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn exchange(&self, limit: Duration) -> Result<Exchange> {
        let deadline = Deadline::after(limit);
        let mut best = self.exchange_once(deadline)?;
        for _ in 1..CLOCK_EXCHANGES {
            // One answer is enough; whoever asks next learns why there was no other.
            let Ok(exchange) = self.exchange_once(deadline) else { break };
            if exchange.took_ns() < best.took_ns() {
                best = exchange;
            }
        }
        Ok(best)
    }

    fn exchange_once(&self, deadline: Deadline) -> Result<Exchange> {
        let asked_ns = now_ns();
        let told = self.ask(Ask::Clock, None)?.next("the time", deadline.left())?;
        let answered_ns = now_ns();
        match told {
            Tell::Clock { monotonic_ns, epoch_ns, error_ns } => Ok(Exchange {
                asked_ns,
                answered_ns,
                monotonic_ns,
                realtime_ns: epoch_ns,
                apart_ns: error_ns,
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The host it is on.
    #[must_use]
    pub fn host(&self) -> &HostId {
        &self.host
    }

    /// Records our probes' frames on a VM's tap as rows of `dunlin_record::shapes::PASSAGES`: see
    /// [`dunlin_wire::watch_passages`]. The sink runs on the thread that reads all the helper says, so it must neither
    /// wait nor call the helper; it is dropped after its last row.
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn watch_passages(&self, interface: &str, sink: RowSink) -> Result<HelperTask> {
        self.record(Ask::WatchPassages { interface: interface.to_owned() }, shapes::PASSAGES, sink)
    }

    /// Records an interface's counters as rows of `dunlin_record::shapes::WIRE`, to a sink as in
    /// [`Self::watch_passages`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn count(&self, interface: &str, sink: RowSink) -> Result<HelperTask> {
        self.record(Ask::CountInterface { interface: interface.to_owned() }, shapes::WIRE, sink)
    }

    /// Records what of an interface's counters fits a filter, as rows of `dunlin_record::shapes::WIRE`: see
    /// [`dunlin_wire::count_flow`]. To a sink as in [`Self::watch_passages`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn count_flow(&self, interface: &str, filter: &Filter, sink: RowSink) -> Result<HelperTask> {
        let (interface, filter) = (interface.to_owned(), filter.to_string());
        self.record(Ask::CountFlow { interface, filter }, shapes::WIRE, sink)
    }

    /// Records the CPU time of the host as rows of `dunlin_record::shapes::CPU`, to a sink as in
    /// [`Self::watch_passages`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn count_cpu(&self, sink: RowSink) -> Result<HelperTask> {
        self.record(Ask::CountCpu, shapes::CPU, sink)
    }

    /// Records the CPU time of a process on the host, that of its vCPUs' threads apart, as rows of
    /// `dunlin_record::shapes::PROCESS_CPU`, to a sink as in [`Self::watch_passages`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn count_process_cpu(&self, pid: u32, vcpu_threads: Vec<u32>, sink: RowSink) -> Result<HelperTask> {
        self.record(Ask::CountProcessCpu { pid, vcpu_threads }, shapes::PROCESS_CPU, sink)
    }

    /// Captures an interface to a file on the host: see [`dunlin_wire::capture`]. What is captured does not come back
    /// here, where it would travel beside what is measured.
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn capture(&self, spec: &CaptureSpec, path: &Path) -> Result<HostCapture<'_>> {
        let ask = Ask::Capture {
            interface: spec.interface.clone(),
            description: spec.description.clone(),
            filter: spec.filter.to_string(),
            snap_bytes: spec.snap_bytes,
            path: path.to_owned(),
        };
        let began_ns = now_ns();
        Ok(HostCapture { helper: self, task: Some(self.begin(ask, None)?), began_ns })
    }

    /// Answers UDP datagrams on the host with themselves; says at which address. Port 0 takes a free one.
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn echo_udp(&self, bind: SocketAddrV4) -> Result<(HelperTask, SocketAddrV4)> {
        self.listen(Ask::UdpEcho { bind }, "an echo server")
    }

    /// Responds to TCP probes on the host; says at which address. Port 0 takes a free one.
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn respond_tcp(&self, bind: SocketAddrV4) -> Result<(HelperTask, SocketAddrV4)> {
        self.listen(Ask::TcpResponder { bind }, "a TCP responder")
    }

    /// Runs a TCP probe on the host, to a sink as in [`Self::watch_passages`]: see [`dunlin_probe::start_tcp`]. It ends by
    /// [`Self::stop_tcp`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn probe_tcp(&self, peer: SocketAddrV4, probe: TcpProbe, sink: RowSink) -> Result<HelperTask> {
        let shape = match probe {
            TcpProbe::RequestResponse(_) => shapes::PROBE_TRANSACTIONS,
            TcpProbe::Stream(_) => shapes::PROBE_SAMPLES,
        };
        self.record(Ask::ProbeTcp { peer, probe }, shape, sink)
    }

    /// Ends a TCP probe. When this returns, its sink has had its last row and is gone.
    ///
    /// # Errors
    /// Where it does not end within `limit`.
    pub fn stop_tcp(&self, task: HelperTask, limit: Duration) -> Result<TcpProbeSummary> {
        match self.end(task, "the end of a TCP probe", limit)? {
            Tell::ProbedTcp(summary) => Ok(self.stamps.probe(summary)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends a task. When this returns, its sink has had its last row and is gone.
    ///
    /// # Errors
    /// Where the task had broken off before, or does not end within `limit`.
    pub fn stop(&self, task: HelperTask, limit: Duration) -> Result<Summary> {
        match self.end(task, "the end of a task", limit)? {
            Tell::Stopped { dropped, clock_error_ns } => Ok(Summary { dropped, clock_error_ns }),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(crate) fn start_goodput_sink(
        &self,
        bind: SocketAddrV4,
        limit: Duration,
    ) -> Result<(GoodputSink<'_>, SocketAddrV4)> {
        let pending = self.ask(Ask::GoodputSink { bind, limit_ms: millis(limit) }, None)?;
        match pending.next("a goodput sink", START_LIMIT.min(limit))? {
            Tell::Listening { at } => Ok((GoodputSink(pending), at)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends a stream; returns the shortest round trip in nanoseconds.
    pub(crate) fn run_goodput_source(&self, to: SocketAddrV4, limit: Duration) -> Result<i64> {
        match self
            .ask(Ask::GoodputSource { to, limit_ms: millis(limit) }, None)?
            .next("the sending of a stream", limit)?
        {
            Tell::Sent { rtt_ns } => Ok(rtt_ns),
            other => Err(self.unexpected(&other)),
        }
    }

    fn record(&self, ask: Ask, shape: shapes::Shape, sink: RowSink) -> Result<HelperTask> {
        self.begin(ask, Some(self.stamps.rows(shape, sink)))
    }

    fn listen(&self, ask: Ask, what: &str) -> Result<(HelperTask, SocketAddrV4)> {
        let pending = self.ask(ask, None)?;
        match pending.next(what, START_LIMIT)? {
            Tell::Listening { at } => Ok((pending.keep(), at)),
            other => Err(self.unexpected(&other)),
        }
    }

    fn begin(&self, ask: Ask, sink: Option<RowSink>) -> Result<HelperTask> {
        let pending = self.ask(ask, sink)?;
        match pending.next("the start of a record", START_LIMIT)? {
            Tell::Started => Ok(pending.keep()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn end(&self, HelperTask(task): HelperTask, what: &str, limit: Duration) -> Result<Tell> {
        let ended = self.ask(Ask::Stop { task }, None)?.next(what, limit);
        self.routes.close(task);
        ended
    }

    fn ask(&self, ask: Ask, sink: Option<RowSink>) -> Result<Pending<'_>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let reports = self.routes.open(id, sink).map_err(|why| self.failed(why))?;
        let pending = Pending { helper: self, id, reports, keep: false };
        self.write(id, ask)?;
        Ok(pending)
    }

    fn write(&self, id: u32, ask: Ask) -> Result<()> {
        let mut requests = self.requests();
        let Some(pipe) = requests.as_mut() else { return Err(self.failed("it was ended")) };
        write_frame(&mut pipe.within(READ_LIMIT), &Request { id, ask }).map_err(|error| {
            // Half a request may be on its way, after which no other can follow; but nothing of one that is no message.
            if matches!(error, FrameError::Io(_)) {
                *requests = None;
            }
            self.failed(format!("it takes no requests: {}", dunlin_record::in_one_line(&error)))
        })
    }

    fn requests(&self) -> MutexGuard<'_, Option<RequestPipe>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, why: impl Into<String>) -> TestbedError {
        TestbedError::Helper { host: self.host.to_string(), why: why.into() }
    }

    fn unexpected(&self, tell: &Tell) -> TestbedError {
        self.failed(format!("it gave an answer to another question: {tell:?}"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The end of its input ends a helper that is well; any other is killed.
        *self.requests() = None;
        if !self.has_ended_by(Deadline::after(END_LIMIT)) {
            // Fails only where it has ended already.
            let _ = self.child.kill();
        }
        // What the kernel holds does not end by a signal; and the reader has its end only when nobody has the pipe any more.
        // Neither is waited for without a limit.
        let deadline = Deadline::after(END_LIMIT);
        self.has_ended_by(deadline);
        if let Some(reader) = self.reader.take() {
            while !reader.is_finished() && !deadline.passed() {
                std::thread::sleep(deadline.step(END_STEP));
            }
            if reader.is_finished() {
                let _ = reader.join();
            }
        }
    }
}

impl Helper {
    fn has_ended_by(&mut self, deadline: Deadline) -> bool {
        while matches!(self.child.try_wait(), Ok(None)) {
            if deadline.passed() {
                return false;
            }
            std::thread::sleep(deadline.step(END_STEP));
        }
        true
    }
}

/// A request whose answers are waited for. Unless kept, its route is closed with it.
struct Pending<'a> {
    helper: &'a Helper,
    id: u32,
    reports: Receiver<Tell>,
    keep: bool,
}

impl Pending<'_> {
    fn next(&self, what: &str, limit: Duration) -> Result<Tell> {
        match self.reports.recv_timeout(limit) {
            Ok(Tell::Failed { why }) => Err(self.helper.failed(why)),
            Ok(tell) => Ok(tell),
            Err(RecvTimeoutError::Timeout) => Err(TestbedError::Timeout {
                waiting_for: format!("{what} by the helper on {}", self.helper.host),
                after_s: limit.as_secs_f64(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(self.helper.failed(self.helper.routes.why_ended())),
        }
    }

    /// The request became a task, whose rows go on coming.
    fn keep(mut self) -> HelperTask {
        self.keep = true;
        HelperTask(self.id)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.helper.routes.close(self.id);
        }
    }
}

/// A capture on a helper's host. Dropping it ends it.
#[derive(Debug)]
pub struct HostCapture<'a> {
    helper: &'a Helper,
    /// Absent once it was ended.
    task: Option<HelperTask>,
    began_ns: i64,
}

impl HostCapture<'_> {
    /// Whether the capture has ended by itself, which it only does where something went wrong.
    ///
    /// # Errors
    /// Where the helper does not say so within `limit`.
    pub fn has_ended(&self, limit: Duration) -> Result<bool> {
        let Some(HelperTask(task)) = self.task else { return Ok(true) };
        match self.helper.ask(Ask::HasEnded { task }, None)?.next("how a capture goes", limit)? {
            Tell::HasEnded(has_ended) => Ok(has_ended),
            other => Err(self.helper.unexpected(&other)),
        }
    }

    /// Ends the capture, whose file is then whole.
    ///
    /// # Errors
    /// Where the capture had broken off before, or does not end within `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<CaptureSummary> {
        self.end(limit)
    }

    fn end(&mut self, limit: Duration) -> Result<CaptureSummary> {
        let Some(task) = self.task.take() else { return Ok(CaptureSummary::default()) };
        match self.helper.end(task, "the end of a capture", limit)? {
            Tell::Captured {
                accepted,
                dropped,
                written,
                bytes,
                clock_offset_ns,
                clock_error_ns,
                cut_short,
            } => {
                let summary = CaptureSummary {
                    accepted,
                    dropped,
                    written,
                    bytes,
                    clock_offset_ns,
                    clock_error_ns,
                    cut_short,
                };
                Ok(self.helper.stamps.capture(summary, self.began_ns))
            }
            other => Err(self.helper.unexpected(&other)),
        }
    }
}

impl Drop for HostCapture<'_> {
    fn drop(&mut self) {
        // Whoever drops it no longer asks how it went; the helper's own end would end it too.
        let _ = self.end(END_LIMIT);
    }
}

/// A goodput sink that waits for its stream.
pub(crate) struct GoodputSink<'a>(Pending<'a>);

impl GoodputSink<'_> {
    /// What arrived.
    pub(crate) fn arrived(&self, limit: Duration) -> Result<Arrived> {
        match self.0.next("the arrival of a stream", limit)? {
            Tell::Arrived { bytes, during_ns } => Ok(Arrived { bytes, during_ns }),
            other => Err(self.0.helper.unexpected(&other)),
        }
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
