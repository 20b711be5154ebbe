//! Which differences of a whole table are more than chance: a permutation test that corrects for their number.
//!
//! Were both runs alike, any of a case's trials might as well have been made in the other run. So the trials of each case
//! are dealt to both sides anew, many times, and the clearest difference in the table noted each time: a real one must
//! be clearer than that. A trial is dealt with all its figures, so those that go together (the four downtimes) cost little
//! more than one. This is the step-down maxT procedure of Westfall and Young, "Resampling-Based Multiple Testing" (1993),
//! algorithm 4.1, with Wilcoxon's rank sum as the statistic: it asks nothing of the distribution, and a wild trial
//! weighs no more than its rank.

use std::cmp::Ordering;

use crate::statistics::{Reading, SplitMix64};

/// The trials of one case: those of A first.
pub(super) struct Block {
    /// How many are A's.
    pub(super) in_a: usize,
    /// For each figure the value of every trial or its bounds, absent where the trial does not tell it.
    pub(super) rows: Vec<Vec<Option<Reading>>>,
}

/// What the test says of one figure of one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    /// The rank sum, standardised: above 0 where B's values are greater.
    pub(super) statistic: f64,
    /// The share of tables without any change that hold a difference as clear as this one.
    pub(super) p_value: f64,
}

/// Sums of ranks are exact but for the last digits of their standardisation.
const ROUNDING: f64 = 1e-9;

/// Judges every figure of every case.
pub(super) fn judge(blocks: &[Block], permutations: u32, seed: u64) -> Vec<Vec<Judged>> {
    let mut ranked: Vec<Ranked> = blocks.iter().map(Ranked::new).collect();
    let mut statistics = vec![0.0; blocks.iter().map(|block| block.rows.len()).sum()];
    deal(&mut ranked, &mut statistics, |_, _| {});
    let observed = statistics.clone();
    let mut by_clearness: Vec<usize> = (0..observed.len()).collect();
    by_clearness.sort_by(|one, other| {
        observed[*one].abs().partial_cmp(&observed[*other].abs()).unwrap_or(Ordering::Equal)
    });

    let mut random = SplitMix64::new(seed);
    let mut as_clear = vec![0_u32; observed.len()];
    for _ in 0..permutations {
        deal(&mut ranked, &mut statistics, |trials, in_a| random.choose(trials, in_a));
        // A difference is held against those that are less clear only: the clearer ones are judged before it.
        let mut clearest = 0.0_f64;
        for row in &by_clearness {
            clearest = clearest.max(statistics[*row].abs());
            as_clear[*row] += u32::from(clearest >= observed[*row].abs() - ROUNDING);
        }
    }

    let mut judged = vec![Judged { statistic: 0.0, p_value: 1.0 }; observed.len()];
    let mut least = 0.0_f64;
    for row in by_clearness.into_iter().rev() {
        // The dealing that was observed is one of those that are possible.
        least = least.max(f64::from(as_clear[row] + 1) / f64::from(permutations + 1));
        judged[row] = Judged { statistic: observed[row], p_value: least };
    }
    let mut judged = judged.into_iter();
    blocks.iter().map(|block| judged.by_ref().take(block.rows.len()).collect()).collect()
}

/// Deals the trials of every case and writes what comes out, a statistic a row.
fn deal(ranked: &mut [Ranked], statistics: &mut [f64], mut shuffle: impl FnMut(&mut [usize], usize)) {
    let mut first = 0;
    for block in ranked {
        shuffle(&mut block.trials, block.in_a);
        let rows = block.rows();
        block.statistics(&mut statistics[first..first + rows]);
        first += rows;
    }
}

/// A block with its values replaced by ranks.
struct Ranked {
    in_a: usize,
    /// The trials as dealt: the first `in_a` of them to A.
    trials: Vec<usize>,
    /// For each trial, the ranks of its figures, less the mean rank; 0 for what is absent.
    ranks: Vec<Vec<f64>>,
    /// For each trial, 1 for each figure that it has.
    present: Vec<Vec<usize>>,
    /// For each figure and number of its values dealt to A: one over the standard deviation of their rank sum; 0 where
    /// it does not vary.
    weights: Vec<Vec<f64>>,
    sums: Vec<(f64, usize)>,
}

impl Ranked {
    fn new(block: &Block) -> Self {
        let trials = block.rows.first().map_or(0, Vec::len);
        let ranks: Vec<Vec<f64>> = block.rows.iter().map(|row| centred_ranks(row)).collect();
        let of_trial = |trial: usize| ranks.iter().map(|row| row[trial]).collect();
        let present = |trial: usize| block.rows.iter().map(|row| usize::from(row[trial].is_some())).collect();
        Self {
            in_a: block.in_a,
            trials: (0..trials).collect(),
            present: (0..trials).map(present).collect(),
            weights: ranks.iter().zip(&block.rows).map(|(ranks, row)| weights(ranks, row)).collect(),
            ranks: (0..trials).map(of_trial).collect(),
            sums: vec![(0.0, 0); block.rows.len()],
        }
    }

    fn rows(&self) -> usize {
        self.sums.len()
    }

    fn statistics(&mut self, statistics: &mut [f64]) {
        self.sums.fill((0.0, 0));
        for trial in &self.trials[..self.in_a] {
            let figures = self.ranks[*trial].iter().zip(&self.present[*trial]);
            for (sum, (rank, present)) in self.sums.iter_mut().zip(figures) {
                sum.0 += rank;
                sum.1 += present;
            }
        }
        for ((statistic, sum), weights) in statistics.iter_mut().zip(&self.sums).zip(&self.weights) {
            // Low ranks in A are high ones in B.
            *statistic = -sum.0 * weights[sum.1];
        }
    }
}

/// Ranks of the values that are there, equal ones sharing the mean of theirs, less the mean of all. Of what is known by bounds
/// it counts only what surely lies below and above: Gehan's scores ("A Generalized Wilcoxon Test", 1965), which are the same
/// ranks where all are values.
fn centred_ranks(row: &[Option<Reading>]) -> Vec<f64> {
    let values: Vec<Reading> = row.iter().copied().flatten().collect();
    let rank = |value: Reading| {
        let below = values.iter().filter(|other| other.is_below(value)).count() as f64;
        let above = values.iter().filter(|other| value.is_below(**other)).count() as f64;
        (below - above) / 2.0
    };
    row.iter().map(|value| value.map_or(0.0, rank)).collect()
}

/// One over the standard deviation of the sum of `k` of the ranks, for each `k`: drawn without replacement out of `n`,
/// its variance is k (n - k) / (n (n - 1)) times the sum of the squares.
fn weights(ranks: &[f64], row: &[Option<Reading>]) -> Vec<f64> {
    let all = row.iter().flatten().count() as f64;
    let squares: f64 = ranks.iter().map(|rank| rank * rank).sum();
    let weight = |in_a: usize| {
        let in_a = in_a as f64;
        let variance = in_a * (all - in_a) / (all * (all - 1.0)) * squares;
        if variance > 0.0 { variance.sqrt().recip() } else { 0.0 }
    };
    (0..=row.iter().flatten().count()).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_row(a: &[f64], b: &[f64]) -> Judged {
        let row = a.iter().chain(b).copied().map(Reading::value).map(Some).collect();
        judge(&[Block { in_a: a.len(), rows: vec![row] }], 9999, 1)[0][0]
    }

    #[test]
    fn a_single_comparison_is_the_exact_rank_sum_test() {
        // Two-sided, by counting: 2 of the 70 ways to deal eight values, 4 of 70, all.
        let cases: [([f64; 4], f64); 3] = [
            ([5.0, 6.0, 7.0, 8.0], 2.0 / 70.0),
            ([3.5, 6.0, 7.0, 8.0], 4.0 / 70.0),
            ([1.0, 2.0, 3.0, 4.0], 1.0),
        ];
        for (b, expected) in cases {
            let judged = one_row(&[1.0, 2.0, 3.0, 4.0], &b);
            assert!((judged.p_value - expected).abs() < 0.01, "{b:?}: {judged:?}, expected {expected}");
            assert!(judged.statistic >= 0.0, "{judged:?}");
        }
    }

    #[test]
    fn what_does_not_vary_shows_nothing() {
        assert_eq!(one_row(&[7.0; 5], &[7.0; 5]), Judged { statistic: -0.0, p_value: 1.0 });
        let nothing = Block { in_a: 1, rows: vec![vec![None, None]] };
        assert_eq!(judge(&[nothing], 99, 1)[0][0].p_value, 1.0);
        assert!(judge(&[], 99, 1).is_empty());
    }

    #[test]
    fn a_figure_that_repeats_another_costs_nothing_and_one_of_its_own_does() {
        let value = |value: i32| Some(Reading::value(f64::from(value)));
        let changed: Vec<Option<Reading>> = (0..12).map(value).collect();
        // The same trials in another order: nothing to be seen.
        let unchanged: Vec<Option<Reading>> = (0..12).map(|trial| value(trial * 7 % 12)).collect();
        let block = |rows: &[&Vec<Option<Reading>>]| Block {
            in_a: 6,
            rows: rows.iter().map(|row| (*row).clone()).collect(),
        };
        let alone = judge(&[block(&[&changed])], 9999, 1)[0][0].p_value;
        let repeated = judge(&[block(&[&changed, &changed, &changed])], 9999, 1)[0][0].p_value;
        assert_eq!(repeated, alone);
        let others: Vec<Block> = (0..9).map(|_| block(&[&unchanged])).collect();
        let among_others: Vec<Block> = [block(&[&changed])].into_iter().chain(others).collect();
        let corrected = judge(&among_others, 9999, 1)[0][0].p_value;
        assert!(corrected > 3.0 * alone, "{corrected} after {alone}");
    }

    #[test]
    fn absent_values_take_no_part() {
        let row = |values: &[f64], absent: usize| -> Vec<Option<Reading>> {
            values.iter().copied().map(Reading::value).map(Some).chain(vec![None; absent]).collect()
        };
        let whole =
            judge(&[Block { in_a: 4, rows: vec![row(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 0)] }], 99, 1);
        let lacking =
            judge(&[Block { in_a: 4, rows: vec![row(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 3)] }], 99, 1);
        assert_eq!(lacking[0][0].statistic, whole[0][0].statistic);
    }

    #[test]
    fn of_bounds_only_what_surely_lies_below_or_above_counts() {
        let row = [
            Some(Reading::at_most(40.0)),
            Some(Reading::value(30.0)),
            Some(Reading::value(50.0)),
            Some(Reading::at_least(45.0)),
            None,
        ];
        // The bound of 40 may be more or less than 30, but not than 50; that of 45 more or less than 50.
        assert_eq!(centred_ranks(&row), [-1.0, -1.0, 1.0, 1.0, 0.0]);
    }
}
