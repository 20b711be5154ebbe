//! One end of a session that outlives the byte stream below it.
//!
//! Each side numbers its messages, keeps them until the other has acknowledged them, and sends them again after a
//! break or when an acknowledgement stays out. The other side takes them in order and drops what it has. The client is
//! the caller: it opens the session and says hello on every new stream. The agent is the listener: it follows whatever
//! session the last hello named, since a guest restored from a template meets a client it has never seen.
//!
//! A link does no input or output and reads no clock; whoever drives it moves the bytes and tells the time.

use std::collections::VecDeque;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{FrameReader, PAYLOAD_LIMIT, Packet, write_frame};
use crate::{LinkError, Result};

/// The version of the protocol: both sides must have the same.
pub const VERSION: u16 = 5;

/// What may wait for an acknowledgement, in bytes of payload.
const UNACKNOWLEDGED_LIMIT: usize = 1024 * 1024;
/// Messages that may wait to be taken here; more are left to be sent again.
const INBOX_LIMIT: usize = 4096;
/// How much one call of [`Link::take_output`] gives, give or take a frame.
const BURST_BYTES: usize = 128 * 1024;
/// How long an acknowledgement or an answer to a hello may stay out, at first …
const RESEND_NS: i64 = 200_000_000;
/// … and at most: it doubles each time.
const RESEND_MOST_NS: i64 = 2_000_000_000;

/// One end of a session: sends messages `S`, receives messages `R`.
#[derive(Debug)]
pub struct Link<S, R> {
    role: Role,
    /// `None` in a listener that nobody has called yet.
    session: Option<u64>,
    attempt: u32,
    /// Whether the stream below is known to join the two sides of this session.
    established: bool,
    reader: FrameReader,

    outbox: VecDeque<Vec<u8>>,
    outbox_bytes: usize,
    /// The last message of ours the other side has.
    acknowledged: u64,
    /// The last message of ours given out on this stream.
    given: u64,
    /// The last message of ours ever given out.
    sent: u64,

    inbox: VecDeque<(u64, Vec<u8>)>,
    /// The last message of theirs that arrived.
    received: u64,

    hello_due: bool,
    ack_due: bool,
    unknown_due: Option<u64>,
    /// When something that wants an answer was last given out.
    asked_ns: Option<i64>,
    patience_ns: i64,

    messages: PhantomData<fn(S) -> R>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller,
    Listener,
}

impl<S: Serialize, R: DeserializeOwned> Link<S, R> {
    /// The side that opens the session, under a number never used before, and says hello on each new stream.
    #[must_use]
    pub fn caller(session: u64) -> Self {
        Self { hello_due: true, ..Self::new(Role::Caller, Some(session)) }
    }

    /// The side that answers.
    #[must_use]
    pub fn listener() -> Self {
        Self::new(Role::Listener, None)
    }

    fn new(role: Role, session: Option<u64>) -> Self {
        Self {
            role,
            session,
            attempt: 0,
            established: false,
            reader: FrameReader::default(),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            acknowledged: 0,
            given: 0,
            sent: 0,
            inbox: VecDeque::new(),
            received: 0,
            hello_due: false,
            ack_due: false,
            unknown_due: None,
            asked_ns: None,
            patience_ns: RESEND_NS,
            messages: PhantomData,
        }
    }

    /// The session's number; absent in a listener that nobody has called yet.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        self.session
    }

    /// Whether the other side has answered on the present stream.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Takes a message to be sent, now or when there is a stream again.
    ///
    /// # Errors
    /// Where the message is too large, too much waits already, or a listener has no session yet.
    pub fn send(&mut self, message: &S) -> Result<()> {
        if self.session.is_none() {
            return Err(LinkError::NoSession);
        }
        let payload = postcard::to_stdvec(message).map_err(|source| LinkError::Encode { source })?;
        if payload.len() > PAYLOAD_LIMIT {
            return Err(LinkError::TooLarge { bytes: payload.len(), limit: PAYLOAD_LIMIT });
        }
        let bytes = self.outbox_bytes + payload.len();
        if bytes > UNACKNOWLEDGED_LIMIT {
            return Err(LinkError::Full { bytes, limit: UNACKNOWLEDGED_LIMIT });
        }
        self.outbox_bytes = bytes;
        self.outbox.push_back(payload);
        Ok(())
    }

    /// The next message that arrived.
    ///
    /// # Errors
    /// Where it is none this side knows; it is skipped then.
    pub fn next_message(&mut self) -> Result<Option<R>> {
        let Some((seq, payload)) = self.inbox.pop_front() else { return Ok(None) };
        postcard::from_bytes(&payload).map(Some).map_err(|source| LinkError::Undecodable { seq, source })
    }

    /// The stream below is a new one: what the old one swallowed is sent again. Only a caller need be told.
    pub fn reconnected(&mut self) {
        self.reader.clear();
        if self.role == Role::Caller {
            self.attempt = self.attempt.wrapping_add(1);
            self.established = false;
            self.hello_due = true;
        }
        self.asked_ns = None;
        self.patience_ns = RESEND_NS;
    }

    /// Takes bytes off the stream. What is damaged or foreign in them is passed over.
    ///
    /// # Errors
    /// Where the other side speaks another version or has forgotten the session: there is no going on then.
    pub fn receive_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let bodies = self.reader.push(bytes);
        for body in &bodies {
            if let Ok(packet) = postcard::from_bytes(body) {
                self.receive_packet(&packet)?;
            }
        }
        Ok(())
    }

    /// What to put on the stream now; empty if nothing. Call it again when [`Link::due_ns`] has come, but not before
    /// the stream has taken what it gave last.
    ///
    /// # Errors
    /// Where a packet cannot be encoded.
    pub fn take_output(&mut self, now_ns: i64) -> Result<Vec<u8>> {
        self.look_at_the_time(now_ns);
        let mut output = Vec::new();
        self.write_output(now_ns, &mut output).map_err(|source| LinkError::Encode { source })?;
        Ok(output)
    }

    /// When [`Link::take_output`] has something to give if nothing arrives before; absent if not until then.
    #[must_use]
    pub fn due_ns(&self) -> Option<i64> {
        let at_once = self.hello_due
            || self.ack_due
            || self.unknown_due.is_some()
            || (self.established && self.has_ungiven());
        if at_once {
            return Some(i64::MIN);
        }
        self.asked_ns.map(|asked_ns| asked_ns + self.patience_ns)
    }

    fn look_at_the_time(&mut self, now_ns: i64) {
        let Some(asked_ns) = self.asked_ns else { return };
        if now_ns - asked_ns < self.patience_ns {
            return;
        }
        self.patience_ns = (self.patience_ns * 2).min(RESEND_MOST_NS);
        if self.established {
            self.given = self.acknowledged;
        } else if self.role == Role::Caller {
            self.hello_due = true;
        }
    }

    fn write_output(&mut self, now_ns: i64, output: &mut Vec<u8>) -> postcard::Result<()> {
        if let Some(session) = self.unknown_due.take() {
            write_frame(&Packet::Unknown { session }, output)?;
        }
        let Some(session) = self.session else { return Ok(()) };
        if std::mem::take(&mut self.hello_due) {
            let hello = Packet::Hello {
                version: VERSION,
                session,
                attempt: self.attempt,
                received: self.received,
                sent: self.sent,
            };
            write_frame(&hello, output)?;
            if self.role == Role::Caller {
                self.asked_ns = Some(now_ns);
            }
        }
        while self.established && self.has_ungiven() && output.len() < BURST_BYTES {
            let place = usize::try_from(self.given - self.acknowledged).unwrap_or(usize::MAX);
            let Some(payload) = self.outbox.get(place) else { break };
            self.given += 1;
            self.sent = self.sent.max(self.given);
            let data = Packet::Data { session, seq: self.given, received: self.received, payload };
            write_frame(&data, output)?;
            self.ack_due = false;
            self.asked_ns = Some(now_ns);
        }
        if std::mem::take(&mut self.ack_due) {
            write_frame(&Packet::Ack { session, received: self.received }, output)?;
        }
        Ok(())
    }

    fn has_ungiven(&self) -> bool {
        self.given < self.acknowledged + self.outbox.len() as u64
    }

    fn receive_packet(&mut self, packet: &Packet<'_>) -> Result<()> {
        match *packet {
            Packet::Hello { version, session, attempt, received, sent } => match self.role {
                Role::Caller => self.receive_answer(version, session, attempt, received, sent),
                Role::Listener => self.receive_call(version, session, attempt, received),
            },
            Packet::Data { session, seq, received, payload } => {
                if self.knows(session) {
                    self.acknowledge(received);
                    self.receive_data(seq, payload);
                }
                Ok(())
            }
            Packet::Ack { session, received } => {
                if self.knows(session) {
                    self.acknowledge(received);
                }
                Ok(())
            }
            Packet::Unknown { session } => {
                if self.role == Role::Caller && self.session == Some(session) && self.established {
                    self.reconnected();
                }
                Ok(())
            }
        }
    }

    /// A listener is called: in a new session, or again in the one it is in.
    fn receive_call(&mut self, version: u16, session: u64, attempt: u32, received: u64) -> Result<()> {
        if self.session != Some(session) {
            let reader = std::mem::take(&mut self.reader);
            *self = Self { reader, ..Self::new(Role::Listener, Some(session)) };
        }
        // Answered even if the version is wrong: the answer says so to the caller.
        self.attempt = attempt;
        self.hello_due = true;
        self.established = version == VERSION;
        self.acknowledge(received);
        self.given = self.acknowledged;
        self.check_version(version)
    }

    /// A caller's hello is answered.
    fn receive_answer(
        &mut self,
        version: u16,
        session: u64,
        attempt: u32,
        received: u64,
        sent: u64,
    ) -> Result<()> {
        if self.session != Some(session) || self.attempt != attempt || self.established {
            return Ok(());
        }
        self.check_version(version)?;
        if received < self.acknowledged || sent < self.received {
            return Err(LinkError::PeerForgot);
        }
        self.established = true;
        self.asked_ns = None;
        self.patience_ns = RESEND_NS;
        self.acknowledge(received);
        self.given = self.acknowledged;
        Ok(())
    }

    fn check_version(&self, theirs: u16) -> Result<()> {
        if theirs == VERSION { Ok(()) } else { Err(LinkError::Version { ours: VERSION, theirs }) }
    }

    /// Whether a packet of `session` is meant for this side; a listener says so if not. Others are remains of an
    /// earlier client's talk that a restored guest still had in its queues.
    fn knows(&mut self, session: u64) -> bool {
        let known = self.session == Some(session);
        if !known && self.role == Role::Listener {
            self.unknown_due = Some(session);
        }
        known
    }

    fn receive_data(&mut self, seq: u64, payload: &[u8]) {
        self.ack_due = true;
        if seq == self.received + 1 && self.inbox.len() < INBOX_LIMIT {
            self.received = seq;
            self.inbox.push_back((seq, payload.to_vec()));
        }
    }

    /// The other side has our messages up to `received`.
    fn acknowledge(&mut self, received: u64) {
        if received <= self.acknowledged || received > self.sent {
            return;
        }
        while self.acknowledged < received {
            self.acknowledged += 1;
            self.outbox_bytes -= self.outbox.pop_front().map_or(0, |payload| payload.len());
        }
        self.given = self.given.max(self.acknowledged);
        self.patience_ns = RESEND_NS;
        if self.outbox.is_empty() && self.established {
            self.asked_ns = None;
        }
    }
}

#[cfg(test)]
mod tests;
