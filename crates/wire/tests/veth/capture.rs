//! Captures: counts, stamps, drops, and what tshark makes of the files.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use dunlin_clock::{epoch_ns, now_ns};
use dunlin_wire::{
    AccountOptions, CAPTURE_SNAP_BYTES, CaptureMark, CaptureSpec, CaptureSummary, PROBE_MAGIC, PacketReader,
    UDP_PROBE_PORT, account, annotate, capture,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::pair::{FAR, NEAR, REQUESTS, Veth, send_icmp, send_udp};

/// Our requests: headers of Ethernet, IP and UDP or ICMP, and the payload.
const FRAME_BYTES: u64 = 14 + 20 + 8 + 16;

#[test]
fn a_capture_holds_exactly_what_its_filter_lets_through() {
    let Some(_veth) = Veth::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-new-folder/near.pcapng");
    let before_ns = epoch_ns();
    let capturing = capture(&spec("near", "udp port 7007 or icmp"), &path).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    send_icmp(&PROBE_MAGIC);
    send_udp(UDP_PROBE_PORT + 1, &PROBE_MAGIC);
    let summary = wait_for_answers(|| capturing.stop().unwrap());
    let after_ns = epoch_ns();

    // Requests and answers of both, and the far end's words about the port nobody listens on, which are ICMP too.
    let rows = tshark(&path, &["frame.time_epoch", "ip.src", "ip.proto", "icmp.type", "frame.len"], "");
    assert_eq!(counts(&summary), (rows.len() as u64, 0, rows.len() as u64));
    for (source, protocol, icmp_type) in
        [(NEAR, "17", ""), (FAR, "17", ""), (NEAR, "1", "8"), (FAR, "1", "0")]
    {
        let source = source.to_string();
        let of_these: Vec<_> =
            rows.iter().filter(|row| row[1..4] == [source.as_str(), protocol, icmp_type]).collect();
        assert_eq!(of_these.len() as u64, REQUESTS, "{source} {protocol} {icmp_type}");
        assert!(of_these.iter().all(|row| row[4] == FRAME_BYTES.to_string()));
        let stamps: Vec<f64> = of_these.iter().map(|row| row[0].parse().unwrap()).collect();
        assert!(stamps.is_sorted(), "stamps of {source}, protocol {protocol}");
        let within = |stamp: &f64| (before_ns as f64 / 1e9..=after_ns as f64 / 1e9).contains(stamp);
        assert!(stamps.iter().all(within));
    }
    assert_eq!(summary.bytes, rows.iter().map(|row| row[4].parse::<u64>().unwrap()).sum::<u64>());
    assert!(summary.clock_error_ns > 0);
}

#[test]
fn frames_are_cut_but_not_their_lengths() {
    let Some(_veth) = Veth::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("near.pcapng");
    let capturing = capture(&CaptureSpec { snap_bytes: 35, ..spec("near", "udp port 7007") }, &path).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    let summary = wait_for_answers(|| capturing.stop().unwrap());
    assert_eq!(summary.bytes, 2 * REQUESTS * FRAME_BYTES);
    let rows = tshark(&path, &["frame.cap_len", "frame.len"], "");
    assert_eq!(rows.len() as u64, 2 * REQUESTS);
    assert!(rows.iter().all(|row| *row == ["35".to_owned(), FRAME_BYTES.to_string()]), "{rows:?}");
}

#[test]
fn what_a_slow_writer_loses_is_counted_and_nobody_waits_for_it() {
    const PACKETS: u64 = 60_000;
    let Some(_veth) = Veth::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    // Open for both, so that neither end waits for the other to come.
    let mut slow = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let capturing =
        capture(&CaptureSpec { snap_bytes: 65_535, ..spec("near", "udp port 9") }, &path).unwrap();

    // More than the ring holds, while what is written to the file goes nowhere.
    let socket = UdpSocket::bind((NEAR, 0)).unwrap();
    let sent = (0..PACKETS).filter(|_| socket.send_to(&[7; 1400], (FAR, 9)).is_ok()).count() as u64;
    let reader = thread::spawn(move || {
        let mut kept = Vec::new();
        let mut some = vec![0; 1 << 20];
        // The last that is written is the interface's statistics.
        while !kept.ends_with(b"the end") {
            let length = slow.read(&mut some).unwrap();
            kept.extend_from_slice(&some[..length]);
        }
        kept.truncate(kept.len() - b"the end".len());
        kept
    });
    let summary = capturing.stop().unwrap();
    fs::write(&path, "the end").unwrap();
    let kept = folder.path().join("kept.pcapng");
    fs::write(&kept, reader.join().unwrap()).unwrap();

    assert_eq!(summary.accepted, sent);
    assert!(summary.dropped > 0 && summary.written > 0, "{summary:?}");
    assert_eq!(summary.written + summary.dropped, sent);
    assert_eq!(tshark(&kept, &["frame.len"], "").len() as u64, summary.written);
}

#[test]
fn a_disk_without_room_to_spare_gets_no_packets_and_the_file_says_so() {
    let Some(_veth) = Veth::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Seen by this thread, and by those it starts, alone.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(None::<&str>, folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=8m")).unwrap();
    let path = folder.path().join("near.pcapng");
    let capturing = capture(&spec("near", "udp port 7007"), &path).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    let summary = wait_for_answers(|| capturing.stop().unwrap());
    assert_eq!(counts(&summary), (2 * REQUESTS, 0, 0));
    assert_eq!(summary.cut_short.as_deref(), Some("the disk has less than 256 MiB left"));
    assert!(tshark(&path, &["frame.len"], "").is_empty());
    assert!(holds(&path, "later packets were not written: the disk has less than 256 MiB left"));
}

#[test]
fn marks_become_comments_of_the_packets_that_follow_them() {
    let Some(_veth) = Veth::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("near.pcapng");
    let mark = |text: &str| CaptureMark { epoch_ns: epoch_ns(), text: text.to_owned() };
    let capturing = capture(&spec("near", "udp port 7007"), &path).unwrap();
    let first = [mark("vm0: the first"), mark("vm0: the second, at once")];
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    thread::sleep(std::time::Duration::from_millis(300));
    let middle = mark("vm0: the middle");
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    wait_for_answers(|| capturing.stop().unwrap());
    let untouched = tshark(&path, &["frame.number"], "").len();
    // In another order than that of time.
    let marks = [mark("vm0: after the last"), middle, first[1].clone(), first[0].clone()];
    annotate(&path, &marks).unwrap();

    // Each is told to have been when it was, not when the packet that has it was.
    let mut reader = PacketReader::open(&path).unwrap();
    let told = account(&mut reader, AccountOptions { tick_ns: 1_000_000 }).marks;
    let start_ns: f64 = tshark(&path, &["frame.time_epoch"], "")[0][0].parse::<f64>().unwrap() * 1e9;
    for mark in &marks {
        let told = told.iter().find(|told| told.text == mark.text).unwrap();
        let off_ms = told.at_ms - (mark.epoch_ns as f64 - start_ns) / 1e6;
        assert!(off_ms.abs() < 0.01, "{told:?} is {off_ms} ms off");
    }

    let commented = tshark(&path, &["frame.number", "frame.comment"], "frame.comment");
    assert_eq!(commented.len(), 2, "{commented:?}");
    assert_eq!(commented[0][0], "1");
    assert!(commented[0][1].contains("the first") && commented[0][1].contains("the second, at once"));
    assert_eq!(commented[1][0], (2 * REQUESTS + 1).to_string());
    assert!(commented[1][1].starts_with("vm0: the middle ("), "{commented:?}");
    assert!(holds(&path, "vm0: after the last"));
    assert_eq!(tshark(&path, &["frame.number"], "").len(), untouched);
}

#[test]
fn a_file_that_breaks_off_keeps_its_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken");
    let mark = CaptureMark { epoch_ns: 0, text: "never".into() };
    for bytes in [&b""[..], b"abc", b"not a capture at all, but text", &[6, 0, 0, 0, 12, 0, 0, 0, 12, 0]] {
        fs::write(&path, bytes).unwrap();
        annotate(&path, std::slice::from_ref(&mark)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    let error = annotate(&path, &[mark]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot put comments into {}", path.display()));
}

fn spec(interface: &str, filter: &str) -> CaptureSpec {
    CaptureSpec {
        interface: interface.to_owned(),
        description: "a test".into(),
        filter: filter.parse().unwrap(),
        snap_bytes: CAPTURE_SNAP_BYTES,
    }
}

/// The far end is this machine's too: its answers take no longer than a scheduling delay.
fn wait_for_answers<T>(then: impl FnOnce() -> T) -> T {
    dunlin_clock::sleep_until(now_ns() + 300 * dunlin_clock::MILLISECOND_NS);
    then()
}

fn counts(summary: &CaptureSummary) -> (u64, u64, u64) {
    (summary.accepted, summary.dropped, summary.written)
}

fn holds(path: &Path, text: &str) -> bool {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Fields of the packets that tshark finds in a file and that fit its filter; fails the test if it complains.
fn tshark(path: &PathBuf, fields: &[&str], filter: &str) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-Y", filter, "-r"]).arg(path);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed");
    let complaints = String::from_utf8(output.stderr).unwrap();
    let complaints = complaints.lines().filter(|line| !line.starts_with("Running as user \"root\""));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}
