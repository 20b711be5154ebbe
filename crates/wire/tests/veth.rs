//! Records on a real veth pair between two network namespaces of this test. Needs root; skipped without.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail the test, or say why it is skipped"
)]

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, id};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use dunlin_clock::{Cancel, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_wire::{PROBE_MAGIC, RowSink, UDP_PROBE_PORT, count_interface, read_interface, watch_passages};
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const REQUESTS: u64 = 200;

#[test]
fn passages_are_exactly_the_requests_sent_and_their_answers() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, rows) = collect();
    let recording = watch_passages("near", sink).unwrap();
    let before_ns = now_ns();
    send_icmp(&PROBE_MAGIC);
    send_icmp(b"ping");
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    send_udp(UDP_PROBE_PORT, b"junk");
    send_udp(UDP_PROBE_PORT + 1, &PROBE_MAGIC);
    // The far end is this machine's too: its answers take no longer than a scheduling delay.
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    let summary = recording.stop().unwrap();
    let after_ns = now_ns();

    assert_eq!(summary.dropped, Some(0));
    let slack_ns = summary.clock_error_ns.unwrap() + MILLISECOND_NS;
    let rows = rows_of::<4>(&rows);
    for probe in [0, 1] {
        for direction in [0, 1] {
            let seen = rows.iter().filter(|row| row[0] == probe && row[2] == direction);
            let seqs: Vec<i64> = seen.map(|row| row[1]).collect();
            let sent: Vec<i64> = (0..REQUESTS.cast_signed()).collect();
            assert_eq!(seqs, sent, "probe {probe}, direction {direction}");
        }
    }
    assert_eq!(rows.len() as u64, REQUESTS * 4);
    for [probe, seq, direction, t_ns] in &rows {
        assert!(
            before_ns - slack_ns < *t_ns && *t_ns < after_ns + slack_ns,
            "{probe} {seq} {direction} {t_ns}"
        );
    }
}

#[test]
fn frames_going_the_other_way_through_an_interface_are_no_passages() {
    let Some(veth) = Veth::new() else { return };
    // From `near` the responder is behind the interface; on an interface with the prober behind it, requests come
    // in and answers leave, as with frames flooded to the tap of a VM that is elsewhere.
    let (near, near_rows) = collect();
    let (far, far_rows) = collect();
    let near = watch_passages("near", near).unwrap();
    let far = veth.at_far(|| watch_passages("far", far).unwrap());
    send_icmp(&PROBE_MAGIC);
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    near.stop().unwrap();
    far.stop().unwrap();
    assert_eq!(rows_of::<4>(&near_rows).len() as u64, 2 * REQUESTS);
    assert_eq!(rows_of::<4>(&far_rows).len(), 0);
}

#[test]
fn counters_agree_with_what_was_sent() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, rows) = collect();
    let first = read_interface("near").unwrap();
    let recording = count_interface("near", sink).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    recording.stop().unwrap();
    let rows = rows_of::<5>(&rows);

    let frame_bytes = 14 + 20 + 8 + 16;
    // Address resolution may add a few small frames each way, never hundreds.
    let few = 10;
    let last = rows.last().unwrap();
    let packets = REQUESTS.cast_signed();
    for (name, column, before) in [("sent", 3, first.tx_packets), ("received", 4, first.rx_packets)] {
        let counted = last[column] - before.cast_signed();
        assert!((packets..=packets + few).contains(&counted), "{name}: {counted} packets");
    }
    for (name, column, before) in [("sent", 1, first.tx_bytes), ("received", 2, first.rx_bytes)] {
        let counted = last[column] - before.cast_signed();
        let expected = packets * frame_bytes;
        assert!((expected..=expected + few * 100).contains(&counted), "{name}: {counted} bytes");
    }
    for pair in rows.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(earlier, later)| earlier <= later), "{pair:?}");
    }
    // 300 ms at one row in 10 ms; a noisy machine may skip many of them.
    assert!(rows.len() > 5, "{} rows", rows.len());
}

#[test]
fn a_counted_interface_that_goes_away_ends_the_record_with_a_reason() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, _rows) = collect();
    let recording = count_interface("near", sink).unwrap();
    ip("link delete near");
    sleep_until(now_ns() + 100 * MILLISECOND_NS);
    let error = recording.stop().unwrap_err();
    assert_eq!(error.to_string(), "cannot read the counters of near");
}

/// The interface `near` in this thread's own network namespace, whose other end `far` is in a second one, where ICMP
/// and UDP are answered.
struct Veth {
    near: File,
    far: File,
    ending: Cancel,
    responder: Option<thread::JoinHandle<()>>,
}

impl Veth {
    fn new() -> Option<Self> {
        let far = fresh_namespace()?;
        let near = fresh_namespace()?;
        let mut veth = Self { near, far, ending: Cancel::new(), responder: None };
        let far_path = format!("/proc/{}/fd/{}", id(), veth.far.as_raw_fd());
        ip(&format!("link add near type veth peer name far netns {far_path}"));
        ip(&format!("address add {NEAR}/24 dev near"));
        ip("link set near up");
        let ending = veth.ending.clone();
        veth.responder = Some(veth.at_far(|| {
            ip(&format!("address add {FAR}/24 dev far"));
            ip("link set far up");
            let socket = UdpSocket::bind((FAR, UDP_PROBE_PORT)).unwrap();
            thread::spawn(move || respond(&socket, &ending))
        }));
        // An exchange settles both ends' neighbour tables before anything is counted.
        let socket = UdpSocket::bind((NEAR, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let exchange = || {
            let sent = socket.send_to(b"hello", (FAR, UDP_PROBE_PORT)).is_ok();
            sent && socket.recv(&mut [0; 16]).is_ok()
        };
        assert!((0..50).any(|_| exchange()), "the far end does not answer");
        Some(veth)
    }

    /// Runs something in the far end's namespace; threads it starts stay there.
    fn at_far<T>(&self, body: impl FnOnce() -> T) -> T {
        setns(&self.far, CloneFlags::CLONE_NEWNET).unwrap();
        let result = body();
        setns(&self.near, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(responder) = self.responder.take() {
            let _ = responder.join();
        }
    }
}

/// Moves this thread to a new network namespace without IPv6, whose own traffic would be counted.
fn fresh_namespace() -> Option<File> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: no right to make a network namespace ({error}); run as root");
        return None;
    }
    for scope in ["all", "default"] {
        // A kernel without IPv6 does not have the file, which is as good.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    Some(File::open("/proc/thread-self/ns/net").unwrap())
}

fn respond(socket: &UdpSocket, ending: &Cancel) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 2048];
    while !ending.is_cancelled() {
        if let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    }
}

fn send_udp(port: u16, magic: &[u8; 4]) {
    let socket = UdpSocket::bind((NEAR, 0)).unwrap();
    for seq in 0..REQUESTS {
        socket.send_to(&payload(magic, 1, seq), (FAR, port)).unwrap();
    }
}

fn send_icmp(magic: &[u8; 4]) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    for seq in 0..REQUESTS {
        let mut echo = vec![8, 0, 0, 0, 0x12, 0x34, 0, seq as u8];
        echo.extend(payload(magic, 0, seq));
        let sum: u32 = echo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
        echo[2..4].copy_from_slice(&folded.to_be_bytes());
        socket.send_to(&echo, &SocketAddrV4::new(FAR, 0).into()).unwrap();
    }
}

fn payload(magic: &[u8; 4], kind: u8, seq: u64) -> Vec<u8> {
    [&magic[..], &[kind, 1, 2, 3], &seq.to_be_bytes()].concat()
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

fn collect() -> (RowSink, Receiver<Vec<i64>>) {
    let (sender, receiver) = channel();
    (Box::new(move |rows: &[i64]| drop(sender.send(rows.to_vec()))), receiver)
}

fn rows_of<const N: usize>(batches: &Receiver<Vec<i64>>) -> Vec<[i64; N]> {
    let values: Vec<i64> = batches.iter().flatten().collect();
    values.chunks_exact(N).map(|row| row.try_into().unwrap()).collect()
}
