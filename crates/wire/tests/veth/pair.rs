//! A veth pair between two network namespaces of this test, and what is sent through it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, id};
use std::thread;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_test_support::skip;
use dunlin_wire::UDP_PROBE_PORT;
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const REQUESTS: u64 = 200;

/// The interface `near` in this thread's own network namespace, whose other end `far` is in a second one, where ICMP
/// and UDP are answered.
pub(crate) struct Veth {
    near: File,
    far: File,
    ending: Cancel,
    responder: Option<thread::JoinHandle<()>>,
}

impl Veth {
    pub(crate) fn new() -> Option<Self> {
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
    pub(crate) fn at_far<T>(&self, body: impl FnOnce() -> T) -> T {
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
        skip(format!("no right to make a network namespace ({error}); run as root"));
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

pub(crate) fn send_udp(port: u16, magic: &[u8; 4]) {
    let socket = UdpSocket::bind((NEAR, 0)).unwrap();
    for seq in 0..REQUESTS {
        socket.send_to(&payload(magic, 1, seq), (FAR, port)).unwrap();
    }
}

pub(crate) fn send_icmp(magic: &[u8; 4]) {
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

pub(crate) fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}
