//! The bench's ends of a guest's streams: they listen, and date what happens on the bench's clock.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use dunlin_record::{ABSENT, Event, EventKind, Journal, Rate, Received, StreamSeen, VmId, Workload, shapes};
use dunlin_testbed::{Network, TestbedError};
use dunlin_traffic::{Account, Disorder, Role, StreamEnd, StreamEvent, StreamSpec, Transport};

use super::{Guest, Run, event};
use crate::recording::SeriesHandle;
use crate::{BenchError, Result};

const MIB: f64 = 1024.0 * 1024.0;
/// How long datagrams that are under way when the guest has ended are waited for.
const UNDER_WAY_NS: i64 = 200 * MILLISECOND_NS;

/// The bench's ends of all streams of one guest. They end with this.
pub(super) struct Streams {
    running: Vec<Running>,
}

struct Running {
    /// The number of the workload.
    job: u32,
    peer: SocketAddrV4,
    role: Role,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<Account>>>,
    series: [SeriesHandle; 2],
}

impl Streams {
    /// Opens an end for each of the guest's workloads that is a stream.
    pub(super) fn open(run: &Run<'_>, guest: &Guest, journal: &Journal) -> Result<Self> {
        let mut streams = Self { running: Vec::new() };
        let parts = run.trial.case.workload.as_ref().map(Workload::parts).unwrap_or_default();
        for (job, part) in (0..).zip(parts) {
            if let Some(spec) = bench_end_of(part) {
                let address = run.world.testbed()?.bench_address(Network::Service).ok_or_else(|| {
                    let because = "the bench has no address on the service network".into();
                    TestbedError::Unsupported { what: "a stream to the guest".into(), because }
                })?;
                let series = |what, shape| run.recording.series(&format!("{}-{what}-{job}", guest.id), shape);
                let series = [series("stream", shapes::STREAM)?, series("disorder", shapes::DISORDER)?];
                let log = Log::new(job, guest.id.clone(), series.clone(), journal.sender());
                streams.running.push(Running::start(job, spec, address, log, series).map_err(io(job))?);
            }
        }
        Ok(streams)
    }

    /// Where the other end of this workload's stream listens, if it is one.
    pub(super) fn peer_of(&self, job: u32) -> Option<SocketAddrV4> {
        self.running.iter().find(|running| running.job == job).map(|running| running.peer)
    }

    /// Ends those that send: a receiver then ends when it has it all.
    pub(super) fn end_sending(&self) {
        for running in self.running.iter().filter(|running| running.role != Role::Receive) {
            running.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Ends all, once the guest's ends have, and tells what they saw. Gives the first damage seen, in words.
    pub(super) fn finish(mut self, guest: &Guest, journal: &mut Journal) -> Result<Option<String>> {
        if self.running.iter().any(|running| running.role == Role::Receive) {
            sleep_until(now_ns() + UNDER_WAY_NS);
        }
        self.stop_all();
        let mut damage = None;
        for running in &mut self.running {
            let Some(thread) = running.thread.take() else { continue };
            let died = || Err(std::io::Error::other("its thread died"));
            let account = thread.join().unwrap_or_else(|_| died()).map_err(io(running.job))?;
            running.series.iter().for_each(SeriesHandle::finish);
            let seen = seen(&account, running.role);
            damage = damage.or_else(|| seen.damage());
            let ended = EventKind::StreamEnded { workload: running.job, seen };
            journal.keep(&event(None, Some(&guest.id), ended))?;
        }
        Ok(damage)
    }

    fn stop_all(&self) {
        self.running.iter().for_each(|running| running.stop.store(true, Ordering::Relaxed));
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop_all();
        for thread in self.running.iter_mut().filter_map(|running| running.thread.take()) {
            // Of a trial that has failed already.
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(
        job: u32,
        spec: StreamSpec,
        address: Ipv4Addr,
        mut log: Log,
        series: [SeriesHandle; 2],
    ) -> std::io::Result<Self> {
        let (end, peer) = StreamEnd::listen(spec, address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name(format!("stream-{job}")).spawn({
            let stop = Arc::clone(&stop);
            move || {
                let outcome = end.run(&stop, &mut |event| log.note(event));
                log.flush();
                outcome.map(|()| log.account)
            }
        })?;
        Ok(Self { job, peer, role: spec.role, stop, thread: Some(thread), series })
    }
}

/// What the bench does in a stream that is the guest's workload; nothing for a workload that is none.
fn bench_end_of(workload: &Workload) -> Option<StreamSpec> {
    let udp = |datagram_bytes: u32| Transport::Udp { datagram_bytes: datagram_bytes as usize };
    let send = |rate| Role::Send {
        bytes_per_s: match rate {
            Rate::Full => None,
            Rate::MibPerSecond(rate) => Some(rate * MIB),
        },
    };
    let (transport, role) = match workload {
        Workload::TcpSend(_) => (Transport::Tcp, Role::Receive),
        Workload::TcpReceive(asked) => (Transport::Tcp, send(asked.rate_mib_s)),
        Workload::UdpSend(asked) => (udp(asked.datagram_bytes), Role::Receive),
        Workload::UdpReceive(asked) => (udp(asked.datagram_bytes), send(asked.rate_mib_s)),
        _ => return None,
    };
    Some(StreamSpec { transport, role })
}

fn io(job: u32) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Io {
        doing: format!("hold the bench's end of the stream of workload {job}"),
        source,
    }
}

fn seen(account: &Account, role: Role) -> StreamSeen {
    let &Account { bytes, connections, missing, late, repeated, corrupted, longest_gap_ns, .. } = account;
    // Numbers that never came are in the series, with their times.
    let lost = Vec::new();
    let received = Received { missing, late, repeated, corrupted, longest_gap_ns, lost };
    StreamSeen {
        bytes,
        connections: Some(connections).filter(|connections| *connections > 0),
        received: (role == Role::Receive).then_some(received),
    }
}

/// Writes down what happens at an end.
struct Log {
    job: u32,
    vm: VmId,
    series: [SeriesHandle; 2],
    events: Sender<Event>,
    account: Account,
    /// What has moved in the millisecond that began then.
    tick: Option<(i64, i64, i64)>,
}

impl Log {
    fn new(job: u32, vm: VmId, series: [SeriesHandle; 2], events: Sender<Event>) -> Self {
        Self { job, vm, series, events, account: Account::default(), tick: None }
    }

    fn note(&mut self, event: StreamEvent) {
        self.account.add(&event);
        match event {
            StreamEvent::Connected { at_ns } => {
                self.tell(at_ns, EventKind::StreamConnected { workload: self.job });
            }
            StreamEvent::Broken { at_ns, why } => {
                self.tell(at_ns, EventKind::StreamBroken { workload: self.job, why });
            }
            StreamEvent::Moved { at_ns, blocks, bytes } => {
                let start_ns = at_ns - at_ns.rem_euclid(MILLISECOND_NS);
                if self.tick.is_none_or(|(tick_ns, ..)| tick_ns != start_ns) {
                    self.flush();
                }
                let (_, moved_bytes, moved_blocks) = self.tick.unwrap_or_default();
                self.tick = Some((start_ns, moved_bytes + whole(bytes), moved_blocks + whole(blocks)));
            }
            StreamEvent::Disorder { at_ns, disorder } => {
                let [kind, number, count, after_ns] = match disorder {
                    Disorder::Missing { first, count, after_ns } => {
                        [shapes::DISORDER_MISSING, whole(first), whole(count), after_ns.unwrap_or(ABSENT)]
                    }
                    Disorder::Late { number } => [shapes::DISORDER_LATE, whole(number), 1, ABSENT],
                    Disorder::Repeated { number } => [shapes::DISORDER_REPEATED, whole(number), 1, ABSENT],
                    Disorder::Corrupted => [shapes::DISORDER_CORRUPTED, ABSENT, 1, ABSENT],
                };
                self.series[1].push(&[at_ns, kind, number, count, after_ns]);
            }
            // What is missing was told when its successor came.
            StreamEvent::Lost { .. } => {}
        }
    }

    fn tell(&self, t_ns: i64, kind: EventKind) {
        // The journal outlives all who tell it anything, but for a trial that has failed already.
        let _ = self.events.send(Event { t_ns, host: None, vm: Some(self.vm.clone()), kind });
    }

    fn flush(&mut self) {
        if let Some((start_ns, bytes, blocks)) = self.tick.take() {
            self.series[0].push(&[start_ns, bytes, blocks]);
        }
    }
}

fn whole(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
