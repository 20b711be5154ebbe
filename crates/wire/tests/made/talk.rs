//! A conversation with known faults: its packets, and after each what is to be told of it.

use crate::frames::{ACK, FIN, SYN, Segment};

/// From one part of the payload to the next.
const STEP_NS: u64 = 10_000_000;
/// What makes a time-out.
const LONG_NS: u64 = 300_000_000;
/// Less than the round trip of the handshake, by which segments may overtake each other.
const SHORT_NS: u64 = 100_000;

/// What happens to a part of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Seen, lost behind the capture, sent again after a time-out.
    LostBehind,
    /// The same, with as many later parts and duplicate acknowledgements as make the sender repeat it at once.
    LostBehindFast,
    /// Lost before the capture, and sent again.
    LostBefore,
    /// It comes behind the next one.
    Reordered,
    /// Passed, acknowledged, but not captured.
    Missed,
    /// Sent again although it was acknowledged.
    Spurious,
    /// Lost behind the capture, and sent again in one segment with the next part.
    Merged,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::None,
        Self::LostBehind,
        Self::LostBehindFast,
        Self::LostBefore,
        Self::Reordered,
        Self::Missed,
        Self::Spurious,
        Self::Merged,
    ];
}

/// What is to be told of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Truth {
    pub(crate) packets: u64,
    pub(crate) goodput_bytes: u64,
    pub(crate) repeated_bytes: u64,
    pub(crate) unseen_bytes: u64,
    pub(crate) fast: u64,
    /// After a time-out or within recovery.
    pub(crate) later: u64,
    pub(crate) spurious: u64,
    pub(crate) out_of_order: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicate_acks: u64,
    pub(crate) acks_of_unseen: u64,
}

/// A packet of a conversation, and what is to be told once it was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) at_ns: u64,
    pub(crate) segment: Segment,
    pub(crate) truth: Truth,
}

/// A conversation as it is made.
pub(crate) struct Talk {
    pub(crate) sent: Vec<Sent>,
    client_port: u16,
    starts: [u32; 2],
    part_bytes: u32,
    now_ns: u64,
    /// What of `a`'s payload was seen.
    next: u32,
    truth: Truth,
}

impl Talk {
    /// Of so many parts with their faults, each of `part_bytes`.
    pub(crate) fn new(
        client_port: u16,
        start_ns: u64,
        starts: [u32; 2],
        part_bytes: u32,
        faults: &[Fault],
    ) -> Self {
        let mut talk = Self {
            sent: Vec::new(),
            client_port,
            starts,
            part_bytes,
            now_ns: start_ns,
            next: 1,
            truth: Truth::default(),
        };
        talk.send(true, 0, 0, SYN, 0);
        talk.wait(STEP_NS / 2);
        talk.send(false, 0, 1, SYN | ACK, 0);
        talk.wait(STEP_NS / 2);
        talk.send(true, 1, 1, ACK, 0);
        let mut part = 0;
        while let Some(fault) = faults.get(part) {
            talk.wait(STEP_NS);
            part += talk.part(part as u32, *fault) as usize;
        }
        talk.wait(STEP_NS);
        let end = 1 + part as u32 * part_bytes;
        // What was missed last may have been the closing as well as payload, until the closing comes behind it.
        talk.send_with(true, end, 1, FIN | ACK, 0, |truth, is_gap| truth.gaps += u64::from(is_gap));
        talk.wait(STEP_NS / 2);
        talk.send(false, 1, end + 1, FIN | ACK, 0);
        talk.wait(STEP_NS / 2);
        talk.send(true, end + 1, 2, ACK, 0);
        talk
    }

    /// Sends a part; tells how many parts that took.
    fn part(&mut self, part: u32, fault: Fault) -> u32 {
        let length = u64::from(self.part_bytes);
        let begin = 1 + part * self.part_bytes;
        let at = |parts: u32| begin + parts * self.part_bytes;
        let (second, third, fourth) = (at(1), at(2), at(3));
        match fault {
            Fault::None => {
                self.fresh(begin);
                self.acknowledge(second);
                1
            }
            Fault::LostBehind => {
                self.fresh(begin);
                self.wait(LONG_NS);
                self.again(begin, |truth| truth.later += 1);
                self.acknowledge(second);
                1
            }
            Fault::LostBehindFast => {
                [begin, second, third].into_iter().for_each(|at| self.fresh(at));
                for to in [third, fourth, fourth] {
                    let has = [second, to];
                    self.wait(SHORT_NS);
                    self.hole(begin, has, part == 0);
                }
                self.wait(SHORT_NS);
                self.again(begin, |truth| truth.fast += 1);
                self.acknowledge(fourth);
                3
            }
            Fault::LostBefore => {
                self.truth.unseen_bytes += length;
                self.fresh(second);
                self.hole(begin, [second, third], part == 0);
                self.wait(LONG_NS);
                self.truth.unseen_bytes -= length;
                self.truth.later += 1;
                self.fresh_below(begin);
                self.acknowledge(third);
                2
            }
            Fault::Reordered => {
                self.truth.unseen_bytes += length;
                self.fresh(second);
                self.wait(SHORT_NS);
                self.truth.unseen_bytes -= length;
                self.truth.out_of_order += 1;
                self.fresh_below(begin);
                self.acknowledge(third);
                2
            }
            Fault::Missed => {
                // The last number may be the closing's until payload follows.
                self.truth.unseen_bytes += length - 1;
                self.truth.acks_of_unseen += 1;
                self.acknowledge(second);
                self.wait(STEP_NS);
                self.truth.unseen_bytes += 1;
                self.fresh(second);
                self.acknowledge(third);
                2
            }
            Fault::Spurious => {
                self.fresh(begin);
                self.acknowledge(second);
                self.wait(STEP_NS);
                self.again(begin, |truth| truth.spurious += 1);
                1
            }
            Fault::Merged => {
                self.fresh(begin);
                self.wait(LONG_NS);
                self.truth.later += 1;
                self.truth.goodput_bytes += length;
                self.truth.repeated_bytes += length;
                self.next = third;
                self.send(true, begin, 1, ACK, 2 * self.part_bytes);
                self.acknowledge(third);
                2
            }
        }
    }

    /// Payload that was not seen yet, perhaps behind a gap.
    fn fresh(&mut self, seq: u32) {
        self.truth.gaps += u64::from(seq > self.next);
        self.next = seq + self.part_bytes;
        self.fresh_below(seq);
    }

    fn fresh_below(&mut self, seq: u32) {
        self.truth.goodput_bytes += u64::from(self.part_bytes);
        self.send(true, seq, 1, ACK, self.part_bytes);
    }

    fn again(&mut self, seq: u32, count: impl Fn(&mut Truth)) {
        count(&mut self.truth);
        self.truth.repeated_bytes += u64::from(self.part_bytes);
        self.send(true, seq, 1, ACK, self.part_bytes);
    }

    fn acknowledge(&mut self, ack: u32) {
        self.wait(STEP_NS / 2);
        self.send(false, 1, ack, ACK, 0);
    }

    /// An acknowledgement that repeats the last one, and says what is there beyond a hole. Where nothing was acknowledged but
    /// the opening, the first has a window of its own and so is none.
    fn hole(&mut self, ack: u32, has: [u32; 2], is_first: bool) {
        let before = self.sent.iter().rev().find(|sent| !sent.segment.is_from_a);
        let repeats = before.is_some_and(|sent| sent.segment.ack == self.starts[0].wrapping_add(ack));
        debug_assert!(repeats || is_first);
        self.truth.duplicate_acks += u64::from(repeats);
        let has = has.map(|number| self.starts[0].wrapping_add(number));
        let mut segment = self.segment(false, 1, ack, ACK, 0);
        segment.sack = Some(has);
        self.push(segment);
    }

    fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    fn send(&mut self, is_from_a: bool, seq: u32, ack: u32, flags: u8, bytes: u32) {
        let segment = self.segment(is_from_a, seq, ack, flags, bytes);
        self.push(segment);
    }

    fn send_with(
        &mut self,
        is_from_a: bool,
        seq: u32,
        ack: u32,
        flags: u8,
        bytes: u32,
        count: impl Fn(&mut Truth, bool),
    ) {
        count(&mut self.truth, seq > self.next);
        self.send(is_from_a, seq, ack, flags, bytes);
    }

    fn segment(&self, is_from_a: bool, seq: u32, ack: u32, flags: u8, bytes: u32) -> Segment {
        let [own, other] = if is_from_a { self.starts } else { [self.starts[1], self.starts[0]] };
        Segment {
            is_from_a,
            client_port: self.client_port,
            seq: own.wrapping_add(seq),
            ack: if flags & ACK != 0 { other.wrapping_add(ack) } else { 0 },
            flags,
            bytes,
            sack: None,
            id: self.sent.len() as u16,
        }
    }

    fn push(&mut self, segment: Segment) {
        self.truth.packets += 1;
        self.sent.push(Sent { at_ns: self.now_ns, segment, truth: self.truth });
    }
}
