//! Measurements of which only bounds may be known: interval-censored values, in the words of statistics.

/// A measurement, or the bounds of one; those of a value are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// It is no less than this.
    pub low: f64,
    /// It is no more than this; infinite where that is not known.
    pub high: f64,
}

impl Reading {
    /// A value.
    #[must_use]
    pub fn value(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// What cannot be less than 0 and is no more than this.
    #[must_use]
    pub fn at_most(bound: f64) -> Self {
        Self { low: 0.0, high: bound }
    }

    /// What is no less than this.
    #[must_use]
    pub fn at_least(bound: f64) -> Self {
        Self { low: bound, high: f64::INFINITY }
    }

    /// The first of these that is there; what is no number is not.
    #[must_use]
    pub fn of(value: Option<f64>, at_most: Option<f64>, at_least: Option<f64>) -> Option<Self> {
        let number = |number: Option<f64>| number.filter(|number| number.is_finite());
        let bound = || number(at_most).map(Self::at_most).or_else(|| number(at_least).map(Self::at_least));
        number(value).map(Self::value).or_else(bound)
    }

    /// The value, where it is one.
    #[must_use]
    pub fn exact(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether it is certainly less. Of bounds that reach over each other neither is (Gehan, "A Generalized Wilcoxon Test
    /// for Comparing Arbitrarily Singly-Censored Samples", 1965).
    #[must_use]
    pub fn is_below(self, other: Self) -> bool {
        self.high < other.low
    }

    /// So many times as much.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }

    /// The bounds of the median: whatever the values within the bounds are, their median lies between the median of the
    /// lower ones and that of the upper ones. A value where the bounds do not reach the middle; absent for none.
    #[must_use]
    pub fn median(readings: &[Self]) -> Option<Self> {
        let low = middle(readings.iter().map(|one| one.low).collect())?;
        let high = middle(readings.iter().map(|one| one.high).collect())?;
        Some(Self { low, high })
    }
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let (below, above) = (values[last / 2], values[last.div_ceil(2)]);
    // Between two infinite ones there is no number.
    Some(if below == above { below } else { f64::midpoint(below, above) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_median_over_bounds_is_a_bound_unless_they_do_not_reach_the_middle() {
        let (value, at_most, at_least) = (Reading::value, Reading::at_most, Reading::at_least);
        let cases: [(&[Reading], Option<Reading>); 8] = [
            (&[], None),
            (&[value(40.0), value(44.0)], Some(value(42.0))),
            (&[at_most(40.0)], Some(at_most(40.0))),
            (&[at_most(2.0), at_most(40.0), at_most(3.0)], Some(at_most(3.0))),
            (&[at_most(2.0), value(40.0), value(42.0)], Some(value(40.0))),
            (&[at_most(2.0), value(40.0)], Some(Reading { low: 20.0, high: 21.0 })),
            (&[at_least(100.0), value(40.0), value(42.0)], Some(value(42.0))),
            (&[at_least(100.0), at_least(90.0), value(42.0)], Some(at_least(90.0))),
        ];
        for (readings, expected) in cases {
            assert_eq!(Reading::median(readings), expected, "{readings:?}");
        }
    }

    #[test]
    fn a_reading_is_the_value_or_else_a_bound_or_else_absent() {
        assert_eq!(Reading::of(Some(1.0), Some(2.0), None), Some(Reading::value(1.0)));
        assert_eq!(Reading::of(None, Some(2.0), None), Some(Reading { low: 0.0, high: 2.0 }));
        assert_eq!(Reading::of(None, None, Some(3.0)), Some(Reading { low: 3.0, high: f64::INFINITY }));
        assert_eq!(Reading::of(Some(f64::NAN), None, None), None);
        assert_eq!((Reading::value(1.0).exact(), Reading::at_most(1.0).exact()), (Some(1.0), None));
    }

    #[test]
    fn only_what_is_certainly_less_is_below() {
        let (value, at_most, at_least) = (Reading::value, Reading::at_most, Reading::at_least);
        let cases = [
            (value(1.0), value(2.0), true),
            (value(2.0), value(2.0), false),
            (at_most(1.0), value(2.0), true),
            (at_most(3.0), value(2.0), false),
            (value(2.0), at_least(2.5), true),
            (value(2.0), at_least(1.5), false),
            (at_most(1.0), at_least(2.0), true),
            (at_most(1.0), at_most(2.0), false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.is_below(other), expected, "{one:?} {other:?}");
        }
        assert_eq!(at_most(2.0).scaled(1.5), at_most(3.0));
        assert_eq!(at_least(2.0).scaled(1.5), at_least(3.0));
    }

    proptest! {
        #[test]
        fn the_bounds_of_the_median_hold_the_median_of_any_values_within(
            readings in proptest::collection::vec((0.0..1e3_f64, 0.0..1e3_f64, 0.0..=1.0_f64), 1..20),
        ) {
            let bounds: Vec<Reading> = readings
                .iter()
                .map(|(one, other, _)| Reading { low: one.min(*other), high: one.max(*other) })
                .collect();
            let values: Vec<f64> = bounds
                .iter()
                .zip(&readings)
                .map(|(bound, (_, _, place))| bound.low + (bound.high - bound.low) * place)
                .collect();
            let (median, held) = (super::super::median(&values).unwrap(), Reading::median(&bounds).unwrap());
            prop_assert!(held.low <= median + 1e-9 && median <= held.high + 1e-9, "{median} in {held:?}");
        }
    }
}
