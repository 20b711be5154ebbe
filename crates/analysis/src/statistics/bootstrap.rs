//! Bootstrap intervals: what a figure would be, had the trials come out in other of the ways in which they do.
//!
//! Percentile intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). They assume nothing
//! of the distribution, and of a median they are about the exact interval by order statistics. With fewer than about six
//! values they are too narrow, as every value is within what was seen.

use super::{SplitMix64, quantile_of_sorted, sorted};

/// How an interval is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// The share of intervals that should hold the truth, as in 0.95.
    pub level: f64,
    /// How often it is drawn anew.
    pub resamples: u32,
    /// Where the generator begins: the same seed gives the same interval.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { level: 0.95, resamples: 2000, seed: 0x6475_6e6c_696e }
    }
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The interval of the median of a sample; absent for no values.
#[must_use]
pub fn median_interval(values: &[f64], how: &Bootstrap) -> Option<Interval> {
    let mut sample = Resampled::new(values);
    percentiles(how, |random| sample.draw_median(random))
}

/// The interval of the relative change of the median from `a` to `b` (0.1 is 10 % more); absent where a sample has no
/// values, or where the median it is relative to may be 0.
#[must_use]
pub fn change_interval(a: &[f64], b: &[f64], how: &Bootstrap) -> Option<Interval> {
    let (mut a, mut b) = (Resampled::new(a), Resampled::new(b));
    percentiles(how, |random| {
        let (before, after) = (a.draw_median(random)?, b.draw_median(random)?);
        relative_change(before, after)
    })
}

/// The relative change from one figure to another; absent from 0 to anything else.
pub(crate) fn relative_change(before: f64, after: f64) -> Option<f64> {
    if before == after {
        return Some(0.0);
    }
    Some((after - before) / before.abs()).filter(|change| change.is_finite())
}

fn percentiles(how: &Bootstrap, mut draw: impl FnMut(&mut SplitMix64) -> Option<f64>) -> Option<Interval> {
    let mut random = SplitMix64::new(how.seed);
    let mut drawn = Vec::new();
    for _ in 0..how.resamples {
        drawn.push(draw(&mut random)?);
    }
    drawn.sort_by(f64::total_cmp);
    let beyond = (1.0 - how.level) / 2.0;
    Some(Interval {
        low: quantile_of_sorted(&drawn, beyond)?,
        high: quantile_of_sorted(&drawn, 1.0 - beyond)?,
    })
}

/// A sample from which as many values are drawn as it has, each perhaps more than once.
struct Resampled {
    sorted: Vec<f64>,
    times_drawn: Vec<usize>,
}

impl Resampled {
    fn new(values: &[f64]) -> Self {
        let sorted = sorted(values);
        Self { times_drawn: vec![0; sorted.len()], sorted }
    }

    /// The median of one drawing; absent for no values.
    fn draw_median(&mut self, random: &mut SplitMix64) -> Option<f64> {
        let amount = self.sorted.len();
        self.times_drawn.fill(0);
        for _ in 0..amount {
            self.times_drawn[random.below(amount)] += 1;
        }
        Some(f64::midpoint(self.drawn(amount.checked_sub(1)? / 2)?, self.drawn(amount / 2)?))
    }

    /// The drawn value that has so many before it.
    fn drawn(&self, before: usize) -> Option<f64> {
        let mut seen = 0;
        let place = self.times_drawn.iter().position(|times| {
            seen += times;
            seen > before
        })?;
        self.sorted.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::median;

    fn quick(resamples: u32) -> Bootstrap {
        Bootstrap { resamples, ..Bootstrap::default() }
    }

    /// Values of a skewed distribution whose median is 100: its logarithm is about normal (a sum of twelve uniform ones).
    fn skewed(random: &mut SplitMix64, amount: usize) -> Vec<f64> {
        let mut normal = || (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        (0..amount).map(|_| 100.0 * (0.4 * normal()).exp()).collect()
    }

    /// The share of 1000 experiments whose interval of a level of 95 % holds the truth.
    fn coverage(trials: usize, holds: impl Fn(&[f64], &[f64]) -> bool) -> f64 {
        let mut random = SplitMix64::new(trials as u64);
        let held = (0..1000).filter(|_| {
            let (a, b) = (skewed(&mut random, trials), skewed(&mut random, trials));
            holds(&a, &b.iter().map(|value| value * 1.5).collect::<Vec<_>>())
        });
        held.count() as f64 / 1000.0
    }

    fn has(interval: Option<Interval>, truth: f64) -> bool {
        interval.is_some_and(|interval| interval.low <= truth && truth <= interval.high)
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_promise() {
        for trials in [10, 25] {
            let of_median = coverage(trials, |a, _| has(median_interval(a, &quick(400)), 100.0));
            assert!((0.88..0.995).contains(&of_median), "{trials} trials: {of_median}");
            let of_change = coverage(trials, |a, b| has(change_interval(a, b, &quick(400)), 0.5));
            assert!((0.88..0.995).contains(&of_change), "{trials} trials: {of_change}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_absent() {
        let how = Bootstrap::default();
        assert_eq!(median_interval(&[], &how), None);
        assert_eq!(change_interval(&[], &[1.0], &how), None);
        assert_eq!(change_interval(&[1.0], &[f64::NAN], &how), None);
        assert_eq!(change_interval(&[0.0, 0.0], &[1.0, 2.0], &how), None);
        assert_eq!(median_interval(&[1.0], &quick(0)), None);
    }

    #[test]
    fn what_does_not_vary_has_an_interval_without_width() {
        let how = Bootstrap::default();
        assert_eq!(median_interval(&[5.0; 4], &how), Some(Interval { low: 5.0, high: 5.0 }));
        assert_eq!(change_interval(&[4.0; 4], &[5.0; 4], &how), Some(Interval { low: 0.25, high: 0.25 }));
        assert_eq!(change_interval(&[0.0; 4], &[0.0; 4], &how), Some(Interval { low: 0.0, high: 0.0 }));
    }

    proptest! {
        #[test]
        fn order_does_not_matter_scale_carries_over_and_the_median_is_within(
            a in vec(1.0..1e3f64, 1..30),
            b in vec(1.0..1e3f64, 1..30),
        ) {
            let how = quick(200);
            let backwards: Vec<f64> = a.iter().rev().copied().collect();
            let scaled = |values: &[f64]| values.iter().map(|value| value * 8.0).collect::<Vec<_>>();
            let interval = median_interval(&a, &how).unwrap();
            prop_assert_eq!(median_interval(&backwards, &how), Some(interval));
            let large = median_interval(&scaled(&a), &how).unwrap();
            prop_assert_eq!((large.low, large.high), (interval.low * 8.0, interval.high * 8.0));
            prop_assert_eq!(change_interval(&scaled(&a), &scaled(&b), &how), change_interval(&a, &b, &how));
            let extremes = sorted(&a);
            prop_assert!(extremes[0] <= interval.low && interval.high <= extremes[a.len() - 1]);
            prop_assert!(a.len() < 3 || has(Some(interval), median(&a).unwrap()));
        }
    }
}
