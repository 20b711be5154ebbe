//! Probes against real sockets on the loopback interface.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};
use dunlin_probe::{
    INTERVAL_RANGE_NS, PAYLOAD_BYTES, ProbeError, ProbeKind, ProbeRows, ProbeSpec, ProbeSummary, serve_echo,
    start,
};
use dunlin_test_support::skip;

const LATE_ANSWERS: Duration = Duration::from_millis(300);

/// All that a probe said.
struct Observed {
    sent: Vec<[i64; 3]>,
    answers: Vec<[i64; 2]>,
    summary: ProbeSummary,
}

impl Observed {
    fn answered(&self) -> BTreeSet<i64> {
        self.answers.iter().map(|[seq, _]| *seq).collect()
    }
}

/// Observes the loopback for a while, doing something meanwhile.
fn observe(kind: ProbeKind, interval_ns: i64, payload_bytes: usize, meanwhile: impl FnOnce()) -> Observed {
    let spec = ProbeSpec { kind, target: Ipv4Addr::LOCALHOST, interval_ns, payload_bytes };
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
    meanwhile();
    let summary = running.stop(Deadline::after(LATE_ANSWERS));
    let (sent, answers): (Vec<_>, Vec<_>) = rows.try_iter().unzip();
    Observed { sent: sent.concat(), answers: answers.concat(), summary }
}

fn pause(length_ns: i64) {
    sleep_until(now_ns() + length_ns);
}

/// A UDP echo server on a thread of its own.
struct Responder {
    port: u16,
    stop: Cancel,
    thread: JoinHandle<u64>,
}

impl Responder {
    fn start() -> Self {
        Self::on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    fn on(socket: UdpSocket) -> Self {
        let (port, stop) = (socket.local_addr().unwrap().port(), Cancel::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || serve_echo(&socket, &stopped).unwrap());
        Self { port, stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

/// ICMP needs a raw socket; says so where it is refused.
fn may_ping() -> bool {
    let spec = ProbeSpec {
        kind: ProbeKind::Icmp,
        target: Ipv4Addr::LOCALHOST,
        interval_ns: SECOND_NS,
        payload_bytes: PAYLOAD_BYTES,
    };
    match start(&spec, Box::new(|_| {})) {
        Ok(_) => true,
        Err(ProbeError::Socket { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            skip("this test needs CAP_NET_RAW");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// What must hold of a probe whose every request is answered.
fn assert_complete_and_ordered(observed: &Observed, interval_ns: i64) {
    let Observed { sent, answers, summary } = observed;
    for (index, [seq, due_ns, _]) in (0..).zip(sent) {
        assert_eq!((*seq, *due_ns), (index, sent[0][1] + index * interval_ns));
    }
    assert_eq!(sent.len() as u64, summary.sent + summary.skipped + summary.send_errors);
    assert_eq!((summary.send_errors, summary.drops, summary.receive_errors), (0, 0, 0), "{summary:?}");
    assert_eq!((summary.unstamped_requests, summary.unstamped_answers), (0, 0), "{summary:?}");
    assert_eq!((answers.len() as u64, summary.answers), (summary.sent, summary.sent), "{summary:?}");
    let slack_ns = 2 * summary.clock_error_ns.unwrap();
    for [seq, arrived_ns] in answers {
        let [_, due_ns, sent_ns] = sent[usize::try_from(*seq).unwrap()];
        assert!(due_ns <= sent_ns + slack_ns, "request {seq} left {} ns before it was due", due_ns - sent_ns);
        assert!(
            sent_ns <= arrived_ns + slack_ns,
            "answer {seq} came {} ns before its request",
            sent_ns - arrived_ns
        );
    }
}

#[test]
fn every_icmp_request_is_answered_and_stamped_in_order() {
    if !may_ping() {
        return;
    }
    let observed = observe(ProbeKind::Icmp, MILLISECOND_NS, 56, || pause(300 * MILLISECOND_NS));
    assert!(observed.summary.sent > 30, "{:?}", observed.summary);
    assert_complete_and_ordered(&observed, MILLISECOND_NS);
}

#[test]
fn every_udp_request_is_answered_and_stamped_in_order() {
    let responder = Responder::start();
    let kind = ProbeKind::Udp { port: responder.port };
    let observed = observe(kind, MILLISECOND_NS, 1472, || pause(300 * MILLISECOND_NS));
    assert!(observed.summary.sent > 30, "{:?}", observed.summary);
    assert_complete_and_ordered(&observed, MILLISECOND_NS);
    assert_eq!(responder.stop(), observed.summary.sent);
}

#[test]
fn the_shortest_interval_is_kept() {
    if !may_ping() {
        return;
    }
    let interval_ns = *INTERVAL_RANGE_NS.start();
    let observed = observe(ProbeKind::Icmp, interval_ns, PAYLOAD_BYTES, || pause(300 * MILLISECOND_NS));
    assert_complete_and_ordered(&observed, interval_ns);
    // A request an interval from the first to the last, which may itself have left up to 50 intervals late.
    let first_due_ns = observed.sent[0][1];
    let last_sent_ns = observed.sent.iter().map(|row| row[2]).max().unwrap();
    let expected = (last_sent_ns - first_due_ns) / interval_ns;
    let numbers = i64::try_from(observed.sent.len()).unwrap();
    assert!(numbers >= expected - 51 && numbers >= 1000, "{numbers} requests where {expected} were due");
}

#[test]
fn two_probes_of_one_host_do_not_take_each_others_answers() {
    if !may_ping() {
        return;
    }
    let other = std::thread::spawn(|| {
        observe(ProbeKind::Icmp, MILLISECOND_NS, PAYLOAD_BYTES, || pause(200 * MILLISECOND_NS))
    });
    let one = observe(ProbeKind::Icmp, MILLISECOND_NS, PAYLOAD_BYTES, || pause(200 * MILLISECOND_NS));
    assert_complete_and_ordered(&one, MILLISECOND_NS);
    assert_complete_and_ordered(&other.join().unwrap(), MILLISECOND_NS);
}

#[test]
fn sending_goes_on_while_nobody_answers_or_even_listens() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut silent_ns = (0, 0);
    let observed = observe(ProbeKind::Udp { port }, MILLISECOND_NS, PAYLOAD_BYTES, || {
        let before = Responder::on(socket);
        pause(200 * MILLISECOND_NS);
        // The port is closed: requests are refused by ICMP errors, which must not break the probe.
        let answered = before.stop();
        assert!(answered > 0);
        silent_ns = (now_ns(), now_ns() + 300 * MILLISECOND_NS);
        sleep_until(silent_ns.1);
        let after = Responder::on(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        pause(200 * MILLISECOND_NS);
        assert!(after.stop() > 0);
    });
    let answered = observed.answered();
    let in_silence: Vec<_> =
        observed.sent.iter().filter(|[_, due_ns, _]| (silent_ns.0..silent_ns.1).contains(due_ns)).collect();
    assert!((290..=301).contains(&in_silence.len()), "{} requests were due in 300 ms", in_silence.len());
    let left: Vec<_> =
        observed.sent.iter().filter(|[_, _, sent_ns]| (silent_ns.0..silent_ns.1).contains(sent_ns)).collect();
    assert!(left.len() >= 200, "only {} requests left in the silence: {:?}", left.len(), observed.summary);
    let answered_early = left.iter().filter(|[seq, _, _]| answered.contains(seq)).count();
    assert!(answered_early <= 2, "{answered_early} requests were answered while nobody listened");
    let (first, last) = (in_silence[0][0], in_silence[in_silence.len() - 1][0]);
    assert!(answered.iter().any(|seq| *seq < first), "no request was answered before the silence");
    assert!(answered.iter().any(|seq| *seq > last), "no request was answered after the silence");
    assert_eq!(observed.summary.send_errors, 0);
}

#[test]
fn answers_that_were_held_up_are_still_received_before_the_deadline() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let spec = ProbeSpec {
        kind: ProbeKind::Udp { port },
        target: Ipv4Addr::LOCALHOST,
        interval_ns: 10 * MILLISECOND_NS,
        payload_bytes: PAYLOAD_BYTES,
    };
    let running = start(&spec, Box::new(|_| {})).unwrap();
    pause(150 * MILLISECOND_NS);
    running.end_sending();
    let late = std::thread::spawn(move || {
        pause(200 * MILLISECOND_NS);
        Responder::on(socket)
    });
    let summary = running.stop(Deadline::after(Duration::from_secs(1)));
    assert!(summary.sent > 3, "{summary:?}");
    assert_eq!(summary.answers, summary.sent);
    assert_eq!(late.join().unwrap().stop(), summary.sent);
}

#[test]
fn strangers_datagrams_are_not_answers() {
    // Sends back what is no answer: nothing, a foreign datagram, another run's payload, a number never sent.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let forger = std::thread::spawn(move || {
        let mut bytes = [0; PAYLOAD_BYTES];
        while let Ok((_, from)) = socket.recv_from(&mut bytes) {
            let mut other_run = bytes;
            other_run[5] ^= 1;
            let mut never_sent = bytes;
            never_sent[8] = 0x7f;
            for forged in [&b""[..], b"DNLN", &[0xff; 64], &other_run, &never_sent] {
                socket.send_to(forged, from).unwrap();
            }
        }
    });
    let observed =
        observe(ProbeKind::Udp { port }, MILLISECOND_NS, PAYLOAD_BYTES, || pause(100 * MILLISECOND_NS));
    forger.join().unwrap();
    assert!(observed.summary.sent > 10);
    assert_eq!((observed.answers, observed.summary.answers), (vec![], 0));
}

#[test]
fn a_dropped_probe_ends_its_threads_at_once() {
    let (kept_by_sink, sink_is_gone) = mpsc::channel::<()>();
    let spec = ProbeSpec {
        kind: ProbeKind::Udp { port: 9 },
        target: Ipv4Addr::LOCALHOST,
        interval_ns: 60 * SECOND_NS,
        payload_bytes: PAYLOAD_BYTES,
    };
    let running = start(&spec, Box::new(move |_| drop(kept_by_sink.clone()))).unwrap();
    let begun_ns = now_ns();
    drop(running);
    assert_eq!(sink_is_gone.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(now_ns() - begun_ns < 20 * SECOND_NS, "it waited for its next request");
}
