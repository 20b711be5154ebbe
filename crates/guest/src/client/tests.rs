//! The client against an agent in the same process, over sockets that break.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

/// An agent that answers pings over the streams it is given, one after the other, and keeps the numbers it was sent. It
/// reads `bytes` of each stream (all, if `None`) and then lets it go, so that whatever else was said is lost.
fn agent(streams: mpsc::Receiver<(UnixStream, Option<usize>)>) -> JoinHandle<Vec<u64>> {
    std::thread::spawn(move || {
        let mut link: Link<Response, Request> = Link::listener();
        let mut asked = Vec::new();
        for (mut stream, bytes) in streams {
            serve(&mut link, &mut stream, bytes, &mut asked);
        }
        asked
    })
}

fn serve(
    link: &mut Link<Response, Request>,
    stream: &mut UnixStream,
    bytes: Option<usize>,
    asked: &mut Vec<u64>,
) {
    let mut left = bytes.unwrap_or(usize::MAX);
    let mut byte = [0];
    while left > 0 && stream.read(&mut byte).is_ok_and(|bytes| bytes > 0) {
        left -= 1;
        link.receive_bytes(&byte).unwrap();
        while let Some(Request { id, ask }) = link.next_message().unwrap() {
            let reply = match ask {
                Ask::Ping(number) => {
                    asked.push(number);
                    Reply::Pong(number)
                }
                other => Reply::Failed { what: format!("do {other:?}") },
            };
            link.send(&Response { id, reply }).unwrap();
        }
        if stream.write_all(&link.take_output(now_ns()).unwrap()).is_err() {
            return;
        }
    }
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn every_ping_is_answered_once_over_streams_that_break_anywhere() {
    let (streams, theirs) = mpsc::channel();
    let agent = agent(theirs);
    let (ours, other) = pair();
    streams.send((other, Some(40))).unwrap();
    let client = AgentClient::new(ours).unwrap();
    let pings = 200;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| (0..pings).try_for_each(|number| client.ping(number, LONG)));
        let mut cut = 0;
        while !asking.is_finished() {
            cut += 7;
            let (ours, other) = pair();
            // Some streams end within the hello, some within a reply.
            streams.send((other, Some(20 + cut * 13 % 400))).unwrap();
            client.reattach(ours).unwrap();
            dunlin_clock::sleep_until(now_ns() + 3_000_000);
        }
        asking.join().unwrap().unwrap();
    });
    drop((client, streams));
    assert_eq!(agent.join().unwrap(), (0..pings).collect::<Vec<_>>());
}

#[test]
fn a_request_ends_at_its_limit_and_says_what_was_broken() {
    let (ours, other) = pair();
    let client = AgentClient::new(ours).unwrap();
    let silent = client.ping(1, SHORT).unwrap_err();
    assert!(matches!(silent, GuestError::Timeout { broken: None, .. }), "{silent}");
    drop(other);
    let broken = client.ping(2, SHORT).unwrap_err();
    assert!(matches!(broken, GuestError::Timeout { broken: Some(_), .. }), "{broken}");
}

#[test]
fn what_the_agent_cannot_do_and_a_guest_that_restarted_are_errors_of_their_own() {
    let (streams, theirs) = mpsc::channel();
    let first = agent(theirs);
    let (ours, other) = pair();
    streams.send((other, None)).unwrap();
    let client = AgentClient::new(ours).unwrap();
    client.ping(1, LONG).unwrap();
    assert!(matches!(client.memory(LONG), Err(GuestError::Refused { .. })));
    let (streams_of_second, theirs) = mpsc::channel();
    let second = agent(theirs);
    let (ours, other) = pair();
    streams_of_second.send((other, None)).unwrap();
    client.reattach(ours).unwrap();
    let restarted = client.ping(2, LONG).unwrap_err();
    assert!(matches!(restarted, GuestError::Link { source: LinkError::PeerForgot }), "{restarted}");
    drop((client, streams, streams_of_second));
    assert_eq!(first.join().unwrap(), [1]);
    assert!(second.join().unwrap().is_empty());
}

#[test]
fn a_peer_that_reads_nothing_does_not_hold_up_the_client() {
    let (ours, _other) = pair();
    let client = AgentClient::new(ours).unwrap();
    // More than a socket takes.
    for _ in 0..20 {
        let outcome = client.request(Ask::AddEntropy(vec![1; 40_000]), Duration::from_millis(10));
        assert!(matches!(outcome, Err(GuestError::Timeout { .. })));
    }
}
