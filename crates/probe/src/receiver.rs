//! The receiving half: takes, at a steady cadence, what waits in the socket's two queues, and makes rows of it.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;

use dunlin_clock::{MILLISECOND_NS, Mapping, now_ns, sleep_until, thread_cpu_ns};
use dunlin_record::ABSENT;
use socket2::Socket;

use crate::clock_watch::ClockWatch;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::sender::Note;
use crate::sys::{self, BATCH, Batch, Queue};

/// How often the queues are read. The kernel stamps what arrives, so reading late costs no accuracy, and a wake-up for
/// each packet would cost ten times the CPU.
const CADENCE_NS: i64 = 10 * MILLISECOND_NS;

/// Batches taken from one queue at a time, so that a flood of foreign packets cannot keep the receiver from ending.
const MAX_BATCHES: usize = 256;

/// The longest headers before a payload: Ethernet with two VLAN tags, IPv4 with all options, ICMP.
const MAX_HEADERS_BYTES: usize = 22 + 60 + 8;

/// What a probe hands to its sink, about every 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeRows<'a> {
    /// Requests in order of their numbers, none left out (`dunlin_record::shapes::PROBE_SENT`), once their stamps came;
    /// one whose stamp does not come holds those behind it up for 4 s at most. `sent_ns` is absent for
    /// a request that was not sent (refused by the kernel, or left out because far too late), and for one that has no
    /// stamp: most often it never left the host.
    Sent(&'a [[i64; 3]]),
    /// Answers as they came, duplicates too (`dunlin_record::shapes::PROBE_ANSWERS`). `arrived_ns` is absent where the
    /// kernel gave no stamp.
    Answers(&'a [[i64; 2]]),
    /// Requests that will have no good answer (`dunlin_record::shapes::PROBE_FAILURES`); only of the HTTP probe.
    Failures(&'a [[i64; 3]]),
}

/// Takes a probe's rows, on the probe's receiving thread. It may be slow now and then, but must not block: [`crate::RunningProbe::stop`] waits for it.
pub type Sink = Box<dyn for<'a> FnMut(ProbeRows<'a>) + Send>;

/// What a receiver did.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) cpu_ns: i64,
    pub(crate) answers: u64,
    pub(crate) unstamped_answers: u64,
    pub(crate) unstamped_requests: u64,
    pub(crate) errors: u64,
    pub(crate) drops: u64,
    pub(crate) clock_error_ns: Option<i64>,
}

pub(crate) struct Receiver {
    socket: Arc<Socket>,
    identity: Identity,
    notes: mpsc::Receiver<Note>,
    sink: Sink,
    /// When to end, in nanoseconds of the bench's clock; may be brought forward at any time.
    until_ns: Arc<AtomicI64>,
    batch: Batch,
    clock: ClockWatch,
    ledger: Ledger,
    departures: Vec<(u64, i64)>,
    answers: Vec<[i64; 2]>,
    requests: Vec<[i64; 3]>,
    received: Received,
}

impl Receiver {
    pub(crate) fn new(
        socket: Arc<Socket>,
        identity: Identity,
        payload_bytes: usize,
        notes: mpsc::Receiver<Note>,
        until_ns: Arc<AtomicI64>,
        sink: Sink,
    ) -> Self {
        Self {
            socket,
            identity,
            notes,
            sink,
            until_ns,
            batch: Batch::new(MAX_HEADERS_BYTES + payload_bytes),
            clock: ClockWatch::default(),
            ledger: Ledger::new(),
            departures: Vec::new(),
            answers: Vec::new(),
            requests: Vec::new(),
            received: Received::default(),
        }
    }

    /// Receives until the time it is given, and once more after it.
    pub(crate) fn run(mut self) -> Received {
        let mut next_ns = now_ns();
        loop {
            next_ns = now_ns().max(next_ns + CADENCE_NS);
            sleep_until(next_ns);
            let is_last = now_ns() >= self.until_ns.load(Ordering::Acquire);
            self.drain();
            self.ledger.close(if is_last { i64::MAX } else { now_ns() }, &mut self.requests);
            self.hand_over();
            if is_last {
                break;
            }
        }
        self.received.unstamped_requests = self.ledger.unstamped();
        self.received.clock_error_ns = self.clock.worst_error_ns();
        self.received.cpu_ns = thread_cpu_ns();
        self.received
    }

    /// Reads all that waits. The notes come last: whatever was stamped or answered had its note given before.
    fn drain(&mut self) {
        self.take_departures();
        self.take_answers();
        // Read after the stamps were taken from the queue, so that the clocks' standing brackets them.
        let mapping = Mapping::read();
        self.clock.observe(mapping);
        self.take_notes();
        for (seq, stamp_ns) in self.departures.drain(..) {
            self.ledger.stamp(seq, mapping.to_monotonic(stamp_ns));
        }
        self.answers.retain_mut(|[seq, arrived_ns]| {
            if *arrived_ns != ABSENT {
                *arrived_ns = mapping.to_monotonic(*arrived_ns);
            }
            self.ledger.knows(seq.cast_unsigned())
        });
        if let Ok(drops) = sys::drops(self.socket.as_fd()) {
            self.received.drops = drops;
        }
    }

    fn take_departures(&mut self) {
        let (identity, departures) = (self.identity, &mut self.departures);
        let taken = take_all(&mut self.batch, &self.socket, Queue::Departed, |frame, stamp_ns| {
            departures.extend(identity.request_seq(frame).zip(stamp_ns));
        });
        self.received.errors += u64::from(taken.is_err());
    }

    fn take_answers(&mut self) {
        let (identity, answers) = (self.identity, &mut self.answers);
        let taken = take_all(&mut self.batch, &self.socket, Queue::Received, |message, stamp_ns| {
            answers.extend(
                identity.answer_seq(message).map(|seq| [seq.cast_signed(), stamp_ns.unwrap_or(ABSENT)]),
            );
        });
        self.received.errors += u64::from(taken.is_err());
    }

    fn take_notes(&mut self) {
        for note in self.notes.try_iter() {
            match note {
                Note::Sending { due_ns } => self.ledger.add(due_ns),
                Note::Refused => self.ledger.refuse_last(),
                Note::Skipped { due_ns } => {
                    self.ledger.add(due_ns);
                    self.ledger.refuse_last();
                }
            }
        }
    }

    fn hand_over(&mut self) {
        if !self.requests.is_empty() {
            (self.sink)(ProbeRows::Sent(&self.requests));
            self.requests.clear();
        }
        if !self.answers.is_empty() {
            self.received.answers += self.answers.len() as u64;
            self.received.unstamped_answers +=
                self.answers.iter().filter(|[_, at]| *at == ABSENT).count() as u64;
            (self.sink)(ProbeRows::Answers(&self.answers));
            self.answers.clear();
        }
    }
}

/// Takes what waits in one queue. What an error leaves there is read the next time.
fn take_all(
    batch: &mut Batch,
    socket: &Socket,
    queue: Queue,
    mut take: impl FnMut(&[u8], Option<i64>),
) -> io::Result<()> {
    for _ in 0..MAX_BATCHES {
        if batch.receive(socket.as_fd(), queue, &mut take)? < BATCH {
            break;
        }
    }
    Ok(())
}
