//! TCP conversations in one pass: who talked with whom, and each direction's state and counts.
//!
//! Memory is bounded whatever a file holds. Conversations that are over are put away, the biggest in full. Of those that are
//! not, the smallest are let go where there is no more room, and what comes for one that is not known takes the size of the
//! greatest that was let go as its own until then (Metwally et al., "Space-Saving"): so whatever is greater than that at the
//! file's end is there, and lacks at most as much.

mod in_flight;
mod kept;
mod round_trips;
mod seen;
mod side;
mod talk;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;

use dunlin_record::{Conversation, Overhead, Unlisted};

use crate::decode::Segment;
use kept::Kept;
use talk::Talk;

/// So many conversations are followed at once.
const MOST_FOLLOWED: usize = 16_384;
/// So many that have ended are followed, for what comes late.
const MOST_ENDED: usize = 1024;
/// After both ends closed, acknowledgements follow; more than these, and it goes on.
const CLOSING_PACKETS: u64 = 4;
/// What is remembered of all that are followed, in bytes.
const MOST_ROOM_BYTES: usize = 96 << 20;

/// After so many packets of one it is looked at what it takes of that.
const PACKETS_A_LOOK: u64 = 16;

/// The conversations of a file.
pub(crate) struct Conversations {
    tick_ns: i64,
    most_followed: usize,
    places: HashMap<Ends, usize>,
    /// Most packets are of the same conversation as the one before.
    last: Option<(Ends, usize)>,
    followed: Vec<Option<Box<Followed>>>,
    free: Vec<usize>,
    /// Places of those that have ended, in the order of their end, with the number and the packets they had then.
    ended: VecDeque<(usize, u64, u64)>,
    /// Places by size, as it was at some time since: the smallest first.
    smallest: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The size of the greatest that was let go before it was over.
    let_go_bytes: u64,
    room_bytes: usize,
    next_number: u64,
    kept: Kept,
}

/// Both ends in an order that does not depend on the direction.
type Ends = (SocketAddr, SocketAddr);

struct Followed {
    ends: Ends,
    talk: Talk,
    /// What may have come before it was followed, at most.
    earlier_bytes: u64,
    packets: u64,
    room_bytes: usize,
    has_ended: bool,
}

impl Followed {
    fn size(&self) -> u64 {
        self.earlier_bytes + self.talk.wire_bytes()
    }
}

/// What conversations come to.
pub(crate) struct Account {
    /// The biggest, most bytes first.
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) unlisted: Unlisted,
    /// Of all.
    pub(crate) overhead: Overhead,
    /// Payload that was sent and not seen, at least.
    pub(crate) unseen_bytes: u64,
}

impl Conversations {
    pub(crate) fn new(tick_ns: i64) -> Self {
        Self {
            tick_ns,
            most_followed: MOST_FOLLOWED,
            places: HashMap::new(),
            last: None,
            followed: Vec::new(),
            free: Vec::new(),
            ended: VecDeque::new(),
            smallest: BinaryHeap::new(),
            let_go_bytes: 0,
            room_bytes: 0,
            next_number: 1,
            kept: Kept::default(),
        }
    }

    /// Takes the next segment of the file, at a time after its begin.
    pub(crate) fn see(&mut self, segment: &Segment<'_>, at_ns: i64, wire_bytes: u64) {
        let (one, other) = (segment.source, segment.destination);
        let (ends, known) = match self.last {
            Some((last, place)) if last == (one, other) || last == (other, one) => (last, Some(place)),
            _ => {
                let ends = if one <= other { (one, other) } else { (other, one) };
                (ends, self.places.get(&ends).copied())
            }
        };
        let place = match known.and_then(|place| self.followed[place].as_ref().map(|one| (place, one))) {
            Some((place, followed)) if !followed.talk.is_opened_anew(segment) => place,
            Some((place, _)) => {
                self.end(place);
                self.follow(ends, segment, at_ns)
            }
            None => self.follow(ends, segment, at_ns),
        };
        self.last = Some((ends, place));
        if let Some(followed) = &mut self.followed[place] {
            followed.talk.see(segment, at_ns, wire_bytes);
            followed.packets += 1;
            // A segment adds little, so that it is enough to look now and then.
            if followed.packets % PACKETS_A_LOOK == 1 {
                let room_bytes = followed.talk.room();
                self.room_bytes = self.room_bytes - followed.room_bytes + room_bytes;
                followed.room_bytes = room_bytes;
            }
            if !followed.has_ended && followed.talk.has_ended() {
                followed.has_ended = true;
                self.ended.push_back((place, followed.talk.number, followed.packets));
            }
        }
        if self.ended.len() > MOST_ENDED {
            self.end_oldest();
        }
        while self.room_bytes > MOST_ROOM_BYTES && self.followed.len() - self.free.len() > 1 {
            self.make_room();
        }
    }

    /// What they come to.
    pub(crate) fn finish(mut self) -> Account {
        for followed in self.followed.drain(..).flatten() {
            self.kept.take(followed.talk);
        }
        let (conversations, mut unlisted, overhead, unseen_bytes) = self.kept.finish();
        unlisted.let_go_bytes = self.let_go_bytes;
        Account { conversations, unlisted, overhead, unseen_bytes }
    }

    /// Begins to follow another one.
    fn follow(&mut self, ends: Ends, segment: &Segment<'_>, at_ns: i64) -> usize {
        if self.followed.len() - self.free.len() >= self.most_followed {
            self.make_room();
        }
        let mut talk = Talk::new(self.next_number, segment, at_ns, self.tick_ns);
        self.next_number += 1;
        // Of one that opens here nothing came before, but openings without an answer.
        if !segment.flags.syn() || segment.flags.ack() {
            talk.may_lack_bytes = self.let_go_bytes;
        }
        let number = talk.number;
        let followed = Box::new(Followed {
            ends,
            talk,
            earlier_bytes: self.let_go_bytes,
            packets: 0,
            room_bytes: 0,
            has_ended: false,
        });
        let size = followed.size();
        let place = match self.free.pop() {
            Some(place) => {
                self.followed[place] = Some(followed);
                place
            }
            None => {
                self.followed.push(Some(followed));
                self.followed.len() - 1
            }
        };
        self.places.insert(ends, place);
        self.smallest.push(Reverse((size, number, place)));
        // It also holds those that were put away since.
        if self.smallest.len() > 2 * self.most_followed {
            let live = |one: &Reverse<(u64, u64, usize)>| {
                let Reverse((_, number, place)) = *one;
                self.followed[place].as_ref().is_some_and(|followed| followed.talk.number == number)
            };
            self.smallest = self.smallest.drain().filter(live).collect();
        }
        place
    }

    /// Puts one away that is over.
    fn end(&mut self, place: usize) {
        if let Some(followed) = self.take(place) {
            self.kept.take(followed.talk);
        }
    }

    /// Puts the one away that ended first, of those for which nothing came since.
    fn end_oldest(&mut self) {
        while let Some((place, number, packets)) = self.ended.pop_front() {
            let Some(followed) = self.followed[place].as_mut().filter(|one| one.talk.number == number) else {
                continue;
            };
            if !followed.talk.has_ended() {
                // Refused, it was opened again.
                followed.has_ended = false;
            } else if followed.packets > packets + CLOSING_PACKETS {
                self.ended.push_back((place, number, followed.packets));
            } else {
                self.end(place);
                return;
            }
        }
    }

    /// Puts one away that has ended; if there is none, lets the smallest go.
    fn make_room(&mut self) {
        let followed = self.followed.len() - self.free.len();
        self.end_oldest();
        if self.followed.len() - self.free.len() < followed {
            return;
        }
        while let Some(Reverse((size, number, place))) = self.smallest.pop() {
            let Some(one) = self.followed[place].as_ref().filter(|one| one.talk.number == number) else {
                continue;
            };
            // It has grown since.
            if one.size() > size {
                self.smallest.push(Reverse((one.size(), number, place)));
                continue;
            }
            if let Some(followed) = self.take(place) {
                self.let_go_bytes = self.let_go_bytes.max(size);
                self.kept.let_go(&followed.talk);
            }
            return;
        }
    }

    fn take(&mut self, place: usize) -> Option<Box<Followed>> {
        let followed = self.followed[place].take()?;
        self.places.remove(&followed.ends);
        self.free.push(place);
        self.last = None;
        self.room_bytes -= followed.room_bytes;
        Some(followed)
    }
}

#[cfg(test)]
mod tests;
