//! Helpers over pipes, in child processes: this very program run again. No harness, whose output would mix with theirs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail the test, or say why it is skipped"
)]

use std::fs::File;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio, id};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use dunlin_record::{HostId, shapes};
use dunlin_test_support::skip;
use dunlin_testbed::{Helper, TestbedError, measure_goodput, serve_helper};
use dunlin_wire::RowSink;
use nix::sched::{CloneFlags, setns, unshare};

const LIMIT: Duration = Duration::from_secs(20);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("helper") {
        std::process::exit(serve_helper());
    }
    let tests: [(&str, fn()); 9] = [
        ("a_stopped_record_has_handed_on_all_its_rows", a_stopped_record_has_handed_on_all_its_rows),
        (
            "what_a_helper_cannot_do_is_an_error_that_says_why",
            what_a_helper_cannot_do_is_an_error_that_says_why,
        ),
        (
            "a_helper_that_is_killed_fails_what_is_asked_of_it",
            a_helper_that_is_killed_fails_what_is_asked_of_it,
        ),
        ("a_program_that_is_no_helper_is_refused", a_program_that_is_no_helper_is_refused),
        ("a_helper_of_another_version_is_refused", a_helper_of_another_version_is_refused),
        ("a_clock_is_read_to_within_its_error", a_clock_is_read_to_within_its_error),
        ("a_dropped_helper_is_gone", a_dropped_helper_is_gone),
        ("a_pipe_that_outlives_its_helper_holds_nobody_up", a_pipe_that_outlives_its_helper_holds_nobody_up),
        (
            "two_hosts_are_watched_and_their_link_is_measured",
            two_hosts_are_watched_and_their_link_is_measured,
        ),
    ];
    for (name, test) in tests {
        // A thread for each, so that a namespace entered in one is not another's.
        let passed = thread::Builder::new().name(name.into()).spawn(test).unwrap().join().is_ok();
        eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            std::process::exit(1);
        }
    }
}

fn a_stopped_record_has_handed_on_all_its_rows() {
    let helper = Helper::start(HostId::new("host-a"), spawn_helper()).unwrap();
    let (sink, batches) = collect();
    let (cpu_sink, cpu_batches) = collect();
    let counting = helper.count("lo", sink).unwrap();
    let cpu = helper.count_cpu(cpu_sink).unwrap();
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    helper.stop(counting, LIMIT).unwrap();
    helper.stop(cpu, LIMIT).unwrap();
    for (batches, shape) in [(batches, shapes::WIRE), (cpu_batches, shapes::CPU)] {
        // Ends because the sink is gone.
        let batches: Vec<Vec<i64>> = batches.iter().collect();
        assert!(batches.iter().all(|batch| batch.len().is_multiple_of(shape.len())), "whole rows only");
        assert!(batches.iter().flatten().count() >= 2 * shape.len());
    }
    let error = helper.stop(counting, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "the helper on host-a failed: there is no task 1 to stop");
}

fn what_a_helper_cannot_do_is_an_error_that_says_why() {
    let helper = Helper::start(HostId::new("host-a"), spawn_helper()).unwrap();
    let (sink, batches) = collect();
    let error = helper.watch_passages("dunlin-none", sink).unwrap_err();
    assert!(matches!(error, TestbedError::Helper { .. }));
    assert_eq!(
        error.to_string(),
        "the helper on host-a failed: cannot find interface dunlin-none: No such device (os error 19)"
    );
    assert_eq!(batches.iter().count(), 0, "the sink is gone");
    let nobody = "127.0.0.1:1".parse().unwrap();
    let error = measure_goodput(&helper, &helper, nobody, Duration::ZERO).unwrap_err();
    assert!(matches!(error, TestbedError::Helper { .. } | TestbedError::Timeout { .. }), "{error:?}");
}

fn a_helper_that_is_killed_fails_what_is_asked_of_it() {
    let child = spawn_helper();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let helper = Helper::start(HostId::new("host-a"), child).unwrap();
    let (sink, batches) = collect();
    let task = helper.count_cpu(sink).unwrap();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    // The sink is let go when the helper's end is seen, and so is whoever waits.
    let _ = batches.iter().count();
    let error = helper.stop(task, LIMIT).unwrap_err();
    assert!(error.to_string().starts_with("the helper on host-a failed: it "), "{error}");
}

fn a_program_that_is_no_helper_is_refused() {
    for (program, why) in [("true", "it ended"), ("yes", "no helper of dunlin's")] {
        let error = Helper::start(HostId::new("host-a"), spawn(&mut Command::new(program))).unwrap_err();
        let said = error.to_string();
        // `true` may be gone before the first request is written.
        assert!(said.contains(why) || said.contains("it takes no requests"), "{program}: {said}");
    }
}

fn a_dropped_helper_is_gone() {
    let child = spawn_helper();
    let process = format!("/proc/{}", child.id());
    let helper = Helper::start(HostId::new("host-a"), child).unwrap();
    helper.count_cpu(collect().0).unwrap();
    assert!(std::fs::exists(&process).unwrap());
    drop(helper);
    assert!(!std::fs::exists(&process).unwrap());
}

fn a_pipe_that_outlives_its_helper_holds_nobody_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Whatever it left running still has its standard output.
    let script = format!("sleep 600 & echo $! >{}; echo foreign", file.path().display());
    Helper::start(HostId::new("host-a"), spawn(Command::new("sh").args(["-c", &script]))).unwrap_err();
    let left: i32 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    // It was not waited for: it is there to be ended.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn two_hosts_are_watched_and_their_link_is_measured() {
    let Some(b_namespace) = fresh_namespace() else { return };
    let Some(a_namespace) = fresh_namespace() else { return };
    let b_path = format!("/proc/{}/fd/{}", id(), b_namespace.as_raw_fd());
    ip(&format!("link add near type veth peer name far netns {b_path}"));
    ip("address add 10.8.0.1/24 dev near");
    ip("link set near up");
    let a = Helper::start(HostId::new("host-a"), spawn_helper()).unwrap();
    setns(&b_namespace, CloneFlags::CLONE_NEWNET).unwrap();
    ip("address add 10.8.0.2/24 dev far");
    ip("link set far up");
    let b = Helper::start(HostId::new("host-b"), spawn_helper()).unwrap();
    setns(&a_namespace, CloneFlags::CLONE_NEWNET).unwrap();

    let (sink, batches) = collect();
    let watch = a.watch_passages("near", sink).unwrap();
    let (echo, at) = b.echo_udp("10.8.0.2:7007".parse().unwrap()).unwrap();
    let probes = 50;
    probe(at, probes);
    b.stop(echo, LIMIT).unwrap();
    let summary = a.stop(watch, LIMIT).unwrap();
    assert_eq!(summary.dropped, Some(0));
    assert!(summary.clock_error_ns.is_some());
    let values: Vec<i64> = batches.iter().flatten().collect();
    let rows: Vec<&[i64]> = values.chunks_exact(shapes::PASSAGES.len()).collect();
    assert_eq!(rows.len() as u64, 2 * probes);
    assert!(rows.is_sorted_by_key(|row| (row[1], row[2])), "each request, then its answer: {rows:?}");

    let goodput = measure_goodput(&a, &b, "10.8.0.2:0".parse().unwrap(), LIMIT).unwrap();
    eprintln!("{goodput:?}");
    assert!(goodput.goodput_mbit > 10.0 && goodput.rtt_ms > 0.0, "{goodput:?}");
    ip("link set near down");
    let error =
        measure_goodput(&a, &b, "10.8.0.2:0".parse().unwrap(), Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, TestbedError::Helper { .. } | TestbedError::Timeout { .. }), "{error:?}");
}

fn a_helper_of_another_version_is_refused() {
    let refused = |says: &str| {
        let child = spawn(Command::new("sh").args(["-c", &format!("printf '{says}'; exec sleep 600")]));
        Helper::start(HostId::new("host-a"), child).unwrap_err().to_string()
    };
    let other = refused("dunlin-helper 999\\n");
    assert!(other.contains("version 999") && other.contains("the same dunlin on all hosts"), "{other}");
    let foreign = refused("Welcome to host-a!\\n");
    assert!(foreign.contains("no helper of dunlin's") && foreign.contains("Welcome"), "{foreign}");
}

fn a_clock_is_read_to_within_its_error() {
    let helper = Helper::start(HostId::new("host-a"), spawn_helper()).unwrap();
    let reading = helper.clock(LIMIT).unwrap();
    // It is this machine's clock: the truth is 0.
    assert!(reading.offset_ns.abs() <= reading.error_ns, "{reading:?}");
    let here = dunlin_clock::Mapping::read();
    let apart_ns = (reading.realtime.offset_ns - here.offset_ns).abs();
    assert!(apart_ns <= reading.realtime.error_ns + here.error_ns + MILLISECOND_NS, "{reading:?} {here:?}");
}

/// Sends probes one after the other, each once the one before is answered.
fn probe(at: SocketAddrV4, count: u64) {
    let socket = UdpSocket::bind(("10.8.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    for seq in 0..count {
        socket.send_to(&[&b"DNLN\x01tag"[..], &seq.to_be_bytes()].concat(), at).unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 16);
    }
}

fn spawn_helper() -> Child {
    spawn(Command::new("/proc/self/exe").arg("helper"))
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn collect() -> (RowSink, Receiver<Vec<i64>>) {
    let (sender, receiver) = channel();
    (Box::new(move |rows: &[i64]| drop(sender.send(rows.to_vec()))), receiver)
}

fn fresh_namespace() -> Option<File> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        skip(format!("no right to make a network namespace ({error}); run as root"));
        return None;
    }
    Some(File::open("/proc/thread-self/ns/net").unwrap())
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}
