//! Conversations written out segment by segment: what each is, and what is counted.

use proptest::prelude::*;

use super::*;
use crate::decode::Flags;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const MS: i64 = 1_000_000;
/// Link, IP and TCP header.
const HEADERS: u64 = 14 + 20 + 20;

/// A conversation that is being written; sequence numbers count from each end's own start.
struct Script {
    conversations: Conversations,
    starts: [u32; 2],
}

#[derive(Clone, Copy)]
struct Sent {
    at_ms: f64,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    bytes: u32,
    sack_end: Option<u32>,
}

fn data(at_ms: f64, seq: u32, bytes: u32) -> Sent {
    Sent { at_ms, seq, ack: 1, flags: ACK, window: 500, bytes, sack_end: None }
}

fn ack(at_ms: f64, ack: u32) -> Sent {
    Sent { at_ms, seq: 1, ack, flags: ACK, window: 500, bytes: 0, sack_end: None }
}

impl Script {
    /// Both ends' sequence numbers pass 2^32 soon.
    fn new() -> Self {
        Self { conversations: Conversations::new(10 * MS), starts: [u32::MAX - 2500, u32::MAX - 10] }
    }

    /// Opened by `a` with a round trip of 10 ms; what follows counts from 1.
    fn opened() -> Self {
        let mut script = Self::new();
        script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
        script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(9.9, 1) });
        script.a(ack(10.0, 1));
        script
    }

    fn a(&mut self, sent: Sent) {
        self.send(sent, 0);
    }

    fn b(&mut self, sent: Sent) {
        self.send(sent, 1);
    }

    fn send(&mut self, sent: Sent, from: usize) {
        let ends = [SocketAddr::from(([10, 0, 0, 1], 4000)), SocketAddr::from(([10, 0, 0, 2], 80))];
        let acked = |ack: u32| self.starts[1 - from].wrapping_add(ack);
        let segment = Segment {
            source: ends[from],
            destination: ends[1 - from],
            seq: self.starts[from].wrapping_add(sent.seq),
            ack: acked(sent.ack),
            flags: Flags(sent.flags),
            window: sent.window,
            window_scale: (sent.flags & SYN != 0).then_some(0),
            sack_end: sent.sack_end.map(acked),
            payload_bytes: sent.bytes,
            ip_header_bytes: 20,
            tcp_header_bytes: 20,
        };
        self.conversations.see(&segment, (sent.at_ms * 1e6) as i64, HEADERS + u64::from(sent.bytes));
    }

    fn finish(self) -> Conversation {
        let mut all = self.conversations.finish();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

#[test]
fn a_whole_conversation_without_trouble() {
    let mut script = Script::opened();
    (0..4).for_each(|part| script.a(data(11.0 + f64::from(part), 1 + part * 1000, 1000)));
    script.b(ack(21.0, 2001));
    script.b(ack(24.0, 4001));
    script.a(Sent { flags: FIN | ACK, ..data(25.0, 4001, 0) });
    script.b(Sent { flags: FIN | ACK, ..ack(35.0, 4002) });
    script.a(Sent { seq: 4002, ack: 2, ..ack(35.5, 2) });
    let talk = script.finish();
    assert_eq!((talk.a.as_str(), talk.b.as_str()), ("10.0.0.1:4000", "10.0.0.2:80"));
    assert_eq!((talk.start_ms, talk.end_ms, talk.handshake_rtt_ms), (0.0, 35.5, Some(10.0)));
    assert_eq!((talk.from_a.syns, talk.from_a.fins, talk.from_b.syns, talk.from_b.fins), (1, 1, 1, 1));
    let rtt = talk.from_a.rtt_ms.unwrap();
    // The opening took 9.9, the second part 9, the last 10, the closing 10.
    assert_eq!((rtt.samples, rtt.max), (4, 10.0));
    let overhead = talk.overhead;
    assert_eq!((overhead.goodput_packets, overhead.goodput_bytes), (4, 4000));
    assert_eq!(
        (overhead.link_header_bytes, overhead.ip_header_bytes, overhead.tcp_header_bytes),
        (4 * 14, 4 * 20, 4 * 20)
    );
    assert_eq!((overhead.pure_acks.packets, overhead.handshakes.packets), (4, 4));
    assert_eq!(overhead.retransmissions, Amount::default());
    assert_eq!(overhead.total.wire_bytes, 4000 + 12 * HEADERS);
    let trouble = |flow: &dunlin_record::Flow| {
        flow.retransmissions.total()
            + flow.out_of_order
            + flow.duplicate_acks
            + flow.gaps
            + flow.acks_of_unseen
    };
    assert_eq!((trouble(&talk.from_a), trouble(&talk.from_b)), (0, 0));
    assert_eq!((talk.graph.tick, talk.graph.a_packets), (vec![0, 1, 2, 3], vec![1, 5, 1, 1]));
    assert_eq!(talk.graph.b_packets, [1, 0, 2, 1]);
}

#[test]
fn each_way_of_sending_again_is_told() {
    let mut script = Script::opened();
    (0..5).for_each(|part| script.a(data(11.0, 1 + part * 100, 100)));
    // The first is lost: the others are answered with duplicates and what is there beyond the hole.
    let hole = |at_ms, sack_end| Sent { sack_end: Some(sack_end), ..ack(at_ms, 1) };
    script.b(ack(20.0, 1));
    script.b(hole(21.0, 201));
    script.b(hole(21.1, 301));
    script.a(data(30.0, 1, 100)); // fast
    script.a(data(31.0, 101, 100)); // not asked for by the acknowledgements, but below what is there: recovery
    script.b(ack(41.0, 501));
    script.a(data(42.0, 101, 100)); // acknowledged already: spurious
    script.a(data(43.0, 501, 100));
    script.a(data(543.0, 501, 100)); // nothing was said for long: time-out
    script.a(data(544.0, 701, 100)); // after a gap
    script.a(data(545.0, 601, 100)); // out of order
    let talk = script.finish();
    let again = talk.from_a.retransmissions;
    assert_eq!((again.fast, again.recovery, again.spurious, again.timeout), (1, 1, 1, 1));
    assert_eq!((talk.from_a.out_of_order, talk.from_a.gaps), (1, 1));
    assert_eq!(talk.from_b.duplicate_acks, 3);
    assert_eq!(talk.overhead.retransmissions, Amount { packets: 4, wire_bytes: 4 * (HEADERS + 100) });
    assert_eq!((talk.overhead.goodput_bytes, talk.from_a.payload_bytes), (800, 1200));
    // The opening is the only one that was acknowledged by itself: all else was, together with what was sent twice.
    assert_eq!(talk.from_a.rtt_ms.map(|rtt| rtt.samples), Some(1));
}

#[test]
fn without_its_begin_a_conversation_is_taken_as_it_comes() {
    let mut script = Script::new();
    script.b(ack(0.0, 5000));
    script.a(data(1.0, 5000, 100));
    script.a(data(2.0, 5200, 100));
    script.a(data(4.0, 5100, 100)); // 2 ms: out of order
    script.a(data(8.0, 5000, 100)); // 6 ms: sent again
    let talk = script.finish();
    assert_eq!((talk.a.as_str(), talk.handshake_rtt_ms), ("10.0.0.2:80", None), "who sent first");
    assert_eq!((talk.from_b.out_of_order, talk.from_b.retransmissions.timeout), (1, 1));
    assert_eq!(talk.from_a.windows_full, 0, "the window's scale is not known");
}

#[test]
fn an_answer_tells_who_opened() {
    let mut script = Script::new();
    script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(9.0, 1) });
    assert_eq!(script.finish().a, "10.0.0.1:4000");
}

#[test]
fn windows_that_close_and_open_again() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 500)); // as much as can be taken
    script.b(Sent { window: 0, ..ack(21.0, 501) });
    script.a(Sent { bytes: 0, ..data(221.0, 500, 0) }); // is anybody there?
    script.b(Sent { window: 0, ..ack(231.0, 501) });
    script.a(data(431.0, 501, 1)); // a byte that is not taken
    script.b(Sent { window: 0, ..ack(441.0, 501) });
    script.b(ack(500.0, 501));
    script.a(data(501.0, 501, 400)); // with that byte: new
    let talk = script.finish();
    assert_eq!((talk.from_a.windows_full, talk.from_b.zero_windows, talk.from_a.keep_alives), (1, 3, 1));
    assert_eq!((talk.from_a.retransmissions.total(), talk.from_b.duplicate_acks), (0, 0));
}

#[test]
fn acknowledgements_of_what_was_not_captured_are_said_once() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 100));
    script.a(data(12.0, 301, 100));
    script.b(ack(21.0, 401));
    script.b(ack(22.0, 401));
    let talk = script.finish();
    assert_eq!((talk.from_a.gaps, talk.from_b.acks_of_unseen), (1, 1));
}

#[test]
fn ports_that_are_used_again_are_another_conversation() {
    let mut script = Script::opened();
    script.a(Sent { flags: RST, ..data(11.0, 1, 0) });
    script.a(Sent { flags: SYN, ..data(20.0, 0, 0) });
    script.starts[0] = 77;
    script.a(Sent { flags: SYN, ..data(30.0, 0, 0) });
    script.a(Sent { flags: SYN, ..data(1030.0, 0, 0) });
    let all = script.conversations.finish();
    let counts: Vec<_> = all.iter().map(|one| (one.number, one.from_a.syns, one.from_a.resets)).collect();
    assert_eq!(counts, [(1, 2, 1), (2, 2, 0)]);
    assert_eq!(all[1].from_a.retransmissions.timeout, 1, "the opening was sent again");
}

#[test]
fn conversations_beyond_the_bound_are_counted_only() {
    let mut conversations = Conversations::new(MS);
    for port in 0..=MOST_CONVERSATIONS {
        let segment = Segment {
            source: SocketAddr::from(([10, 0, 0, 1], port as u16)),
            destination: SocketAddr::from(([10, 0, 0, 2], 80)),
            seq: 0,
            ack: 0,
            flags: Flags(SYN),
            window: 0,
            window_scale: None,
            sack_end: None,
            payload_bytes: 0,
            ip_header_bytes: 20,
            tcp_header_bytes: 20,
        };
        conversations.see(&segment, 0, HEADERS);
    }
    assert_eq!(conversations.not_followed(), Amount { packets: 1, wire_bytes: HEADERS });
    assert_eq!(conversations.finish().len(), MOST_CONVERSATIONS);
}

proptest! {
    /// Whatever is sent, each packet is in one class, and the classes add up.
    #[test]
    fn nothing_is_lost(
        segments in proptest::collection::vec(
            (any::<bool>(), any::<u16>(), any::<u16>(), any::<u8>(), 0_u32..2000, 0_u16..3, -50_i16..100),
            0..200,
        ),
    ) {
        let mut script = Script::new();
        let mut at_ms = 0.0;
        let mut wire_bytes = 0;
        for (from_a, seq, ack, flags, bytes, window, step) in &segments {
            at_ms += f64::from(*step) / 10.0;
            wire_bytes += HEADERS + u64::from(*bytes);
            let sent = Sent {
                at_ms,
                seq: (*seq).into(),
                ack: (*ack).into(),
                // Openings would make new conversations.
                flags: flags & !SYN,
                window: *window,
                bytes: *bytes,
                sack_end: None,
            };
            if *from_a { script.a(sent) } else { script.b(sent) }
        }
        let all = script.conversations.finish();
        let overhead = all.iter().fold(Overhead::default(), |mut sum, one| { sum += one.overhead; sum });
        prop_assert_eq!(overhead.total, Amount { packets: segments.len() as u64, wire_bytes });
        prop_assert_eq!(
            overhead.goodput_bytes + overhead.link_header_bytes + overhead.ip_header_bytes + overhead.tcp_header_bytes
                + overhead.pure_acks.wire_bytes + overhead.handshakes.wire_bytes + overhead.retransmissions.wire_bytes,
            wire_bytes
        );
    }
}
