//! Sums over time: a cell a tick, empty ticks left out, in bounded memory.

/// Sums of `N` values over ticks of equal length. Where their number exceeds the bound, ticks become twice as long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticks<const N: usize> {
    tick_ns: i64,
    most: usize,
    /// In the order of their numbers.
    cells: Vec<(i64, [u64; N])>,
}

impl<const N: usize> Ticks<N> {
    /// At most `most` ticks of at least `tick_ns`.
    pub(crate) fn new(tick_ns: i64, most: usize) -> Self {
        Self { tick_ns: tick_ns.max(1), most, cells: Vec::new() }
    }

    /// Adds values at a time after the begin.
    pub(crate) fn add(&mut self, at_ns: i64, values: [u64; N]) {
        let tick = at_ns.div_euclid(self.tick_ns);
        match self.cells.last_mut() {
            Some((last, cell)) if *last == tick => sum(cell, &values),
            Some((last, _)) if *last > tick => {
                match self.cells.binary_search_by_key(&tick, |(tick, _)| *tick) {
                    Ok(index) => sum(&mut self.cells[index].1, &values),
                    Err(index) => self.cells.insert(index, (tick, values)),
                }
            }
            _ => self.cells.push((tick, values)),
        }
        while self.cells.len() > self.most && self.tick_ns < i64::MAX / 2 {
            self.coarsen();
        }
    }

    /// A tick's length in ms.
    pub(crate) fn tick_ms(&self) -> f64 {
        self.tick_ns as f64 / 1e6
    }

    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.cells.iter().map(|(tick, _)| *tick).collect()
    }

    /// One of the values, tick by tick.
    pub(crate) fn column(&self, index: usize) -> Vec<u64> {
        self.cells.iter().map(|(_, values)| values[index]).collect()
    }

    fn coarsen(&mut self) {
        self.tick_ns *= 2;
        self.cells.iter_mut().for_each(|(tick, _)| *tick = tick.div_euclid(2));
        self.cells.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                sum(&mut kept.1, &next.1);
            }
            is_same
        });
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
        assert_eq!(ticks.numbers(), [-1, 0, 1, 3]);
        assert_eq!(ticks.column(0), [16, 3, 8, 36]);
    }

    #[test]
    fn ticks_grow_until_they_are_few_enough() {
        let mut ticks = Ticks::new(10, 3);
        (0..8).for_each(|tick| ticks.add(tick * 10, [1]));
        assert_eq!((ticks.tick_ns, ticks.numbers(), ticks.column(0)), (40, vec![0, 1], vec![4, 4]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_bound_holds(times in proptest::collection::vec(any::<i32>(), 1..200)) {
            let mut ticks = Ticks::new(7, 5);
            times.iter().for_each(|at| ticks.add(i64::from(*at), [1, 2]));
            prop_assert!(ticks.numbers().len() <= 5);
            prop_assert!(ticks.numbers().is_sorted_by(|one, next| one < next));
            prop_assert_eq!(ticks.column(1).iter().sum::<u64>(), 2 * times.len() as u64);
        }
    }
}
