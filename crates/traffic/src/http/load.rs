//! The load: a request is due every interval, whether or not the ones before it were answered (an open loop). A client
//! that waited for each answer would ask least while the service is worst, and so leave the worst out.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dunlin_clock::{MILLISECOND_NS, now_ns};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::message::{Head, read_answer, write_request};

/// Requests that may be under way at the same time; each needs a descriptor, of which a process usually has 1024.
const IN_FLIGHT_MAX: usize = 512;
/// A request that has not been answered for so long is given up.
const REQUEST_LIMIT_NS: i64 = 5_000 * MILLISECOND_NS;
/// Of requests that are later than this nothing could be learned any more: they are left out, and keep their numbers.
const MAX_LATE_INTERVALS: i64 = 50;
/// The longest wait before it is seen whether to end.
const MAX_WAIT_NS: i64 = 20 * MILLISECOND_NS;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is asked of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSpec {
    /// Whom to ask.
    pub target: SocketAddrV4,
    /// For which page, as in `/matrix?order=5`.
    pub path: String,
    /// Time between two requests, in nanoseconds; above 0.
    pub interval_ns: i64,
}

/// What happens to requests, in the order in which it does. Numbers count from 0; times are on the bench's clock (in a
/// guest, on the guest's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent {
    /// A request was sent (its connection was asked for), or left out.
    Due {
        /// Its number. Each is told once, in order.
        seq: u64,
        /// When it should have been sent.
        due_ns: i64,
        /// When it was; absent where it was not, for which a [`LoadEvent::Failed`] follows.
        sent_ns: Option<i64>,
    },
    /// The whole answer came, and it was good (status 200).
    Answered {
        /// To which request.
        seq: u64,
        /// When.
        arrived_ns: i64,
    },
    /// The request will have no good answer.
    Failed {
        /// Which.
        seq: u64,
        /// When that was known.
        at_ns: i64,
        /// Why.
        failure: Failure,
    },
}

/// Why a request has no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent: too many were under way, it was far too late, or the system had no connection for it.
    NotSent,
    /// The connection was refused, reset or closed before the whole answer had come.
    Broken,
    /// The answer had another status than 200, or was none.
    WrongAnswer,
    /// No answer came for 5 s.
    TimedOut,
}

/// A load that has not begun. It runs where [`Load::run`] is called, and ends when another thread says so.
#[derive(Debug)]
pub struct Load {
    target: SocketAddrV4,
    request: Vec<u8>,
    interval_ns: i64,
    end: LoadEnd,
    under_way: Vec<Exchange>,
}

/// Ends a load from another thread.
#[derive(Debug, Clone)]
pub struct LoadEnd {
    sends: Arc<AtomicBool>,
    receive_until_ns: Arc<AtomicI64>,
}

impl LoadEnd {
    /// Asks it to send no more. It still waits for answers, for as long as any can come.
    pub fn end_sending(&self) {
        self.sends.store(false, Ordering::Release);
    }

    /// Asks it to send no more, and to wait for no answer beyond this time. What is then without one stays so.
    pub fn end_at(&self, receive_until_ns: i64) {
        self.receive_until_ns.store(receive_until_ns, Ordering::Release);
        self.end_sending();
    }
}

impl Load {
    /// Prepares a load. Returns how it is ended, too.
    #[must_use]
    pub fn new(spec: &LoadSpec) -> (Self, LoadEnd) {
        let end = LoadEnd {
            sends: Arc::new(AtomicBool::new(true)),
            receive_until_ns: Arc::new(AtomicI64::new(i64::MAX)),
        };
        let load = Self {
            target: spec.target,
            request: write_request(&spec.target.to_string(), &spec.path),
            interval_ns: spec.interval_ns.max(1),
            end: end.clone(),
            under_way: Vec::new(),
        };
        (load, end)
    }

    /// Sends and receives until it is ended, the first request now.
    pub fn run(mut self, mut tell: impl FnMut(LoadEvent)) {
        let (mut seq, mut due_ns) = (0, now_ns());
        loop {
            let sends = self.end.sends.load(Ordering::Acquire);
            while sends && due_ns <= now_ns() {
                self.begin(seq, due_ns, &mut tell);
                (seq, due_ns) = (seq + 1, due_ns + self.interval_ns);
            }
            let over = now_ns() >= self.end.receive_until_ns.load(Ordering::Acquire);
            if !sends && (over || self.under_way.is_empty()) {
                return;
            }
            self.wait(if sends { due_ns } else { i64::MAX });
            self.go_on(&mut tell);
        }
    }

    fn begin(&mut self, seq: u64, due_ns: i64, tell: &mut impl FnMut(LoadEvent)) {
        let sent_ns = now_ns();
        let too_late = sent_ns - due_ns > MAX_LATE_INTERVALS * self.interval_ns;
        let stream = if too_late || self.under_way.len() >= IN_FLIGHT_MAX {
            Err(Failure::NotSent)
        } else {
            connect(self.target)
        };
        let was_sent = !matches!(stream, Err(Failure::NotSent));
        tell(LoadEvent::Due { seq, due_ns, sent_ns: was_sent.then_some(sent_ns) });
        match stream {
            Ok(stream) => self.under_way.push(Exchange::new(seq, stream, sent_ns + REQUEST_LIMIT_NS)),
            Err(failure) => tell(LoadEvent::Failed { seq, at_ns: sent_ns, failure }),
        }
    }

    /// Waits until something can go on, at most until the next request is due.
    fn wait(&mut self, due_ns: i64) {
        let now_ns = now_ns();
        let wait_ns = (due_ns.min(now_ns.saturating_add(MAX_WAIT_NS)) - now_ns).max(0);
        let mut waits: Vec<PollFd> = self
            .under_way
            .iter()
            .map(|exchange| PollFd::new(exchange.stream.as_fd(), exchange.awaits()))
            .collect();
        // An interrupted wait is a short one; then nobody is ready.
        let found = ppoll(&mut waits, Some(TimeSpec::new(0, wait_ns)), None).unwrap_or(0);
        let ready: Vec<bool> = waits
            .iter()
            .map(|wait| found > 0 && wait.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        for (exchange, ready) in self.under_way.iter_mut().zip(ready) {
            exchange.ready = ready;
        }
    }

    fn go_on(&mut self, tell: &mut impl FnMut(LoadEvent)) {
        let (request, now_ns) = (&self.request, now_ns());
        self.under_way.retain_mut(|exchange| {
            let mut step = if exchange.ready { exchange.step(request) } else { Step::Open };
            if step == Step::Open && now_ns > exchange.give_up_ns {
                step = Step::Failed(Failure::TimedOut);
            }
            let seq = exchange.seq;
            match step {
                Step::Open => return true,
                Step::Answered => tell(LoadEvent::Answered { seq, arrived_ns: now_ns }),
                Step::Failed(failure) => tell(LoadEvent::Failed { seq, at_ns: now_ns, failure }),
            }
            false
        });
    }
}

/// Asks for a connection; whether it comes is told later, but for a refusal by this very machine.
fn connect(target: SocketAddrV4) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).map_err(|_| Failure::NotSent)?;
    match socket.connect(&target.into()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Failure::Broken),
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(Failure::NotSent),
        _ => Ok(socket.into()),
    }
}

/// A request under way, on a connection of its own.
#[derive(Debug)]
struct Exchange {
    seq: u64,
    stream: TcpStream,
    /// How much of the request has gone.
    sent_bytes: usize,
    answer: Vec<u8>,
    give_up_ns: i64,
    ready: bool,
}

/// How an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open,
    Answered,
    Failed(Failure),
}

impl Exchange {
    fn new(seq: u64, stream: TcpStream, give_up_ns: i64) -> Self {
        Self { seq, stream, sent_bytes: 0, answer: Vec::new(), give_up_ns, ready: false }
    }

    /// A connection can be written to once it stands; then there is nothing but the answer to wait for.
    fn awaits(&self) -> PollFlags {
        if self.answer.is_empty() && self.sent_bytes == 0 { PollFlags::POLLOUT } else { PollFlags::POLLIN }
    }

    fn step(&mut self, request: &[u8]) -> Step {
        let moved = self.send(request).and_then(|()| self.receive());
        match moved {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.judge(false),
            Err(_) => Step::Failed(Failure::Broken),
            Ok(()) => self.judge(true),
        }
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        while let Some(rest) = request.get(self.sent_bytes..).filter(|rest| !rest.is_empty()) {
            self.sent_bytes += self.stream.write(rest)?;
        }
        Ok(())
    }

    /// Reads to the end, or as far as we read.
    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.answer.len() < ANSWER_BYTES_MAX {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.answer.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(())
    }

    /// What the bytes that have come are; `ended` if no more will.
    fn judge(&self, ended: bool) -> Step {
        match read_answer(&self.answer) {
            Head::Whole(head) if self.answer.len() >= head.total_bytes && head.status == 200 => {
                Step::Answered
            }
            Head::Whole(head) if self.answer.len() >= head.total_bytes => Step::Failed(Failure::WrongAnswer),
            Head::Wrong => Step::Failed(Failure::WrongAnswer),
            Head::Whole(_) | Head::Partial if ended => Step::Failed(Failure::Broken),
            Head::Whole(_) | Head::Partial => Step::Open,
        }
    }
}
