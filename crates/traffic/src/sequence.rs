//! Numbers in the order in which they arrive, held against that in which they were sent.

use std::collections::BTreeMap;
use std::ops::Range;

/// Gaps that are remembered, so that numbers that only come late are not counted as lost.
const GAPS_MAX: usize = 1 << 16;

/// How a number stands to those that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the one that was expected.
    Next,
    /// So many numbers before it have not come: lost, unless they come late.
    Ahead {
        /// How many.
        missing: u64,
    },
    /// It had been missing.
    Late,
    /// It had come before.
    Repeated,
}

/// The numbers of one stream, from 0.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// One above the highest that has come.
    next: u64,
    /// Those below it that have not: the first of each gap, and the end of it.
    gaps: BTreeMap<u64, u64>,
}

impl Sequence {
    /// Takes the number that has come now.
    pub fn take(&mut self, number: u64) -> Place {
        let missing = number.checked_sub(self.next);
        match missing {
            None => self.take_earlier(number),
            Some(missing) => {
                if missing > 0 {
                    self.remember(self.next..number);
                }
                self.next = number.saturating_add(1);
                if missing == 0 { Place::Next } else { Place::Ahead { missing } }
            }
        }
    }

    /// One above the highest number that has come.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many numbers below the highest have not come, as far as gaps are remembered (65 536 of them).
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.gaps().map(|gap| gap.end - gap.start).sum()
    }

    /// The gaps themselves, in order.
    pub fn gaps(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.gaps.iter().map(|(start, end)| *start..*end)
    }

    fn take_earlier(&mut self, number: u64) -> Place {
        let gap = self.gaps.range(..=number).next_back().map(|(start, end)| *start..*end);
        let Some(gap) = gap.filter(|gap| gap.contains(&number)) else { return Place::Repeated };
        self.gaps.remove(&gap.start);
        for rest in [gap.start..number, number + 1..gap.end] {
            if !rest.is_empty() {
                self.remember(rest);
            }
        }
        Place::Late
    }

    fn remember(&mut self, gap: Range<u64>) {
        self.gaps.insert(gap.start, gap.end);
        // What is late by so much is as good as lost.
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_order_are_each_the_next() {
        let mut sequence = Sequence::default();
        assert!((0..100).all(|number| sequence.take(number) == Place::Next));
        assert_eq!((sequence.missing(), sequence.next()), (0, 100));
    }

    #[test]
    fn what_is_left_out_is_missing_until_it_comes() {
        let mut sequence = Sequence::default();
        let places = [0, 4, 2, 2, 5].map(|number| sequence.take(number));
        let expected = [Place::Next, Place::Ahead { missing: 3 }, Place::Late, Place::Repeated, Place::Next];
        assert_eq!(places, expected);
        assert_eq!(sequence.gaps().collect::<Vec<_>>(), [1..2, 3..4]);
    }

    #[test]
    fn gaps_without_end_are_forgotten_from_the_oldest_on() {
        let mut sequence = Sequence::default();
        for number in 0..100_000 {
            sequence.take(2 * number + 1);
        }
        assert_eq!(sequence.missing(), GAPS_MAX as u64);
        assert_eq!(sequence.take(0), Place::Repeated);
        assert_eq!(sequence.take(199_998), Place::Late);
    }

    proptest! {
        #[test]
        fn every_number_is_judged_as_by_one_who_remembers_them_all(numbers in prop::collection::vec(0_u64..60, 0..120)) {
            let mut sequence = Sequence::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let end = seen.last().map_or(0, |last| last + 1);
                let expected = match number.checked_sub(end) {
                    Some(0) => Place::Next,
                    Some(missing) => Place::Ahead { missing },
                    None if seen.contains(&number) => Place::Repeated,
                    None => Place::Late,
                };
                seen.insert(number);
                prop_assert_eq!(sequence.take(number), expected);
                let end = seen.last().map_or(0, |last| last + 1);
                prop_assert_eq!(sequence.missing(), end - seen.len() as u64);
            }
        }
    }
}
