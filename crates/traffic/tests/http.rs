//! The HTTP server and its load over the loopback interface.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use dunlin_clock::{MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};
use dunlin_traffic::{
    Failure, HttpServer, INCREASE_BYTES, Load, LoadEvent, LoadSpec, MATRIX_ORDER_MAX, ServerSettings,
};

fn server() -> HttpServer {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let memory_limit_bytes = 2 * INCREASE_BYTES as u64;
    HttpServer::start(&ServerSettings { address, memory_limit_bytes, increase_calls: 1 }).unwrap()
}

/// All that comes back for these bytes.
fn say(to: SocketAddrV4, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(server: &HttpServer, target: &str) -> (String, String) {
    let answer = say(server.address(), format!("GET {target} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_pages_of_the_paper_are_served() {
    let server = server();
    let page = |target: &str, status: &str, body: &str| {
        let (got, said) = get(&server, target);
        assert_eq!(got, status, "{target}: {said}");
        assert!(said.contains(body), "{target}: {said}");
    };
    page("/", "200", "guest");
    page("/increase_mem", "200", "20 MiB held");
    page("/increase_mem", "507", "no memory is left: 20 MiB held");
    page("/decrease_mem", "200", "10 MiB held");
    page("/decrease_mem", "200", "0 MiB held");
    page("/decrease_mem", "507", "none is held");
    page("/matrix", "200", "sum ");
    assert_eq!(get(&server, "/matrix"), get(&server, "/matrix?order=5"));
    page("/matrix?order=0", "400", "expected order=1 to");
    page(&format!("/matrix?order={}", MATRIX_ORDER_MAX + 1), "400", "expected");
    page("/matrix?size=5", "400", "expected");
    page("/elsewhere", "404", "no such page");
    let served = server.stop().unwrap();
    assert_eq!((served.refused, served.broken, served.held_bytes), (6, 0, 0));
    assert_eq!((served.corrupt_pages, served.wrong_results), (0, 0));
}

#[test]
fn what_is_no_request_is_refused_and_who_says_nothing_is_dropped() {
    let server = server();
    assert!(say(server.address(), b"POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(say(server.address(), b"\x16\x03\x01\x00\xff\r\n").starts_with("HTTP/1.1 400 "));
    let mut silent = TcpStream::connect(server.address()).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let _cut = silent.read_to_end(&mut rest);
    assert!(rest.is_empty());
    // Nobody can keep the others waiting for good: there are more of them than threads.
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    assert_eq!(get(&server, "/").0, "200");
    drop(idle);
    let served = server.stop().unwrap();
    assert_eq!((served.answered, served.refused), (1, 2));
    assert!(served.broken >= 1, "{served:?}");
}

#[test]
fn more_than_there_is_to_begin_with_is_an_error() {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let settings = ServerSettings { address, memory_limit_bytes: 15 << 20, increase_calls: 2 };
    let error = HttpServer::start(&settings).unwrap_err();
    assert_eq!(error.to_string(), "2 x 10 MiB do not fit into 15 MiB");
}

/// What a load at 200 requests a second tells, while something is done.
fn load(target: SocketAddrV4, path: &str, meanwhile: impl FnOnce()) -> Vec<LoadEvent> {
    let spec = LoadSpec { target, path: path.into(), interval_ns: 5 * MILLISECOND_NS };
    let (load, end) = Load::new(&spec);
    let thread = std::thread::spawn(move || {
        let mut events = Vec::new();
        load.run(|event| events.push(event));
        events
    });
    meanwhile();
    end.end_at(now_ns() + SECOND_NS);
    thread.join().unwrap()
}

fn pause(length_ns: i64) {
    sleep_until(now_ns() + length_ns);
}

/// The requests, and for each its end if it had a good one.
fn joined(events: &[LoadEvent]) -> Vec<(i64, Option<i64>)> {
    let mut requests = Vec::new();
    for event in events {
        match *event {
            LoadEvent::Due { seq, due_ns, .. } => {
                assert_eq!(seq, requests.len() as u64, "each is told once, in order");
                requests.push((due_ns, None));
            }
            LoadEvent::Answered { seq, arrived_ns } => {
                let request = &mut requests[usize::try_from(seq).unwrap()];
                assert_eq!(request.1, None, "{seq} was answered twice");
                request.1 = Some(arrived_ns);
            }
            LoadEvent::Failed { .. } => {}
        }
    }
    requests
}

fn failures(events: &[LoadEvent]) -> Vec<Failure> {
    let failed = events.iter().filter_map(|event| match event {
        LoadEvent::Failed { failure, .. } => Some(*failure),
        _ => None,
    });
    failed.collect()
}

#[test]
fn every_request_is_due_at_its_time_and_answered() {
    let server = server();
    let events = load(server.address(), "/matrix?order=5", || pause(SECOND_NS / 2));
    let requests = joined(&events);
    // A busy machine makes it late, but none is left out.
    assert!(requests.len() >= 90, "{}", requests.len());
    for pair in requests.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, 5 * MILLISECOND_NS);
    }
    assert!(
        requests.iter().all(|(due_ns, end_ns)| end_ns.is_some_and(|end_ns| end_ns > *due_ns)),
        "{events:?}"
    );
    let served = server.stop().unwrap();
    assert_eq!((served.answered, served.refused, served.broken), (requests.len() as u64, 0, 0));
}

#[test]
fn requests_go_on_while_nobody_answers_and_each_tells_how_long_it_waited() {
    // Connections stand, as the kernel makes them, but for a while nobody takes them.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("IPv4 was bound") };
    let hold_ns = 300 * MILLISECOND_NS;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let answerer = std::thread::spawn(move || {
        pause(hold_ns);
        listener.set_nonblocking(true).unwrap();
        while stopped.try_recv().is_err() {
            match listener.accept() {
                Ok((mut client, _)) => {
                    client.set_nonblocking(false).unwrap();
                    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    let _ = client.read(&mut [0; 1024]);
                }
                Err(_) => pause(MILLISECOND_NS),
            }
        }
    });
    let events = load(address, "/", || pause(2 * hold_ns));
    stop.send(()).unwrap();
    answerer.join().unwrap();
    let requests = joined(&events);
    let waited_long =
        requests.iter().filter(|(due, end)| end.is_some_and(|end| end - due > hold_ns / 2)).count();
    // Half of the 60 that were due while nobody answered; a client that waited for each answer would know one.
    assert!(waited_long >= 20, "{waited_long} of {}", requests.len());
}

#[test]
fn refused_connections_and_wrong_answers_are_told_apart() {
    let server = server();
    let wrong = failures(&load(server.address(), "/elsewhere", || pause(SECOND_NS / 10)));
    assert!(!wrong.is_empty() && wrong.iter().all(|failure| *failure == Failure::WrongAnswer), "{wrong:?}");
    let address = server.address();
    drop(server);
    let refused = failures(&load(address, "/", || pause(SECOND_NS / 10)));
    assert!(!refused.is_empty() && refused.iter().all(|failure| *failure == Failure::Broken), "{refused:?}");
}

#[test]
fn more_than_a_process_can_have_under_way_is_not_sent_and_said() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let std::net::SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("IPv4 was bound") };
    let (load, end) = Load::new(&LoadSpec { target, path: "/".into(), interval_ns: MILLISECOND_NS / 2 });
    let mut events = Vec::new();
    load.run(|event| {
        events.push(event);
        if events.len() > 2000 {
            end.end_at(now_ns());
        }
    });
    let failed = failures(&events);
    assert!(
        failed.len() > 100 && failed.iter().all(|failure| *failure == Failure::NotSent),
        "{}",
        failed.len()
    );
    let sent = |event: &&LoadEvent| matches!(event, LoadEvent::Due { sent_ns: Some(_), .. });
    assert!(events.iter().filter(sent).count() <= 512);
}
