//! What makes one run of a probe its own: how its requests are written and how its answers are told from all else.

use std::hash::{BuildHasher, RandomState};

use crate::payload::{PAYLOAD_BYTES, PREFIX_BYTES, Payload};
use crate::spec::ProbeKind;

/// Bytes of an ICMP echo header (RFC 792).
const ICMP_HEADER_BYTES: usize = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// What tells one run of a probe from all others on the same network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    kind: ProbeKind,
    icmp_ident: u16,
    tag: [u8; 3],
}

impl Identity {
    /// An identity nobody else has, most likely.
    #[must_use]
    pub fn random(kind: ProbeKind) -> Self {
        // Its keys are the one source of randomness in std.
        let [a, b, c, d, e, ..] = RandomState::new().hash_one(kind).to_ne_bytes();
        Self { kind, icmp_ident: u16::from_ne_bytes([a, b]), tag: [c, d, e] }
    }

    /// The sequence number of an answer, from what the probe's socket received: for ICMP the packet from its IPv4
    /// header on, for UDP the datagram. None if it is not an answer to this probe.
    #[must_use]
    pub fn answer_seq(&self, received: &[u8]) -> Option<u64> {
        match self.kind {
            ProbeKind::Icmp => self.icmp_answer_seq(received),
            ProbeKind::Udp { .. } => self.payload_seq(received),
        }
    }

    /// The sequence number of one of the probe's own requests, from the frame the kernel gives back with the stamp of
    /// its departure. Which headers it holds differs between devices, so the payload is searched for.
    #[must_use]
    pub fn request_seq(&self, frame: &[u8]) -> Option<u64> {
        let ours = self.payload(0).to_bytes();
        let prefix = &ours[..PREFIX_BYTES];
        let start = frame.windows(PREFIX_BYTES).position(|window| window == prefix)?;
        self.payload_seq(&frame[start..])
    }

    fn icmp_answer_seq(&self, packet: &[u8]) -> Option<u64> {
        let ip_header_bytes = usize::from(packet.first()? & 0x0f) * 4;
        let (header, payload) = packet.get(ip_header_bytes..)?.split_first_chunk::<ICMP_HEADER_BYTES>()?;
        let [kind, code, _, _, ident @ .., seq_high, seq_low] = *header;
        let seq = self.payload_seq(payload)?;
        let is_ours = (kind, code) == (ECHO_REPLY, 0)
            && u16::from_be_bytes(ident) == self.icmp_ident
            && u16::from_be_bytes([seq_high, seq_low]) == low_bits(seq);
        is_ours.then_some(seq)
    }

    fn payload_seq(&self, bytes: &[u8]) -> Option<u64> {
        let payload = Payload::parse(bytes)?;
        (payload.kind == self.kind.code() && payload.tag == self.tag).then_some(payload.seq)
    }

    fn payload(&self, seq: u64) -> Payload {
        Payload { kind: self.kind.code(), tag: self.tag, seq }
    }
}

/// One request as it is handed to the socket, written anew for each sequence number.
#[derive(Debug)]
pub struct RequestFrame {
    identity: Identity,
    bytes: Vec<u8>,
}

impl RequestFrame {
    /// A frame for this identity, its payload padded with zeroes to `payload_bytes`.
    #[must_use]
    pub fn new(identity: Identity, payload_bytes: usize) -> Self {
        let header_bytes = match identity.kind {
            ProbeKind::Icmp => ICMP_HEADER_BYTES,
            ProbeKind::Udp { .. } => 0,
        };
        Self { identity, bytes: vec![0; header_bytes + payload_bytes.max(PAYLOAD_BYTES)] }
    }

    /// The request with this sequence number.
    pub fn write(&mut self, seq: u64) -> &[u8] {
        let payload = self.identity.payload(seq).to_bytes();
        match self.identity.kind {
            ProbeKind::Icmp => {
                self.bytes[ICMP_HEADER_BYTES..][..payload.len()].copy_from_slice(&payload);
                let (ident, seq) = (self.identity.icmp_ident.to_be_bytes(), low_bits(seq).to_be_bytes());
                let header = [ECHO_REQUEST, 0, 0, 0, ident[0], ident[1], seq[0], seq[1]];
                self.bytes[..ICMP_HEADER_BYTES].copy_from_slice(&header);
                let sum = checksum(&self.bytes);
                self.bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            ProbeKind::Udp { .. } => self.bytes[..payload.len()].copy_from_slice(&payload),
        }
        &self.bytes
    }
}

/// ICMP's own sequence number has 16 bits; the payload's is the real one.
fn low_bits(seq: u64) -> u16 {
    let [.., high, low] = seq.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The Internet checksum (RFC 1071). A raw socket leaves it to us.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UDP: ProbeKind = ProbeKind::Udp { port: 7007 };
    const ICMP: Identity = Identity { kind: ProbeKind::Icmp, icmp_ident: 0x1234, tag: [1, 2, 3] };

    /// The answer a host gives to an ICMP request, as a raw socket receives it.
    fn icmp_answer(identity: Identity, seq: u64, ip_options_bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; 20 + ip_options_bytes];
        packet[0] = 0x40 | u8::try_from(packet.len() / 4).unwrap();
        let start = packet.len();
        packet.extend_from_slice(RequestFrame::new(identity, 32).write(seq));
        packet[start] = ECHO_REPLY;
        packet
    }

    #[test]
    fn a_request_sums_to_zero_as_rfc_1071_asks() {
        for payload_bytes in [16, 17, 1472] {
            let mut frame = RequestFrame::new(ICMP, payload_bytes);
            for seq in [0, 1, 65_535, 65_536, u64::MAX] {
                assert_eq!(checksum(frame.write(seq)), 0, "{payload_bytes} {seq}");
            }
        }
    }

    #[test]
    fn an_answer_is_known_behind_ip_options_and_after_icmp_sequence_numbers_wrap() {
        for options in [0, 4, 40] {
            for seq in [0, 70_000, u64::MAX] {
                assert_eq!(ICMP.answer_seq(&icmp_answer(ICMP, seq, options)), Some(seq));
            }
        }
    }

    #[test]
    fn what_is_anothers_is_not_an_answer() {
        let others = [
            Identity { icmp_ident: 0x1235, ..ICMP },
            Identity { tag: [1, 2, 4], ..ICMP },
            Identity { kind: UDP, ..ICMP },
        ];
        for other in others {
            let answer = icmp_answer(Identity { kind: ProbeKind::Icmp, ..other }, 5, 0);
            assert_eq!(ICMP.answer_seq(&answer).is_some(), other.kind == UDP, "{other:?}");
            assert_eq!(other.answer_seq(&icmp_answer(ICMP, 5, 0)), None, "{other:?}");
        }
        let mut request = icmp_answer(ICMP, 5, 0);
        request[20] = ECHO_REQUEST;
        assert_eq!(ICMP.answer_seq(&request), None);
        let mut other_sequence = icmp_answer(ICMP, 5, 0);
        other_sequence[27] ^= 1;
        assert_eq!(ICMP.answer_seq(&other_sequence), None);
    }

    #[test]
    fn two_runs_of_a_probe_do_not_take_each_others_answers() {
        let (mine, other) = (Identity::random(UDP), Identity::random(UDP));
        assert_eq!(mine.answer_seq(RequestFrame::new(mine, 16).write(9)), Some(9));
        assert_eq!(mine.answer_seq(RequestFrame::new(other, 16).write(9)), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            for identity in [ICMP, Identity { kind: UDP, ..ICMP }] {
                prop_assert_eq!(identity.answer_seq(&bytes), None);
                prop_assert_eq!(identity.request_seq(&bytes), None);
            }
        }

        #[test]
        fn a_cut_or_changed_answer_never_panics(seq: u64, cut in 0usize..68, at in 0usize..60, bits: u8) {
            let mut answer = icmp_answer(ICMP, seq, 0);
            answer[at] ^= bits;
            answer.truncate(cut);
            let _may_be_none = ICMP.answer_seq(&answer);
            let _may_be_none = ICMP.request_seq(&answer);
        }

        #[test]
        fn a_request_is_known_behind_any_headers_and_before_any_padding(
            headers in proptest::collection::vec(any::<u8>(), 0..60), padding in 0usize..40, seq: u64,
        ) {
            let mut frame = headers;
            frame.extend_from_slice(RequestFrame::new(ICMP, 16 + padding).write(seq));
            prop_assert_eq!(ICMP.request_seq(&frame), Some(seq));
        }
    }
}
