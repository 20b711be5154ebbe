//! Memory that grows and shrinks by call, and knows whether it is whole.

use crate::{number_of, write_numbered};

/// How much a call allocates or gives back: 10 MiB, as the Xen paper's `memory_balloon` does.
pub const INCREASE_BYTES: usize = 10 << 20;

const PAGE_BYTES: usize = 4096;
const PAGES: usize = INCREASE_BYTES / PAGE_BYTES;

/// Memory that was allocated and written. Each page is a numbered block of its own.
#[derive(Debug)]
pub(crate) struct Balloon {
    parts: Vec<Vec<u8>>,
    limit_bytes: u64,
    /// Damage found in what was given back.
    corrupt_pages: u64,
}

impl Balloon {
    /// An empty one that grows to `limit_bytes` at most.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { parts: Vec::new(), limit_bytes, corrupt_pages: 0 }
    }

    /// Allocates and writes 10 MiB more; false if that is more than it may have, or than there is.
    pub(crate) fn increase(&mut self) -> bool {
        let mut part = Vec::new();
        if self.held_bytes() + INCREASE_BYTES as u64 > self.limit_bytes
            || part.try_reserve_exact(INCREASE_BYTES).is_err()
        {
            return false;
        }
        part.resize(INCREASE_BYTES, 0);
        for (page, number) in part.chunks_exact_mut(PAGE_BYTES).zip(numbers(self.parts.len())) {
            write_numbered(number, page);
        }
        self.parts.push(part);
        true
    }

    /// Gives back the 10 MiB that came last; false if it has none.
    pub(crate) fn decrease(&mut self) -> bool {
        let Some(part) = self.parts.pop() else { return false };
        self.corrupt_pages += corrupt_pages(self.parts.len(), &part);
        true
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        (self.parts.len() * INCREASE_BYTES) as u64
    }

    /// Pages that do not hold, or when they were given back did not hold, what was written to them.
    pub(crate) fn corrupt_pages(&self) -> u64 {
        let held = self.parts.iter().enumerate().map(|(index, part)| corrupt_pages(index, part));
        self.corrupt_pages + held.sum::<u64>()
    }
}

fn numbers(part: usize) -> impl Iterator<Item = u64> {
    let first = (part * PAGES) as u64;
    first..
}

fn corrupt_pages(index: usize, part: &[u8]) -> u64 {
    let pages = part.chunks_exact(PAGE_BYTES).zip(numbers(index));
    pages.filter(|(page, number)| number_of(page) != Some(*number)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_up_to_its_limit_and_shrinks_to_nothing() {
        let mut balloon = Balloon::new(2 * INCREASE_BYTES as u64);
        assert!(balloon.increase() && balloon.increase());
        assert!(!balloon.increase());
        assert_eq!((balloon.held_bytes(), balloon.corrupt_pages()), (20 << 20, 0));
        assert!(balloon.decrease() && balloon.decrease() && !balloon.decrease());
        assert_eq!((balloon.held_bytes(), balloon.corrupt_pages()), (0, 0));
    }

    #[test]
    fn damage_is_found_in_what_is_held_and_in_what_was_given_back() {
        let mut balloon = Balloon::new(u64::MAX);
        assert!(balloon.increase() && balloon.increase());
        balloon.parts[0][PAGE_BYTES + 9] ^= 1;
        let first_page = balloon.parts[0][..PAGE_BYTES].to_vec();
        balloon.parts[1][..PAGE_BYTES].copy_from_slice(&first_page);
        assert_eq!(balloon.corrupt_pages(), 2, "a flipped bit, and another page's content");
        assert!(balloon.decrease());
        assert_eq!(balloon.corrupt_pages(), 2);
    }
}
