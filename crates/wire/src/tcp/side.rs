//! One direction of a conversation: what each of its segments is, told from what both directions sent before.
//!
//! The definitions are those of Wireshark's TCP analysis (User's Guide, section "TCP Analysis"), so that counts agree.

use dunlin_record::Flow;

use super::in_flight::{InFlight, is_after};
use super::round_trips::RoundTrips;
use crate::decode::Segment;

/// A fast retransmission follows the last duplicate acknowledgement within this time (Wireshark's figure).
const FAST_NS: i64 = 20_000_000;
/// So many duplicate acknowledgements make one; a third may be missing from the capture.
const FAST_DUPLICATE_ACKS: u32 = 2;

/// A segment as it was seen.
pub(super) struct Sight<'a> {
    pub(super) segment: &'a Segment,
    pub(super) at_ns: i64,
    pub(super) wire_bytes: u64,
    /// By how much segments may overtake each other.
    pub(super) reordering_ns: i64,
}

/// What one end sent so far.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The sequence number after the highest that was sent, and when it became that.
    next: Option<(u32, i64)>,
    /// The last acknowledgement, and when it was sent.
    ack: Option<(u32, i64)>,
    duplicate_acks: u32,
    /// Up to where it was seen without a gap, and so may be acknowledged.
    gapless: Option<u32>,
    /// As in the last header: not scaled.
    window: Option<u16>,
    /// By how many bits windows are shifted, as far as this end's opening says; absent where that was not seen.
    window_scale: Option<Option<u8>>,
    sack_end: Option<u32>,
    /// Whether the last segment only asked whether the other end is there.
    asked: bool,
    in_flight: InFlight,
    round_trips: RoundTrips,
    flow: Flow,
}

/// A segment that does not go beyond what was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Spurious,
    Fast,
    OutOfOrder,
    Recovery,
    Timeout,
}

impl Side {
    /// Takes a segment that this end sends to `other`.
    pub(super) fn sends(&mut self, other: &mut Side, sight: &Sight<'_>) {
        let segment = sight.segment;
        let keep_alive = self.is_keep_alive(segment);
        let window_probe = self.is_window_probe(segment, other);
        let again = if keep_alive || window_probe { None } else { self.again(segment, other, sight) };
        if !controls(segment) {
            self.flow.zero_windows += u64::from(segment.window == 0);
            self.flow.windows_full += u64::from(!window_probe && other.is_filled_by(segment, self));
        }
        self.flow.keep_alives += u64::from(keep_alive);
        let is_gap = self.next.is_some_and(|(next, _)| is_after(segment.seq, next)) && !segment.flags.rst();
        self.flow.gaps += u64::from(is_gap);
        if segment.flags.ack() {
            self.acknowledges(other, sight, keep_alive);
        }
        self.count(sight, again);
        self.remember(sight, again, keep_alive, window_probe);
    }

    /// The counts.
    pub(super) fn finish(self) -> Flow {
        Flow { rtt_ms: self.round_trips.summary(), ..self.flow }
    }

    /// Nothing, or one byte that was sent before.
    fn is_keep_alive(&self, segment: &Segment) -> bool {
        let before_next = self.next.is_some_and(|(next, _)| segment.seq.wrapping_add(1) == next);
        segment.payload_bytes <= 1 && before_next && !controls(segment)
    }

    /// A byte sent although the other end takes none.
    fn is_window_probe(&self, segment: &Segment, other: &Side) -> bool {
        let at_next = self.next.is_some_and(|(next, _)| segment.seq == next);
        segment.payload_bytes == 1 && at_next && other.window == Some(0) && !controls(segment)
    }

    fn again(&self, segment: &Segment, other: &Side, sight: &Sight<'_>) -> Option<Again> {
        let has_length = segment.payload_bytes > 0 || segment.flags.syn() || segment.flags.fin();
        let (next, next_ns) = self.next.filter(|_| has_length)?;
        if segment.payload_bytes > 0 {
            let payload_end = segment.seq.wrapping_add(segment.payload_bytes);
            if other.ack.is_some_and(|(ack, _)| !is_after(payload_end, ack)) {
                return Some(Again::Spurious);
            }
            // What follows a probe of a closed window repeats the probe's byte and is new otherwise.
            if segment.payload_bytes > 1 && segment.seq.wrapping_add(1) == next {
                return None;
            }
        }
        if !is_after(next, segment.seq) {
            return None;
        }
        let asked_for = other
            .ack
            .is_some_and(|(ack, ack_ns)| ack == segment.seq && sight.at_ns.saturating_sub(ack_ns) < FAST_NS);
        if other.duplicate_acks >= FAST_DUPLICATE_ACKS && asked_for {
            return Some(Again::Fast);
        }
        if sight.at_ns.saturating_sub(next_ns) < sight.reordering_ns && end(segment) != next {
            return Some(Again::OutOfOrder);
        }
        let below_sack = other.sack_end.is_some_and(|sack_end| is_after(sack_end, segment.seq));
        Some(if below_sack { Again::Recovery } else { Again::Timeout })
    }

    /// Whether the other end's segment goes as far as this end's window reaches. Not known without both openings.
    fn is_filled_by(&self, segment: &Segment, other: &Side) -> bool {
        let scale = match (self.window_scale, other.window_scale) {
            (Some(Some(scale)), Some(Some(_))) => scale,
            (Some(_), Some(_)) => 0,
            _ => return false,
        };
        let (Some((ack, _)), Some(window)) = (self.ack, self.window) else { return false };
        segment.payload_bytes > 0 && end(segment) == ack.wrapping_add(u32::from(window) << scale)
    }

    fn acknowledges(&mut self, other: &mut Side, sight: &Sight<'_>, keep_alive: bool) {
        let segment = sight.segment;
        let ack = segment.ack;
        let is_same = self.ack.is_some_and(|(last, _)| last == ack);
        let says_nothing = segment.payload_bytes == 0
            && !controls(segment)
            && self.next.is_some_and(|(next, _)| segment.seq == next)
            && segment.window != 0
            && self.window == Some(segment.window);
        if is_same && says_nothing && !keep_alive && !other.asked {
            self.flow.duplicate_acks += 1;
            self.duplicate_acks += 1;
        } else if !is_same {
            self.duplicate_acks = 0;
        }
        if other.gapless.is_some_and(|seen| is_after(ack, seen)) {
            self.flow.acks_of_unseen += 1;
            // The gap is there once.
            other.gapless = other.next.map(|(next, _)| next);
        }
        if let Some(ns) = other.in_flight.acknowledge(ack, sight.at_ns) {
            other.round_trips.add(ns);
        }
    }

    /// Puts the packet into its class.
    fn count(&mut self, sight: &Sight<'_>, again: Option<Again>) {
        let Sight { segment, wire_bytes, .. } = *sight;
        let flow = &mut self.flow;
        let flags = segment.flags;
        flow.total.add(wire_bytes);
        flow.payload_bytes += u64::from(segment.payload_bytes);
        flow.syns += u64::from(flags.syn());
        flow.fins += u64::from(flags.fin());
        flow.resets += u64::from(flags.rst());
        match again {
            Some(Again::Spurious) => flow.retransmissions.spurious += 1,
            Some(Again::Fast) => flow.retransmissions.fast += 1,
            Some(Again::Recovery) => flow.retransmissions.recovery += 1,
            Some(Again::Timeout) => flow.retransmissions.timeout += 1,
            Some(Again::OutOfOrder) => flow.out_of_order += 1,
            None => {}
        }
        let overhead = &mut flow.overhead;
        overhead.total.add(wire_bytes);
        if again.is_some_and(|again| again != Again::OutOfOrder) {
            overhead.retransmissions.add(wire_bytes);
        } else if segment.payload_bytes > 0 {
            let [payload, ip, tcp] =
                [segment.payload_bytes, segment.ip_header_bytes, segment.tcp_header_bytes].map(u64::from);
            overhead.goodput_packets += 1;
            overhead.goodput_bytes += payload;
            overhead.ip_header_bytes += ip;
            overhead.tcp_header_bytes += tcp;
            overhead.link_header_bytes += wire_bytes - payload - ip - tcp;
        } else if controls(segment) {
            overhead.handshakes.add(wire_bytes);
        } else {
            overhead.pure_acks.add(wire_bytes);
        }
    }

    fn remember(&mut self, sight: &Sight<'_>, again: Option<Again>, keep_alive: bool, window_probe: bool) {
        let Sight { segment, at_ns, .. } = *sight;
        let flags = segment.flags;
        let end = end(segment);
        // A probed byte that was not taken is sent again as if it were new.
        if !window_probe && self.next.is_none_or(|(next, _)| is_after(end, next)) {
            self.next = Some((end, at_ns));
            if end != segment.seq {
                self.in_flight.send(segment.seq, end, at_ns);
            }
        } else if again.is_some() {
            self.in_flight.send_below(segment.seq, end, at_ns);
        }
        // What fills a gap makes all that was seen beyond it acknowledgeable.
        if !window_probe && self.gapless.is_none_or(|gapless| gapless == segment.seq) {
            self.gapless = self.next.map(|(next, _)| next);
        }
        if flags.ack() {
            self.ack = Some((segment.ack, at_ns));
            self.sack_end = segment.sack_end;
        }
        if flags.syn() {
            self.window_scale = Some(segment.window_scale);
        }
        self.window = Some(segment.window);
        self.asked = keep_alive || window_probe;
    }
}

fn controls(segment: &Segment) -> bool {
    segment.flags.syn() || segment.flags.fin() || segment.flags.rst()
}

/// The sequence number after a segment; opening and closing take one (RFC 9293, section 3.4).
fn end(segment: &Segment) -> u32 {
    let controls = u32::from(segment.flags.syn()) + u32::from(segment.flags.fin());
    segment.seq.wrapping_add(segment.payload_bytes).wrapping_add(controls)
}
