//! The HTTP probe: a load of requests, each on a connection of its own, on a punctual thread.
//!
//! No kernel stamps what a connection carries, so the stamps are the thread's own: when it asked for the connection, and
//! when it had the whole answer.

use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use dunlin_clock::{Deadline, MILLISECOND_NS, SECOND_NS, now_ns, thread_cpu_ns};
use dunlin_record::{ABSENT, RequestFailure};
use dunlin_traffic::{Failure, Load, LoadEnd, LoadEvent, LoadSpec};

use crate::error::{ProbeError, Result};
use crate::receiver::{ProbeRows, Sink};
use crate::running::{ProbeSummary, SENDER_UP_LIMIT};
use crate::sender::be_punctual;

/// The intervals the HTTP probe can be asked to keep, in nanoseconds: 1 ms to a minute.
pub const HTTP_INTERVAL_RANGE_NS: RangeInclusive<i64> = MILLISECOND_NS..=60 * SECOND_NS;

/// An HTTP probe that runs. Dropped, it ends without waiting for late answers.
#[derive(Debug)]
pub struct RunningHttpProbe {
    end: LoadEnd,
    thread: Option<JoinHandle<Ran>>,
    started_ns: i64,
    realtime_priority: Option<u8>,
}

/// What it did.
#[derive(Debug, Default)]
struct Ran {
    cpu_ns: i64,
    sent: u64,
    not_sent: u64,
    answers: u64,
}

/// Starts an HTTP probe in the network namespace of the calling thread; its rows go to `sink`. The first request is sent
/// now, and one each interval from then on, whether answers come or not.
///
/// # Errors
/// Where the interval cannot be kept, or the thread cannot be had.
pub fn start_http(spec: &LoadSpec, sink: Sink) -> Result<RunningHttpProbe> {
    if !HTTP_INTERVAL_RANGE_NS.contains(&spec.interval_ns) {
        return Err(ProbeError::HttpInterval { interval_ns: spec.interval_ns });
    }
    let (load, end) = Load::new(spec);
    let (up, is_up) = mpsc::channel();
    let started_ns = now_ns();
    let thread = Builder::new()
        .name("http-prober".into())
        .spawn(move || {
            // Nobody listens if `start_http` gave up waiting; the load is told to end by then.
            let _given_up = up.send(be_punctual());
            run(load, sink)
        })
        .map_err(|source| ProbeError::HttpThread { source })?;
    let mut running = RunningHttpProbe { end, thread: Some(thread), started_ns, realtime_priority: None };
    running.realtime_priority =
        is_up.recv_timeout(SENDER_UP_LIMIT).map_err(|_| ProbeError::HttpNotUp { limit: SENDER_UP_LIMIT })?;
    Ok(running)
}

fn run(load: Load, mut sink: Sink) -> Ran {
    let mut ran = Ran::default();
    load.run(|event| match event {
        LoadEvent::Due { seq, due_ns, sent_ns } => {
            *if sent_ns.is_some() { &mut ran.sent } else { &mut ran.not_sent } += 1;
            sink(ProbeRows::Sent(&[[seq.cast_signed(), due_ns, sent_ns.unwrap_or(ABSENT)]]));
        }
        LoadEvent::Answered { seq, arrived_ns } => {
            ran.answers += 1;
            sink(ProbeRows::Answers(&[[seq.cast_signed(), arrived_ns]]));
        }
        LoadEvent::Failed { seq, at_ns, failure } => {
            sink(ProbeRows::Failures(&[[seq.cast_signed(), at_ns, in_the_records_words(failure).code()]]));
        }
    });
    ran.cpu_ns = thread_cpu_ns();
    ran
}

fn in_the_records_words(failure: Failure) -> RequestFailure {
    match failure {
        Failure::NotSent => RequestFailure::NotSent,
        Failure::Broken => RequestFailure::Broken,
        Failure::WrongAnswer => RequestFailure::WrongAnswer,
        Failure::TimedOut => RequestFailure::TimedOut,
    }
}

impl RunningHttpProbe {
    /// Its thread's real-time priority; absent where it was not permitted.
    #[must_use]
    pub fn realtime_priority(&self) -> Option<u8> {
        self.realtime_priority
    }

    /// Asks the probe to send no more. Returns at once; answers are still received until [`Self::stop`].
    pub fn end_sending(&self) {
        self.end.end_sending();
    }

    /// Ends sending, waits for late answers until `answers_until` at most, and ends the probe.
    ///
    /// # Panics
    /// If the sink panicked, with its panic.
    #[must_use]
    pub fn stop(mut self, answers_until: Deadline) -> ProbeSummary {
        let ran = match self.end(answers_until.due_ns()) {
            Some(Ok(ran)) => ran,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("a probe has its thread until it is stopped, and is stopped only once"),
        };
        ProbeSummary {
            cpu_ns: ran.cpu_ns,
            wall_ns: now_ns() - self.started_ns,
            sent: ran.sent,
            skipped: ran.not_sent,
            send_errors: 0,
            last_send_error: None,
            unstamped_requests: 0,
            answers: ran.answers,
            unstamped_answers: 0,
            receive_errors: 0,
            drops: 0,
            realtime_priority: self.realtime_priority,
            clock_error_ns: None,
        }
    }

    fn end(&mut self, answers_until_ns: i64) -> Option<std::thread::Result<Ran>> {
        let thread = self.thread.take()?;
        self.end.end_at(answers_until_ns);
        Some(thread.join())
    }
}

impl Drop for RunningHttpProbe {
    fn drop(&mut self) {
        self.end(i64::MIN);
    }
}
