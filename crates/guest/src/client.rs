//! The client of the agent: requests and their replies over whatever stream leads to the guest at the moment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_agent_proto::{Ask, Link, LinkError, Reply, Request, Response};
use dunlin_clock::{Deadline, now_ns};

use crate::stream::Stream;
use crate::{GuestError, Result};

/// How long the reader waits for bytes before it looks whether something has to be sent again.
const READ_LIMIT: Duration = Duration::from_millis(50);
/// How long a write may hold up the client; what is left is written later.
const WRITE_LIMIT: Duration = Duration::from_millis(2);

/// Talks to one guest's agent, wherever the guest is. All methods can be called from any thread.
///
/// Requests made while no stream works wait, each to its limit, for [`AgentClient::reattach`]. No request is lost or
/// carried out twice over a change of streams.
#[derive(Debug)]
pub struct AgentClient {
    shared: Arc<Shared>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    link: Link<Request, Response>,
    stream: Option<Box<dyn Stream>>,
    /// Counts streams, so that the reader of an old one knows.
    generation: u64,
    /// What the stream has not taken yet.
    output: Vec<u8>,
    last_id: u64,
    /// The requests somebody waits for, and the replies that have come.
    replies: BTreeMap<u64, Option<Reply>>,
    /// Why there is no stream.
    broken: Option<String>,
    /// Why there is no going on.
    failure: Option<LinkError>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("generation", &self.generation)
            .field("replies", &self.replies)
            .field("broken", &self.broken)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl AgentClient {
    /// Opens a new session over a stream that leads, or will lead, to the agent. Does not wait for it.
    ///
    /// # Errors
    /// Where the stream cannot be used.
    pub fn new(stream: impl Stream + 'static) -> Result<Self> {
        let session = random_session().map_err(GuestError::io("read", "/dev/urandom"))?;
        let state = State {
            link: Link::caller(session),
            stream: None,
            generation: 0,
            output: Vec::new(),
            last_id: 0,
            replies: BTreeMap::new(),
            broken: None,
            failure: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let client = Self { shared, reader: Mutex::new(None) };
        client.reattach(stream)?;
        Ok(client)
    }

    /// Goes on with the same session over another stream, as after the VM has moved (or has come back). The old one is
    /// ended.
    ///
    /// # Errors
    /// Where the stream cannot be used; the old one is ended all the same.
    pub fn reattach(&self, stream: impl Stream + 'static) -> Result<()> {
        // Also keeps two calls apart.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.detach("another one is being attached");
        if let Some(reader) = reader.take() {
            let _ = reader.join();
        }
        let attach = |source| GuestError::Attach { source };
        stream.set_limits(READ_LIMIT, WRITE_LIMIT).map_err(attach)?;
        let incoming = stream.another().map_err(attach)?;
        let generation = self.shared.attach(Box::new(stream));
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("agent-client".into());
        *reader = Some(thread.spawn(move || shared.read(incoming, generation)).map_err(attach)?);
        Ok(())
    }

    /// Asks something of the agent and waits for its reply, `limit` at most. What was asked may still be done after that,
    /// unless the client ends.
    ///
    /// # Errors
    /// Where no reply comes in time, the agent could not do it, or the guest was restarted meanwhile.
    pub fn request(&self, ask: Ask, limit: Duration) -> Result<Reply> {
        let deadline = Deadline::after(limit);
        let asked = describe(&ask);
        let mut state = self.shared.lock();
        let id = state.send(ask)?;
        state.flush();
        let reply = loop {
            if let Some(reply) = state.replies.get_mut(&id).and_then(Option::take) {
                break Ok(reply);
            }
            if let Some(failure) = &state.failure {
                break Err(GuestError::Link { source: failure.clone() });
            }
            if deadline.passed() {
                break Err(GuestError::Timeout { asked, limit, broken: state.broken.clone() });
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, deadline.left())
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        };
        state.replies.remove(&id);
        match reply? {
            Reply::Failed { what } => Err(GuestError::Refused { what }),
            reply => Ok(reply),
        }
    }
}

impl Drop for AgentClient {
    fn drop(&mut self) {
        self.shared.detach("the client has ended");
        let reader = self.reader.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, stream: Box<dyn Stream>) -> u64 {
        let mut state = self.lock();
        state.stream = Some(stream);
        state.broken = None;
        state.generation += 1;
        state.link.reconnected();
        state.flush();
        state.generation
    }

    fn detach(&self, why: &str) {
        let mut state = self.lock();
        state.drop_stream(why);
        state.generation += 1;
    }

    /// Reads a stream until it ends or another takes its place.
    fn read(&self, mut stream: Box<dyn Stream>, generation: u64) {
        let mut buffer = [0; 4096];
        loop {
            let outcome = stream.read(&mut buffer);
            let mut state = self.lock();
            if state.generation != generation {
                return;
            }
            match outcome {
                Ok(0) => return state.drop_stream("it has ended"),
                Ok(bytes) => state.receive(buffer.get(..bytes).unwrap_or_default()),
                Err(error) if is_not_now(&error) => {}
                Err(error) => return state.drop_stream(&error.to_string()),
            }
            state.flush();
            drop(state);
            self.changed.notify_all();
        }
    }
}

impl State {
    fn send(&mut self, ask: Ask) -> Result<u64> {
        let id = self.last_id + 1;
        self.link.send(&Request { id, ask }).map_err(|source| GuestError::Link { source })?;
        self.last_id = id;
        self.replies.insert(id, None);
        Ok(id)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let outcome = self.link.receive_bytes(bytes).and_then(|()| self.take_replies());
        if let Err(failure) = outcome {
            self.failure = Some(failure);
        }
    }

    fn take_replies(&mut self) -> std::result::Result<(), LinkError> {
        while let Some(Response { id, reply }) = self.link.next_message()? {
            // One nobody waits for any more is dropped.
            if let Some(place) = self.replies.get_mut(&id) {
                *place = Some(reply);
            }
        }
        Ok(())
    }

    /// Writes what is to be written, as far as the stream takes it.
    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        loop {
            if self.output.is_empty() {
                match self.link.take_output(now_ns()) {
                    Ok(output) => self.output = output,
                    Err(failure) => self.failure = Some(failure),
                }
            }
            if self.output.is_empty() {
                return;
            }
            match stream.write(&self.output) {
                Ok(bytes) => drop(self.output.drain(..bytes)),
                Err(error) if is_not_now(&error) => return,
                Err(error) => return self.drop_stream(&error.to_string()),
            }
        }
    }

    fn drop_stream(&mut self, why: &str) {
        if let Some(stream) = self.stream.take() {
            stream.shut_down();
            self.broken = Some(why.into());
        }
        self.output.clear();
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A number no session has had: an agent that comes out of a template must not take a new client for an old one.
fn random_session() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A request in a few words.
fn describe(ask: &Ask) -> String {
    match ask {
        Ask::Identify => "who are you".into(),
        Ask::Ping(number) => format!("ping {number}"),
        Ask::SetClock { .. } => "set the clock".into(),
        Ask::AddEntropy(_) => "add entropy".into(),
        Ask::ConfigureNetwork(network) => format!("take the address {}/{}", network.address, network.prefix),
        Ask::StartWorkload { job, .. } => format!("start workload {job}"),
        Ask::StopWorkload { job } => format!("stop workload {job}"),
        Ask::QueryMemory => "how is memory used".into(),
        Ask::QueryCpu => "what have the CPUs done".into(),
        Ask::QueryClocks => "what do the clocks say".into(),
        Ask::MountDisk => "mount the disk".into(),
        Ask::SwapOn => "swap to a disk".into(),
        Ask::QueryDisk => "how is the disk used".into(),
        Ask::ShutDown { .. } => "shut the guest down".into(),
        Ask::CheckSeal { .. } => "look for the disk's seal".into(),
    }
}

#[cfg(test)]
mod tests;
