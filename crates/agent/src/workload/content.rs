//! What the pages of a working set hold: known for each page, each write to it and each word of it.

use crate::pages::{PAGE_BYTES, PAGE_WORDS, Pages};

/// The odd number nearest to 2^64 over the golden ratio: its multiples have no pattern a compressor finds.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// How pages are filled and changed.
///
/// A write changes the first words of a page; the rest holds for ever what it was filled with. In both parts the share
/// at the end that is to be compressible repeats one word, and the rest is noise. The first word of a page is a stamp of
/// the page and of its last write, so that no two pages are alike and none is all zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    /// Words that a write changes.
    changed: usize,
    /// Where noise ends in the part that is changed …
    changed_noise_end: usize,
    /// … and in the rest.
    rest_noise_end: usize,
}

impl Content {
    /// For writes of so many bytes (8 to 4096, a multiple of 8), of whose content this share (at most 100) repeats.
    pub(super) fn new(bytes_per_page: usize, compressibility_percent: usize) -> Self {
        let noise = |words: usize| words * (100 - compressibility_percent) / 100;
        let changed = (bytes_per_page.min(PAGE_BYTES) / size_of::<u64>()).max(1);
        Self {
            changed,
            changed_noise_end: noise(changed),
            rest_noise_end: changed + noise(PAGE_WORDS - changed),
        }
    }

    /// Writes the whole of a page for the first time.
    pub(super) fn fill(&self, pages: &mut Pages, page: usize) {
        let stamp = stamp(page, 0);
        (0..PAGE_WORDS).for_each(|word| pages.write(page, word, self.value(stamp, word)));
    }

    /// Writes to a page for the n-th time since it was filled.
    pub(super) fn change(&self, pages: &mut Pages, page: usize, write: u32) {
        self.change_as(pages, page, page, write);
    }

    /// The same to a page of this number that for the moment lies in another place.
    pub(super) fn change_as(&self, pages: &mut Pages, place: usize, page: usize, write: u32) {
        let stamp = stamp(page, write);
        (0..self.changed).for_each(|word| pages.write(place, word, self.value(stamp, word)));
    }

    /// Whether a page holds exactly what it must after so many writes.
    pub(super) fn is_whole(&self, pages: &Pages, page: usize, writes: u32) -> bool {
        self.is_whole_as(pages, page, page, writes)
    }

    /// The same of a page of this number that for the moment lies in another place.
    pub(super) fn is_whole_as(&self, pages: &Pages, place: usize, page: usize, writes: u32) -> bool {
        let (changed, filled) = (stamp(page, writes), stamp(page, 0));
        (0..PAGE_WORDS).all(|word| {
            let stamp = if word < self.changed { changed } else { filled };
            pages.read(place, word) == self.value(stamp, word)
        })
    }

    fn value(&self, stamp: u64, word: usize) -> u64 {
        let noise_end = if word < self.changed { self.changed_noise_end } else { self.rest_noise_end };
        // The first word is the stamp either way.
        if word < noise_end { stamp.wrapping_add((word as u64).wrapping_mul(GOLDEN)) } else { stamp }
    }
}

fn stamp(page: usize, write: u32) -> u64 {
    mix((page as u64) << 32 | u64::from(write))
}

/// A number without a pattern for each number (splitmix64, Steele et al. 2014).
pub(super) fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(1).wrapping_mul(GOLDEN);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pages: &Pages, page: usize) -> Vec<u8> {
        (0..PAGE_WORDS).flat_map(|word| pages.read(page, word).to_ne_bytes()).collect()
    }

    #[test]
    fn a_write_changes_so_many_bytes_and_every_page_is_whole_only_with_its_own_writes() {
        for bytes_per_page in [8, 64, 4096] {
            for percent in [0, 50, 100] {
                let content = Content::new(bytes_per_page, percent);
                let mut pages = Pages::map(2).unwrap();
                (0..2).for_each(|page| content.fill(&mut pages, page));
                let before = bytes(&pages, 1);
                content.change(&mut pages, 1, 1);
                let after = bytes(&pages, 1);
                let last = (0..4096).rfind(|&at| before[at] != after[at]).unwrap();
                assert_eq!(last / 8, bytes_per_page / 8 - 1, "{bytes_per_page} bytes, {percent} %");
                assert!(content.is_whole(&pages, 0, 0) && content.is_whole(&pages, 1, 1));
                assert!(!content.is_whole(&pages, 0, 1) && !content.is_whole(&pages, 1, 0));
                assert_ne!(bytes(&pages, 0), after, "no two pages are alike");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let content = Content::new(64, 30);
        let mut pages = Pages::map(1).unwrap();
        content.fill(&mut pages, 0);
        content.change(&mut pages, 0, 1);
        for word in 0..PAGE_WORDS {
            let good = pages.read(0, word);
            pages.write(0, word, good ^ (1 << (word % 64)));
            assert!(!content.is_whole(&pages, 0, 1), "word {word}");
            pages.write(0, word, good);
        }
        assert!(content.is_whole(&pages, 0, 1));
    }

    #[test]
    fn a_compressor_finds_the_share_it_is_meant_to_find() {
        for percent in [0, 25, 50, 75, 100] {
            let content = Content::new(4096, percent);
            let mut pages = Pages::map(64).unwrap();
            let mut written = Vec::new();
            for page in 0..64 {
                content.fill(&mut pages, page);
                content.change(&mut pages, page, 1);
                written.extend(bytes(&pages, page));
            }
            let left = zstd::encode_all(written.as_slice(), 1).unwrap().len() as f64 / written.len() as f64;
            let expected = 1.0 - percent as f64 / 100.0;
            assert!((left - expected).abs() < 0.06, "{percent} %: {left} of it is left");
        }
    }
}
