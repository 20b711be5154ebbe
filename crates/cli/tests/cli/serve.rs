//! The servers that users start are reached by this machine alone unless they say otherwise.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it says it listens on, and whether it is reached by an address that the loopback device has besides 127.0.0.1.
fn served(words: &[&str]) -> (SocketAddr, String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let mut server = Server(command.args(words).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("serving at ").unwrap().split(' ').next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let reached = |ip: Ipv4Addr| {
        TcpStream::connect_timeout(&(ip, address.port()).into(), Duration::from_secs(5)).is_ok()
    };
    assert!(reached(Ipv4Addr::LOCALHOST), "{line}");
    (address, line, reached(Ipv4Addr::new(127, 0, 0, 2)))
}

#[test]
fn only_this_machine_is_served_unless_another_address_is_asked_for() {
    for server in ["http", "tcp"] {
        let (address, line, by_others) = served(&[server, "serve", "--port", "0"]);
        assert_eq!((address.ip().is_loopback(), by_others), (true, false), "{line}");
        let (address, line, by_others) = served(&[server, "serve", "--port", "0", "--bind", "0.0.0.0"]);
        assert_eq!((address.ip().is_unspecified(), by_others), (true, true), "{line}");
    }
}
