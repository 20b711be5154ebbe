//! What every request of a probe carries and every answer brings back: the 16 bytes by which both are known on any tap.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | `DNLN` |
//! | 4 | the probe's kind: 0 ICMP, 1 UDP |
//! | 5..8 | the run's tag, random per probe |
//! | 8..16 | the sequence number, big endian |
//!
//! In ICMP they follow the 8-byte echo header; in UDP they begin the datagram. Padding of any length may follow.

/// Bytes of a payload without padding.
pub const PAYLOAD_BYTES: usize = 16;

/// Bytes at the beginning that are the same in all requests of one run of a probe.
pub(crate) const PREFIX_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"DNLN";

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// The probe's kind: 0 ICMP, 1 UDP. Foreign bytes may hold others.
    pub kind: u8,
    /// Tells this run of the probe from others; random.
    pub tag: [u8; 3],
    /// The request's number, from 0.
    pub seq: u64,
}

impl Payload {
    /// The payload as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PAYLOAD_BYTES] {
        let [a, b, c] = self.tag;
        let mut bytes = [0; PAYLOAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..PREFIX_BYTES].copy_from_slice(&[self.kind, a, b, c]);
        bytes[PREFIX_BYTES..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// The payload at the beginning of `bytes`; none if it is not a probe's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let ([kind, tag @ ..], rest) = rest.split_first_chunk::<4>()?;
        let seq = u64::from_be_bytes(*rest.first_chunk()?);
        (*magic == MAGIC).then_some(Self { kind: *kind, tag: *tag, seq })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_the_one_the_taps_read() {
        let bytes = Payload { kind: 1, tag: [7, 8, 9], seq: 0x0102_0304_0506_0708 }.to_bytes();
        assert_eq!(&bytes, b"DNLN\x01\x07\x08\x09\x01\x02\x03\x04\x05\x06\x07\x08");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back_whatever_follows(
            kind: u8, tag: [u8; 3], seq: u64, padding in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let payload = Payload { kind, tag, seq };
            let bytes = [&payload.to_bytes()[..], &padding].concat();
            prop_assert_eq!(Payload::parse(&bytes), Some(payload));
            prop_assert_eq!(Payload::parse(&bytes[..PAYLOAD_BYTES - 1]), None);
        }

        #[test]
        fn foreign_bytes_are_a_payload_only_behind_the_magic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let is_ours = bytes.len() >= PAYLOAD_BYTES && bytes.starts_with(b"DNLN");
            prop_assert_eq!(Payload::parse(&bytes).is_some(), is_ours);
        }
    }
}
