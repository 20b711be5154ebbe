//! QMP, QEMU's monitor protocol: JSON lines, replies matched by id, unknown events kept, every command bounded in time.
//!
//! Format: QEMU `docs/interop/qmp-spec.rst`. A reader thread hands events on as they come and gives each reply to the
//! command that waits for it.

mod unanswered;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use serde::Deserialize;
use serde_json::{Value, json};

use unanswered::Unanswered;

/// How often it is looked whether there is room for a command.
const ROOM_EVERY_NS: i64 = 10 * MILLISECOND_NS;

/// An event as QEMU sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// As in `MIGRATION_PASS`.
    pub name: String,
    /// Its data; null if none.
    pub data: Value,
    /// QEMU's stamp, in nanoseconds since the Unix epoch; absent where the event had none.
    pub epoch_ns: Option<i64>,
    /// When it was read here, in nanoseconds of the bench's clock.
    pub received_ns: i64,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The connection is gone or cannot be written.
    #[error("the connection is closed")]
    Closed(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {after_s} s")]
    Timeout {
        /// How long was waited.
        after_s: f64,
    },
    /// QEMU refused.
    #[error("{description}")]
    Refused {
        /// As in `GenericError`.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// The other side does not speak QMP.
    #[error("not a QMP greeting: {line}")]
    Greeting {
        /// What came instead.
        line: String,
    },
}

type Reply = Result<Value, QmpError>;
type Pending = Arc<Mutex<Replies>>;

#[derive(Default)]
struct Replies {
    waiting: HashMap<u64, Sender<Reply>>,
    unanswered: Unanswered,
    closed: bool,
}

/// A transcript of a QMP session: one line a message, with its time and direction.
pub type Transcript = Box<dyn Write + Send>;

/// What takes the events of a session.
pub type EventHandler = Box<dyn FnMut(QmpEvent) + Send>;

/// A QMP session.
pub struct Qmp {
    writer: Mutex<UnixStream>,
    pending: Pending,
    next_id: AtomicU64,
    transcript: Arc<Mutex<Transcript>>,
    /// Whether commands can be executed out of band.
    oob: bool,
}

impl Qmp {
    /// Reads the greeting, negotiates capabilities and begins to hand on events.
    ///
    /// # Errors
    /// Where the other side does not speak QMP or not within `limit`.
    pub fn negotiate(
        stream: UnixStream,
        on_event: EventHandler,
        transcript: Transcript,
        limit: Duration,
    ) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(limit)).map_err(QmpError::Closed)?;
        stream.set_write_timeout(Some(limit)).map_err(QmpError::Closed)?;
        let mut reader = BufReader::new(stream.try_clone().map_err(QmpError::Closed)?);
        let oob = read_greeting(&mut reader)?;
        // The reader thread waits for as long as the session lives; closing the socket ends it.
        stream.set_read_timeout(None).map_err(QmpError::Closed)?;
        let qmp = Self {
            writer: Mutex::new(stream),
            pending: Pending::default(),
            next_id: AtomicU64::new(1),
            transcript: Arc::new(Mutex::new(transcript)),
            oob,
        };
        let pending = Arc::clone(&qmp.pending);
        let transcript = Arc::clone(&qmp.transcript);
        std::thread::Builder::new()
            .name("qmp-reader".into())
            .spawn(move || read_messages(reader, on_event, &pending, &transcript))
            .map_err(QmpError::Closed)?;
        let enable = if oob { json!({ "enable": ["oob"] }) } else { json!({}) };
        qmp.execute("qmp_capabilities", enable, limit)?;
        Ok(qmp)
    }

    /// Executes a command and waits for its result. One that was sent before and not answered yet is not sent again where
    /// its answer will do; one for which QEMU has no room is not sent at all.
    ///
    /// # Errors
    /// Where QEMU refuses, does not answer within `limit`, or is gone.
    pub fn execute(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        let deadline = Deadline::after(limit);
        let mut message = message("execute", command, arguments);
        let what = format!("{command} {}", message["arguments"]);
        let reply = loop {
            if let Some(reply) = self.expect_in_band(&mut message, &what)? {
                break reply;
            }
            if deadline.passed() {
                return Err(QmpError::Timeout { after_s: limit.as_secs_f64() });
            }
            sleep_until(now_ns() + ROOM_EVERY_NS);
        };
        self.await_reply(&message, &reply, deadline, limit)
    }

    /// Executes a command out of band: works while QEMU's main loop is stuck. In band where QEMU cannot.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn execute_out_of_band(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        if !self.oob {
            return self.execute(command, arguments, limit);
        }
        let mut message = message("exec-oob", command, arguments);
        let (sender, reply) = channel();
        let mut replies = self.open_replies()?;
        message["id"] = self.expect(&mut replies, sender).into();
        drop(replies);
        self.write(&message)?;
        self.await_reply(&message, &reply, Deadline::after(limit), limit)
    }

    /// Sends a command, unless its answer is on its way; nothing where there is no room for it.
    fn expect_in_band(&self, message: &mut Value, what: &str) -> Result<Option<Receiver<Reply>>, QmpError> {
        let (sender, receiver) = channel();
        let mut replies = self.open_replies()?;
        // Another thread may wait for the earlier one.
        let same = replies.unanswered.same(what).filter(|id| !replies.waiting.contains_key(id));
        if let Some(id) = same {
            replies.waiting.insert(id, sender);
            message["id"] = id.into();
            return Ok(Some(receiver));
        }
        if !replies.unanswered.has_room() {
            return Ok(None);
        }
        let id = self.expect(&mut replies, sender);
        message["id"] = id.into();
        replies.unanswered.sent(id, what.to_owned());
        // With the replies held, so that what is sent is in the order of what is noted.
        self.write(message)?;
        Ok(Some(receiver))
    }

    fn await_reply(
        &self,
        message: &Value,
        reply: &Receiver<Reply>,
        deadline: Deadline,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        match reply.recv_timeout(deadline.left()) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(id) = message["id"].as_u64() {
                    lock(&self.pending).waiting.remove(&id);
                }
                Err(QmpError::Timeout { after_s: limit.as_secs_f64() })
            }
            Err(RecvTimeoutError::Disconnected) => Err(closed()),
        }
    }

    fn open_replies(&self) -> Result<MutexGuard<'_, Replies>, QmpError> {
        let replies = lock(&self.pending);
        if replies.closed { Err(closed()) } else { Ok(replies) }
    }

    /// Makes a reply find its way; the id of its command.
    fn expect(&self, replies: &mut Replies, sender: Sender<Reply>) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        replies.waiting.insert(id, sender);
        id
    }

    fn write(&self, message: &Value) -> Result<(), QmpError> {
        let mut line = message.to_string();
        note(&self.transcript, "to", &line);
        line.push('\n');
        lock(&self.writer).write_all(line.as_bytes()).map_err(QmpError::Closed)
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Ends the reader thread.
        let _ = lock(&self.writer).shutdown(std::net::Shutdown::Both);
    }
}

impl Replies {
    /// Takes note of an answer; who waits for it.
    fn answered(&mut self, id: u64) -> Option<Sender<Reply>> {
        self.unanswered.answered(id);
        self.waiting.remove(&id)
    }
}

/// A command without its id.
fn message(verb: &str, command: &str, arguments: Value) -> Value {
    let mut message = json!({ verb: command });
    if arguments.as_object().is_some_and(|map| !map.is_empty()) {
        message["arguments"] = arguments;
    }
    message
}

/// What may come from QEMU. All fields optional: what we do not know must not end the session.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<ErrorBody>,
    event: Option<String>,
    data: Value,
    timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    class: String,
    desc: String,
}

#[derive(Debug, Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

impl Timestamp {
    /// QEMU says -1 where it has no clock.
    fn epoch_ns(&self) -> Option<i64> {
        let ns =
            self.seconds.checked_mul(1_000_000_000)?.checked_add(self.microseconds.checked_mul(1_000)?)?;
        (self.seconds >= 0 && self.microseconds >= 0).then_some(ns)
    }
}

fn read_greeting(reader: &mut impl BufRead) -> Result<bool, QmpError> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(QmpError::Closed)?;
    let greeting: Value = serde_json::from_str(&line).unwrap_or_default();
    let Some(qmp) = greeting.get("QMP") else {
        return Err(QmpError::Greeting { line: line.trim_end().chars().take(200).collect() });
    };
    let capabilities = qmp.get("capabilities").and_then(Value::as_array);
    Ok(capabilities.is_some_and(|list| list.iter().any(|name| name == "oob")))
}

fn read_messages(
    mut reader: impl BufRead,
    mut on_event: EventHandler,
    pending: &Pending,
    transcript: &Mutex<Transcript>,
) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
        let received_ns = now_ns();
        note(transcript, "from", String::from_utf8_lossy(&line).trim_end());
        // A line that is no message of ours stays in the transcript and is otherwise passed over.
        let Ok(message) = serde_json::from_slice::<Message>(&line) else { continue };
        if let Some(name) = message.event {
            let epoch_ns = message.timestamp.and_then(|stamp| stamp.epoch_ns());
            on_event(QmpEvent { name, data: message.data, epoch_ns, received_ns });
        } else if let Some(waiter) = message.id.and_then(|id| lock(pending).answered(id)) {
            let reply = match message.error {
                Some(error) => Err(QmpError::Refused { class: error.class, description: error.desc }),
                None => Ok(message.result.unwrap_or_default()),
            };
            // Nobody waits any more where the command's limit passed a moment ago.
            let _ = waiter.send(reply);
        }
    }
    let mut replies = lock(pending);
    replies.closed = true;
    replies.waiting.clear();
}

fn note(transcript: &Mutex<Transcript>, direction: &str, line: &str) {
    // A transcript that cannot be written must not end a migration.
    let _ = writeln!(lock(transcript), "{} {direction:4} {line}", dunlin_clock::now_ns());
}

fn closed() -> QmpError {
    QmpError::Closed(io::ErrorKind::ConnectionReset.into())
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(5);
    const GREETING: &str = r#"{"QMP":{"version":{},"capabilities":["oob"]}}"#;

    /// A server that answers each line with the lines `answer` makes of it.
    fn serve(greeting: &'static str, answer: impl Fn(Value) -> Vec<String> + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, "{greeting}").unwrap();
            for line in BufReader::new(theirs).lines().map_while(Result::ok) {
                for out in answer(serde_json::from_str(&line).unwrap()) {
                    if writeln!(writer, "{out}").is_err() {
                        return;
                    }
                }
            }
        });
        ours
    }

    fn connect(stream: UnixStream) -> (Result<Qmp, QmpError>, mpsc::Receiver<QmpEvent>) {
        let (sender, events) = mpsc::channel();
        let handler = Box::new(move |event| drop(sender.send(event)));
        (Qmp::negotiate(stream, handler, Box::new(io::sink()), SECOND), events)
    }

    #[test]
    fn replies_find_their_command_and_unknown_messages_survive() {
        let (qmp, events) = connect(serve(GREETING, |message| {
            let id = &message["id"];
            match message["execute"].as_str() {
                Some("echo") => vec![
                    r#"{"event":"BRAND_NEW_EVENT","data":{"x":[1]},"timestamp":{"seconds":2,"microseconds":3}}"#.into(),
                    r#"{"some":"message of the future"}"#.into(),
                    "not json at all".into(),
                    format!(r#"{{"return":"late reply to nobody","id":{}}}"#, 999),
                    format!(r#"{{"return":{},"id":{id}}}"#, message["arguments"]),
                ],
                Some("refuse") => {
                    vec![format!(r#"{{"error":{{"class":"GenericError","desc":"no"}},"id":{id}}}"#)]
                }
                Some("silent") => vec![],
                _ => vec![format!(r#"{{"return":{{}},"id":{id}}}"#)],
            }
        }));
        let qmp = qmp.unwrap();
        assert_eq!(qmp.execute("echo", json!({ "a": 1 }), SECOND).unwrap(), json!({ "a": 1 }));
        let event = events.recv_timeout(SECOND).unwrap();
        assert_eq!((event.name.as_str(), event.epoch_ns), ("BRAND_NEW_EVENT", Some(2_000_003_000)));
        assert_eq!(event.data, json!({ "x": [1] }));
        let refused = qmp.execute("refuse", json!({}), SECOND).unwrap_err();
        assert!(
            matches!(refused, QmpError::Refused { ref description, .. } if description == "no"),
            "{refused}"
        );
        let silent = qmp.execute("silent", json!({}), Duration::from_millis(20)).unwrap_err();
        assert!(matches!(silent, QmpError::Timeout { .. }), "{silent}");
        assert_eq!(qmp.execute("echo", json!({ "b": 2 }), SECOND).unwrap(), json!({ "b": 2 }));
    }

    /// As one whose main loop is held up: it reads, answers nothing but out of band, and reads no more once its queue is full.
    #[test]
    fn a_server_that_answers_nothing_is_not_filled_up_and_takes_what_is_out_of_band() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let (qmp, _events) = connect(serve(GREETING, move |message| {
            let mut seen = lock(&noted);
            let id = &message["id"];
            if message["execute"] == "qmp_capabilities" {
                return vec![format!(r#"{{"return":{{}},"id":{id}}}"#)];
            }
            if message["exec-oob"] == "yank" {
                // What was asked before is answered when the loop goes on.
                let before = seen.drain(..).map(|id| format!(r#"{{"return":{{"late":true}},"id":{id}}}"#));
                return before.chain([format!(r#"{{"return":{{}},"id":{id}}}"#)]).collect();
            }
            seen.push(id.clone());
            assert!(seen.len() < 8, "it would read no more");
            vec![]
        }));
        let qmp = qmp.unwrap();
        let moment = Duration::from_millis(20);
        for _ in 0..20 {
            for command in
                ["query-status", "query-migrate", "stop", "query-status", "cont", "quit", "migrate_cancel"]
            {
                let silent = qmp.execute(command, json!({}), moment).unwrap_err();
                assert!(matches!(silent, QmpError::Timeout { .. }), "{silent}");
            }
        }
        assert_eq!(qmp.execute_out_of_band("yank", json!({}), SECOND).unwrap(), json!({}));
        assert_eq!(qmp.execute_out_of_band("yank", json!({}), SECOND).unwrap(), json!({}));
        assert!(lock(&qmp.pending).unanswered.has_room());
    }

    /// The second waits for the answer to the first.
    #[test]
    fn a_question_that_is_still_open_is_not_asked_twice() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let (qmp, _events) = connect(serve(GREETING, move |message| {
            if message["execute"] == "query-status" && count.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(150));
            }
            vec![format!(r#"{{"return":{{"n":{}}},"id":{}}}"#, count.load(Ordering::Relaxed), message["id"])]
        }));
        let qmp = qmp.unwrap();
        let ask = |limit| qmp.execute("query-status", json!({}), limit);
        assert!(matches!(ask(Duration::from_millis(20)), Err(QmpError::Timeout { .. })));
        assert_eq!(ask(SECOND).unwrap(), json!({ "n": 1 }));
        assert_eq!(ask(SECOND).unwrap(), json!({ "n": 2 }));
    }

    #[test]
    fn a_closed_session_fails_every_command_at_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, "{GREETING}").unwrap();
            let mut lines = BufReader::new(theirs).lines();
            lines.next();
            writeln!(writer, r#"{{"return":{{}},"id":1}}"#).unwrap();
            lines.next(); // Takes the command, answers nothing, and goes away.
        });
        let (qmp, _events) = connect(ours);
        let qmp = qmp.unwrap();
        for _ in 0..2 {
            let error = qmp.execute("query-status", json!({}), SECOND).unwrap_err();
            assert!(matches!(error, QmpError::Closed(_)), "{error}");
        }
    }

    #[test]
    fn something_that_is_not_qmp_is_named() {
        let (qmp, _events) = connect(serve("SSH-2.0-OpenSSH", |_| vec![]));
        assert!(matches!(qmp.err(), Some(QmpError::Greeting { line }) if line == "SSH-2.0-OpenSSH"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_from_the_other_side_end_in_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let pending = Pending::default();
            let transcript: Mutex<Transcript> = Mutex::new(Box::new(io::sink()));
            read_messages(&bytes[..], Box::new(|_| ()), &pending, &transcript);
            proptest::prop_assert!(lock(&pending).closed);
        }
    }
}
