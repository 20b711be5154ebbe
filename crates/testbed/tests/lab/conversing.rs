//! Programs on a host that are spoken with: the same on every kind of host.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::{Host, HostKind, Inside, LabSpec, Process};

use super::roles::up;

const LIMIT: Duration = Duration::from_secs(20);
/// What pipes and sockets do not hold.
const MUCH_BYTES: usize = 20_000_000;

/// On both kinds of a lab's own hosts.
pub(crate) fn play(inside: &Inside) {
    for kind in [HostKind::Namespace, HostKind::Node] {
        let lab = up(inside, &LabSpec { kind, ..LabSpec::new(dunlin_record::Links::default()) });
        let host: &dyn Host = &*lab.hosts()[0];
        conversing(host);
        let (mut process, mut stream) = start(host, "cat", &[]);
        drop(lab);
        ends(&mut stream);
        assert_eq!(process.wait(Deadline::after(LIMIT)).unwrap().as_deref(), Some("signal 9"));
    }
}

/// All that holds of such programs.
pub(crate) fn conversing(host: &dyn Host) {
    echoes(host);
    says_last_words(host);
    its_end_is_seen(host);
    our_end_is_seen(host);
    holds_nobody_up(host);
    cannot_be_started(host);
}

pub(crate) fn start(host: &dyn Host, program: &str, args: &[&str]) -> (Process, UnixStream) {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let (process, stream) = host.converse(Path::new(program), &args, Path::new("/tmp/complained")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    (process, stream)
}

/// Waits until no more can be read.
pub(crate) fn ends(stream: &mut UnixStream) {
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
}

fn how(process: &mut Process) -> Option<String> {
    process.wait(Deadline::after(LIMIT)).unwrap()
}

fn echoes(host: &dyn Host) {
    let (mut process, mut stream) = start(host, "cat", &[]);
    for line in [&b"one\n"[..], b"two, not yet ended", b"\0\xff\n"] {
        stream.write_all(line).unwrap();
        let mut back = vec![0; line.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, line);
    }
    assert!(process.pid().is_some());
    let sent: Vec<u8> = (0..MUCH_BYTES).map(|number| (number % 251) as u8).collect();
    let (mut writing, expected) = (stream.try_clone().unwrap(), sent.clone());
    let sending = std::thread::spawn(move || writing.write_all(&sent).unwrap());
    let mut back = vec![0; expected.len()];
    stream.read_exact(&mut back).unwrap();
    sending.join().unwrap();
    assert!(back == expected);
    assert_eq!(process.try_wait().unwrap(), None);
    stream.shutdown(Shutdown::Write).unwrap();
    ends(&mut stream);
    assert_eq!(how(&mut process).as_deref(), Some("exit status 0"));
}

/// Whoever has been told all can still answer.
fn says_last_words(host: &dyn Host) {
    let (mut process, mut stream) = start(host, "sort", &[]);
    stream.write_all(b"b\na\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "a\nb\n");
    assert_eq!(how(&mut process).as_deref(), Some("exit status 0"));
}

fn its_end_is_seen(host: &dyn Host) {
    let (mut process, mut stream) =
        start(host, "sh", &["-c", "echo $$; echo wrong >&2; read line; sleep 1000 & exit 7"]);
    let mut said = [0; 32];
    let length = stream.read(&mut said).unwrap();
    let pid = String::from_utf8_lossy(&said[..length]).trim().to_owned();
    assert_eq!(pid, process.pid().unwrap().to_string());
    assert_eq!(process.try_wait().unwrap(), None);
    stream.write_all(b"go\n").unwrap();
    assert_eq!(how(&mut process).as_deref(), Some("exit status 7"));
    // What it left in its group has the stream, too, and goes with it.
    ends(&mut stream);
    assert_eq!(host.read(Path::new("/tmp/complained")).unwrap(), b"wrong\n");

    let (mut process, mut stream) = start(host, "sh", &["-c", "sleep 1000 & exec sleep 1000"]);
    process.kill();
    ends(&mut stream);
    let (process, mut stream) = start(host, "sleep", &["1000"]);
    drop(process);
    ends(&mut stream);
    assert_eq!(host.read(Path::new("/tmp/complained")).unwrap(), b"", "replaced");
}

fn our_end_is_seen(host: &dyn Host) {
    let (mut process, stream) = start(host, "cat", &[]);
    drop(stream);
    assert_eq!(how(&mut process).as_deref(), Some("exit status 0"));
    // Whoever reads nothing sees it in that nobody hears it.
    let (mut process, mut stream) = start(host, "yes", &[]);
    stream.read_exact(&mut [0; 9]).unwrap();
    drop(stream);
    let end = how(&mut process);
    assert!(matches!(end.as_deref(), Some("exit status 1" | "signal 13")), "{end:?}");
}

/// One that is not read, and one that does not read.
fn holds_nobody_up(host: &dyn Host) {
    let (mut unread, mut stream) = start(host, "head", &["-c", &MUCH_BYTES.to_string(), "/dev/zero"]);
    let (deaf, mut to_deaf) = start(host, "sleep", &["1000"]);
    to_deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Where nothing passes a helper it is full at once.
    let _ = to_deaf.write_all(&vec![0; 1 << 20]);
    let well = host.run(Path::new("echo"), &["well".into()], LIMIT).unwrap();
    assert_eq!(well.stdout, b"well\n");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said.len(), MUCH_BYTES);
    assert_eq!(how(&mut unread).as_deref(), Some("exit status 0"));
    drop(deaf);
}

fn cannot_be_started(host: &dyn Host) {
    let error = host.converse(Path::new("/no/such"), &[], Path::new("/tmp/complained")).unwrap_err();
    assert!(dunlin_record::in_one_line(&error).contains("No such file"), "{error:?}");
    assert!(host.converse(Path::new("cat"), &[], Path::new("/no/such/file")).is_err());
}
