//! The TCP probes: one transaction after the other, or a stream, each on a thread of its own with an ordinary priority:
//! unlike the others they never rest, and would starve whom they observe.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use dunlin_clock::{MILLISECOND_NS, now_ns, thread_cpu_ns};
use dunlin_record::{
    ABSENT, ProbeConnection, RequestFailure, RequestResponse, SocketBuffers, StreamProbe, TcpProbe,
};
use dunlin_traffic::{BufferSizes, StreamSample, TcpTest, TcpTestEvent, TcpWork, TransactionEnd};
use serde::{Deserialize, Serialize};

use crate::error::{ProbeError, Result};

/// Takes rows of a TCP probe, whole and laid end to end, on the probe's thread: it must not block.
pub type TcpSink = Box<dyn FnMut(&[i64]) + Send>;

/// Rows are handed on in batches, at the latest when the next one comes after this time …
const BATCH_NS: i64 = 20 * MILLISECOND_NS;
/// … or when there are so many values.
const BATCH_VALUES: usize = 2048;

/// A TCP probe that runs. Dropped, it ends.
#[derive(Debug)]
pub struct RunningTcpProbe {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<TcpProbeSummary>>,
}

/// What a TCP probe did and cost, beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TcpProbeSummary {
    /// CPU time of its thread.
    pub cpu_ns: i64,
    /// How long it ran.
    pub wall_ns: i64,
    /// Its connections in order, all ended.
    pub connections: Vec<ProbeConnection>,
}

/// Starts a TCP probe in the network namespace of the calling thread, towards a
/// [`TcpResponder`](dunlin_traffic::TcpResponder). Rows of request/response are those of
/// `dunlin_record::shapes::PROBE_TRANSACTIONS`, of a stream those of `PROBE_SAMPLES`. Nobody at the other end is no error:
/// the probe goes on asking.
///
/// # Errors
/// Where its thread cannot be had.
pub fn start_tcp(peer: SocketAddrV4, probe: &TcpProbe, sink: TcpSink) -> Result<RunningTcpProbe> {
    let test = in_the_tests_words(peer, probe);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let thread = Builder::new()
        .name("tcp-prober".into())
        .spawn(move || run(&test, &seen, sink))
        .map_err(|source| ProbeError::TcpThread { source })?;
    Ok(RunningTcpProbe { stop, thread: Some(thread) })
}

impl RunningTcpProbe {
    /// Asks the probe to end. Returns at once.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the probe, within some 20 ms, or 3 s where it was just connecting. A transaction under way is left
    /// without an answer.
    ///
    /// # Panics
    /// If the sink panicked, with its panic.
    #[must_use]
    pub fn stop(mut self) -> TcpProbeSummary {
        self.end();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(summary)) => summary,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("a probe has its thread until it is stopped, and is stopped only once"),
        }
    }
}

impl Drop for RunningTcpProbe {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // Whoever drops it no longer asks how it went.
            let _ = thread.join();
        }
    }
}

fn in_the_tests_words(peer: SocketAddrV4, probe: &TcpProbe) -> TcpTest {
    let (work, send_buffer_bytes, receive_buffer_bytes) = match *probe {
        TcpProbe::RequestResponse(RequestResponse {
            request_bytes,
            response_bytes,
            send_buffer_bytes,
            receive_buffer_bytes,
        }) => {
            (TcpWork::Transactions { request_bytes, response_bytes }, send_buffer_bytes, receive_buffer_bytes)
        }
        TcpProbe::Stream(StreamProbe { reverse, message_bytes, send_buffer_bytes, receive_buffer_bytes }) => {
            (TcpWork::Stream { reverse, message_bytes }, send_buffer_bytes, receive_buffer_bytes)
        }
    };
    TcpTest { peer, work, send_buffer_bytes, receive_buffer_bytes }
}

fn run(test: &TcpTest, stop: &AtomicBool, sink: TcpSink) -> TcpProbeSummary {
    let started_ns = now_ns();
    let mut rows = Batch { sink, values: Vec::new(), handed_on_ns: started_ns };
    let mut connections: Vec<ProbeConnection> = Vec::new();
    test.run(stop, &mut |event| match event {
        TcpTestEvent::Connected { at_ns, local, remote, congestion_control } => {
            connections.push(ProbeConnection {
                peer: test.peer.to_string(),
                connected_ns: at_ns,
                ended_ns: at_ns,
                broken: None,
                local: in_the_records_words(local),
                remote: in_the_records_words(remote),
                local_at_end: in_the_records_words(local),
                congestion_control,
                retransmitted_segments: None,
            });
        }
        TcpTestEvent::Ended { at_ns, broken, local, retransmitted_segments } => {
            if let Some(last) = connections.last_mut() {
                last.ended_ns = at_ns;
                last.broken = broken;
                last.local_at_end = in_the_records_words(local);
                last.retransmitted_segments = retransmitted_segments;
            }
        }
        TcpTestEvent::Transaction { sent_ns, end } => {
            let (arrived_ns, failure) = match end {
                TransactionEnd::Answered(at_ns) => (at_ns, ABSENT),
                TransactionEnd::Broken => (ABSENT, RequestFailure::Broken.code()),
                TransactionEnd::Unfinished => (ABSENT, ABSENT),
            };
            rows.push(
                &[sent_ns, arrived_ns, failure],
                if arrived_ns == ABSENT { sent_ns } else { arrived_ns },
            );
        }
        TcpTestEvent::Sample(sample) => {
            let StreamSample { at_ns, bytes, retransmitted_segments, rtt_us, window_segments } = sample;
            let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let number = connections.len() as u64;
            let counts = [number, bytes, retransmitted_segments, rtt_us, window_segments].map(whole);
            rows.push(&[at_ns, counts[0], counts[1], counts[2], counts[3], counts[4]], at_ns);
        }
    });
    rows.hand_on();
    TcpProbeSummary { cpu_ns: thread_cpu_ns(), wall_ns: now_ns() - started_ns, connections }
}

fn in_the_records_words(sizes: BufferSizes) -> SocketBuffers {
    let BufferSizes { send_bytes, receive_bytes } = sizes;
    SocketBuffers { send_bytes, receive_bytes }
}

/// Rows that wait to be handed on: tens of thousands a second, each alone, would cost more than making them.
struct Batch {
    sink: TcpSink,
    values: Vec<i64>,
    handed_on_ns: i64,
}

impl Batch {
    fn push(&mut self, row: &[i64], now_ns: i64) {
        self.values.extend_from_slice(row);
        if now_ns - self.handed_on_ns >= BATCH_NS || self.values.len() >= BATCH_VALUES {
            self.hand_on();
            self.handed_on_ns = now_ns;
        }
    }

    fn hand_on(&mut self) {
        if !self.values.is_empty() {
            (self.sink)(&self.values);
            self.values.clear();
        }
    }
}
