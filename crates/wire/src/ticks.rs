//! Sums over time: a cell a tick, empty ticks left out, in bounded memory.

use std::collections::BTreeMap;

/// Sums of `N` values over ticks of equal length. Where their number exceeds the bound, ticks become twice as long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticks<const N: usize> {
    tick_ns: i64,
    most: usize,
    /// The tick of the last values, and when it begins: nearly all that follow are of it too.
    current: Option<(i64, i64, [u64; N])>,
    /// By number. A tree, so that a file whose packets run backwards takes no longer than another.
    cells: BTreeMap<i64, [u64; N]>,
}

/// Ticks column by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns<const N: usize> {
    /// A tick's length in ms.
    pub(crate) tick_ms: f64,
    /// The ticks' numbers, in order.
    pub(crate) tick: Vec<i64>,
    /// Each of the values, tick by tick.
    pub(crate) values: [Vec<u64>; N],
}

impl<const N: usize> Ticks<N> {
    /// At most `most` ticks of at least `tick_ns`.
    pub(crate) fn new(tick_ns: i64, most: usize) -> Self {
        Self { tick_ns: tick_ns.max(1), most, current: None, cells: BTreeMap::new() }
    }

    /// Adds values at a time after the begin.
    #[inline]
    pub(crate) fn add(&mut self, at_ns: i64, values: [u64; N]) {
        match &mut self.current {
            // A division for each packet would take as long as all the rest here.
            Some((_, begin_ns, cell))
                if at_ns >= *begin_ns && at_ns.saturating_sub(*begin_ns) < self.tick_ns =>
            {
                sum(cell, &values);
            }
            _ => self.begin(at_ns, values),
        }
    }

    #[cold]
    fn begin(&mut self, at_ns: i64, values: [u64; N]) {
        self.put_away();
        // Ticks may have become longer.
        let tick = at_ns.div_euclid(self.tick_ns);
        self.current = Some((tick, tick.saturating_mul(self.tick_ns), values));
    }

    /// What it takes of the memory, in bytes.
    pub(crate) fn room(&self) -> usize {
        // A tree's nodes are half to all full.
        self.cells.len() * size_of::<(i64, [u64; N])>() * 3 / 2
    }

    /// The sums.
    pub(crate) fn finish(mut self) -> Columns<N> {
        self.put_away();
        Columns {
            tick_ms: self.tick_ns as f64 / 1e6,
            tick: self.cells.keys().copied().collect(),
            values: std::array::from_fn(|index| self.cells.values().map(|values| values[index]).collect()),
        }
    }

    fn put_away(&mut self) {
        let Some((tick, _, values)) = self.current.take() else { return };
        sum(self.cells.entry(tick).or_insert([0; N]), &values);
        while self.cells.len() > self.most && self.tick_ns < i64::MAX / 2 {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.tick_ns *= 2;
        for (tick, values) in std::mem::take(&mut self.cells) {
            sum(self.cells.entry(tick.div_euclid(2)).or_insert([0; N]), &values);
        }
    }
}

fn sum<const N: usize>(cell: &mut [u64; N], values: &[u64; N]) {
    cell.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_one_tick_are_summed_and_late_ones_find_their_place() {
        let mut ticks = Ticks::new(10, 100);
        for (at, value) in [(0, 1), (9, 2), (35, 4), (12, 8), (-1, 16), (30, 32)] {
            ticks.add(at, [value]);
        }
        let sums = ticks.finish();
        assert_eq!((sums.tick, sums.values), (vec![-1, 0, 1, 3], [vec![16, 3, 8, 36]]));
    }

    #[test]
    fn ticks_grow_until_they_are_few_enough() {
        let mut ticks = Ticks::new(10, 3);
        (0..8).for_each(|tick| ticks.add(tick * 10, [1]));
        let sums = ticks.finish();
        assert_eq!((sums.tick_ms, sums.tick, sums.values), (0.000_04, vec![0, 1], [vec![4, 4]]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_bound_holds(times in proptest::collection::vec(any::<i32>(), 1..200)) {
            let mut ticks = Ticks::new(7, 5);
            times.iter().for_each(|at| ticks.add(i64::from(*at), [1, 2]));
            let Columns { tick, values: [ones, twos], .. } = ticks.finish();
            prop_assert!(tick.len() <= 5 && ones.len() == tick.len());
            prop_assert!(tick.is_sorted_by(|one, next| one < next));
            prop_assert_eq!(twos.iter().sum::<u64>(), 2 * times.len() as u64);
        }
    }
}
