//! What an image is filled with: the same bytes again for the same seed, of which a given share compresses away.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::{ImageError, Result};

/// Every block of so many bytes has the same share that compresses away.
const BLOCK_BYTES: usize = 4096;
/// How much is written at once.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes for an image, each told by its place in it. No block of 4 KiB holds only zeros, nor the same as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Other bytes for each.
    pub seed: u64,
    /// How much of every 4 KiB compresses away, in percent; more than 100 counts as 100. gzip and zstd leave the rest, within
    /// 4 % of the whole.
    pub compressible_percent: u8,
}

impl Content {
    /// Fills bytes that lie at `offset` of the image.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) {
        let mut block = [0; BLOCK_BYTES];
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let within = (offset % BLOCK_BYTES as u64) as usize;
            let (now, later) = rest.split_at_mut(rest.len().min(BLOCK_BYTES - within));
            self.block(offset / BLOCK_BYTES as u64, &mut block);
            now.copy_from_slice(&block[within..within + now.len()]);
            offset += now.len() as u64;
            rest = later;
        }
    }

    /// Writes `length` bytes at `offset` of a file that is the image.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, file: &File, offset: u64, length: u64) -> Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let now = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            self.fill(at, &mut piece[..now]);
            file.write_all_at(&piece[..now], at).map_err(ImageError::file("write the image", at))?;
            at += now as u64;
        }
        Ok(())
    }

    /// First what does not compress, then one word again and again, which is never zero and another in each block.
    fn block(&self, number: u64, block: &mut [u8; BLOCK_BYTES]) {
        let percent = usize::from(self.compressible_percent.min(100));
        let random_bytes = BLOCK_BYTES * (100 - percent) / 100;
        let mut state = mix(self.seed ^ mix(number));
        let word = (state | 1).to_le_bytes();
        let (random, repeated) = block.split_at_mut(random_bytes);
        for eight in random.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            eight.copy_from_slice(&mix(state).to_le_bytes()[..eight.len()]);
        }
        for eight in repeated.chunks_mut(8) {
            eight.copy_from_slice(&word[..eight.len()]);
        }
    }
}

/// The last step of SplitMix64 (Steele, Lea, Flood 2014): every bit of what goes in changes half of those that come out.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gzip_and_zstd_take_away_about_the_share_that_was_asked_for_everywhere() {
        for percent in [0, 10, 50, 90, 100] {
            let content = Content { seed: 7, compressible_percent: percent };
            for offset in [0, 123 << 20] {
                let mut bytes = vec![0; 1 << 20];
                content.fill(offset, &mut bytes);
                let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
                gzip.write_all(&bytes).unwrap();
                let gzip = gzip.finish().unwrap().len();
                let zstd = zstd::bulk::compress(&bytes, 3).unwrap().len();
                for (by, length) in [("gzip", gzip), ("zstd", zstd)] {
                    let left_percent = length as f64 * 100.0 / bytes.len() as f64;
                    let off = left_percent - f64::from(100 - percent);
                    assert!((-2.0..4.0).contains(&off), "{by} leaves {left_percent:.1} % of {percent}");
                }
            }
        }
    }

    #[test]
    fn no_block_is_like_another_nor_all_zeros() {
        for percent in [0, 50, 100] {
            let mut bytes = vec![0; 8 << 20];
            Content { seed: 0, compressible_percent: percent }.fill(0, &mut bytes);
            let blocks: HashSet<&[u8]> = bytes.chunks(BLOCK_BYTES).collect();
            assert_eq!(blocks.len(), bytes.len() / BLOCK_BYTES, "{percent}");
            assert!(!blocks.contains(&[0; BLOCK_BYTES][..]));
        }
    }

    #[test]
    fn a_file_gets_them_where_they_belong() {
        let file = tempfile::tempfile().unwrap();
        let content = Content { seed: 3, compressible_percent: 30 };
        content.write(&file, 5000, 700_000).unwrap();
        let (mut written, mut expected) = (vec![0; 705_000], vec![0; 705_000]);
        file.read_exact_at(&mut written, 0).unwrap();
        content.fill(5000, &mut expected[5000..]);
        assert!(written == expected);
    }

    proptest! {
        #[test]
        fn a_part_is_as_in_the_whole(seed: u64, percent in 0_u8..=100, from in 0_usize..9000, length in 0_usize..9000) {
            let content = Content { seed, compressible_percent: percent };
            let (mut whole, mut part) = (vec![0; 18_000], vec![0; length]);
            content.fill(0, &mut whole);
            content.fill(from as u64, &mut part);
            prop_assert!(part == whole[from..from + length]);
        }
    }
}
