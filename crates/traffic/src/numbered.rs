//! Numbered blocks: each carries its number and content that follows from it, so that its receiver can tell a damaged
//! one without knowing what else was sent.
//!
//! The number comes first, as 8 bytes in little-endian order; then words of 8 bytes, each the one before it plus a
//! constant, the first a mix of the number (splitmix64: Steele, Lea & Flood, OOPSLA 2014). The last may be cut short.

/// The least length of a block: with fewer bytes nothing would vouch for the number.
pub const NUMBERED_MIN_BYTES: usize = 16;

const WORD_BYTES: usize = 8;
/// Odd, so that the words of a block differ; the golden ratio in 64 bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes all of `block` the one of this number.
pub fn write_numbered(number: u64, block: &mut [u8]) {
    for (chunk, word) in block.chunks_mut(WORD_BYTES).zip(words(number)) {
        let length = chunk.len();
        chunk.copy_from_slice(&word.to_le_bytes()[..length]);
    }
}

/// The number of a block; nothing where it is too short, or any byte is not what follows from the number.
#[must_use]
pub fn number_of(block: &[u8]) -> Option<u64> {
    if block.len() < NUMBERED_MIN_BYTES {
        return None;
    }
    let number = u64::from_le_bytes(*block.first_chunk()?);
    let fits = |(chunk, word): (&[u8], u64)| *chunk == word.to_le_bytes()[..chunk.len()];
    block.chunks(WORD_BYTES).zip(words(number)).all(fits).then_some(number)
}

/// All words of a block, without end.
fn words(number: u64) -> impl Iterator<Item = u64> {
    let content = std::iter::successors(Some(mix(number)), |word| Some(word.wrapping_add(STEP)));
    std::iter::once(number).chain(content)
}

fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_tells_its_number(number: u64, length in NUMBERED_MIN_BYTES..200) {
            let mut block = vec![0; length];
            write_numbered(number, &mut block);
            prop_assert_eq!(number_of(&block), Some(number));
        }

        #[test]
        fn any_changed_byte_is_seen(number: u64, length in NUMBERED_MIN_BYTES..200, place: usize, change in 1..=u8::MAX) {
            let mut block = vec![0; length];
            write_numbered(number, &mut block);
            let place = place % length;
            block[place] ^= change;
            prop_assert_eq!(number_of(&block), None);
        }

        #[test]
        fn foreign_bytes_are_no_block(block in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(number_of(&block), None);
        }
    }
}
