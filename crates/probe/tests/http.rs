//! The HTTP probe against a real server on the loopback interface.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc;
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};
use dunlin_probe::{HTTP_INTERVAL_RANGE_NS, ProbeRows, start_http};
use dunlin_record::{ABSENT, RequestFailure};
use dunlin_traffic::{HttpServer, LoadSpec, ServerSettings};

/// A row of what the probe said, with its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    Sent([i64; 3]),
    Answer([i64; 2]),
    Failure([i64; 3]),
}

#[test]
fn requests_their_answers_and_what_became_of_the_others_are_told_as_rows() {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let server =
        HttpServer::start(&ServerSettings { address, memory_limit_bytes: 0, increase_calls: 0 }).unwrap();
    let spec = LoadSpec { target: server.address(), path: "/".into(), interval_ns: 10 * MILLISECOND_NS };
    let (tell, told) = mpsc::channel();
    let probe = start_http(
        &spec,
        Box::new(move |rows| {
            let row = match rows {
                ProbeRows::Sent(rows) => Row::Sent(rows[0]),
                ProbeRows::Answers(rows) => Row::Answer(rows[0]),
                ProbeRows::Failures(rows) => Row::Failure(rows[0]),
            };
            tell.send(row).unwrap();
        }),
    )
    .unwrap();
    sleep_until(now_ns() + SECOND_NS / 4);
    let served = server.stop().unwrap();
    // From here on nobody listens.
    sleep_until(now_ns() + SECOND_NS / 4);
    let summary = probe.stop(Deadline::after(Duration::from_secs(1)));
    let rows: Vec<Row> = told.try_iter().collect();
    let count = |is_kind: fn(&Row) -> bool| rows.iter().filter(|row| is_kind(row)).count() as u64;
    assert_eq!(summary.sent, count(|row| matches!(row, Row::Sent([_, _, sent_ns]) if *sent_ns != ABSENT)));
    assert_eq!(summary.answers, count(|row| matches!(row, Row::Answer(_))));
    let failed = count(|row| matches!(row, Row::Failure(_)));
    assert_eq!(summary.sent + summary.skipped, summary.answers + failed, "{rows:?}");
    assert!(summary.answers > 0 && summary.answers <= served.answered, "{summary:?} {served:?}");
    let Some(Row::Failure([_, _, code])) = rows.last() else { panic!("the last was refused: {rows:?}") };
    assert_eq!(*code, RequestFailure::Broken.code());
}

#[test]
fn an_interval_that_cannot_be_kept_is_refused_with_the_limits_in_the_message() {
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let too_fast = HTTP_INTERVAL_RANGE_NS.start() - 1;
    let spec = LoadSpec { target, path: "/".into(), interval_ns: too_fast };
    let error = start_http(&spec, Box::new(|_| {})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot ask for a page every 999999 ns: the interval must be 1000000 to 60000000000 ns"
    );
}
