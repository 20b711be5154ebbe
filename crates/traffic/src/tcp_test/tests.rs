//! Both ends over the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use dunlin_clock::Deadline;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const ONE_BYTE: TcpWork = TcpWork::Transactions { request_bytes: 1, response_bytes: 1 };

/// A test that runs on a thread of its own.
struct Running {
    stop: Arc<AtomicBool>,
    events: Receiver<TcpTestEvent>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(test: TcpTest) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, events) = mpsc::channel();
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || test.run(&seen, &mut |event| drop(sender.send(event))));
        Self { stop, events, thread }
    }

    /// Waits for the first event of which this makes something.
    fn until<T>(&self, is_it: impl Fn(&TcpTestEvent) -> Option<T>) -> T {
        let deadline = Deadline::after(LIMIT);
        loop {
            if let Some(found) = is_it(&self.events.recv_timeout(deadline.left()).unwrap()) {
                return found;
            }
        }
    }

    /// Ends it; what was not waited for.
    fn end(self) -> Vec<TcpTestEvent> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.events.iter().collect()
    }
}

/// A responder on a thread of its own. Its end ends it.
fn responder() -> (SocketAddrV4, ResponderEnd, JoinHandle<io::Result<()>>) {
    let (responder, end) = TcpResponder::listen(HERE).unwrap();
    let address = responder.address();
    (address, end, thread::spawn(move || responder.serve()))
}

fn test(peer: SocketAddrV4, work: TcpWork) -> TcpTest {
    TcpTest { peer, work, send_buffer_bytes: None, receive_buffer_bytes: None }
}

fn answered(event: &TcpTestEvent) -> Option<(i64, i64)> {
    match event {
        TcpTestEvent::Transaction { sent_ns, end: TransactionEnd::Answered(at_ns) } => {
            Some((*sent_ns, *at_ns))
        }
        _ => None,
    }
}

#[test]
fn transactions_follow_each_other_and_each_takes_its_time() {
    let (peer, _end, _thread) = responder();
    for (request_bytes, response_bytes) in [(1, 1), (1, MESSAGE_BYTES_MAX), (300_000, 1000)] {
        let running = Running::start(test(peer, TcpWork::Transactions { request_bytes, response_bytes }));
        let mut last_ns = 0;
        for _ in 0..20 {
            let (sent_ns, answered_ns) = running.until(answered);
            assert!(last_ns <= sent_ns && sent_ns < answered_ns);
            last_ns = answered_ns;
        }
        let rest = running.end();
        assert!(matches!(rest.last(), Some(TcpTestEvent::Ended { broken: None, .. })), "{rest:?}");
    }
}

#[test]
fn a_stream_either_way_grows_by_what_the_kernels_count() {
    let (peer, _end, _thread) = responder();
    for reverse in [false, true] {
        let running = Running::start(test(peer, TcpWork::Stream { reverse, message_bytes: 64 << 10 }));
        let sample = |event: &TcpTestEvent| match event {
            TcpTestEvent::Sample(sample) => Some(*sample),
            _ => None,
        };
        let mut samples: Vec<StreamSample> = (0..50).map(|_| running.until(sample)).collect();
        samples.extend(running.end().iter().filter_map(sample));
        assert!(
            samples.is_sorted_by_key(|sample| sample.at_ns)
                && samples.is_sorted_by_key(|sample| sample.bytes)
        );
        let moved = samples.last().unwrap().bytes - samples[0].bytes;
        assert!(moved > 1 << 20, "reverse {reverse}: {moved} bytes in some 50 ms");
    }
}

#[test]
fn buffers_are_those_asked_for_on_both_ends_and_the_kernels_otherwise() {
    let (peer, _end, _thread) = responder();
    let connected = |send_buffer_bytes, receive_buffer_bytes| {
        let asked = TcpTest { send_buffer_bytes, receive_buffer_bytes, ..test(peer, ONE_BYTE) };
        let running = Running::start(asked);
        let found = running.until(|event| match event {
            TcpTestEvent::Connected { local, remote, congestion_control, .. } => {
                Some((*local, *remote, congestion_control.clone()))
            }
            _ => None,
        });
        running.end();
        found
    };
    let (local, remote, congestion_control) = connected(None, None);
    assert_eq!(local, remote, "both are this machine's");
    assert!(!congestion_control.is_empty());
    // Linux doubles what is set (socket(7)).
    let set = BufferSizes { send_bytes: 2 * 30_000, receive_bytes: 2 * 50_000 };
    let (local, remote, _) = connected(Some(30_000), Some(50_000));
    assert_eq!((local, remote), (set, set));
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let listener = TcpListener::bind(HERE).unwrap();
    let SocketAddr::V4(peer) = listener.local_addr().unwrap() else { panic!("an address of IPv4") };
    let running = Running::start(test(peer, ONE_BYTE));
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut opening = [0; opening::OPENING_BYTES];
        stream.read_exact(&mut opening).unwrap();
        let sizes = BufferSizes { send_bytes: 1, receive_bytes: 2 };
        stream.write_all(&opening::write_answer(sizes)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        let broken = running.until(|event| match event {
            TcpTestEvent::Transaction { end, .. } => Some(*end),
            _ => None,
        });
        assert_eq!(broken, TransactionEnd::Broken);
        running.until(|event| matches!(event, TcpTestEvent::Ended { broken: Some(_), .. }).then_some(()));
    }
    running.end();
}

#[test]
fn a_transaction_that_is_under_way_at_the_end_is_told_as_such() {
    let listener = TcpListener::bind(HERE).unwrap();
    let SocketAddr::V4(peer) = listener.local_addr().unwrap() else { panic!("an address of IPv4") };
    let running = Running::start(test(peer, ONE_BYTE));
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; opening::OPENING_BYTES]).unwrap();
    stream.write_all(&opening::write_answer(BufferSizes { send_bytes: 1, receive_bytes: 2 })).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let rest = running.end();
    assert!(
        rest.iter()
            .any(|event| matches!(event, TcpTestEvent::Transaction { end: TransactionEnd::Unfinished, .. })),
        "{rest:?}"
    );
}

#[test]
fn a_responder_ends_with_all_its_connections_and_takes_no_foreign_words() {
    let (peer, end, thread) = responder();
    let mut foreign = TcpStream::connect(peer).unwrap();
    foreign.set_read_timeout(Some(LIMIT)).unwrap();
    foreign.write_all(&[b'G'; opening::OPENING_BYTES]).unwrap();
    assert_eq!(foreign.read(&mut [0]).unwrap_or(0), 0, "closed without an answer");
    let running = Running::start(test(peer, ONE_BYTE));
    running.until(answered);
    let silent = TcpStream::connect(peer).unwrap();
    drop(end);
    thread.join().unwrap().unwrap();
    drop(silent);
    running.until(|event| matches!(event, TcpTestEvent::Ended { broken: Some(_), .. }).then_some(()));
    running.end();
}

#[test]
fn a_caller_that_says_nothing_more_loses_its_place() {
    let (responder, end) = TcpResponder::listen(HERE).unwrap();
    let address = responder.address();
    let responder = responder.with_idle_limit(Duration::from_millis(100));
    let serving = thread::spawn(move || responder.serve());
    // Opens as a test does, and is silent from then on.
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    let opening =
        Opening { task: opening::Task::Receive, send_buffer_bytes: None, receive_buffer_bytes: None };
    silent.write_all(&opening.to_bytes()).unwrap();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).unwrap();
    assert!(!heard.is_empty(), "it was served, and then closed");
    drop(end);
    serving.join().unwrap().unwrap();
}
