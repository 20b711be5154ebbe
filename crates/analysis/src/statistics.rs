//! What repetitions of one measurement say together: middle, spread, outliers, and how far to trust them.

mod bootstrap;
mod random;
mod reading;
pub(crate) mod student;

pub(crate) use bootstrap::relative_change;
pub use bootstrap::{Bootstrap, Interval, change_interval, median_interval};
pub(crate) use random::SplitMix64;
pub use reading::Reading;

/// Scales the median absolute deviation so that for a normal distribution it is the standard deviation: 1 over the
/// normal distribution's 75 % quantile (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", 1993).
const NORMAL_CONSISTENCY: f64 = 1.4826;
/// How many such deviations from the median a value is called an outlier (Leys et al., "Detecting outliers", 2013).
const OUTLIER_DEVIATIONS: f64 = 3.0;
/// Of fewer values nobody can say which one is unusual.
const LEAST_FOR_OUTLIERS: usize = 5;

/// The middle value, or the mean of the middle two; absent for no values. Values that are no number are passed over, here
/// and below.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a share (0 to 1) of the values lies, interpolated between neighbours (Hyndman and Fan, "Sample
/// Quantiles in Statistical Packages", 1996, definition 7); absent for no values.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(values), share)
}

/// The median distance from the median, scaled to be the standard deviation where values are normally distributed;
/// absent for no values.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    median(&distances).map(|distance| distance * NORMAL_CONSISTENCY)
}

/// Which values lie further than three deviations from the median, in their order. To be marked, never to be dropped.
/// None does where there are fewer than five values, or where more than half of them are equal.
#[must_use]
pub fn outliers(values: &[f64]) -> Vec<bool> {
    let enough = values.iter().filter(|value| value.is_finite()).count() >= LEAST_FOR_OUTLIERS;
    let (Some(middle), Some(deviation)) = (median(values), deviation(values)) else {
        return vec![false; values.len()];
    };
    let is_far = |value: &f64| (value - middle).abs() > OUTLIER_DEVIATIONS * deviation;
    values.iter().map(|value| enough && deviation > 0.0 && is_far(value)).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let below = *sorted.get(place.floor() as usize)?;
    let above = *sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let cases: [(&[f64], Option<f64>); 5] = [
            (&[], None),
            (&[f64::NAN], None),
            (&[7.0], Some(7.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, f64::INFINITY, 2.0, 9.0], Some(3.0)),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_quantile_lies_between_neighbours() {
        let values = [40.0, 10.0, 30.0, 20.0];
        let cases = [(0.0, 10.0), (0.25, 17.5), (0.5, 25.0), (1.0, 40.0), (2.0, 40.0)];
        for (share, expected) in cases {
            assert_eq!(quantile(&values, share), Some(expected), "{share}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_far_value_moves_neither_median_nor_deviation_and_is_marked() {
        let values = [10.0, 11.0, 9.0, 10.5, 9.5, 1000.0];
        assert_eq!(median(&values), Some(10.25));
        assert_eq!(deviation(&values), Some(0.75 * NORMAL_CONSISTENCY));
        assert_eq!(outliers(&values), [false, false, false, false, false, true]);
    }

    #[test]
    fn of_few_or_mostly_equal_values_none_is_an_outlier() {
        for values in [&[1.0, 1.1, 0.9, 99.0][..], &[5.0, 5.0, 5.0, 5.0, 5.1], &[]] {
            assert_eq!(outliers(values), vec![false; values.len()], "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_scale_carries_over(
            values in vec(-1e6..1e6f64, 1..40),
            share in 0.0..=1.0f64,
        ) {
            let backwards: Vec<f64> = values.iter().rev().copied().collect();
            // A power of two: exact.
            let scaled: Vec<f64> = values.iter().map(|value| value * 4.0).collect();
            let four_times = |value: Option<f64>| value.map(|value| value * 4.0);
            prop_assert_eq!(quantile(&backwards, share), quantile(&values, share));
            prop_assert_eq!(quantile(&scaled, share), four_times(quantile(&values, share)));
            prop_assert_eq!(deviation(&scaled), four_times(deviation(&values)));
            prop_assert_eq!(outliers(&scaled), outliers(&values));
            let mut marks = outliers(&backwards);
            marks.reverse();
            prop_assert_eq!(marks, outliers(&values));
        }
    }
}
