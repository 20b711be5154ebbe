//! The TCP probes against a real responder over the loopback interface.
#![expect(clippy::unwrap_used, reason = "helpers of tests should panic")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use dunlin_probe::{RunningTcpProbe, TcpProbeSummary, start_tcp};
use dunlin_record::{ABSENT, RequestFailure, RequestResponse, StreamProbe, TcpProbe};
use dunlin_traffic::{ResponderEnd, TcpResponder};

const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const LIMIT: Duration = Duration::from_secs(20);

fn responder(at: SocketAddrV4) -> (SocketAddrV4, ResponderEnd, thread::JoinHandle<std::io::Result<()>>) {
    let (responder, end) = TcpResponder::listen(at).unwrap();
    (responder.address(), end, thread::spawn(move || responder.serve()))
}

fn start(peer: SocketAddrV4, probe: TcpProbe) -> (RunningTcpProbe, Receiver<Vec<i64>>) {
    let (sender, rows) = mpsc::channel();
    let sink = Box::new(move |values: &[i64]| drop(sender.send(values.to_vec())));
    (start_tcp(peer, &probe, sink).unwrap(), rows)
}

fn rows<const N: usize>(batches: &Receiver<Vec<i64>>) -> Vec<[i64; N]> {
    let values: Vec<i64> = batches.iter().flatten().collect();
    let (rows, rest) = values.as_chunks();
    assert!(rest.is_empty(), "rows are whole");
    rows.to_vec()
}

#[test]
fn transactions_are_rows_in_order_and_the_last_may_lack_its_answer() {
    let (peer, _end, _thread) = responder(HERE);
    let (probe, batches) = start(peer, TcpProbe::RequestResponse(RequestResponse::default()));
    let first = batches.recv_timeout(LIMIT).unwrap();
    assert!(first.len() > 3, "they come in batches");
    let TcpProbeSummary { cpu_ns, wall_ns, connections } = probe.stop();
    assert!(0 < cpu_ns && cpu_ns <= wall_ns);
    let rows: Vec<[i64; 3]> = first.as_chunks().0.iter().copied().chain(rows(&batches)).collect();
    let (last, others) = rows.split_last().unwrap();
    for [sent_ns, arrived_ns, failure] in others {
        assert!(sent_ns < arrived_ns && *failure == ABSENT);
    }
    assert!(last[1] == ABSENT || last[0] < last[1]);
    assert!(rows.is_sorted());
    assert_eq!(connections.len(), 1);
    assert!(connections[0].broken.is_none() && connections[0].ended_ns > connections[0].connected_ns);
}

#[test]
fn a_responder_that_goes_and_comes_again_breaks_one_transaction() {
    let (peer, end, thread) = responder(HERE);
    let (probe, batches) = start(peer, TcpProbe::RequestResponse(RequestResponse::default()));
    let mut values = batches.recv_timeout(LIMIT).unwrap();
    drop(end);
    thread.join().unwrap().unwrap();
    let gone_ns = now_ns();
    sleep_until(gone_ns + 50 * MILLISECOND_NS);
    let (_, _end, _thread) = responder(peer);
    let is_back = |values: &[i64]| values.as_chunks::<3>().0.iter().any(|[sent_ns, ..]| *sent_ns > gone_ns);
    while !is_back(&values) {
        values.extend(batches.recv_timeout(LIMIT).unwrap());
    }
    let connections = probe.stop().connections;
    values.extend(batches.iter().flatten());
    let failures: Vec<i64> =
        values.as_chunks::<3>().0.iter().filter(|row| row[2] != ABSENT).map(|row| row[2]).collect();
    assert_eq!(failures, [RequestFailure::Broken.code()]);
    assert_eq!(connections.len(), 2);
    assert!(connections[0].broken.is_some() && connections[1].broken.is_none(), "{connections:?}");
}

#[test]
fn a_stream_is_sampled_and_knows_its_buffers() {
    let (peer, _end, _thread) = responder(HERE);
    let asked = StreamProbe { send_buffer_bytes: Some(100_000), ..StreamProbe::default() };
    let (probe, batches) = start(peer, TcpProbe::Stream(asked));
    batches.recv_timeout(LIMIT).unwrap();
    batches.recv_timeout(LIMIT).unwrap();
    let connections = probe.stop().connections;
    let rows: Vec<[i64; 6]> = rows(&batches);
    assert!(rows.is_sorted() && rows.iter().all(|row| row[1] == 1 && row[5] > 0));
    assert_eq!(connections[0].local.send_bytes, 200_000, "Linux doubles what is set");
    assert_eq!(connections[0].remote.send_bytes, 200_000);
}

#[test]
fn with_nobody_there_it_goes_on_asking_and_can_be_ended() {
    // Bound and closed again: nobody listens there.
    let nobody = TcpResponder::listen(HERE).unwrap().0.address();
    let (probe, batches) = start(nobody, TcpProbe::RequestResponse(RequestResponse::default()));
    sleep_until(now_ns() + 30 * MILLISECOND_NS);
    assert_eq!(probe.stop().connections, []);
    assert_eq!(batches.iter().count(), 0);
}
