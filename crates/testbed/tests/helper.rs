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

use dunlin_clock::{HostClock, MILLISECOND_NS, SECOND_NS, epoch_ns, now_ns, sleep_until};
use dunlin_record::{HostId, shapes};
use dunlin_test_support::skip;
use dunlin_testbed::{Helper, TestbedError, measure_goodput, serve_helper};
use dunlin_wire::RowSink;
use nix::sched::{CloneFlags, setns, unshare};

const LIMIT: Duration = Duration::from_secs(20);
/// Makes a helper's clocks wrong: by how many nanoseconds they are ahead, and by how many millionths they gain.
const SKEW: &str = "DUNLIN_TEST_CLOCK_SKEW";

fn main() {
    if std::env::args().nth(1).as_deref() == Some("helper") {
        if let Ok(skew) = std::env::var(SKEW) {
            let (ahead_ns, gains_ppm) = skew.split_once(',').unwrap();
            dunlin_clock::skew(ahead_ns.parse().unwrap(), gains_ppm.parse().unwrap());
        }
        std::process::exit(serve_helper());
    }
    let tests: [(&str, fn()); 10] = [
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
        ("a_wrong_clock_is_known_to_within_its_error", a_wrong_clock_is_known_to_within_its_error),
        ("rows_of_a_wrong_clock_come_on_the_benchs", rows_of_a_wrong_clock_come_on_the_benchs),
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
    let helper = Helper::start(HostId::new("host-a"), spawn_helper(), HostClock::own()).unwrap();
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
    let helper = Helper::start(HostId::new("host-a"), spawn_helper(), HostClock::own()).unwrap();
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
    let helper = Helper::start(HostId::new("host-a"), child, HostClock::own()).unwrap();
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
        let child = spawn(&mut Command::new(program));
        let error = Helper::start(HostId::new("host-a"), child, HostClock::own()).unwrap_err();
        let said = error.to_string();
        // `true` may be gone before the first request is written.
        assert!(said.contains(why) || said.contains("it takes no requests"), "{program}: {said}");
    }
}

fn a_dropped_helper_is_gone() {
    let child = spawn_helper();
    let process = format!("/proc/{}", child.id());
    let helper = Helper::start(HostId::new("host-a"), child, HostClock::own()).unwrap();
    helper.count_cpu(collect().0).unwrap();
    assert!(std::fs::exists(&process).unwrap());
    drop(helper);
    assert!(!std::fs::exists(&process).unwrap());
}

fn a_pipe_that_outlives_its_helper_holds_nobody_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Whatever it left running still has its standard output.
    let script = format!("sleep 600 & echo $! >{}; echo foreign", file.path().display());
    let child = spawn(Command::new("sh").args(["-c", &script]));
    Helper::start(HostId::new("host-a"), child, HostClock::own()).unwrap_err();
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
    let a = Helper::start(HostId::new("host-a"), spawn_helper(), HostClock::own()).unwrap();
    setns(&b_namespace, CloneFlags::CLONE_NEWNET).unwrap();
    ip("address add 10.8.0.2/24 dev far");
    ip("link set far up");
    let b = Helper::start(HostId::new("host-b"), spawn_helper(), HostClock::own()).unwrap();
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
        Helper::start(HostId::new("host-a"), child, HostClock::own()).unwrap_err().to_string()
    };
    let other = refused("dunlin-helper 999\\n");
    assert!(other.contains("version 999") && other.contains("the same dunlin on all hosts"), "{other}");
    let foreign = refused("Welcome to host-a!\\n");
    assert!(foreign.contains("no helper of dunlin's") && foreign.contains("Welcome"), "{foreign}");
}

fn a_wrong_clock_is_known_to_within_its_error() {
    for (ahead_ns, gains_ppm) in [(SECOND_NS, 200), (-SECOND_NS, -200), (0, 0)] {
        let (helper, clock) = skewed_helper(ahead_ns, gains_ppm);
        // The same in this process would make the bench's clock wrong too.
        let wrong = |ns: i64| ns + ahead_ns + (i128::from(ns) * i128::from(gains_ppm) / 1_000_000) as i64;
        let mut next_ns = now_ns();
        let mut errors_ns = [Vec::new(), Vec::new()];
        let mut missed = 0;
        for _ in 0..100 {
            if now_ns() >= next_ns {
                clock.learn(helper.exchange(LIMIT).unwrap());
                next_ns = now_ns() + SECOND_NS / 2;
            }
            let (before_ns, epoch_ns, after_ns) = (now_ns(), epoch_ns(), now_ns());
            let monotonic = clock.monotonic(wrong(before_ns)).unwrap();
            let realtime = clock.realtime(wrong(epoch_ns)).unwrap();
            let holds = (monotonic.t_ns - before_ns).abs() <= monotonic.error_ns
                && realtime.t_ns + realtime.error_ns >= before_ns
                && realtime.t_ns - realtime.error_ns <= after_ns;
            missed += usize::from(!holds);
            errors_ns[0].push(monotonic.error_ns);
            errors_ns[1].push(realtime.error_ns);
            sleep_until(now_ns() + 17 * MILLISECOND_NS);
        }
        assert!(missed <= 1, "{missed} of 100 with {ahead_ns} ns, {gains_ppm} ppm");
        for (mut errors_ns, which) in errors_ns.into_iter().zip(["monotonic", "realtime"]) {
            errors_ns.sort_unstable();
            let (median_ns, greatest_ns) = (errors_ns[50], errors_ns[99]);
            eprintln!("{ahead_ns} ns, {gains_ppm} ppm: {which} to {median_ns} ns, at most {greatest_ns} ns");
            // A quarter of a millisecond on a quiet machine; one that is busy with other tests is given more.
            assert!(median_ns <= 3 * MILLISECOND_NS, "{errors_ns:?}");
        }
    }
}

fn rows_of_a_wrong_clock_come_on_the_benchs() {
    let (helper, clock) = skewed_helper(-SECOND_NS, 200);
    let (sink, batches) = collect();
    let before_ns = now_ns();
    let cpu = helper.count_cpu(sink).unwrap();
    for _ in 0..3 {
        sleep_until(now_ns() + 100 * MILLISECOND_NS);
        clock.learn(helper.exchange(LIMIT).unwrap());
    }
    helper.stop(cpu, LIMIT).unwrap();
    let after_ns = now_ns();
    let values: Vec<i64> = batches.iter().flatten().collect();
    let stamps: Vec<i64> = values.chunks_exact(shapes::CPU.len()).map(|row| row[0]).collect();
    assert!(stamps.len() >= 3, "{stamps:?}");
    // Wrong by a second, they are right to some milliseconds; a machine that is busy with other things answers late.
    let late_ns = 200 * MILLISECOND_NS;
    assert!(stamps[0] > before_ns - late_ns && stamps[stamps.len() - 1] < after_ns + late_ns, "{stamps:?}");
}

/// A helper whose clocks are wrong, and what is known of them.
fn skewed_helper(ahead_ns: i64, gains_ppm: i64) -> (Helper, HostClock) {
    let clock = HostClock::of_another();
    let mut command = Command::new("/proc/self/exe");
    let child = spawn(command.arg("helper").env(SKEW, format!("{ahead_ns},{gains_ppm}")));
    let helper = Helper::start(HostId::new("host-a"), child, clock.clone()).unwrap();
    (helper, clock)
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
