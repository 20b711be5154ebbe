//! Streams over the loopback interface.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};

use super::*;
use crate::numbered::write_numbered;

const LIMIT: Duration = Duration::from_secs(20);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const UDP: Transport = Transport::Udp { datagram_bytes: 200 };
const SLOW: Role = Role::Send { bytes_per_s: Some(400_000.0) };
const FULL: Role = Role::Send { bytes_per_s: None };

/// An end that runs on a thread of its own.
struct Running {
    stop: Arc<AtomicBool>,
    events: Receiver<StreamEvent>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(end: StreamEnd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, events) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || end.run(&stop, &mut |event| drop(sender.send(event))).unwrap()
        });
        Self { stop, events, thread }
    }

    /// Waits for an event.
    fn until(&self, is_it: impl Fn(&StreamEvent) -> bool) -> StreamEvent {
        let deadline = Deadline::after(LIMIT);
        loop {
            let event = self.events.recv_timeout(deadline.left()).unwrap();
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Ends it; the sum of what was not waited for.
    fn account(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let mut account = Account::default();
        self.events.iter().for_each(|event| account.add(&event));
        account
    }
}

/// Both ends of a stream whose listening end has this role, after a while: the listener's account and the dialer's.
fn after_a_while(transport: Transport, listener: Role, dialer: Role) -> [Account; 2] {
    let (end, at) = StreamEnd::listen(StreamSpec { transport, role: listener }, HERE).unwrap();
    let listening = Running::start(end);
    let dialing = Running::start(StreamEnd::dial(StreamSpec { transport, role: dialer }, at, LIMIT).unwrap());
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    if listener == Role::Receive {
        let dialed = dialing.account();
        // Of datagrams, time for what is under way.
        sleep_until(now_ns() + 50 * MILLISECOND_NS);
        return [listening.account(), dialed];
    }
    let listened = listening.account();
    sleep_until(now_ns() + 50 * MILLISECOND_NS);
    [listened, dialing.account()]
}

#[test]
fn over_tcp_either_end_sends_and_everything_arrives() {
    for rate in [SLOW, FULL] {
        for (listener, dialer) in [(rate, Role::Receive), (Role::Receive, rate)] {
            let [listened, dialed] = after_a_while(Transport::Tcp, listener, dialer);
            assert!(listened.bytes > 0 && listened.bytes == dialed.bytes, "{listened:?} {dialed:?}");
            for account in [listened, dialed] {
                let Account { connections, broken, missing, late, repeated, corrupted, .. } = account;
                assert_eq!((connections, broken), (1, 0));
                assert_eq!([missing, late, repeated, corrupted], [0; 4]);
            }
        }
    }
}

#[test]
fn over_udp_either_end_sends_at_the_rate_asked_for() {
    for (listener, dialer) in [(SLOW, Role::Receive), (Role::Receive, SLOW)] {
        let accounts = after_a_while(UDP, listener, dialer);
        for account in &accounts {
            // 400 kB/s for some 0.3 s, but a busy machine may take its time.
            assert!((2_000..400_000).contains(&account.bytes), "{account:?}");
            assert_eq!([account.missing, account.repeated, account.corrupted], [0; 3]);
        }
        assert_eq!(accounts[0].bytes, accounts[1].bytes);
    }
}

#[test]
fn a_broken_connection_is_made_anew_by_the_end_that_dialed() {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("an address of IPv4") };
    let spec = StreamSpec { transport: Transport::Tcp, role: SLOW };
    let sender = Running::start(StreamEnd::dial(spec, at, LIMIT).unwrap());
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        sender.until(|event| matches!(event, StreamEvent::Connected { .. }));
        let mut block = [0; BLOCK_BYTES];
        stream.read_exact(&mut block).unwrap();
        assert_eq!(crate::number_of(&block), Some(0), "numbers begin anew");
        // Closed with data unread, it is reset.
        sender.until(|event| matches!(event, StreamEvent::Moved { .. }));
        sleep_until(now_ns() + 20 * MILLISECOND_NS);
        drop(stream);
        sender.until(|event| matches!(event, StreamEvent::Broken { .. }));
    }
    sender.account();
}

#[test]
fn a_peer_that_calls_again_has_given_the_old_connection_up() {
    let spec = StreamSpec { transport: Transport::Tcp, role: Role::Receive };
    let (end, at) = StreamEnd::listen(spec, HERE).unwrap();
    let receiver = Running::start(end);
    let _silent = tcp::connect(at, LIMIT).unwrap();
    receiver.until(|event| matches!(event, StreamEvent::Connected { .. }));
    let _again = tcp::connect(at, LIMIT).unwrap();
    let broken = receiver.until(|event| matches!(event, StreamEvent::Broken { .. }));
    assert!(matches!(broken, StreamEvent::Broken { why, .. } if why.contains("called again")));
    receiver.until(|event| matches!(event, StreamEvent::Connected { .. }));
    receiver.account();
}

#[test]
fn missing_repeated_and_damaged_blocks_of_a_connection_are_counted_and_a_cut_one_is_not() {
    let spec = StreamSpec { transport: Transport::Tcp, role: Role::Receive };
    let (end, at) = StreamEnd::listen(spec, HERE).unwrap();
    let receiver = Running::start(end);
    let mut sender = tcp::connect(at, LIMIT).unwrap();
    let mut block = [0; BLOCK_BYTES];
    for number in [0, 1, 5, 5, 2] {
        write_numbered(number, &mut block);
        sender.write_all(&block).unwrap();
    }
    block[100] ^= 1;
    sender.write_all(&block).unwrap();
    sender.write_all(&block[..500]).unwrap();
    drop(sender);
    receiver.thread.join().unwrap();
    let mut account = Account::default();
    receiver.events.iter().for_each(|event| account.add(&event));
    assert_eq!((account.missing, account.late, account.repeated, account.corrupted), (2, 1, 1, 1));
    assert_eq!((account.bytes, account.connections, account.broken), (6 * 1024 + 500, 1, 0));
}

#[test]
fn datagrams_that_never_came_are_named() {
    let spec = StreamSpec { transport: UDP, role: Role::Receive };
    let (end, at) = StreamEnd::listen(spec, HERE).unwrap();
    let receiver = Running::start(end);
    let sender = UdpSocket::bind((HERE, 0)).unwrap();
    let mut datagram = [0; 200];
    for number in [0, 1, 9, 4] {
        write_numbered(number, &mut datagram);
        sender.send_to(&datagram, at).unwrap();
    }
    let late = Disorder::Late { number: 4 };
    let first = receiver.until(|event| matches!(event, StreamEvent::Disorder { .. }));
    let StreamEvent::Disorder { disorder: Disorder::Missing { first, count, after_ns }, at_ns } = first
    else {
        panic!("{first:?}")
    };
    assert_eq!((first, count), (2, 7));
    assert!(after_ns.is_some_and(|after_ns| after_ns <= at_ns));
    receiver.until(|event| matches!(event, StreamEvent::Disorder { disorder, .. } if *disorder == late));
    assert_eq!(receiver.account().lost, [(2, 2), (5, 4)]);
}
