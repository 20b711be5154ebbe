//! A generator of random numbers that is the same everywhere and for ever.

/// `SplitMix64` (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, without it (Lemire, "Fast Random Integer Generation in an Interval", 2019, without its
    /// correction: what that leaves uneven is `end` in 2^64).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Puts `amount` randomly chosen items first (Fisher and Yates).
    pub(crate) fn choose<T>(&mut self, items: &mut [T], amount: usize) {
        for place in 0..amount.min(items.len()) {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_sequence() {
        // The reference implementation's first values for the seed 1234567 (Vigna, splitmix64.c).
        let mut random = SplitMix64::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn every_choice_is_about_as_likely() {
        let mut random = SplitMix64::new(1);
        let mut seen = [0; 5];
        for _ in 0..5000 {
            let mut items = [0, 1, 2, 3, 4];
            random.choose(&mut items, 2);
            seen[items[0]] += 1;
            seen[items[1]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        assert!(seen.iter().all(|amount| (1850..2150).contains(amount)), "{seen:?}");
    }

    #[test]
    fn nothing_can_be_chosen_of_nothing() {
        SplitMix64::new(1).choose(&mut [0; 0], 3);
        assert_eq!(SplitMix64::new(1).below(1), 0);
    }
}
