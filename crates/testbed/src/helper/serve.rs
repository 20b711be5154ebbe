//! The helper's own side: does on its host what the bench asks for, until the bench is gone.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_clock::Mapping;
use dunlin_image::StreamSettings;
use dunlin_probe::{RunningLoad, RunningTcpProbe, start_load, start_tcp};
use dunlin_traffic::{LoadSpec, ServerSettings};
use dunlin_wire::{
    Capture, CaptureSpec, CaptureSummary, Recording, RowSink, Summary, capture, count_cpu, count_flow,
    count_interface, count_process_cpu, watch_passages,
};

use nix::sys::signal::{SigSet, Signal};

use super::at_end::AtEnd;
use super::carry_ends::{self, Carrying, Order};
use super::echo::Echo;
use super::file_asks;
use super::hearing::Heard;
use super::http_ends::{PageServer, end_load};
use super::protocol::{Ask, FrameError, GREETING, Report, Request, Tell, VERSION, read_frame, write_frame};
use super::remote::Folder;
use super::responder::Responder;
use super::services::Services;
use crate::goodput;

/// What a helper asked for something returns.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Serves the bench on standard input and output until the input ends; returns the exit code. This is what the
/// binary's hidden subcommand `helper` runs.
#[must_use]
pub fn serve() -> i32 {
    serve_with(None, None, AtEnd::default())
}

/// The same on a machine that is reached through ssh: `measure` serves until nothing is heard of the bench any more;
/// `host` moreover takes the folder of the program along; `sweep` does that for one that was killed. This is what the
/// program runs that is copied there.
#[must_use]
pub fn serve_remote(mode: &str) -> i32 {
    // Before there are threads, which then leave them to the one that waits for them.
    let signals = end_signals();
    if let Err(errno) = signals.thread_block() {
        return fail(&errno);
    }
    let folder = match mode {
        "host" => match Folder::own() {
            Ok(folder) => Some(Arc::new(folder)),
            Err(error) => return fail(&error),
        },
        "measure" => None,
        "sweep" => return Folder::sweep().map_or_else(|error| fail(&error), |()| 0),
        other => return fail(&io::Error::other(format!("there is no mode {other:?}"))),
    };
    let (heard, at_end) = (Heard::now(), AtEnd::default());
    let (last, its_end) = (folder.clone(), at_end.clone());
    let end = move || {
        its_end.come();
        last.iter().for_each(|folder| folder.remove());
    };
    let code = match heard.clone().watch(signals, end) {
        Ok(()) => serve_with(Some(heard), folder.clone(), at_end),
        Err(error) => fail(&error),
    };
    // Once nothing runs any more that was started, and what was to be run last has been.
    folder.iter().for_each(|folder| folder.remove());
    code
}

/// By which a machine asks its programs to end, as when it goes down.
fn end_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

fn serve_with(heard: Option<Heard>, folder: Option<Arc<Folder>>, at_end: AtEnd) -> i32 {
    // Standard output as a plain file: a line buffer would cut binary frames at every line feed.
    let output = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(output) => File::from(output),
        Err(error) => return fail(&error),
    };
    match serve_on(io::stdin(), output, heard, |output| Services::new(output, folder, at_end)) {
        Ok(()) => 0,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn Error) -> i32 {
    // Where standard error is closed, there is nobody to tell.
    let _ = writeln!(io::stderr(), "dunlin helper: {}", dunlin_record::harmless(&explain(error)));
    1
}

fn serve_on(
    mut input: impl Read + Send + 'static,
    mut output: impl Write + Send + 'static,
    heard: Option<Heard>,
    services: impl FnOnce(Output) -> Services,
) -> Result<(), FrameError> {
    output.write_all(format!("{GREETING}{VERSION}\n").as_bytes())?;
    output.flush()?;
    let output = Output(Arc::new(Mutex::new(output)));
    let services = services(output.clone());
    let mut next: Box<dyn FnMut() -> Result<Option<Request>, FrameError>> = match heard {
        Some(heard) => {
            let requests = heard.listen(input, output.clone())?;
            Box::new(move || requests.recv().unwrap_or(Ok(None)))
        }
        None => Box::new(move || read_frame(&mut input)),
    };
    let mut helper = Server { output, services, tasks: HashMap::new() };
    while let Some(Request { id, ask }) = next()? {
        let told =
            helper.answer(id, ask).unwrap_or_else(|error| Some(Tell::Failed { why: explain(&*error) }));
        if let Some(tell) = told {
            helper.output.tell(id, tell)?;
        }
    }
    Ok(())
}

struct Server {
    output: Output,
    services: Services,
    tasks: HashMap<u32, Task>,
}

/// What goes on until stopped. Dropping it ends it.
enum Task {
    Recording(Recording),
    Capture(Capture),
    Echo(Echo),
    Responder(Responder),
    TcpProbe(RunningTcpProbe),
    PageServer(PageServer),
    Load(RunningLoad),
    Carrying(Carrying),
}

impl Server {
    /// Does what was asked; `None` where the answer comes later, from a thread.
    fn answer(&mut self, id: u32, ask: Ask) -> Outcome<Option<Tell>> {
        let (task, tell) = match ask {
            Ask::Ping => return Ok(Some(Tell::Pong)),
            Ask::Beat => return Ok(None),
            Ask::Host(ask) => return Ok(self.services.answer(id, ask)?.map(Tell::Host)),
            Ask::Clock => return Ok(Some(clock())),
            Ask::Stop { task } => return self.stop(id, task),
            Ask::HasEnded { task } => return self.has_ended(task).map(Some),
            Ask::EndLoad { task, waits } => return self.end_load(id, task, waits),
            Ask::HttpServer { bind, memory_limit_bytes, increase_calls } => {
                let settings = ServerSettings { address: bind, memory_limit_bytes, increase_calls };
                let server = PageServer::start(id, settings, &self.output)?;
                self.tasks.insert(id, Task::PageServer(server));
                return Ok(None);
            }
            Ask::HttpLoad { target, path, interval_ns } => {
                (Task::Load(start_load(&LoadSpec { target, path, interval_ns })?), Tell::Started)
            }
            Ask::GoodputSink { bind, limit_ms } => return self.goodput_sink(id, bind, limit_ms).map(Some),
            Ask::GoodputSource { to, limit_ms } => {
                self.goodput_source(id, to, limit_ms)?;
                return Ok(None);
            }
            Ask::LookAtFile { path } => return Ok(Some(Tell::File(file_asks::look(&path)?))),
            Ask::EmptyFile { path, length } => {
                file_asks::empty(&path, length)?;
                return Ok(Some(Tell::Done));
            }
            Ask::FreePort { address } => {
                return Ok(Some(Tell::Listening { at: file_asks::free_port(address)? }));
            }
            Ask::EndTree { pid } => {
                file_asks::end_tree(pid)?;
                return Ok(Some(Tell::Done));
            }
            Ask::CarryIn { bind, path, token, threads, expected } => {
                let order = Order { path, token };
                let (carrying, at) =
                    carry_ends::start_receiving(id, &self.output, order, bind, (threads, expected))?;
                (Task::Carrying(carrying), Tell::Listening { at })
            }
            Ask::CarryOut { from, to, path, token, compression, level, threads, sparse } => {
                let settings = StreamSettings { compression, level, threads, sparse };
                let order = Order { path, token };
                let carrying = carry_ends::start_sending(id, &self.output, order, (from, to), settings)?;
                (Task::Carrying(carrying), Tell::Started)
            }
            Ask::UdpEcho { bind } => {
                let (echo, at) = Echo::start(bind)?;
                (Task::Echo(echo), Tell::Listening { at })
            }
            Ask::TcpResponder { bind } => {
                let (responder, at) = Responder::start(bind)?;
                (Task::Responder(responder), Tell::Listening { at })
            }
            Ask::ProbeTcp { peer, probe } => {
                (Task::TcpProbe(start_tcp(peer, &probe, self.output.rows(id))?), Tell::Started)
            }
            Ask::WatchPassages { interface } => {
                (Task::Recording(watch_passages(&interface, self.output.rows(id))?), Tell::Started)
            }
            Ask::CountInterface { interface } => {
                (Task::Recording(count_interface(&interface, self.output.rows(id))?), Tell::Started)
            }
            Ask::CountFlow { interface, filter } => {
                let recording = count_flow(&interface, &filter.parse()?, self.output.rows(id))?;
                (Task::Recording(recording), Tell::Started)
            }
            Ask::CountCpu => (Task::Recording(count_cpu(self.output.rows(id))?), Tell::Started),
            Ask::CountProcessCpu { pid, vcpu_threads } => {
                (Task::Recording(count_process_cpu(pid, vcpu_threads, self.output.rows(id))?), Tell::Started)
            }
            Ask::Capture { interface, description, filter, snap_bytes, path } => {
                let spec = CaptureSpec { interface, description, filter: filter.parse()?, snap_bytes };
                (Task::Capture(capture(&spec, &path)?), Tell::Started)
            }
        };
        self.tasks.insert(id, task);
        Ok(Some(tell))
    }

    /// `None` where the answer comes later.
    fn stop(&mut self, id: u32, task: u32) -> Outcome<Option<Tell>> {
        let summary = match self.tasks.remove(&task) {
            Some(Task::Recording(recording)) => recording.stop()?,
            Some(Task::Capture(capture)) => return Ok(Some(captured(capture.stop()?))),
            Some(Task::TcpProbe(probe)) => return Ok(Some(Tell::ProbedTcp(probe.stop()))),
            Some(Task::Echo(echo)) => {
                drop(echo);
                Summary::default()
            }
            Some(Task::Responder(responder)) => {
                drop(responder);
                Summary::default()
            }
            Some(Task::PageServer(server)) => {
                server.end(id, &self.output)?;
                return Ok(None);
            }
            Some(Task::Load(load)) => {
                drop(load);
                Summary::default()
            }
            Some(Task::Carrying(carrying)) => {
                carrying.stop();
                Summary::default()
            }
            None => return Err(format!("there is no task {task} to stop").into()),
        };
        Ok(Some(Tell::Stopped { dropped: summary.dropped, clock_error_ns: summary.clock_error_ns }))
    }

    fn has_ended(&self, task: u32) -> Outcome<Tell> {
        match self.tasks.get(&task) {
            Some(Task::Recording(recording)) => Ok(Tell::HasEnded(recording.has_ended())),
            Some(Task::Capture(capture)) => Ok(Tell::HasEnded(capture.has_ended())),
            // These go on until they are stopped.
            Some(_) => Ok(Tell::HasEnded(false)),
            None => Err(format!("there is no task {task}").into()),
        }
    }

    fn end_load(&mut self, id: u32, task: u32, waits: bool) -> Outcome<Option<Tell>> {
        match self.tasks.remove(&task) {
            Some(Task::Load(load)) => {
                end_load(id, load, waits, self.output.rows(task), &self.output)?;
                Ok(None)
            }
            _ => Err(format!("there is no load {task} to end").into()),
        }
    }

    fn goodput_sink(&self, id: u32, bind: SocketAddrV4, limit_ms: u64) -> Outcome<Tell> {
        let listener = TcpListener::bind(bind)?;
        let SocketAddr::V4(at) = listener.local_addr()? else {
            return Err("bound to no IPv4 address".into());
        };
        self.output.tell_later(id, move || {
            let arrived = goodput::sink(&listener, Duration::from_millis(limit_ms))?;
            Ok(Tell::Arrived { bytes: arrived.bytes, during_ns: arrived.during_ns })
        })?;
        Ok(Tell::Listening { at })
    }

    fn goodput_source(&self, id: u32, to: SocketAddrV4, limit_ms: u64) -> io::Result<()> {
        self.output.tell_later(id, move || {
            let rtt_ns = goodput::source(to, Duration::from_millis(limit_ms))?;
            Ok(Tell::Sent { rtt_ns })
        })
    }
}

pub(super) fn clock() -> Tell {
    let realtime = Mapping::read();
    let monotonic_ns = dunlin_clock::now_ns();
    Tell::Clock {
        monotonic_ns,
        epoch_ns: monotonic_ns.saturating_sub(realtime.offset_ns),
        error_ns: realtime.error_ns,
    }
}

fn captured(summary: CaptureSummary) -> Tell {
    let CaptureSummary { accepted, dropped, written, bytes, clock_offset_ns, clock_error_ns, cut_short } =
        summary;
    Tell::Captured { accepted, dropped, written, bytes, clock_offset_ns, clock_error_ns, cut_short }
}

/// Where reports go, from any thread.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<dyn Write + Send>>);

impl Output {
    pub(super) fn tell(&self, id: u32, tell: Tell) -> Result<(), FrameError> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match write_frame(&mut *output, &Report { id, tell }) {
            // Nothing of it was written.
            Err(error @ (FrameError::TooLong { .. } | FrameError::Malformed(_))) => {
                write_frame(&mut *output, &Report { id, tell: Tell::Failed { why: explain(&error) } })
            }
            written => written,
        }
    }

    /// A sink that tells rows. Where the bench is gone they are lost, and the end of the input ends us.
    fn rows(&self, id: u32) -> RowSink {
        let output = Self(Arc::clone(&self.0));
        Box::new(move |rows| {
            let _ = output.tell(id, Tell::Rows(rows.to_vec()));
        })
    }

    /// Does something that takes long on a thread of its own, and tells what came of it.
    pub(super) fn tell_later(
        &self,
        id: u32,
        work: impl FnOnce() -> io::Result<Tell> + Send + 'static,
    ) -> io::Result<()> {
        let output = Self(Arc::clone(&self.0));
        let thread = std::thread::Builder::new().name(format!("request-{id}"));
        thread.spawn(move || {
            let tell = work().unwrap_or_else(|error| Tell::Failed { why: explain(&error) });
            let _ = output.tell(id, tell);
        })?;
        Ok(())
    }
}

/// An error and all that led to it, in one line.
pub(super) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reports to some requests, when all is over.
    fn serve_requests(asks: &[Ask]) -> Vec<Report> {
        let mut input = Vec::new();
        for (id, ask) in asks.iter().enumerate() {
            let id = u32::try_from(id).unwrap();
            write_frame(&mut input, &Request { id, ask: ask.clone() }).unwrap();
        }
        let (mut reader, writer) = io::pipe().unwrap();
        let services = |output| Services::new(output, None, AtEnd::default());
        serve_on(io::Cursor::new(input), writer, None, services).unwrap();
        let mut greeting = vec![0; format!("{GREETING}{VERSION}\n").len()];
        reader.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, format!("{GREETING}{VERSION}\n").as_bytes());
        std::iter::from_fn(|| read_frame(&mut reader).unwrap()).collect()
    }

    #[test]
    fn what_cannot_be_done_is_told_with_its_reason() {
        let reports = serve_requests(&[
            Ask::CountInterface { interface: "dunlin-none".into() },
            Ask::Stop { task: 0 },
            Ask::Ping,
        ]);
        let why = |report: &Report| match &report.tell {
            Tell::Failed { why } => why.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&reports[0]), "cannot find interface dunlin-none: No such device (os error 19)");
        assert_eq!(why(&reports[1]), "there is no task 0 to stop");
        assert_eq!(reports[2], Report { id: 2, tell: Tell::Pong });
    }

    #[test]
    fn all_rows_of_a_task_come_before_it_is_told_as_stopped() {
        let reports = serve_requests(&[Ask::CountCpu, Ask::Stop { task: 0 }]);
        let rows: Vec<_> = reports.iter().filter(|report| matches!(report.tell, Tell::Rows(_))).collect();
        assert!(!rows.is_empty() && rows.iter().all(|report| report.id == 0), "{reports:?}");
        let last = reports.last().unwrap();
        assert!(matches!(last, Report { id: 1, tell: Tell::Stopped { dropped: None, .. } }), "{last:?}");
    }

    #[test]
    fn the_end_of_the_input_ends_what_was_started() {
        // `serve_requests` only returns once every task has let go of the output.
        let bind = "127.0.0.1:0".parse().unwrap();
        let reports = serve_requests(&[Ask::CountCpu, Ask::UdpEcho { bind }]);
        assert!(reports.iter().any(|report| matches!(report.tell, Tell::Listening { .. })), "{reports:?}");
    }
}
