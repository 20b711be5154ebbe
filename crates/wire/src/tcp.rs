//! TCP conversations in one pass: who talked with whom, and each direction's state and counts.

mod in_flight;
mod round_trips;
mod side;

use std::collections::HashMap;
use std::net::SocketAddr;

use dunlin_record::{Amount, Conversation, ConversationGraph, Overhead};

use crate::decode::Segment;
use crate::ticks::{Columns, Ticks};
use side::{Side, Sight};

/// So many conversations are followed, which bounds the memory; packets of others are counted only.
const MOST_CONVERSATIONS: usize = 16_384;
/// At most so many ticks of a conversation are kept.
const MOST_TICKS: usize = 4096;
/// Without a handshake in sight, later segments overtake earlier ones by less than this (Wireshark's figure).
const REORDERING_NS: i64 = 3_000_000;

/// The conversations of a file.
pub(crate) struct Conversations {
    tick_ns: i64,
    places: HashMap<Ends, usize>,
    /// Most packets are of the same conversation as the one before.
    last: Option<(Ends, usize)>,
    all: Vec<Talk>,
    not_followed: Amount,
}

/// Both ends in an order that does not depend on the direction.
type Ends = (SocketAddr, SocketAddr);

/// A conversation as it goes on.
struct Talk {
    a: SocketAddr,
    b: SocketAddr,
    start_ns: i64,
    end_ns: i64,
    from_a: Side,
    from_b: Side,
    handshake: Handshake,
    /// Packets and bytes of `a`, packets and bytes of `b`.
    ticks: Ticks<4>,
}

#[derive(Default)]
struct Handshake {
    /// The opening's sequence number.
    opening: Option<u32>,
    opened_ns: Option<i64>,
    answered: bool,
    rtt_ns: Option<i64>,
}

impl Conversations {
    pub(crate) fn new(tick_ns: i64) -> Self {
        Self { tick_ns, places: HashMap::new(), last: None, all: Vec::new(), not_followed: Amount::default() }
    }

    /// Takes the next segment of the file, at a time after its begin.
    pub(crate) fn see(&mut self, segment: &Segment, at_ns: i64, wire_bytes: u64) {
        let Some(index) = self.place(segment, at_ns) else {
            self.not_followed.add(wire_bytes);
            return;
        };
        self.all[index].see(segment, at_ns, wire_bytes);
    }

    /// Packets of conversations beyond the bound.
    pub(crate) fn not_followed(&self) -> Amount {
        self.not_followed
    }

    /// All of them, most bytes first.
    pub(crate) fn finish(self) -> Vec<Conversation> {
        let mut all: Vec<Conversation> =
            self.all.into_iter().zip(1..).map(|(talk, number)| talk.finish(number)).collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.overhead.total.wire_bytes), one.number));
        all
    }

    /// The conversation's place; `None` where there is no room for another one.
    fn place(&mut self, segment: &Segment, at_ns: i64) -> Option<usize> {
        let (one, other) = (segment.source, segment.destination);
        let ends = if one <= other { (one, other) } else { (other, one) };
        let known = match self.last {
            Some((last, index)) if last == ends => Some(index),
            _ => self.places.get(&ends).copied(),
        };
        let index = match known {
            Some(index) if !self.all[index].is_opened_anew(segment) => index,
            _ if self.all.len() == MOST_CONVERSATIONS => return None,
            _ => {
                self.all.push(Talk::new(segment, at_ns, self.tick_ns));
                self.places.insert(ends, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        self.last = Some((ends, index));
        Some(index)
    }
}

impl Talk {
    fn new(segment: &Segment, at_ns: i64, tick_ns: i64) -> Self {
        // Of an opening that was missed, the answer tells who opened.
        let (a, b) = if segment.flags.syn() && segment.flags.ack() {
            (segment.destination, segment.source)
        } else {
            (segment.source, segment.destination)
        };
        Self {
            a,
            b,
            start_ns: at_ns,
            end_ns: at_ns,
            from_a: Side::default(),
            from_b: Side::default(),
            handshake: Handshake::default(),
            ticks: Ticks::new(tick_ns, MOST_TICKS),
        }
    }

    /// Whether a segment opens another conversation between the same ends: ports are used again.
    fn is_opened_anew(&self, segment: &Segment) -> bool {
        segment.flags.syn()
            && !segment.flags.ack()
            && (self.handshake.opening != Some(segment.seq) || self.a != segment.source)
    }

    fn see(&mut self, segment: &Segment, at_ns: i64, wire_bytes: u64) {
        self.start_ns = self.start_ns.min(at_ns);
        self.end_ns = self.end_ns.max(at_ns);
        let is_from_a = segment.source == self.a;
        self.handshake.see(segment, is_from_a, at_ns);
        let reordering_ns = self.handshake.rtt_ns.unwrap_or(REORDERING_NS);
        let sight = Sight { segment, at_ns, wire_bytes, reordering_ns };
        if is_from_a {
            self.from_a.sends(&mut self.from_b, &sight);
            self.ticks.add(at_ns, [1, wire_bytes, 0, 0]);
        } else {
            self.from_b.sends(&mut self.from_a, &sight);
            self.ticks.add(at_ns, [0, 0, 1, wire_bytes]);
        }
    }

    fn finish(self, number: u64) -> Conversation {
        let (from_a, from_b) = (self.from_a.finish(), self.from_b.finish());
        let Columns { tick_ms, tick, values } = self.ticks.finish();
        let [a_packets, a_wire_bytes, b_packets, b_wire_bytes] = values;
        let mut overhead = Overhead::default();
        overhead += from_a.overhead;
        overhead += from_b.overhead;
        Conversation {
            number,
            a: self.a.to_string(),
            b: self.b.to_string(),
            start_ms: ms(self.start_ns),
            end_ms: ms(self.end_ns),
            handshake_rtt_ms: self.handshake.rtt_ns.map(ms),
            from_a,
            from_b,
            overhead,
            graph: ConversationGraph { tick_ms, tick, a_packets, a_wire_bytes, b_packets, b_wire_bytes },
        }
    }
}

impl Handshake {
    fn see(&mut self, segment: &Segment, is_from_a: bool, at_ns: i64) {
        let flags = segment.flags;
        match (is_from_a, flags.syn(), flags.ack()) {
            (true, true, false) => {
                self.opening = Some(segment.seq);
                self.opened_ns = Some(at_ns);
            }
            (false, true, true) => self.answered = true,
            (true, false, true) if self.answered && self.rtt_ns.is_none() => {
                self.rtt_ns = self.opened_ns.map(|opened_ns| at_ns.saturating_sub(opened_ns).max(0));
            }
            _ => {}
        }
    }
}

fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests;
