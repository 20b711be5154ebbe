//! One direction of a conversation: what each of its segments is, told from what both directions sent before.
//!
//! The definitions are those of Wireshark's TCP analysis (User's Guide, section "TCP Analysis"), so that counts agree.

use dunlin_record::{Flow, Overhead};

use super::in_flight::{InFlight, is_after};
use super::round_trips::RoundTrips;
use super::seen::Seen;
use crate::decode::Segment;
use crate::stream_head;

/// A fast retransmission follows the last duplicate acknowledgement within this time (Wireshark's figure).
const FAST_NS: i64 = 20_000_000;
/// So many duplicate acknowledgements make one; a third may be missing from the capture.
const FAST_DUPLICATE_ACKS: u32 = 2;

/// A segment as it was seen.
pub(super) struct Sight<'a> {
    pub(super) segment: &'a Segment<'a>,
    pub(super) at_ns: i64,
    pub(super) wire_bytes: u64,
    /// By how much segments may overtake each other.
    pub(super) reordering_ns: i64,
}

/// What one end sent so far.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The opening's number; absent where it was not seen.
    opening: Option<u32>,
    /// The first acknowledgement; its own opening and what it sent before that apart.
    first_ack: Option<u32>,
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
    /// What the last segment's options of MPTCP said, as [`Segment::mptcp`].
    mptcp: u32,
    /// Whether the last segment only asked whether the other end is there.
    asked: bool,
    /// Whether payload was seen.
    has_begun: bool,
    seen: Seen,
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
        let is_late_opening = segment.flags.syn() && self.opens(segment, other);
        let is_believed = segment.flags.ack() && other.may_be_acknowledged(segment.ack, self);
        let keep_alive = self.is_keep_alive(segment);
        let window_probe = self.is_window_probe(segment, other);
        let fresh_bytes = self.see(segment, other, sight);
        let again = if keep_alive || window_probe || segment.flags.rst() {
            None
        } else if is_late_opening {
            Some(Again::OutOfOrder)
        } else {
            self.again(segment, other, sight, fresh_bytes)
        };
        if !controls(segment) {
            self.flow.zero_windows += u64::from(segment.window == 0);
            self.flow.windows_full += u64::from(!window_probe && other.is_filled_by(segment, self));
        }
        self.flow.keep_alives += u64::from(keep_alive);
        self.notice_begin(segment);
        let is_gap = self.next.is_some_and(|(next, _)| is_after(segment.seq, next)) && !segment.flags.rst();
        self.flow.gaps += u64::from(is_gap);
        if is_believed {
            self.acknowledges(other, sight, keep_alive);
        }
        self.count(sight, again, fresh_bytes);
        if !segment.flags.rst() {
            self.remember(other, sight, again, keep_alive, window_probe);
            if is_believed {
                self.ack = Some((segment.ack, sight.at_ns));
                self.first_ack.get_or_insert(segment.ack);
                self.sack_end = segment.sack_end;
            }
        }
    }

    /// The counts.
    pub(super) fn finish(self) -> Flow {
        Flow { rtt_ms: self.round_trips.summary(), unseen_bytes: self.seen.unseen(), ..self.flow }
    }

    /// What it cost so far.
    pub(super) fn overhead(&self) -> Overhead {
        self.flow.overhead
    }

    /// Payload that was sent and not seen, at least.
    pub(super) fn unseen_bytes(&self) -> u64 {
        self.seen.unseen()
    }

    /// The opening's number; absent where it was not seen.
    pub(super) fn opening(&self) -> Option<u32> {
        self.opening
    }

    /// Whether nothing was sent but, at most, an opening that answers nothing.
    pub(super) fn only_opened(&self) -> bool {
        let after_opening = self.opening.map(|opening| opening.wrapping_add(1));
        self.ack.is_none() && self.flow.resets == 0 && self.next.map(|(next, _)| next) == after_opening
    }

    /// Whether this end acknowledged an opening with this number, and it first of all.
    pub(super) fn answered(&self, opening: u32) -> bool {
        self.first_ack == Some(opening.wrapping_add(1))
    }

    /// What it takes of the memory beyond itself, in bytes.
    pub(super) fn room(&self) -> usize {
        self.in_flight.room() + self.round_trips.room() + self.seen.room()
    }

    /// Takes an opening's number; tells whether it stands in the file behind what it opened. Otherwise an opening with
    /// another number than before makes all that was sent before meaningless: it was of an older connection, as that of a
    /// host that answers what it has forgotten.
    fn opens(&mut self, segment: &Segment<'_>, other: &Side) -> bool {
        if self.opening == Some(segment.seq) {
            return false;
        }
        let begin = segment.seq.wrapping_add(1);
        let is_first = self.opening.replace(segment.seq).is_none();
        let is_late = is_first
            && self.next.is_some_and(|(next, _)| {
                next == begin || other.first_ack == Some(begin) && is_after(next, begin)
            });
        if !is_late && self.next.is_some() {
            self.seen.begin_anew();
            *self = Self {
                opening: self.opening,
                flow: std::mem::take(&mut self.flow),
                round_trips: std::mem::take(&mut self.round_trips),
                seen: std::mem::take(&mut self.seen),
                ..Self::default()
            };
        }
        self.seen.open(begin);
        is_late
    }

    /// Whether an acknowledgement can be of what this end sent. To what has sent nothing but its opening, an end that has
    /// not opened yet can only acknowledge that (RFC 9293, section 3.10.7.3): anything else is of an older connection.
    fn may_be_acknowledged(&self, ack: u32, by: &Side) -> bool {
        by.opening.is_some()
            || match (self.opening, self.next) {
                (Some(opening), Some((next, _))) => {
                    let after_opening = opening.wrapping_add(1);
                    next != after_opening || ack == after_opening
                }
                _ => true,
            }
    }

    /// Notes which numbers a segment covers; tells how much of its payload was not seen before.
    fn see(&mut self, segment: &Segment<'_>, other: &Side, sight: &Sight<'_>) -> u32 {
        if segment.flags.rst() {
            return 0;
        }
        let start = segment.seq.wrapping_add(segment.flags.syn().into());
        let end = start.wrapping_add(segment.payload_bytes);
        let acked = other.ack.map(|(ack, _)| ack);
        let fresh_bytes = self.seen.see(start, end, sight.at_ns, acked, sight.reordering_ns);
        if segment.flags.fin() {
            self.seen.close(end, sight.at_ns, sight.reordering_ns);
        }
        fresh_bytes
    }

    /// What the first payload begins like; of a conversation whose opening was not seen, the first that was.
    fn notice_begin(&mut self, segment: &Segment<'_>) {
        if self.has_begun || segment.payload_bytes == 0 || segment.flags.rst() {
            return;
        }
        self.has_begun = true;
        let is_first = self.opening.is_none_or(|opening| segment.seq.wrapping_sub(opening) <= 1);
        self.flow.begins_as = Some(segment.payload).filter(|_| is_first).and_then(stream_head::recognize);
    }

    /// Nothing, or one byte that was sent before.
    fn is_keep_alive(&self, segment: &Segment<'_>) -> bool {
        let before_next = self.next.is_some_and(|(next, _)| segment.seq.wrapping_add(1) == next);
        segment.payload_bytes <= 1 && before_next && !controls(segment)
    }

    /// A byte sent although the other end takes none.
    fn is_window_probe(&self, segment: &Segment<'_>, other: &Side) -> bool {
        let at_next = self.next.is_some_and(|(next, _)| segment.seq == next);
        segment.payload_bytes == 1 && at_next && other.window == Some(0) && !controls(segment)
    }

    fn again(
        &self,
        segment: &Segment<'_>,
        other: &Side,
        sight: &Sight<'_>,
        fresh_bytes: u32,
    ) -> Option<Again> {
        if segment.payload_bytes > 0 {
            let payload_end = segment.seq.wrapping_add(segment.payload_bytes);
            if other.ack.is_some_and(|(ack, _)| !is_after(payload_end, ack)) {
                // Never seen before, it only stands in the file behind its own acknowledgement.
                let is_late = fresh_bytes == segment.payload_bytes;
                return Some(if is_late { Again::OutOfOrder } else { Again::Spurious });
            }
        }
        let has_length = segment.payload_bytes > 0 || segment.flags.syn() || segment.flags.fin();
        let (next, next_ns) = self.next.filter(|_| has_length)?;
        // What follows a probe of a closed window repeats the probe's byte and is new otherwise.
        if segment.payload_bytes > 1 && segment.seq.wrapping_add(1) == next {
            return None;
        }
        if !is_after(next, segment.seq) {
            return None;
        }
        let asked_for = other
            .ack
            .is_some_and(|(ack, ack_ns)| ack == segment.seq && apart_ns(sight.at_ns, ack_ns) < FAST_NS);
        if other.duplicate_acks >= FAST_DUPLICATE_ACKS && asked_for {
            return Some(Again::Fast);
        }
        if apart_ns(sight.at_ns, next_ns) < sight.reordering_ns && end(segment) != next {
            return Some(Again::OutOfOrder);
        }
        let below_sack = other.sack_end.is_some_and(|sack_end| is_after(sack_end, segment.seq));
        Some(if below_sack { Again::Recovery } else { Again::Timeout })
    }

    /// Whether the other end's segment goes as far as this end's window reaches. Not known without both openings.
    fn is_filled_by(&self, segment: &Segment<'_>, other: &Side) -> bool {
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
        // What MPTCP signals in an acknowledgement without news makes it none (RFC 8684, section 3.3.2).
        let signals = segment.mptcp != 0 && segment.mptcp != self.mptcp;
        if is_same && says_nothing && !signals && !keep_alive && !other.asked {
            self.flow.duplicate_acks += 1;
            self.duplicate_acks += 1;
        } else if !is_same {
            self.duplicate_acks = 0;
        }
        if other.gapless.is_some_and(|seen| is_after(ack, seen)) {
            self.flow.acks_of_unseen += 1;
            // The gap is there once.
            let next = other.next.map_or(ack, |(next, _)| next);
            other.gapless = Some(if is_after(ack, next) { ack } else { next });
        }
        other.seen.acknowledge(ack, sight.at_ns);
        if let Some(ns) = other.in_flight.acknowledge(ack, sight.at_ns) {
            other.round_trips.add(ns);
        }
    }

    /// Counts the packet, and puts its bytes into their classes: payload by whether it was seen before.
    fn count(&mut self, sight: &Sight<'_>, again: Option<Again>, fresh_bytes: u32) {
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
        let is_again = again.is_some_and(|again| again != Again::OutOfOrder);
        if fresh_bytes > 0 {
            let [fresh, payload, ip, tcp] =
                [fresh_bytes, segment.payload_bytes, segment.ip_header_bytes, segment.tcp_header_bytes]
                    .map(u64::from);
            overhead.goodput_packets += 1;
            overhead.goodput_bytes += fresh;
            overhead.ip_header_bytes += ip;
            overhead.tcp_header_bytes += tcp;
            overhead.link_header_bytes += wire_bytes - payload - ip - tcp;
            overhead.retransmissions.wire_bytes += payload - fresh;
        } else if !flags.rst() && (segment.payload_bytes > 0 || is_again) {
            overhead.retransmissions.add(wire_bytes);
        } else if controls(segment) {
            overhead.handshakes.add(wire_bytes);
        } else {
            overhead.pure_acks.add(wire_bytes);
        }
    }

    fn remember(
        &mut self,
        other: &Side,
        sight: &Sight<'_>,
        again: Option<Again>,
        keep_alive: bool,
        window_probe: bool,
    ) {
        let Sight { segment, at_ns, .. } = *sight;
        let end = end(segment);
        // A probed byte that was not taken is sent again as if it were new.
        if !window_probe && self.next.is_none_or(|(next, _)| is_after(end, next)) {
            self.next = Some((end, at_ns));
            if end != segment.seq {
                self.in_flight.send(segment.seq, end, at_ns);
            }
        } else if again.is_some() && other.ack.is_none_or(|(ack, _)| is_after(end, ack)) {
            self.in_flight.send_below(segment.seq, end, at_ns);
        }
        // What fills a gap makes all that was seen beyond it acknowledgeable.
        let reaches = |gapless: u32| !is_after(segment.seq, gapless) && is_after(end, gapless);
        if !window_probe && self.gapless.is_none_or(|gapless| gapless == segment.seq || reaches(gapless)) {
            self.gapless = self.next.map(|(next, _)| next);
        }
        if segment.flags.syn() {
            self.window_scale = Some(segment.window_scale);
        }
        self.window = Some(segment.window);
        self.mptcp = segment.mptcp;
        self.asked = keep_alive || window_probe;
    }
}

fn controls(segment: &Segment<'_>) -> bool {
    segment.flags.syn() || segment.flags.fin() || segment.flags.rst()
}

/// The sequence number after a segment; opening and closing take one (RFC 9293, section 3.4).
fn end(segment: &Segment<'_>) -> u32 {
    let controls = u32::from(segment.flags.syn()) + u32::from(segment.flags.fin());
    segment.seq.wrapping_add(segment.payload_bytes).wrapping_add(controls)
}

fn apart_ns(one_ns: i64, other_ns: i64) -> i64 {
    one_ns.saturating_sub(other_ns).saturating_abs()
}
