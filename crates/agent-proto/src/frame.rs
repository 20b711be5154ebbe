//! Frames: packets on a byte stream of which any part may be missing.
//!
//! A frame is a zero byte, the COBS encoding of a CRC-32 and the packet, and a zero byte. COBS leaves no zero inside, so
//! a frame that was cut off ends at the next zero and can never swallow the one behind it.

use serde::{Deserialize, Serialize};

/// The largest payload of a packet.
pub(crate) const PAYLOAD_LIMIT: usize = 64 * 1024;
/// The largest frame a reader keeps: a payload, the packet's numbers, and what COBS adds (1 byte in 254).
const FRAME_LIMIT: usize = PAYLOAD_LIMIT + PAYLOAD_LIMIT / 254 + 64;
const DELIMITER: u8 = 0;

/// What travels in a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Packet<'a> {
    /// Opens or resumes a session. This variant stays first, and `version` first in it, in every version.
    Hello {
        version: u16,
        session: u64,
        /// Counts the caller's connections; the answer carries the same, so an old answer is known.
        attempt: u32,
        /// The last message of the other side that arrived here.
        received: u64,
        /// The last message this side has ever sent.
        sent: u64,
    },
    /// A message.
    Data {
        session: u64,
        /// Counts this side's messages from 1.
        seq: u64,
        /// The last message of the other side that arrived here.
        received: u64,
        #[serde(borrow)]
        payload: &'a [u8],
    },
    /// Nothing but an acknowledgement.
    Ack { session: u64, received: u64 },
    /// Answers a packet of a session this side knows nothing of.
    Unknown { session: u64 },
}

/// Appends `packet` as a frame to `output`.
pub(crate) fn write_frame(packet: &Packet<'_>, output: &mut Vec<u8>) -> postcard::Result<()> {
    let body = postcard::to_stdvec(packet)?;
    // COBS ends with the closing delimiter itself.
    let frame = postcard::to_stdvec_cobs(&(crc32fast::hash(&body), body.as_slice()))?;
    output.push(DELIMITER);
    output.extend_from_slice(&frame);
    Ok(())
}

/// Finds frames in a byte stream.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    frame: Vec<u8>,
    overlong: bool,
}

impl FrameReader {
    /// Takes the stream's next bytes and gives the bodies of the frames that ended in them and are whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        for &byte in bytes {
            if byte == DELIMITER {
                if !self.overlong {
                    bodies.extend(open_frame(&mut self.frame));
                }
                self.clear();
            } else if self.frame.len() < FRAME_LIMIT {
                self.frame.push(byte);
            } else {
                self.overlong = true;
            }
        }
        bodies
    }

    /// Forgets what has arrived of a frame.
    pub(crate) fn clear(&mut self) {
        self.frame.clear();
        self.overlong = false;
    }
}

/// The packet in a frame's bytes between the delimiters; `None` if they are not what was sent.
fn open_frame(frame: &mut [u8]) -> Option<Vec<u8>> {
    if frame.is_empty() {
        return None;
    }
    let (crc, body): (u32, &[u8]) = postcard::from_bytes_cobs(frame).ok()?;
    (crc == crc32fast::hash(body)).then(|| body.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(payload: &[u8]) -> Packet<'_> {
        Packet::Data { session: 7, seq: 1, received: 0, payload }
    }

    proptest! {
        #[test]
        fn a_frame_behind_any_cut_off_frame_is_found(
            payload in proptest::collection::vec(any::<u8>(), 0..600),
            kept in any::<prop::sample::Index>(),
            chunk in 1_usize..50,
        ) {
            let packet = data(&payload);
            let mut cut = Vec::new();
            write_frame(&packet, &mut cut).unwrap();
            cut.truncate(kept.index(cut.len()));
            write_frame(&packet, &mut cut).unwrap();
            let mut reader = FrameReader::default();
            let bodies: Vec<_> = cut.chunks(chunk).flat_map(|bytes| reader.push(bytes)).collect();
            // A frame of which only the closing delimiter is missing is whole.
            prop_assert!(matches!(bodies.len(), 1 | 2));
            for body in &bodies {
                prop_assert_eq!(&postcard::from_bytes::<Packet<'_>>(body).unwrap(), &packet);
            }
        }

        #[test]
        fn a_flipped_bit_never_gives_another_packet(
            payload in proptest::collection::vec(any::<u8>(), 1..200),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut frame = Vec::new();
            write_frame(&data(&payload), &mut frame).unwrap();
            let place = place.index(frame.len());
            frame[place] ^= 1 << bit;
            for body in FrameReader::default().push(&frame) {
                prop_assert_eq!(postcard::from_bytes::<Packet<'_>>(&body).unwrap(), data(&payload));
            }
        }
    }

    #[test]
    fn the_largest_payload_passes_and_endless_noise_is_not_kept() {
        let payload: Vec<u8> = (0..PAYLOAD_LIMIT).map(|i| i as u8 | 1).collect();
        let mut frame = Vec::new();
        write_frame(&data(&payload), &mut frame).unwrap();
        assert!(frame.len() - 2 <= FRAME_LIMIT, "{}", frame.len());
        let mut reader = FrameReader::default();
        for _ in 0..100 {
            assert!(reader.push(&[1; 4096]).is_empty());
        }
        assert!(reader.frame.len() <= FRAME_LIMIT);
        assert_eq!(reader.push(&frame).len(), 1);
    }
}
