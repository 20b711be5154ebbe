//! A probe's life: started with its two threads, stopped within a stated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns};

use crate::error::{ProbeError, Result};
use crate::identity::{Identity, RequestFrame};
use crate::receiver::{Received, Receiver, Sink};
use crate::sender::{Sender, Sent, be_punctual};
use crate::socket;
use crate::spec::ProbeSpec;

/// The time between the socket's opening and the first request. A kernel begins to stamp what arrives only some time
/// after the first socket asked for it (by a work queue), and the threads have to come up.
const START_DELAY_NS: i64 = 20 * MILLISECOND_NS;

/// How long the sender's thread may take to come up.
pub(crate) const SENDER_UP_LIMIT: Duration = Duration::from_secs(10);

/// A probe that runs. Dropped, it ends without waiting for late answers.
#[derive(Debug)]
pub struct RunningProbe {
    end_sending: Arc<AtomicBool>,
    receive_until_ns: Arc<AtomicI64>,
    threads: Option<(JoinHandle<Sent>, JoinHandle<Received>)>,
    started_ns: i64,
    realtime_priority: Option<u8>,
}

/// What a probe did and cost, beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSummary {
    /// CPU time of both its threads.
    pub cpu_ns: i64,
    /// How long it ran, from its start to its end.
    pub wall_ns: i64,
    /// Requests the kernel took.
    pub sent: u64,
    /// Requests left out because the sender was held up for more than 50 intervals.
    pub skipped: u64,
    /// Requests the kernel refused.
    pub send_errors: u64,
    /// Why it refused the last of them.
    pub last_send_error: Option<String>,
    /// Requests the kernel took but gave no stamp for: they did not leave the host, the receive buffer was full, or the
    /// interface cannot stamp.
    pub unstamped_requests: u64,
    /// Answers that arrived, duplicates included.
    pub answers: u64,
    /// Answers the kernel gave no stamp for.
    pub unstamped_answers: u64,
    /// Times the socket could not be read.
    pub receive_errors: u64,
    /// Messages the kernel dropped because the receive buffer was full.
    pub drops: u64,
    /// The sender's real-time priority; absent where it was not permitted.
    pub realtime_priority: Option<u8>,
    /// The worst error of the stamps' mapping to the bench's clock.
    pub clock_error_ns: Option<i64>,
}

/// Starts a probe in the network namespace of the calling thread; its rows go to `sink`. The first request is sent
/// about 20 ms later, and one each interval from then on, whether answers come or not.
///
/// # Errors
/// Where the spec asks for what cannot be kept, or the socket or a thread cannot be had (ICMP needs `CAP_NET_RAW`).
pub fn start(spec: &ProbeSpec, sink: Sink) -> Result<RunningProbe> {
    spec.check()?;
    let kind = spec.kind;
    let socket = Arc::new(socket::open(spec)?);
    let identity = Identity::random(kind);
    let (notes, heard_notes) = mpsc::channel();
    let (up, sender_is_up) = mpsc::channel();
    let started_ns = now_ns();
    let mut running = RunningProbe {
        end_sending: Arc::new(AtomicBool::new(false)),
        receive_until_ns: Arc::new(AtomicI64::new(i64::MAX)),
        threads: None,
        started_ns,
        realtime_priority: None,
    };
    let sender = Sender {
        socket: Arc::clone(&socket),
        address: socket::address(spec),
        frame: RequestFrame::new(identity, spec.payload_bytes),
        first_due_ns: started_ns + START_DELAY_NS,
        interval_ns: spec.interval_ns,
        notes,
        end: Arc::clone(&running.end_sending),
    };
    let until_ns = Arc::clone(&running.receive_until_ns);
    let receiver = Receiver::new(socket, identity, spec.payload_bytes, heard_notes, until_ns, sink);
    let failed = |thread| move |source| ProbeError::Thread { kind, thread, source };
    // If the second thread cannot be had, the first ends by itself: its notes reach nobody.
    let sender = Builder::new()
        .name(format!("{kind}-sender"))
        .spawn(move || {
            // Nobody listens if `start` gave up waiting; the sender is told to end by then.
            let _given_up = up.send(be_punctual());
            sender.run()
        })
        .map_err(failed("sender"))?;
    let receiver = Builder::new()
        .name(format!("{kind}-receiver"))
        .spawn(move || receiver.run())
        .map_err(failed("receiver"))?;
    running.threads = Some((sender, receiver));
    running.realtime_priority = sender_is_up
        .recv_timeout(SENDER_UP_LIMIT)
        .map_err(|_| ProbeError::SenderNotUp { kind, limit: SENDER_UP_LIMIT })?;
    Ok(running)
}

impl RunningProbe {
    /// The sender's real-time priority; absent where it was not permitted.
    #[must_use]
    pub fn realtime_priority(&self) -> Option<u8> {
        self.realtime_priority
    }

    /// Asks the probe to send no more. Returns at once; answers are still received until [`Self::stop`].
    pub fn end_sending(&self) {
        self.end_sending.store(true, Ordering::Release);
    }

    /// Ends sending, waits for late answers until `answers_until`, and ends the probe within some 10 ms after it.
    ///
    /// To stop several probes at once, first [`Self::end_sending`] on each, then stop each with the same deadline.
    ///
    /// # Panics
    /// If the sink panicked, with its panic.
    #[must_use]
    pub fn stop(mut self, answers_until: Deadline) -> ProbeSummary {
        let (sent, received) = match self.end(answers_until.due_ns()) {
            Some((Ok(sent), Ok(received))) => (sent, received),
            Some((Err(panic), _) | (_, Err(panic))) => std::panic::resume_unwind(panic),
            None => unreachable!("a probe has its threads until it is stopped, and is stopped only once"),
        };
        ProbeSummary {
            cpu_ns: sent.cpu_ns + received.cpu_ns,
            wall_ns: now_ns() - self.started_ns,
            sent: sent.sent,
            skipped: sent.skipped,
            send_errors: sent.errors,
            last_send_error: sent.last_error.map(|error| error.to_string()),
            unstamped_requests: received.unstamped_requests,
            answers: received.answers,
            unstamped_answers: received.unstamped_answers,
            receive_errors: received.errors,
            drops: received.drops,
            realtime_priority: self.realtime_priority,
            clock_error_ns: received.clock_error_ns,
        }
    }

    fn end(
        &mut self,
        receive_until_ns: i64,
    ) -> Option<(std::thread::Result<Sent>, std::thread::Result<Received>)> {
        let (sender, receiver) = self.threads.take()?;
        self.end_sending();
        let sent = sender.join();
        self.receive_until_ns.store(receive_until_ns, Ordering::Release);
        Some((sent, receiver.join()))
    }
}

impl Drop for RunningProbe {
    fn drop(&mut self) {
        self.end(i64::MIN);
    }
}
