//! Answers the client's requests over the port, through every break of the way to it.
//!
//! What a program does for a client in somebody else's guest ends with that client: with its successor, or when it has
//! been away for long. A guest of ours goes on, for it may be a template that waits for its next client.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use dunlin_agent_proto::{Ask, GuestClocks, GuestCpu, Link, Ready, Reply, Request, Response, Workload};
use dunlin_clock::{Deadline, MILLISECOND_NS, MachineCpu, SECOND_NS, epoch_ns, now_ns};

use crate::console::{Troubles, say};
use crate::ending::Ending;
use crate::port::Port;
use crate::role::Role;
use crate::workload::{self, Report};
use crate::{memory, network, seal, storage, sys};

/// How often the port is looked at while no client is connected: it cannot be waited for then.
const AWAY_MS: i32 = 10;
/// The same of a program: it must not keep somebody else's guest busy.
const AWAY_AS_PROGRAM_MS: i32 = 100;
/// How long a program's workloads go on without a client. It follows when a move has ended, which post-copy may make late;
/// one that was killed does not come back.
const ALONE_LIMIT_NS: i64 = 600 * SECOND_NS;
/// How long workloads may take to end: those of memory look through all of it.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long one wait for them is.
const END_STEP_MS: i32 = 100;
/// How long an answer may take to leave the guest before that goes.
const ANSWER_FIRST: Duration = Duration::from_millis(100);

/// The agent's side of the conversation.
pub(crate) struct Service {
    port: Port,
    link: Link<Response, Request>,
    /// What the port has not taken yet.
    output: Vec<u8>,
    /// Whether a client is connected.
    connected: bool,
    /// Since when a program has had no client.
    alone_since_ns: Option<i64>,
    /// The session whose requests were answered last.
    served: Option<u64>,
    role: Role,
    /// What asks a program to end.
    ending: Option<Ending>,
    troubles: Troubles,
    /// The workloads by their numbers.
    jobs: BTreeMap<u32, Job>,
    reports: Reports,
}

/// A workload that runs, and who waits for word of it.
struct Job {
    stop: Arc<AtomicBool>,
    start: Option<Asker>,
    end: Option<Asker>,
    /// Of one that died while nobody waited for it.
    last_words: Option<String>,
}

/// Whom a reply is for. The client that asked may be gone by then (a template restored in between).
#[derive(Debug, Clone, Copy)]
struct Asker {
    session: Option<u64>,
    id: u64,
}

impl Service {
    pub(crate) fn new(
        port: Port,
        troubles: Troubles,
        role: Role,
        ending: Option<Ending>,
    ) -> Result<Self, String> {
        let reports =
            Reports::new().map_err(|error| format!("make the channel workloads report by: {error}"))?;
        Ok(Self {
            port,
            link: Link::listener(),
            output: Vec::new(),
            connected: true,
            alone_since_ns: None,
            served: None,
            role,
            ending,
            troubles,
            jobs: BTreeMap::new(),
            reports,
        })
    }

    /// Serves for ever, or until the program is asked to end.
    pub(crate) fn serve(mut self) -> Result<(), String> {
        while !self.is_to_end() {
            self.read_port()?;
            self.answer_requests();
            self.pass_on_reports();
            self.write_port();
            self.mind_absence();
            self.wait();
        }
        self.end_workloads();
        self.write_port();
        Ok(())
    }

    fn is_to_end(&self) -> bool {
        self.ending.as_ref().is_some_and(Ending::is_asked)
    }

    fn read_port(&mut self) -> Result<(), String> {
        let mut buffer = [0; 4096];
        loop {
            match self.port.read(&mut buffer) {
                Ok(Some([])) => return Ok(()),
                Ok(Some(bytes)) => {
                    self.connected = true;
                    if let Err(error) = self.link.receive_bytes(bytes) {
                        say(&format!("dunlin-agent: {error}"));
                    }
                }
                Ok(None) => {
                    self.connected = false;
                    return Ok(());
                }
                Err(error) => {
                    say(&format!("dunlin-agent: read from the port: {error}"));
                    self.connected = false;
                    return self.replace_port(&error);
                }
            }
        }
    }

    /// Where somebody has unplugged a program's port, waits for one of the same name.
    fn replace_port(&mut self, error: &std::io::Error) -> Result<(), String> {
        let Some(ending) = &self.ending else { return Ok(()) };
        if error.raw_os_error() != Some(libc::ENODEV) {
            return Ok(());
        }
        // Without a port there is no client, and none that could follow.
        self.output.clear();
        if let Some(port) = Port::wait_as_program(self.port.name(), ending)? {
            self.port = port;
        }
        Ok(())
    }

    /// Ends a program's workloads when its client has been away for long.
    fn mind_absence(&mut self) {
        if self.connected || !self.is_program() {
            self.alone_since_ns = None;
            return;
        }
        let since_ns = *self.alone_since_ns.get_or_insert_with(now_ns);
        if now_ns() - since_ns > ALONE_LIMIT_NS && !self.jobs.is_empty() {
            say("dunlin-agent: no client has come for long: its workloads are ended");
            self.end_workloads();
        }
    }

    fn is_program(&self) -> bool {
        matches!(self.role, Role::Program(_))
    }

    /// Ends all workloads, and forgets what each did but to those that have asked.
    fn end_workloads(&mut self) {
        for job in self.jobs.values() {
            job.stop.store(true, Ordering::Relaxed);
        }
        let deadline = Deadline::after(END_LIMIT);
        self.pass_on_reports();
        while self.jobs.values().any(|job| job.last_words.is_none()) && !deadline.passed() {
            let report = libc::pollfd { fd: self.reports.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // One that is broken off is only shorter.
            let _ = sys::poll(&mut [report], Some(END_STEP_MS));
            self.pass_on_reports();
        }
        self.jobs.retain(|_, job| job.last_words.is_none());
    }

    fn write_port(&mut self) {
        loop {
            if self.output.is_empty() {
                match self.link.take_output(now_ns()) {
                    Ok(output) => self.output = output,
                    Err(error) => say(&format!("dunlin-agent: {error}")),
                }
            }
            if self.output.is_empty() {
                return;
            }
            match self.port.write(&self.output) {
                Ok(0) => return,
                Ok(bytes) => drop(self.output.drain(..bytes)),
                Err(error) => {
                    // The link sends it again.
                    say(&format!("dunlin-agent: write to the port: {error}"));
                    self.output.clear();
                    self.connected = false;
                    return;
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let events = if self.output.is_empty() { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT };
        let report = libc::pollfd { fd: self.reports.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // A negative one is passed over.
        let ending = self.ending.as_ref().map_or(-1, Ending::descriptor);
        let ending = libc::pollfd { fd: ending, events: libc::POLLIN, revents: 0 };
        let port = libc::pollfd { fd: self.port.descriptor(), events, revents: 0 };
        // A port without a client is always "ready", with nothing to read.
        let away_ms = if self.is_program() { AWAY_AS_PROGRAM_MS } else { AWAY_MS };
        let limit_ms = if self.connected { self.due_ms() } else { Some(away_ms) };
        let mut waits = [report, ending, port];
        let count = if self.connected { 3 } else { 2 };
        let outcome = sys::poll(&mut waits[..count], limit_ms);
        if let Err(error) = outcome
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            say(&format!("dunlin-agent: wait for the port: {error}"));
        }
        self.connected = waits[2].revents & libc::POLLHUP == 0;
    }

    /// How long the link can wait, in whole milliseconds and not less.
    fn due_ms(&self) -> Option<i32> {
        // What the port has not taken comes first.
        let due_ns = if self.output.is_empty() { self.link.due_ns()? } else { return None };
        let left_ms = due_ns.saturating_sub(now_ns()).max(0) / MILLISECOND_NS + 1;
        Some(i32::try_from(left_ms).unwrap_or(i32::MAX))
    }

    fn answer_requests(&mut self) {
        loop {
            match self.link.next_message() {
                Ok(Some(Request { id, ask })) => {
                    let session = self.link.session();
                    let earlier = std::mem::replace(&mut self.served, session);
                    if earlier.is_some() && earlier != session && self.is_program() {
                        self.end_workloads();
                    }
                    let asker = Asker { session, id };
                    if let Some(reply) = self.answer(asker, ask) {
                        self.reply(asker, reply);
                    }
                }
                Ok(None) => return,
                Err(error) => say(&format!("dunlin-agent: {error}")),
            }
        }
    }

    /// The answer to a request; `None` if it is given later.
    fn answer(&mut self, asker: Asker, ask: Ask) -> Option<Reply> {
        if let Some(refusal) = self.role.refusal(&ask) {
            return Some(failed(refusal));
        }
        let done = |outcome: Result<(), String>| Some(outcome.map_or_else(failed, |()| Reply::Done));
        match ask {
            Ask::Identify => Some(self.identify().map_or_else(failed, Reply::Ready)),
            Ask::Ping(number) => Some(Reply::Pong(number)),
            Ask::SetClock { epoch_ns } => {
                done(sys::set_clock(epoch_ns).map_err(|error| format!("set the clock: {error}")))
            }
            Ask::AddEntropy(bytes) => {
                done(sys::add_entropy(&bytes).map_err(|error| format!("add entropy: {error}")))
            }
            Ask::ConfigureNetwork(settings) => done(network::configure(&settings)),
            Ask::MountDisk => done(storage::mount_disk()),
            Ask::SwapOn => done(storage::swap_on()),
            Ask::QueryDisk => Some(storage::read(self.role.disk()).map_or_else(failed, Reply::Disk)),
            Ask::QueryMemory => Some(memory::read().map_or_else(failed, Reply::Memory)),
            Ask::QueryCpu => Some(cpu().map_or_else(failed, Reply::Cpu)),
            Ask::QueryClocks => Some(clocks().map_or_else(failed, Reply::Clocks)),
            Ask::ShutDown { seal } => done(shut_down(seal)),
            Ask::CheckSeal { seal } => done(seal::check(Path::new(storage::DISK), seal)),
            Ask::StartWorkload { job, workload } => self.start_workload(asker, job, workload),
            Ask::StopWorkload { job } => self.stop_workload(asker, job),
        }
    }

    fn identify(&self) -> Result<Ready, String> {
        let release = "/proc/sys/kernel/osrelease";
        let kernel = fs::read_to_string(release).map_err(|error| format!("read {release}: {error}"))?;
        Ok(Ready {
            agent: env!("CARGO_PKG_VERSION").into(),
            kind: self.role.kind(),
            kernel: kernel.trim_end().into(),
            memory_total_bytes: memory::read()?.total_bytes,
            troubles: self.troubles.list().to_vec(),
        })
    }

    fn start_workload(&mut self, asker: Asker, number: u32, asked: Workload) -> Option<Reply> {
        if self.jobs.get(&number).is_some_and(|job| job.last_words.is_none()) {
            return Some(failed(format!("start workload {number}: one of this number runs already")));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let report = match self.reports.reporter(number) {
            Ok(report) => report,
            Err(error) => return Some(failed(format!("start a workload: {error}"))),
        };
        let thread = std::thread::Builder::new().name(workload::THREAD.into()).spawn({
            let (stop, files) = (Arc::clone(&stop), self.role.files());
            move || workload::run(asked, &files, &stop, report)
        });
        match thread {
            Ok(_) => {
                let job = Job { stop, start: Some(asker), end: None, last_words: None };
                self.jobs.insert(number, job);
                None
            }
            Err(error) => Some(failed(format!("start a workload: {error}"))),
        }
    }

    fn stop_workload(&mut self, asker: Asker, number: u32) -> Option<Reply> {
        let Some(job) = self.jobs.get_mut(&number) else {
            return Some(failed(format!("stop workload {number}: there is none")));
        };
        if let Some(last_words) = job.last_words.take() {
            self.jobs.remove(&number);
            return Some(failed(last_words));
        }
        job.stop.store(true, Ordering::Relaxed);
        // Of two that ask, the later is the one that still listens.
        let earlier = job.end.replace(asker);
        if let Some(earlier) = earlier {
            self.reply(earlier, failed("stop the workload: asked again".into()));
        }
        None
    }

    fn pass_on_reports(&mut self) {
        self.reports.quiet();
        while let Some((number, report)) = self.reports.next() {
            match report {
                Report::Started => {
                    let start = self.jobs.get_mut(&number).and_then(|job| job.start.take());
                    self.reply_if_asked(start, Reply::WorkloadStarted);
                }
                Report::Achieved(achieved) => {
                    let end = self.jobs.remove(&number).and_then(|job| job.end);
                    self.reply_if_asked(end, Reply::WorkloadAchieved(achieved));
                }
                Report::Failed(what) => {
                    let Some(mut job) = self.jobs.remove(&number) else { continue };
                    if job.start.is_none() && job.end.is_none() {
                        // Kept until somebody asks what it did.
                        job.last_words = Some(what);
                        self.jobs.insert(number, job);
                        continue;
                    }
                    self.reply_if_asked(job.start, failed(what.clone()));
                    self.reply_if_asked(job.end, failed(what));
                }
            }
        }
    }

    fn reply_if_asked(&mut self, asker: Option<Asker>, reply: Reply) {
        if let Some(asker) = asker {
            self.reply(asker, reply);
        }
    }

    fn reply(&mut self, asker: Asker, reply: Reply) {
        if asker.session != self.link.session() {
            return;
        }
        if let Err(error) = self.link.send(&Response { id: asker.id, reply }) {
            say(&format!("dunlin-agent: reply to request {}: {error}", asker.id));
        }
    }
}

/// Seals the disk if asked to, and powers the guest off a moment from now, when the answer is out.
fn shut_down(seal: Option<u64>) -> Result<(), String> {
    seal.map_or(Ok(()), |number| seal::write(Path::new(storage::DISK), number))?;
    let thread = std::thread::Builder::new().name("shut-down".into()).spawn(|| {
        std::thread::sleep(ANSWER_FIRST);
        if let Err(trouble) = storage::let_go() {
            say(&format!("dunlin-agent: {trouble}"));
        }
        sys::power_off()
    });
    thread.map(drop).map_err(|error| format!("shut the guest down: {error}"))
}

/// What the guest's CPUs have done.
fn cpu() -> Result<GuestCpu, String> {
    let time = MachineCpu::open().and_then(|mut machine| machine.read());
    let time = time.map_err(|error| format!("read /proc/stat: {error}"))?;
    Ok(GuestCpu { busy_ns: time.busy_ns, idle_ns: time.idle_ns })
}

/// What the guest's clocks say.
fn clocks() -> Result<GuestClocks, String> {
    let monotonic_ns = now_ns();
    let boottime_ns = sys::boottime_ns().map_err(|error| format!("read the boot-time clock: {error}"))?;
    Ok(GuestClocks { monotonic_ns, boottime_ns, realtime_ns: epoch_ns() })
}

fn failed(what: String) -> Reply {
    Reply::Failed { what }
}

/// The way reports come from the workloads' threads, each with its workload's number: a channel, and a byte that ends
/// the wait.
struct Reports {
    sender: Sender<(u32, Report)>,
    receiver: Receiver<(u32, Report)>,
    waker: UnixStream,
    wake: UnixStream,
}

impl Reports {
    fn new() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let (waker, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        Ok(Self { sender, receiver, waker, wake })
    }

    /// What the workload of this number reports by.
    fn reporter(&self, number: u32) -> std::io::Result<impl Fn(Report) + Send + 'static> {
        let (sender, waker) = (self.sender.clone(), self.waker.try_clone()?);
        Ok(move |report| {
            // Neither fails: the service holds the other ends for ever.
            let _ = sender.send((number, report));
            let _ = (&waker).write_all(&[1]);
        })
    }

    /// Takes the bytes that ended the wait. A report comes before its byte, so those of all bytes taken are there.
    fn quiet(&mut self) {
        while self.wake.read(&mut [0; 16]).is_ok_and(|bytes| bytes > 0) {}
    }

    fn next(&mut self) -> Option<(u32, Report)> {
        self.receiver.try_recv().ok()
    }
}
