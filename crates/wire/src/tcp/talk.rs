//! A conversation as it goes on: its ends, its opening and both directions.

use std::net::SocketAddr;

use dunlin_record::{Conversation, ConversationGraph, Overhead};

use super::side::{Side, Sight};
use crate::decode::Segment;
use crate::ticks::{Columns, Ticks};

/// At most so many ticks of a conversation are kept.
const MOST_TICKS: usize = 4096;
/// Without a handshake in sight, later segments overtake earlier ones by less than this (Wireshark's figure).
const REORDERING_NS: i64 = 3_000_000;

/// A conversation as it goes on.
pub(super) struct Talk {
    /// Its number in the order of first packets, from 1.
    pub(super) number: u64,
    /// So many of its bytes on the wire may have come before this, at most.
    pub(super) may_lack_bytes: u64,
    a: SocketAddr,
    b: SocketAddr,
    start_ns: i64,
    end_ns: i64,
    from_a: Side,
    from_b: Side,
    wire_bytes: u64,
    handshake: Handshake,
    closing: Closing,
    /// Packets and bytes of `a`, packets and bytes of `b`.
    ticks: Ticks<4>,
}

#[derive(Default)]
struct Handshake {
    /// When `a` opened, and when it acknowledged the answer.
    opened_ns: Option<i64>,
    answered: bool,
    acknowledged_ns: Option<i64>,
}

/// What was said of the end.
#[derive(Default)]
struct Closing {
    a_closed: bool,
    b_closed: bool,
    aborted: bool,
}

impl Talk {
    pub(super) fn new(number: u64, segment: &Segment<'_>, at_ns: i64, tick_ns: i64) -> Self {
        // Of an opening that was missed, the answer tells who opened.
        let (a, b) = if segment.flags.syn() && segment.flags.ack() {
            (segment.destination, segment.source)
        } else {
            (segment.source, segment.destination)
        };
        Self {
            number,
            may_lack_bytes: 0,
            a,
            b,
            start_ns: at_ns,
            end_ns: at_ns,
            from_a: Side::default(),
            from_b: Side::default(),
            wire_bytes: 0,
            handshake: Handshake::default(),
            closing: Closing::default(),
            ticks: Ticks::new(tick_ns, MOST_TICKS),
        }
    }

    /// Whether a segment opens another conversation between the same ends: ports are used again.
    pub(super) fn is_opened_anew(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.syn() || segment.flags.ack() {
            return false;
        }
        let (from, to) = if segment.source == self.a {
            (&self.from_a, &self.from_b)
        } else {
            (&self.from_b, &self.from_a)
        };
        match from.opening() {
            Some(opening) => opening != segment.seq,
            // It stands in the file behind its answer, or both ends opened at once (RFC 9293, section 3.5).
            None => {
                let is_simultaneous = to.opening().is_some() && to.only_opened() && from.only_opened();
                !to.answered(segment.seq) && !is_simultaneous
            }
        }
    }

    /// Takes the next segment.
    pub(super) fn see(&mut self, segment: &Segment<'_>, at_ns: i64, wire_bytes: u64) {
        self.start_ns = self.start_ns.min(at_ns);
        self.end_ns = self.end_ns.max(at_ns);
        self.wire_bytes += wire_bytes;
        let is_from_a = segment.source == self.a;
        self.handshake.see(segment, is_from_a, at_ns);
        self.closing.see(segment, is_from_a);
        let reordering_ns = self.handshake.rtt_ns().filter(|ns| *ns > 0).unwrap_or(REORDERING_NS);
        let sight = Sight { segment, at_ns, wire_bytes, reordering_ns };
        if is_from_a {
            self.from_a.sends(&mut self.from_b, &sight);
            self.ticks.add(at_ns, [1, wire_bytes, 0, 0]);
        } else {
            self.from_b.sends(&mut self.from_a, &sight);
            self.ticks.add(at_ns, [0, 0, 1, wire_bytes]);
        }
    }

    /// Whether both ends closed, or one aborted.
    pub(super) fn has_ended(&self) -> bool {
        self.closing.aborted || self.closing.a_closed && self.closing.b_closed
    }

    /// Its bytes on the wire so far.
    pub(super) fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// What it takes of the memory, in bytes.
    pub(super) fn room(&self) -> usize {
        size_of::<Self>() + self.from_a.room() + self.from_b.room() + self.ticks.room()
    }

    /// The conversation, and what of it nobody needs any more put away.
    pub(super) fn finish(self) -> Conversation {
        let (from_a, from_b) = (self.from_a.finish(), self.from_b.finish());
        let Columns { tick_ms, tick, values } = self.ticks.finish();
        let [a_packets, a_wire_bytes, b_packets, b_wire_bytes] = values;
        let mut overhead = Overhead::default();
        overhead += from_a.overhead;
        overhead += from_b.overhead;
        Conversation {
            number: self.number,
            a: self.a.to_string(),
            b: self.b.to_string(),
            start_ms: ms(self.start_ns),
            end_ms: ms(self.end_ns),
            handshake_rtt_ms: self.handshake.rtt_ns().map(ms),
            may_lack_bytes: self.may_lack_bytes,
            from_a,
            from_b,
            overhead,
            graph: ConversationGraph { tick_ms, tick, a_packets, a_wire_bytes, b_packets, b_wire_bytes },
        }
    }

    /// What both directions cost so far, and what of their payload was not seen.
    pub(super) fn costs(&self) -> (Overhead, u64) {
        let mut overhead = self.from_a.overhead();
        overhead += self.from_b.overhead();
        (overhead, self.from_a.unseen_bytes() + self.from_b.unseen_bytes())
    }
}

impl Handshake {
    fn see(&mut self, segment: &Segment<'_>, is_from_a: bool, at_ns: i64) {
        let flags = segment.flags;
        match (is_from_a, flags.syn(), flags.ack()) {
            // Sent again after all was done, it opens nothing.
            (true, true, false) if self.acknowledged_ns.is_none() || self.opened_ns.is_none() => {
                self.opened_ns = Some(at_ns);
            }
            (false, true, true) => self.answered = true,
            (true, false, true) if self.answered && self.acknowledged_ns.is_none() => {
                self.acknowledged_ns = Some(at_ns);
            }
            _ => {}
        }
    }

    /// Absent where it was not seen, or where a clock was set in between.
    fn rtt_ns(&self) -> Option<i64> {
        let (opened_ns, acknowledged_ns) = self.opened_ns.zip(self.acknowledged_ns)?;
        Some(acknowledged_ns.saturating_sub(opened_ns)).filter(|ns| *ns >= 0)
    }
}

impl Closing {
    fn see(&mut self, segment: &Segment<'_>, is_from_a: bool) {
        if segment.flags.syn() {
            *self = Self::default();
        }
        self.aborted |= segment.flags.rst();
        let closed = if is_from_a { &mut self.a_closed } else { &mut self.b_closed };
        *closed |= segment.flags.fin();
    }
}

pub(super) fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}
