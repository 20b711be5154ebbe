//! Conversations that are over: the biggest in full, of the others what they cost together.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use dunlin_record::{Conversation, ConversationGraph, Overhead, Unlisted};

use super::talk::Talk;

/// So many are kept in full.
const MOST_KEPT: usize = 16_384;
/// The ticks of all their graphs together.
const MOST_TICKS: usize = 1 << 20;
/// Where there are more, the graphs of the smaller are made as coarse as this.
const COARSE_TICKS: usize = 16;

/// Conversations that are over.
#[derive(Default)]
pub(super) struct Kept {
    /// By size, the smallest first.
    biggest: BTreeMap<(u64, Reverse<u64>), Conversation>,
    ticks: usize,
    unlisted: Unlisted,
    overhead: Overhead,
    unseen_bytes: u64,
}

impl Kept {
    /// Takes one that is over.
    pub(super) fn take(&mut self, talk: Talk) {
        let key = (talk.wire_bytes(), Reverse(talk.number));
        let (overhead, unseen_bytes) = talk.costs();
        self.add_up(overhead, unseen_bytes);
        if self.biggest.len() >= MOST_KEPT {
            let smallest = self.biggest.first_key_value().map(|(key, _)| *key);
            if smallest.is_some_and(|smallest| key < smallest) {
                self.unlisted.add(overhead.total);
                return;
            }
            if let Some((_, smallest)) = self.biggest.pop_first() {
                self.ticks -= smallest.graph.tick.len();
                self.unlisted.add(smallest.overhead.total);
            }
        }
        let conversation = talk.finish();
        self.ticks += conversation.graph.tick.len();
        self.biggest.insert(key, conversation);
        if self.ticks > MOST_TICKS {
            self.coarsen();
        }
    }

    /// Takes one that had to be let go before it was over: it is counted only.
    pub(super) fn let_go(&mut self, talk: &Talk) {
        let (overhead, unseen_bytes) = talk.costs();
        self.add_up(overhead, unseen_bytes);
        self.unlisted.add(overhead.total);
        self.unlisted.let_go += 1;
    }

    /// Those kept, most bytes first; the others; what all cost; and of how many bytes of payload it is known that they were
    /// not seen.
    pub(super) fn finish(self) -> (Vec<Conversation>, Unlisted, Overhead, u64) {
        let all = self.biggest.into_values().rev().collect();
        (all, self.unlisted, self.overhead, self.unseen_bytes)
    }

    fn add_up(&mut self, overhead: Overhead, unseen_bytes: u64) {
        self.overhead += overhead;
        self.unseen_bytes += unseen_bytes;
    }

    /// Halves the room that graphs take, the smallest conversations' first.
    fn coarsen(&mut self) {
        for one in self.biggest.values_mut() {
            if self.ticks <= MOST_TICKS / 2 {
                break;
            }
            let before = one.graph.tick.len();
            while one.graph.tick.len() > COARSE_TICKS {
                one.graph = halved(&one.graph);
            }
            self.ticks -= before - one.graph.tick.len();
        }
    }
}

/// The same with ticks twice as long.
fn halved(graph: &ConversationGraph) -> ConversationGraph {
    let mut coarse = ConversationGraph { tick_ms: graph.tick_ms * 2.0, ..ConversationGraph::default() };
    for (index, tick) in graph.tick.iter().enumerate() {
        let tick = tick.div_euclid(2);
        let is_new = coarse.tick.last() != Some(&tick);
        if is_new {
            coarse.tick.push(tick);
        }
        for (from, to) in [
            (&graph.a_packets, &mut coarse.a_packets),
            (&graph.a_wire_bytes, &mut coarse.a_wire_bytes),
            (&graph.b_packets, &mut coarse.b_packets),
            (&graph.b_wire_bytes, &mut coarse.b_wire_bytes),
        ] {
            if is_new {
                to.push(0);
            }
            if let (Some(sum), Some(value)) = (to.last_mut(), from.get(index)) {
                *sum += value;
            }
        }
    }
    coarse
}
