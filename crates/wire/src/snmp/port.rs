//! One port of a switch: found by its name, its counters read at a cadence (IF-MIB, RFC 2863).

use dunlin_clock::{MILLISECOND_NS, now_ns};
use dunlin_record::ABSENT;
use dunlin_record::shapes::SWITCH;
use snmp2::Oid;

use super::SnmpAgent;
use super::session::{Answer, Session, oid};
use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary, WireError};

/// `sysUpTime.0`.
const UPTIME: &[u64] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
const IF_TABLE: [u64; 9] = [1, 3, 6, 1, 2, 1, 2, 2, 1];
const IF_X_TABLE: [u64; 10] = [1, 3, 6, 1, 2, 1, 31, 1, 1, 1];
/// `ifDescr`, `ifInOctets`, `ifOutOctets` of `ifTable`.
const DESCRIPTION: u64 = 2;
const IN_32: u64 = 10;
const OUT_32: u64 = 16;
/// `ifName`, `ifHCInOctets`, `ifHCOutOctets`, `ifAlias`, `ifCounterDiscontinuityTime` of `ifXTable`.
const NAME: u64 = 1;
const IN_64: u64 = 6;
const OUT_64: u64 = 10;
const ALIAS: u64 = 18;
const DISCONTINUITY: u64 = 19;

/// How often the agent is asked again before it is taken to be silent.
const ATTEMPTS: u32 = 3;
/// How many names of ports an error repeats.
const NAMES_SHOWN: usize = 12;

/// Records the counters of a switch's port every `interval_ns` as rows of [`SWITCH`]. The port goes by its `ifName`,
/// `ifDescr` or `ifAlias`. A question without an answer is a row of its own, and no end of the record.
///
/// # Errors
/// Where the agent does not answer now, or has no such port, or counts nothing there.
pub fn count_switch_port(
    agent: &SnmpAgent,
    port: &str,
    interval_ns: i64,
    sink: RowSink,
) -> Result<Recording> {
    let mut attempt = 1;
    let source = loop {
        match Port::find(Session::new(agent.clone()), port) {
            // A datagram may be lost.
            Err(WireError::Snmp { .. }) if attempt < ATTEMPTS => attempt += 1,
            found => break found?,
        }
    };
    Recording::start("switch", Port { interval_ns: interval_ns.max(MILLISECOND_NS), ..source }, sink)
}

struct Port {
    session: Session,
    /// Received, sent, uptime, discontinuity.
    objects: [Oid<'static>; 4],
    counter_bits: i64,
    interval_ns: i64,
}

impl Port {
    fn find(mut session: Session, port: &str) -> Result<Self> {
        let index = find_index(&mut session, port)?;
        for (counter_bits, received, sent) in
            [(64, x_column(IN_64), x_column(OUT_64)), (32, column(IN_32), column(OUT_32))]
        {
            let objects = [
                oid(&received, Some(index))?,
                oid(&sent, Some(index))?,
                oid(UPTIME, None)?,
                oid(&x_column(DISCONTINUITY), Some(index))?,
            ];
            let mut found = Self { session, objects, counter_bits, interval_ns: Self::PERIOD_NS };
            if found.answer()?[2..4].iter().all(|counter| *counter != ABSENT) {
                return Ok(found);
            }
            session = found.session;
        }
        Err(session.wrong(format!("it has no counters of the port {port}")))
    }

    /// The columns from `answered_ns` on.
    fn answer(&mut self) -> Result<[i64; SWITCH.len()]> {
        let asked_ns = now_ns();
        let answers = self.session.get(&self.objects)?;
        let number = |index: usize| match answers.get(index) {
            // Beyond 63 bits are 9 exabytes.
            Some(Answer::Number(number)) => number.cast_signed(),
            _ => ABSENT,
        };
        Ok([asked_ns, now_ns(), number(0), number(1), self.counter_bits, number(2), number(3)])
    }
}

impl Source for Port {
    const PERIOD_NS: i64 = 100 * MILLISECOND_NS;

    fn period_ns(&self) -> i64 {
        self.interval_ns
    }

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        let asked_ns = now_ns();
        let mut unanswered = [ABSENT; SWITCH.len()];
        unanswered[0] = asked_ns;
        // A silent agent may speak again; what it said meanwhile is not known, and recorded as such.
        rows.extend(self.answer().unwrap_or(unanswered));
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary::default())
    }
}

fn column(number: u64) -> Vec<u64> {
    [&IF_TABLE[..], &[number]].concat()
}

fn x_column(number: u64) -> Vec<u64> {
    [&IF_X_TABLE[..], &[number]].concat()
}

/// The index of the one port that goes by a name.
fn find_index(session: &mut Session, port: &str) -> Result<u64> {
    let mut known = Vec::new();
    for names in [x_column(NAME), column(DESCRIPTION), x_column(ALIAS)] {
        let rows = session.column(&names)?;
        let mut having = rows.iter().filter(|(_, name)| name == port.as_bytes());
        match (having.next(), having.next()) {
            (Some((index, _)), None) => return Ok(*index),
            (Some(_), Some(_)) => return Err(session.wrong(format!("several ports go by {port}"))),
            (None, _) => {}
        }
        if known.is_empty() {
            known = rows.into_iter().map(|(_, name)| String::from_utf8_lossy(&name).into_owned()).collect();
        }
    }
    let more = if known.len() > NAMES_SHOWN { ", …" } else { "" };
    known.truncate(NAMES_SHOWN);
    let known = known.join(", ");
    Err(session.wrong(format!("no port goes by {port}; there are {known}{more}")))
}
