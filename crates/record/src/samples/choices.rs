//! Choices taken from bytes, so that a fuzzer or a property can make them, and make them smaller.

use crate::ABSENT;

/// A moment an hour after the machine's boot: times near it are drawn often.
pub(super) const NOW_NS: i64 = 3_600_000_000_000;
/// The worst numbers there are.
const WORST: [i64; 8] = [ABSENT, i64::MIN + 1, i64::MAX, i64::MAX - 1, -1, 0, 1 << 62, u32::MAX as i64];
/// The worst numbers a JSON file can hold besides.
const WORST_FLOATS: [f64; 6] = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::EPSILON, -0.0, 1e300];

/// Choices taken from bytes; each is the first one there is once these are used up.
#[derive(Debug)]
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Takes them from these.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// A number below `end`, 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let drawn = if end <= 256 { u64::from(self.byte()) } else { self.word() };
        (drawn as usize).checked_rem(end).unwrap_or(0)
    }

    /// One of these.
    ///
    /// # Panics
    /// Where there are none.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number of a series: small, the worst, or any.
    pub fn number(&mut self) -> i64 {
        match self.byte() {
            0..70 => i64::from(self.byte() % 3),
            70..140 => i64::from(self.byte()),
            140..220 => self.of(&WORST),
            220..=255 => self.word().cast_signed(),
        }
    }

    /// A time: mostly one within the seconds in which a migration of the tests goes, else any number.
    pub fn time_ns(&mut self) -> i64 {
        match self.byte() {
            0..220 => NOW_NS + i64::from(self.byte()) * 13_000_000 - 1_300_000_000,
            220..=255 => self.number(),
        }
    }

    /// A number of an event, as JSON has it.
    pub(super) fn json_number(&mut self) -> serde_json::Value {
        match self.byte() {
            0..60 => self.number().into(),
            60..90 => self.time_ns().into(),
            90..130 => self.of(&WORST_FLOATS).into(),
            130..160 => f64::from_bits(self.word()).into(),
            160..220 => self.of(&[u64::MAX, u64::MAX - 1, 1 << 63, u32::MAX.into()]).into(),
            220..240 => self.word().into(),
            240..=255 => serde_json::Value::Null,
        }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        let bytes: [u8; 8] = std::array::from_fn(|_| self.byte());
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_repeatable_and_never_end() {
        let seed: Vec<u8> = (0..=255).collect();
        let drawn = |seed: &[u8]| {
            let mut choices = Choices::new(seed);
            (0..400).map(|_| choices.number()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(&seed), drawn(&seed));
        assert_eq!(drawn(&[])[..3], [0, 0, 0]);
        assert_eq!(Choices::new(&[7]).below(0), 0);
    }
}
