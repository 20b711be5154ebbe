//! Conversations written out segment by segment: what each is, and what is counted.

use dunlin_record::Amount;
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
    mptcp: u32,
}

fn data(at_ms: f64, seq: u32, bytes: u32) -> Sent {
    Sent { at_ms, seq, ack: 1, flags: ACK, window: 500, bytes, sack_end: None, mptcp: 0 }
}

fn ack(at_ms: f64, ack: u32) -> Sent {
    Sent { at_ms, seq: 1, ack, flags: ACK, window: 500, bytes: 0, sack_end: None, mptcp: 0 }
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
            mptcp: sent.mptcp,
            payload_bytes: sent.bytes,
            payload: &[],
            ip_header_bytes: 20,
            tcp_header_bytes: 20,
        };
        self.conversations.see(&segment, (sent.at_ms * 1e6) as i64, HEADERS + u64::from(sent.bytes));
    }

    fn finish(self) -> Conversation {
        let mut all = self.conversations.finish().conversations;
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
    let all = script.conversations.finish().conversations;
    let counts: Vec<_> = all.iter().map(|one| (one.number, one.from_a.syns, one.from_a.resets)).collect();
    assert_eq!(counts, [(1, 2, 1), (2, 2, 0)]);
    assert_eq!(all[1].from_a.retransmissions.timeout, 1, "the opening was sent again");
}

/// A host that has forgotten what it is asked about answers with an old acknowledgement, and is told to forget it.
#[test]
fn an_abort_s_number_is_no_position() {
    for stale in [5, 70_000, 1 << 31, 3 << 30] {
        let mut script = Script::new();
        script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
        script.b(Sent { seq: stale, ..ack(1.0, stale) });
        script.a(Sent { flags: RST, ..data(2.0, stale, 0) });
        script.a(Sent { flags: SYN, seq: 0, ..data(1000.0, 0, 0) });
        script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(1001.0, 1) });
        script.a(ack(1002.0, 1));
        for part in 0..100 {
            script.a(data(1003.0 + f64::from(part), 1 + part * 1000, 1000));
            script.b(ack(1003.5 + f64::from(part), 1 + (part + 1) * 1000));
        }
        let talk = script.finish();
        let again = talk.from_a.retransmissions.total() + talk.from_b.retransmissions.total();
        assert_eq!((again, talk.overhead.goodput_bytes), (1, 100_000), "{stale}");
        assert_eq!((talk.from_a.gaps, talk.from_b.gaps, talk.from_b.acks_of_unseen), (0, 0, 0), "{stale}");
        assert_eq!((talk.from_a.unseen_bytes, talk.from_b.unseen_bytes), (0, 0), "{stale}");
        assert_eq!(talk.handshake_rtt_ms, Some(2.0), "{stale}");
    }
}

#[test]
fn refused_and_then_accepted_it_begins_at_the_number_of_the_one_that_accepted() {
    for begin in [7, 1 << 20, (1 << 31) + 7, u32::MAX - 5000] {
        let mut script = Script::new();
        script.starts[1] = begin;
        script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
        let zero = 0_u32.wrapping_sub(begin);
        script.b(Sent { flags: RST | ACK, seq: zero, window: 0, ..ack(1.0, 1) });
        script.a(Sent { flags: SYN, seq: 0, ..data(1000.0, 0, 0) });
        script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(1001.0, 1) });
        script.a(ack(1002.0, 1));
        (0..10).for_each(|part| script.b(data(1003.0 + f64::from(part), 1 + part * 1000, 1000)));
        script.a(ack(1020.0, 10_001));
        let talk = script.finish();
        let again = talk.from_a.retransmissions.total() + talk.from_b.retransmissions.total();
        assert_eq!((again, talk.overhead.goodput_bytes), (1, 10_000), "{begin}");
        assert_eq!((talk.from_b.gaps, talk.from_b.unseen_bytes, talk.from_a.acks_of_unseen), (0, 0, 0));
    }
}

#[test]
fn stamps_that_step_back_far_are_no_disorder() {
    let mut script = Script::opened();
    (0..10).for_each(|part| script.a(data(11.0 + f64::from(part), 1 + part * 1000, 1000)));
    // The clock was set an hour back, and all but the last is sent again.
    let hour = 3_600_000.0;
    (0..9).for_each(|part| script.a(data(30.0 - hour + f64::from(part), 1 + part * 1000, 1000)));
    let talk = script.finish();
    assert_eq!((talk.from_a.out_of_order, talk.from_a.retransmissions.total()), (0, 9));
    assert_eq!(talk.overhead.goodput_bytes, 10_000);
    assert_eq!(talk.overhead.retransmissions, Amount { packets: 9, wire_bytes: 9 * (HEADERS + 1000) });
    let mut micro = Script::opened();
    micro.a(data(11.0, 1, 100));
    micro.a(data(12.0, 201, 100));
    micro.a(data(11.995, 101, 100));
    let talk = micro.finish();
    assert_eq!((talk.from_a.out_of_order, talk.overhead.goodput_bytes), (1, 300), "5 us back");
}

#[test]
fn an_answer_that_stands_before_its_opening_is_of_it() {
    let mut script = Script::new();
    let scaled = 7;
    script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(9.9, 1) });
    script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
    script.a(ack(10.0, 1));
    script.a(data(11.0, 1, 500));
    let talk = script.finish();
    assert_eq!((talk.a.as_str(), talk.handshake_rtt_ms), ("10.0.0.1:4000", Some(10.0)));
    assert_eq!((talk.from_a.syns, talk.from_b.syns, talk.from_a.windows_full), (1, 1, 1), "{scaled}");
    let trouble = |flow: &dunlin_record::Flow| (flow.retransmissions.total(), flow.gaps, flow.unseen_bytes);
    assert_eq!((trouble(&talk.from_a), trouble(&talk.from_b)), ((0, 0, 0), (0, 0, 0)));
}

#[test]
fn both_ends_may_open_at_once() {
    let mut script = Script::new();
    script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
    script.b(Sent { flags: SYN, seq: 0, ack: 0, ..ack(1.0, 0) });
    script.a(Sent { flags: SYN | ACK, seq: 0, ..data(5.0, 0, 0) });
    script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(6.0, 1) });
    script.a(ack(10.0, 1));
    script.a(data(11.0, 1, 500));
    script.b(ack(21.0, 501));
    let talk = script.finish();
    assert_eq!((talk.from_a.syns, talk.from_b.syns), (2, 2));
    assert_eq!((talk.handshake_rtt_ms, talk.from_a.windows_full), (Some(10.0), 1));
    assert_eq!(talk.overhead.goodput_bytes, 500);
}

#[test]
fn a_handshake_within_a_coarse_stamp_does_not_make_disorder_retransmissions() {
    let mut script = Script::new();
    script.a(Sent { flags: SYN, seq: 0, ..data(0.0, 0, 0) });
    script.b(Sent { flags: SYN | ACK, seq: 0, ..ack(0.0, 1) });
    script.a(ack(0.0, 1));
    script.a(data(1.0, 1, 100));
    script.a(data(2.0, 201, 100));
    script.a(data(3.0, 101, 100));
    let talk = script.finish();
    assert_eq!(talk.handshake_rtt_ms, Some(0.0));
    assert_eq!((talk.from_a.out_of_order, talk.from_a.retransmissions.total()), (1, 0));
}

#[test]
fn the_first_that_is_seen_of_a_side_may_be_spurious() {
    let mut script = Script::new();
    script.b(ack(0.0, 5000));
    script.a(data(1.0, 4900, 100));
    let talk = script.finish();
    let from_a = [&talk.from_a, &talk.from_b].into_iter().find(|flow| flow.payload_bytes > 0).unwrap();
    assert_eq!(from_a.retransmissions.spurious, 1);
    assert_eq!((talk.overhead.goodput_bytes, talk.overhead.retransmissions.packets), (0, 1));
}

#[test]
fn what_was_acknowledged_unseen_is_said_once_while_the_other_side_stands_still() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 100));
    script.b(ack(21.0, 401));
    script.b(ack(22.0, 401));
    script.b(Sent { window: 600, ..ack(23.0, 401) });
    script.a(data(24.0, 401, 100));
    script.b(ack(25.0, 501));
    let talk = script.finish();
    assert_eq!((talk.from_b.acks_of_unseen, talk.from_a.gaps, talk.from_a.unseen_bytes), (1, 1, 300));
}

#[test]
fn what_mptcp_signals_is_no_duplicate() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 100));
    script.b(ack(20.0, 101));
    script.b(Sent { mptcp: 7, ..ack(21.0, 101) });
    script.b(Sent { mptcp: 8, ..ack(22.0, 101) });
    script.b(Sent { mptcp: 8, ..ack(23.0, 101) });
    script.b(ack(24.0, 101));
    assert_eq!(script.finish().from_b.duplicate_acks, 2, "the same signal again, and none");
}

#[test]
fn what_repeats_some_and_brings_some_is_both() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 1000));
    script.a(data(250.0, 1, 3000));
    let talk = script.finish();
    assert_eq!((talk.from_a.retransmissions.timeout, talk.overhead.goodput_bytes), (1, 3000));
    assert_eq!(talk.overhead.retransmissions, Amount { packets: 0, wire_bytes: 1000 });
    assert_eq!(talk.overhead.goodput_packets, 2);
    assert_eq!(talk.overhead.total.wire_bytes, 4000 + 5 * HEADERS);
}

/// Of segments that another capture would have, this one has none.
#[test]
fn holes_are_told_in_bytes() {
    let mut script = Script::opened();
    for part in (0..10).filter(|part| ![3, 4, 7].contains(part)) {
        script.a(data(11.0 + f64::from(part), 1 + part * 1000, 1000));
    }
    script.b(ack(30.0, 10_001));
    script.b(ack(31.0, 15_001));
    // Long after it was acknowledged: the first time was missed.
    script.a(data(300.0, 7001, 1000));
    script.a(Sent { flags: FIN | ACK, ..data(310.0, 15_001, 0) });
    script.b(ack(320.0, 15_002));
    let talk = script.finish();
    assert_eq!(talk.from_a.unseen_bytes, 3000 + 5000);
    assert_eq!((talk.overhead.goodput_bytes, talk.from_a.retransmissions.total()), (7000, 1));
    assert_eq!((talk.from_a.gaps, talk.from_b.acks_of_unseen), (3, 2));
}

/// As seen behind a link that loses: what fills a hole is new here, and in time.
#[test]
fn what_was_lost_before_the_capture_and_sent_again_is_goodput() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 100));
    script.a(data(11.1, 201, 100));
    script.b(ack(11.2, 101));
    script.b(Sent { sack_end: Some(301), ..ack(11.3, 101) });
    script.a(data(31.0, 101, 100));
    script.b(ack(31.1, 301));
    let talk = script.finish();
    assert_eq!((talk.from_a.retransmissions.total(), talk.from_a.gaps), (1, 1));
    assert_eq!((talk.overhead.goodput_bytes, talk.from_a.unseen_bytes), (300, 0));
    assert_eq!(talk.overhead.retransmissions, Amount::default());
}

#[test]
fn data_behind_its_own_acknowledgement_is_out_of_order() {
    let mut script = Script::opened();
    script.a(data(11.0, 1, 100));
    script.b(ack(11.205, 201));
    script.a(data(11.2, 101, 100));
    script.a(data(100.0, 101, 100));
    let talk = script.finish();
    assert_eq!((talk.from_a.out_of_order, talk.from_a.retransmissions.spurious), (1, 1));
    assert_eq!((talk.overhead.goodput_bytes, talk.from_a.unseen_bytes), (200, 0));
}

/// Conversations between many ports and one.
struct Ports(Conversations);

impl Ports {
    fn new(most_followed: usize) -> Self {
        Self(Conversations { most_followed, ..Conversations::new(MS) })
    }

    /// `numbers` are those of the segment and of what it acknowledges.
    fn send(&mut self, client: u32, is_to: bool, numbers: [u32; 2], flags: u8, bytes: u32, at_ns: i64) {
        let [seq, ack] = numbers;
        let [high, a, b, c] = client.to_be_bytes();
        let client = SocketAddr::from(([10 | high, a, b, c], 40_000));
        let server = SocketAddr::from(([192, 168, 0, 1], 80));
        let (source, destination) = if is_to { (client, server) } else { (server, client) };
        let segment = Segment {
            source,
            destination,
            seq,
            ack,
            flags: Flags(flags),
            window: 500,
            window_scale: None,
            sack_end: None,
            mptcp: 0,
            payload_bytes: bytes,
            payload: &[],
            ip_header_bytes: 20,
            tcp_header_bytes: 20,
        };
        self.0.see(&segment, at_ns, HEADERS + u64::from(bytes));
    }

    /// Opened, so many bytes, closed.
    fn whole(&mut self, client: u32, bytes: u32, at_ns: i64) {
        self.send(client, true, [0, 0], SYN, 0, at_ns);
        self.send(client, false, [0, 1], SYN | ACK, 0, at_ns + 1000);
        self.send(client, true, [1, 1], ACK, 0, at_ns + 2000);
        let mut sent = 0;
        while sent < bytes {
            let part = (bytes - sent).min(1000);
            self.send(client, true, [1 + sent, 1], ACK, part, at_ns + 3000);
            sent += part;
        }
        self.send(client, true, [1 + bytes, 1], FIN | ACK, 0, at_ns + 4000);
        self.send(client, false, [1, 2 + bytes], FIN | ACK, 0, at_ns + 5000);
        self.send(client, true, [2 + bytes, 2], ACK, 0, at_ns + 6000);
    }
}

#[test]
fn of_many_conversations_one_after_the_other_the_biggest_are_whole_and_all_are_counted() {
    let mut ports = Ports::new(MOST_FOLLOWED);
    let count = 50_000;
    // The bigger, the later in a strange order.
    let size = |client: u32| 1 + client.wrapping_mul(7919) % count;
    (0..count).for_each(|client| ports.whole(client, size(client), i64::from(client) * 10_000));
    assert!(ports.0.room_bytes < 32 << 20, "{} bytes are remembered", ports.0.room_bytes);
    let account = ports.0.finish();
    let sizes: Vec<u64> = account.conversations.iter().map(|one| one.overhead.goodput_bytes).collect();
    let mut expected: Vec<u64> = (0..count).map(|client| size(client).into()).collect();
    expected.sort_by_key(|size| std::cmp::Reverse(*size));
    assert_eq!(account.overhead.goodput_bytes, expected.iter().sum::<u64>());
    assert_eq!(sizes[..1000], expected[..1000]);
    assert_eq!(account.unlisted.conversations + sizes.len() as u64, u64::from(count));
    assert_eq!((account.unlisted.let_go, account.unlisted.let_go_bytes), (0, 0));
    let listed: u64 = account.conversations.iter().map(|one| one.overhead.total.packets).sum();
    assert_eq!(listed + account.unlisted.total.packets, account.overhead.total.packets);
    assert!(
        account.conversations.iter().all(|one| one.may_lack_bytes == 0 && one.handshake_rtt_ms.is_some())
    );
}

/// Half of all bytes are of one conversation that goes on and on among ever new ones that never end.
#[test]
fn of_more_than_can_be_followed_at_once_the_biggest_is_kept_and_what_it_may_lack_is_told() {
    let most = 100;
    let mut ports = Ports::new(most);
    let flood = 20_000;
    for client in 0..flood {
        ports.send(1 + client, true, [7, 1], ACK, 10, i64::from(client));
        // It begins in the middle, when much was let go already.
        if client > 5000 {
            ports.send(0, true, [client * 10, 1], ACK, 10, i64::from(client));
        }
    }
    let account = ports.0.finish();
    let biggest = &account.conversations[0];
    assert_eq!(biggest.a, "10.0.0.0:40000");
    let total = u64::from(2 * flood - 5001) * (HEADERS + 10);
    assert_eq!(account.overhead.total.wire_bytes, total);
    let bound = total / most as u64;
    assert!((1..=bound).contains(&account.unlisted.let_go_bytes), "{:?}", account.unlisted);
    let truth = u64::from(flood - 5001) * (HEADERS + 10);
    let told = biggest.overhead.total.wire_bytes;
    assert!((told..=told + biggest.may_lack_bytes).contains(&truth), "{told} of {truth}");
    assert!(biggest.may_lack_bytes <= account.unlisted.let_go_bytes);
    assert_eq!(account.conversations.len(), most);
    assert_eq!(account.unlisted.conversations, account.unlisted.let_go);
}

#[test]
fn what_one_conversation_takes_of_the_memory_is_bounded() {
    let mut ports = Ports::new(MOST_FOLLOWED);
    // Nothing is ever acknowledged, each segment has a tick of its own.
    for client in 0..40 {
        for part in 0..60_000 {
            ports.send(client, true, [part * 20, 1], ACK, 10, i64::from(part) * 1_000_000);
        }
        assert!(ports.0.room_bytes <= MOST_ROOM_BYTES);
    }
    let account = ports.0.finish();
    assert_eq!(account.overhead.total.packets, 40 * 60_000);
    assert_eq!(account.overhead.goodput_bytes, 40 * 600_000);
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
                mptcp: 0,
            };
            if *from_a { script.a(sent) } else { script.b(sent) }
        }
        let account = script.conversations.finish();
        let all = &account.conversations;
        let overhead = all.iter().fold(Overhead::default(), |mut sum, one| { sum += one.overhead; sum });
        prop_assert_eq!(overhead, account.overhead);
        prop_assert_eq!(overhead.total, Amount { packets: segments.len() as u64, wire_bytes });
        prop_assert_eq!(
            overhead.goodput_bytes + overhead.link_header_bytes + overhead.ip_header_bytes + overhead.tcp_header_bytes
                + overhead.pure_acks.wire_bytes + overhead.handshakes.wire_bytes + overhead.retransmissions.wire_bytes,
            wire_bytes
        );
    }
}
