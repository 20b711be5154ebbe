//! Questions to an agent, each with a limit.

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::{SnmpAuth, SnmpPrivacy};
use snmp2::v3::{Auth, AuthProtocol, Cipher, Security};
use snmp2::{Error, Oid, Pdu, SyncSession, Value};

use super::{SnmpAccess, SnmpAgent, SnmpAuthentication};
use crate::{Result, WireError};

/// How many rows of a column are asked for at once.
const ROWS_AT_ONCE: u32 = 24;
/// How many time-outs reading a whole column may take.
const COLUMN_TIMEOUTS: u32 = 20;

/// What an agent says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Number(u64),
    Text(Vec<u8>),
    /// It has no such object.
    Missing,
}

/// Questions to one agent. After a question without a good answer the next begins a session of its own, from another
/// port, so that no late answer to an earlier question is taken for one to a later.
pub(super) struct Session {
    agent: SnmpAgent,
    open: Option<Box<SyncSession>>,
}

impl Session {
    pub(super) fn new(agent: SnmpAgent) -> Self {
        Self { agent, open: None }
    }

    /// The values of some objects, in their order.
    pub(super) fn get(&mut self, objects: &[Oid<'static>]) -> Result<Vec<Answer>> {
        let asked: Vec<&Oid> = objects.iter().collect();
        let answers = self.ask("ask", |session| {
            let pdu = good(session.get_many(&asked)?)?;
            Ok(pdu.varbinds.map(|(_, value)| answer(&value)).collect::<Vec<_>>())
        })?;
        if answers.len() == objects.len() {
            Ok(answers)
        } else {
            Err(self.wrong(format!("{} values for {} objects", answers.len(), objects.len())))
        }
    }

    /// A column of a table: the index and text of each row.
    pub(super) fn column(&mut self, column: &[u64]) -> Result<Vec<(u64, Vec<u8>)>> {
        let deadline = Deadline::after(self.agent.timeout * COLUMN_TIMEOUTS);
        let mut rows: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            let last = rows.last().map(|(index, _)| *index);
            let from = oid(column, last)?;
            let found = self.ask("list the ports of", |session| {
                let pdu = good(session.getbulk(&[&from], 0, ROWS_AT_ONCE)?)?;
                Ok(pdu
                    .varbinds
                    .map(|(name, value)| (index_in(column, &name), answer(&value)))
                    .collect::<Vec<_>>())
            })?;
            if found.is_empty() {
                return Ok(rows);
            }
            for (index, value) in found {
                match (index, value) {
                    // Rows come in the order of their indices; an agent that goes back would never end.
                    (Some(index), Answer::Text(text)) if Some(index) > last => rows.push((index, text)),
                    _ => return Ok(rows),
                }
            }
            if deadline.passed() {
                return Err(self.wrong("its list of ports does not end".into()));
            }
        }
    }

    /// Sets an object to a whole number.
    pub(super) fn set(&mut self, object: &[u64], value: i64) -> Result<()> {
        let object = oid(object, None)?;
        self.ask("set an object of", |session| {
            good(session.set(&[(&object, Value::Integer(value))])?).map(drop)
        })
    }

    fn ask<T>(
        &mut self,
        doing: &'static str,
        question: impl Fn(&mut SyncSession) -> Result<T, Error>,
    ) -> Result<T> {
        let agent = &self.agent;
        let failed = |error: Error| WireError::Snmp { doing, agent: agent.address, why: why(&error, agent) };
        let mut session = match self.open.take() {
            Some(session) => session,
            None => connect(agent).map_err(failed)?,
        };
        let answered = match question(&mut session) {
            // The agent told its time, by which it wants to be asked.
            Err(Error::AuthUpdated) => question(&mut session),
            answered => answered,
        };
        if answered.is_ok() {
            self.open = Some(session);
        }
        answered.map_err(failed)
    }

    pub(super) fn wrong(&self, why: String) -> WireError {
        WireError::Answer { what: format!("the answer of the SNMP agent at {}", self.agent.address), why }
    }
}

/// The name of an object: of a table's column, with the index of its row.
pub(super) fn oid(column: &[u64], index: Option<u64>) -> Result<Oid<'static>> {
    let numbers: Vec<u64> = column.iter().copied().chain(index).collect();
    Oid::from(&numbers).map_err(|_| WireError::Answer {
        what: format!("the object {numbers:?}"),
        why: "it is no name of an object".into(),
    })
}

/// The index behind a column's name; nothing where the name is of something else.
fn index_in(column: &[u64], name: &Oid) -> Option<u64> {
    let mut numbers = name.iter()?;
    let is_ours = column.iter().all(|number| numbers.next() == Some(*number));
    let index = numbers.next()?;
    (is_ours && numbers.next().is_none()).then_some(index)
}

fn connect(agent: &SnmpAgent) -> Result<Box<SyncSession>, Error> {
    // Where it begins does not matter; that two sessions begin at different numbers keeps their answers apart.
    let first_id = (now_ns() & 0x3fff_ffff) as i32;
    let limit = Some(agent.timeout);
    let opened = match &agent.access {
        SnmpAccess::Community(community) => {
            SyncSession::new_v2c(agent.address, community.reveal().as_bytes(), limit, first_id)
        }
        SnmpAccess::User { name, authentication } => {
            SyncSession::new_v3(agent.address, limit, first_id, security(name, authentication.as_ref()))
        }
    };
    let mut session = Box::new(opened.map_err(|_| Error::Send)?);
    // For a user: who the agent is and what time it has (RFC 3414, section 4).
    session.init()?;
    Ok(session)
}

fn security(name: &str, authentication: Option<&SnmpAuthentication>) -> Security {
    let Some(SnmpAuthentication { protocol, password, privacy }) = authentication else {
        return Security::new(name.as_bytes(), &[]).with_auth(Auth::NoAuthNoPriv);
    };
    let auth = match privacy {
        None => Auth::AuthNoPriv,
        Some((SnmpPrivacy::Aes128, password)) => {
            Auth::AuthPriv { cipher: Cipher::Aes128, privacy_password: password.reveal().as_bytes().to_vec() }
        }
    };
    let protocol = match protocol {
        SnmpAuth::Sha1 => AuthProtocol::Sha1,
        SnmpAuth::Sha256 => AuthProtocol::Sha256,
    };
    Security::new(name.as_bytes(), password.reveal().as_bytes()).with_auth(auth).with_auth_protocol(protocol)
}

/// The message, unless it tells of an error (RFC 3416, section 3).
fn good(pdu: Pdu<'_>) -> Result<Pdu<'_>, Error> {
    match pdu.error_status {
        0 => Ok(pdu),
        _ => Err(Error::ValueOutOfRange),
    }
}

fn answer(value: &Value) -> Answer {
    match value {
        Value::Counter64(number) => Answer::Number(*number),
        Value::Counter32(number) | Value::Timeticks(number) | Value::Unsigned32(number) => {
            Answer::Number((*number).into())
        }
        Value::Integer(number) => u64::try_from(*number).map_or(Answer::Missing, Answer::Number),
        Value::OctetString(text) => Answer::Text(text.to_vec()),
        _ => Answer::Missing,
    }
}

fn why(error: &Error, agent: &SnmpAgent) -> String {
    match error {
        Error::Receive => format!("no answer within {} ms", agent.timeout.as_millis()),
        Error::ValueOutOfRange => "it refused".into(),
        other => other.to_string(),
    }
}
