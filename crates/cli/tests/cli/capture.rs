//! `dunlin capture` on the loopback of this machine. Needs the right to a packet socket; skipped without.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use dunlin_test_support::skip;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{dunlin, told};

/// A port that nobody else sends to.
const PORT: u16 = 47_007;

#[test]
fn a_capture_ends_well_at_its_time_and_at_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let filter = format!("udp port {PORT}");
    let words = ["capture", "-i", "lo", "-o", "lo.pcapng", "--filter", &filter];
    let timed = told(dunlin(folder.path()).args(words).args(["--for", "200ms"]));
    if timed.contains("CAP_NET_RAW") {
        return skip(timed);
    }
    assert!(
        timed.starts_with("exit code 0\n---- standard output\n0 packets of 0 bytes captured, 0 dropped;"),
        "{timed}"
    );

    let mut child = Process::new(assert_cmd::cargo::cargo_bin!("dunlin"));
    child.args(words).current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("capturing lo to lo.pcapng until Ctrl-C"), "{line}");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        socket.send_to(&[0; 58], ("127.0.0.1", PORT)).unwrap();
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // 14 + 20 + 8 bytes of headers; what goes out over the loopback and comes in again is one packet.
    assert!(text.starts_with("10 packets of 1000 bytes captured, 0 dropped;"), "{text}");
    let bytes = std::fs::read(folder.path().join("lo.pcapng")).unwrap();
    assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
}

#[test]
fn what_cannot_be_captured_is_told() {
    let root = Path::new("/");
    let none = told(dunlin(root).args(["capture", "-i", "dunlin-none", "-o", "/dev/null"]));
    assert!(
        none.starts_with("exit code 3\n") && none.contains("cannot find interface dunlin-none"),
        "{none}"
    );
    let filter = told(dunlin(root).args(["capture", "-i", "lo", "-o", "/dev/null", "--filter", "sctp"]));
    assert!(filter.starts_with("exit code 2\n") && filter.contains("expected terms as in"), "{filter}");
}
