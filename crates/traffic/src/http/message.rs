//! Heads of requests and answers: foreign bytes in, what we need of them out.

/// Longest head that is read.
pub(crate) const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 32;

/// What the bytes of a head that have come so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head<T> {
    /// More must come.
    Partial,
    /// No head that we take.
    Wrong,
    /// A whole head.
    Whole(T),
}

/// A request's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: String,
    /// The path with its query, as in `/matrix?order=5`.
    pub(crate) target: String,
}

/// What an answer's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    /// How long the whole answer is, its head included.
    pub(crate) total_bytes: usize,
}

/// A request's head at the begin of `bytes`.
pub(crate) fn read_request(bytes: &[u8]) -> Head<RequestLine> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some(method), Some(target)) => {
                Head::Whole(RequestLine { method: method.into(), target: target.into() })
            }
            _ => Head::Wrong,
        },
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Head::Partial,
        _ => Head::Wrong,
    }
}

/// An answer's head at the begin of `bytes`. One without a length is wrong: our servers always say it.
pub(crate) fn read_answer(bytes: &[u8]) -> Head<AnswerHead> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            let length =
                answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|header| str::from_utf8(header.value).ok()?.trim().parse().ok());
            match (answer.code, length.and_then(|length: usize| length.checked_add(head_bytes))) {
                (Some(status), Some(total_bytes)) => Head::Whole(AnswerHead { status, total_bytes }),
                _ => Head::Wrong,
            }
        }
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Head::Partial,
        _ => Head::Wrong,
    }
}

/// A request for a page.
pub(crate) fn write_request(host: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A whole answer in plain text.
pub(crate) fn write_answer(status: u16, body: &str) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        507 => "Insufficient Storage",
        _ => "Answer",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read_back_once_it_is_whole() {
        let bytes = write_request("10.77.0.10", "/matrix?order=5");
        for cut in 0..bytes.len() {
            assert_eq!(read_request(&bytes[..cut]), Head::Partial, "{cut}");
        }
        let line = RequestLine { method: "GET".into(), target: "/matrix?order=5".into() };
        assert_eq!(read_request(&bytes), Head::Whole(line));
        let bytes = write_answer(507, "no room\n");
        let head = AnswerHead { status: 507, total_bytes: bytes.len() };
        assert_eq!(read_answer(&bytes), Head::Whole(head));
        assert_eq!(read_answer(&bytes[..20]), Head::Partial);
    }

    #[test]
    fn heads_without_an_end_or_a_length_are_wrong() {
        let endless = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &vec![b'x'; HEAD_BYTES_MAX]].concat();
        assert_eq!(read_request(&endless), Head::Wrong);
        assert_eq!(read_answer(b"HTTP/1.1 200 OK\r\n\r\n"), Head::Wrong);
        assert_eq!(
            read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n"),
            Head::Wrong
        );
        assert_eq!(read_request(b"\x16\x03\x01\x02\x00\x01"), Head::Wrong, "TLS");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _any = (read_request(&bytes), read_answer(&bytes));
        }

        #[test]
        fn a_damaged_head_never_panics(place in 0_usize..90, value: u8) {
            let mut bytes = write_answer(200, "hello");
            let place = place % bytes.len();
            bytes[place] = value;
            let _any = (read_request(&bytes), read_answer(&bytes));
        }
    }
}
