//! The relay between two network namespaces of this test, with real traffic. Needs root; skipped without.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, id};
use std::thread;
use std::time::Duration;

use dunlin_clock::{Cancel, MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};
use dunlin_test_support::skip;
use dunlin_testbed::{Fault, Injection, Relay, RelayEnd, RelaySpec, TestbedError};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_relay_delays_each_way_by_as_much_as_asked() {
    let delay_ns = 20 * MILLISECOND_NS;
    let Some(fast) = Link::new(0) else { return };
    let undelayed_ns = fast.shortest_round_trip_ns();
    drop(fast);
    let slow = Link::new(delay_ns).unwrap();
    let delayed_ns = slow.shortest_round_trip_ns();
    // On a busy machine the shortest of many may still be long, so only the lower bound is sharp.
    assert!(delayed_ns >= 2 * delay_ns, "{delayed_ns} ns");
    assert!(delayed_ns < 6 * delay_ns, "{delayed_ns} ns");
    assert!(undelayed_ns < delayed_ns / 2, "{undelayed_ns} ns, delayed {delayed_ns} ns");
}

#[test]
fn frames_that_meet_a_drop_are_lost_and_no_others() {
    let Some(link) = Link::new(0) else { return };
    let (injection, arrivals) = link.probe_during(Fault::Drop, 100 * MILLISECOND_NS);
    check_stamps(&injection);
    let lost: Vec<u64> = (0..PROBES).filter(|seq| !arrivals.contains_key(seq)).collect();
    assert_eq!(lost.len() as u64, injection.a_to_b.met + injection.b_to_a.met);
    // 100 probes at 1 ms; a late sender sends fewer in that time and the rest after it.
    assert!(lost.len() > 10, "{lost:?}");
    assert_eq!(lost.len() as u64, lost[lost.len() - 1] - lost[0] + 1, "one gap only: {lost:?}");
    assert!(longest_gap_ns(&arrivals) > (injection.end_ns - injection.start_ns) / 2);
    let counts = link.relay.stop().unwrap();
    assert_eq!(counts.a_to_b.injected_drops + counts.b_to_a.injected_drops, lost.len() as u64);
    assert_eq!(counts.a_to_b.forwarded + counts.a_to_b.injected_drops, PROBES);
    assert_eq!((counts.a_to_b.queue_full, counts.a_to_b.refused), (0, 0));
}

#[test]
fn frames_that_meet_a_hold_arrive_after_it_and_in_order() {
    let Some(link) = Link::new(0) else { return };
    let (injection, arrivals) = link.probe_during(Fault::Hold, 100 * MILLISECOND_NS);
    check_stamps(&injection);
    assert_eq!(arrivals.len() as u64, PROBES, "none is lost");
    let times: Vec<i64> = arrivals.values().copied().collect();
    assert!(times.is_sorted());
    assert!(injection.a_to_b.met > 10, "{injection:?}");
    assert!(longest_gap_ns(&arrivals) > (injection.end_ns - injection.start_ns) / 2);
}

#[test]
fn outages_follow_one_another_as_planned() {
    let Some(link) = Link::new(0) else { return };
    let at_ns = now_ns() + 20 * MILLISECOND_NS;
    let first = link.relay.inject(Fault::Drop, at_ns, 30 * MILLISECOND_NS).unwrap();
    let second = link.relay.inject(Fault::Hold, at_ns + 60 * MILLISECOND_NS, 10 * MILLISECOND_NS).unwrap();
    let (first, second) = (first.wait(LIMIT).unwrap(), second.wait(LIMIT).unwrap());
    assert_eq!((first.fault, second.fault), (Fault::Drop, Fault::Hold));
    assert!(first.end_ns <= second.start_ns && second.start_ns < second.end_ns, "{first:?} {second:?}");
    assert_eq!(first.a_to_b.first_after_ns, None, "nothing was sent");
}

#[test]
fn a_burst_held_back_is_released_whole() {
    const BURST: usize = 5000;
    let Some(link) = Link::new(0) else { return };
    let sender = UdpSocket::bind(("10.8.0.1", 0)).unwrap();
    let receiver = link.at_b(|| UdpSocket::bind(("10.8.0.2", 9000)).unwrap());
    setsockopt(&receiver, RcvBufForce, &(32 << 20)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let start_ns = now_ns() + 20 * MILLISECOND_NS;
    let pending = link.relay.inject(Fault::Hold, start_ns, 500 * MILLISECOND_NS).unwrap();
    sleep_until(start_ns + 10 * MILLISECOND_NS);
    for seq in 0..BURST {
        sender.send_to(&seq.to_be_bytes(), "10.8.0.2:9000").unwrap();
        // No faster than a loaded relay can take in.
        sleep_until(start_ns + 10 * MILLISECOND_NS + seq as i64 * 50_000);
    }
    let mut bytes = [0; 8];
    let received =
        (0..BURST).filter(|seq| receiver.recv(&mut bytes).is_ok() && bytes == seq.to_be_bytes()).count();
    assert_eq!(received, BURST);
    assert!(pending.wait(LIMIT).unwrap().a_to_b.met > 0);
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    let Some(link) = Link::with_queue(0, 10) else { return };
    let (injection, arrivals) = link.probe_during(Fault::Hold, 100 * MILLISECOND_NS);
    let counts = link.relay.counts();
    assert!(injection.a_to_b.met > 10);
    assert_eq!(counts.a_to_b.queue_full, injection.a_to_b.met - 10);
    assert_eq!(arrivals.len() as u64, PROBES - counts.a_to_b.queue_full - counts.b_to_a.queue_full);
}

#[test]
fn a_relay_carries_a_stream() {
    let Some(link) = Link::new(0) else { return };
    let listener = link.at_b(|| TcpListener::bind(("10.8.0.2", 9000)).unwrap());
    let sink = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 17];
        let mut bytes = 0_u64;
        let start_ns = now_ns();
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            bytes += length as u64;
        }
        (bytes, now_ns() - start_ns)
    });
    let mut stream = TcpStream::connect("10.8.0.2:9000").unwrap();
    let end_ns = now_ns() + SECOND_NS;
    let chunk = vec![0; 1 << 17];
    while now_ns() < end_ns {
        stream.write_all(&chunk).unwrap();
    }
    drop(stream);
    let (bytes, during_ns) = sink.join().unwrap();
    let mbit = bytes as f64 * 8e3 / during_ns as f64;
    eprintln!("carried {mbit:.0} Mbit/s; real-time: {}; {:?}", link.relay.is_realtime(), link.relay.counts());
    assert!(mbit > 50.0, "{mbit:.0} Mbit/s");
}

#[test]
fn a_relay_whose_device_goes_away_says_so() {
    let Some(link) = Link::new(0) else { return };
    ip("link delete tap-a");
    let deadline = now_ns() + 5 * SECOND_NS;
    while link.relay.inject(Fault::Drop, 0, 0).is_ok() && now_ns() < deadline {
        sleep_until(now_ns() + MILLISECOND_NS);
    }
    let error = link.relay.stop().unwrap_err();
    assert_eq!(error.to_string(), "cannot read the tap tap-a");
}

#[test]
fn a_relay_into_a_namespace_that_is_not_there_is_refused() {
    let end = |device: &str| RelayEnd { netns: "/run/netns/dunlin-none".into(), device: device.into() };
    let spec = RelaySpec { a: end("tap-a"), b: end("tap-b"), delay_ns: 0, queue_frames: 1 };
    let error = Relay::start(&spec).unwrap_err();
    assert!(matches!(error, TestbedError::Io { .. }));
    assert_eq!(error.to_string(), "cannot open the namespace /run/netns/dunlin-none");
}

const PROBES: u64 = 400;

fn check_stamps(injection: &Injection) {
    assert!(injection.asked_start_ns <= injection.start_ns, "{injection:?}");
    assert!(injection.start_ns < injection.end_ns, "{injection:?}");
    assert!(injection.asked_end_ns <= injection.end_ns, "{injection:?}");
    for crossing in [injection.a_to_b, injection.b_to_a] {
        // Without a delay, what came before an outage also leaves before it.
        assert!(crossing.last_before_ns.unwrap() <= injection.start_ns, "{injection:?}");
        assert!(crossing.first_after_ns.unwrap() >= injection.end_ns, "{injection:?}");
    }
}

fn longest_gap_ns(arrivals: &BTreeMap<u64, i64>) -> i64 {
    let times: Vec<i64> = arrivals.values().copied().collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

/// A relay between this thread's own network namespace (`a`, 10.8.0.1) and a second one (`b`, 10.8.0.2).
struct Link {
    a: File,
    b: File,
    relay: Relay,
}

impl Link {
    fn new(delay_ns: i64) -> Option<Self> {
        Self::with_queue(delay_ns, dunlin_testbed::DEFAULT_QUEUE_FRAMES)
    }

    fn with_queue(delay_ns: i64, queue_frames: usize) -> Option<Self> {
        let b = fresh_namespace()?;
        let a = fresh_namespace()?;
        let end = |namespace: &File, device: &str| RelayEnd {
            netns: PathBuf::from(format!("/proc/{}/fd/{}", id(), namespace.as_raw_fd())),
            device: device.into(),
        };
        let relay = match Relay::start(&RelaySpec {
            a: end(&a, "tap-a"),
            b: end(&b, "tap-b"),
            delay_ns,
            queue_frames,
        }) {
            Err(TestbedError::NotPermitted { what, mend }) => {
                skip(format!("{what} is not permitted; to mend: {mend}"));
                return None;
            }
            relay => relay.unwrap(),
        };
        let link = Self { a, b, relay };
        // Fixed neighbours: no frame but the test's own is ever sent.
        let set_up = |device: &str, own: u8, other: u8| {
            ip(&format!("link set {device} address 02:00:00:00:00:0{own} up"));
            ip(&format!("address add 10.8.0.{own}/24 dev {device}"));
            ip(&format!("neighbour add 10.8.0.{other} lladdr 02:00:00:00:00:0{other} dev {device}"));
        };
        set_up("tap-a", 1, 2);
        link.at_b(|| set_up("tap-b", 2, 1));
        Some(link)
    }

    /// Runs something in `b`; sockets made there stay there.
    fn at_b<T>(&self, body: impl FnOnce() -> T) -> T {
        setns(&self.b, CloneFlags::CLONE_NEWNET).unwrap();
        let result = body();
        setns(&self.a, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }

    fn echo(&self) -> Echo {
        let socket = self.at_b(|| UdpSocket::bind(("10.8.0.2", 7007)).unwrap());
        Echo::start(socket)
    }

    fn shortest_round_trip_ns(&self) -> i64 {
        let _echo = self.echo();
        let socket = UdpSocket::bind(("10.8.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let round_trip = |_| {
            let sent_ns = now_ns();
            socket.send_to(b"x", "10.8.0.2:7007").unwrap();
            socket.recv(&mut [0; 8]).unwrap();
            now_ns() - sent_ns
        };
        (0..20).map(round_trip).min().unwrap()
    }

    /// Sends a probe every millisecond from `a` to an echo server in `b`, makes an outage in the middle, and returns
    /// what the relay says about it and when each answer arrived.
    fn probe_during(&self, fault: Fault, for_ns: i64) -> (Injection, BTreeMap<u64, i64>) {
        let _echo = self.echo();
        let socket = UdpSocket::bind(("10.8.0.1", 0)).unwrap();
        setsockopt(&socket, RcvBufForce, &(8 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let receiver = socket.try_clone().unwrap();
        let arrivals = thread::spawn(move || {
            let mut arrivals = BTreeMap::new();
            let mut bytes = [0; 8];
            while receiver.recv(&mut bytes).is_ok() {
                arrivals.insert(u64::from_be_bytes(bytes), now_ns());
            }
            arrivals
        });
        let start_ns = now_ns() + 10 * MILLISECOND_NS;
        let pending = self.relay.inject(fault, start_ns + 100 * MILLISECOND_NS, for_ns).unwrap();
        for seq in 0..PROBES {
            sleep_until(start_ns + seq.cast_signed() * MILLISECOND_NS);
            socket.send_to(&seq.to_be_bytes(), "10.8.0.2:7007").unwrap();
        }
        (pending.wait(LIMIT).unwrap(), arrivals.join().unwrap())
    }
}

struct Echo {
    ending: Cancel,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start(socket: UdpSocket) -> Self {
        setsockopt(&socket, RcvBufForce, &(8 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let ending = Cancel::new();
        let seen = ending.clone();
        let thread = thread::spawn(move || {
            let mut bytes = [0; 64];
            while !seen.is_cancelled() {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Self { ending, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ending.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}

/// Moves this thread to a new network namespace without IPv6, which sends frames unasked.
fn fresh_namespace() -> Option<File> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        skip(format!("no right to make a network namespace ({error}); run as root"));
        return None;
    }
    for scope in ["all", "default"] {
        // A kernel without IPv6 does not have the file, which is as good.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    Some(File::open("/proc/thread-self/ns/net").unwrap())
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}
