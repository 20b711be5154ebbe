//! A probe across a real link between two network namespaces, which is cut for a known time.
//!
//! It is a program of its own with a single test: the namespaces are entered by its threads.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_probe::{PAYLOAD_BYTES, ProbeKind, ProbeRows, ProbeSpec, start};
use dunlin_record::ABSENT;
use dunlin_test_support::skip;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

const CUT_NS: i64 = 200 * MILLISECOND_NS;

/// Runs `ip` in the namespace of the calling thread.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}

/// The far end of the link: a thread in a namespace of its own that cuts the link when told to.
struct FarHost {
    tid: Pid,
    orders: mpsc::Sender<&'static str>,
    done: mpsc::Receiver<i64>,
    thread: JoinHandle<()>,
}

impl FarHost {
    fn start() -> Self {
        let (orders, ordered) = mpsc::channel::<&str>();
        let (to_test, done) = mpsc::channel();
        let (tell_tid, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell_tid.send(gettid()).unwrap();
            for order in ordered {
                ip(order);
                to_test.send(now_ns()).unwrap();
            }
        });
        Self { tid: tid.recv().unwrap(), orders, done, thread }
    }

    /// Runs `ip` there; returns when it was done.
    fn ip(&self, arguments: &'static str) -> i64 {
        self.orders.send(arguments).unwrap();
        self.done.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn stop(self) {
        drop(self.orders);
        self.thread.join().unwrap();
    }
}

#[test]
fn requests_across_a_link_are_stamped_and_a_cut_shows_as_a_gap_in_the_answers() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        return skip(format!("a network namespace cannot be made here ({error})"));
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return skip("there is no ip command here");
    }
    let far = FarHost::start();
    ip(&format!("link add near type veth peer name far netns {}", far.tid));
    ip("addr add 192.0.2.1/24 dev near");
    ip("link set near up");
    far.ip("addr add 192.0.2.2/24 dev far");
    far.ip("link set far up");

    let spec = ProbeSpec {
        kind: ProbeKind::Icmp,
        target: Ipv4Addr::new(192, 0, 2, 2),
        interval_ns: MILLISECOND_NS,
        payload_bytes: PAYLOAD_BYTES,
    };
    let (to_test, rows) = mpsc::channel();
    let sink = Box::new(move |batch: ProbeRows<'_>| {
        let copied = match batch {
            ProbeRows::Sent(rows) => (rows.to_vec(), Vec::new()),
            ProbeRows::Answers(rows) => (Vec::new(), rows.to_vec()),
            ProbeRows::Failures(_) => return,
        };
        to_test.send(copied).unwrap();
    });
    let running = start(&spec, sink).unwrap();
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    // The far host stops answering while the link itself stays up, so that requests still leave.
    let cut_ns = far.ip("addr del 192.0.2.2/24 dev far");
    sleep_until(cut_ns + CUT_NS);
    let mended_after_ns = now_ns();
    far.ip("addr add 192.0.2.2/24 dev far");
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    let summary = running.stop(Deadline::after(Duration::from_millis(200)));
    far.stop();
    let (sent, answers): (Vec<_>, Vec<_>) = rows.try_iter().unzip();
    let (sent, answers): (Vec<[i64; 3]>, Vec<[i64; 2]>) = (sent.concat(), answers.concat());

    assert_eq!(summary.unstamped_answers, 0, "{summary:?}");
    let in_cut = |at: i64| (cut_ns..mended_after_ns).contains(&at);
    let left_in_cut = sent.iter().filter(|[_, _, sent_ns]| in_cut(*sent_ns)).count();
    assert!(left_in_cut > 100, "only {left_in_cut} requests left during the cut: {summary:?}");
    // A few may have been on their way.
    let came_in_cut = answers.iter().filter(|[_, arrived_ns]| in_cut(*arrived_ns)).count();
    assert!(came_in_cut <= 20, "{came_in_cut} answers came during the cut");
    assert!(answers.iter().any(|[_, arrived_ns]| *arrived_ns < cut_ns), "no answer came before the cut");
    assert!(
        answers.iter().any(|[_, arrived_ns]| *arrived_ns >= mended_after_ns),
        "no answer came after the cut"
    );
    for [seq, arrived_ns] in &answers {
        let [_, due_ns, sent_ns] = sent[usize::try_from(*seq).unwrap()];
        assert_ne!(sent_ns, ABSENT, "request {seq} was answered, so it left");
        let slack_ns = 2 * summary.clock_error_ns.unwrap();
        assert!(
            due_ns <= sent_ns + slack_ns && sent_ns <= arrived_ns + slack_ns,
            "{seq}: {due_ns} {sent_ns} {arrived_ns}"
        );
    }
}
