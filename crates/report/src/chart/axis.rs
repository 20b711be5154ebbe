//! A chart's axis: where a value lies between its ends, and the round values on the way.

/// From where on values are too far apart for a linear axis to show the small ones.
const LOG_RATIO: f64 = 100.0;

/// The same for dots, which show a small value less than a bar shows a short length.
const DOTS_LOG_RATIO: f64 = 20.0;

/// Up to here a log axis of dots has room for the ticks 1, 2 and 5 of each decade.
const ROUND_STEPS_RATIO: f64 = 2_000.0;

/// Values beyond these are drawn at them: an axis of more decades shows nothing.
const SMALLEST: f64 = 0.001;
const GREATEST: f64 = 1e12;

/// An axis with round ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round value that holds all of these.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let max = greatest(values);
        let step = round_step(max / 4.0);
        let steps = (max / step).ceil().max(1.0) as u32;
        // Counted in whole units of the step's decade: 3 x 0.1 would not print as 0.3.
        let decade = 10f64.powf(step.log10().floor());
        let unit = (step / decade).round();
        let at = |index: u32| {
            let units = f64::from(index) * unit;
            if decade < 1.0 { units / (1.0 / decade).round() } else { units * decade }
        };
        Self { log: false, ticks: (0..=steps).map(at).collect() }
    }

    /// Linear where that can show all of these, else by powers of ten; a bar of 0 has no length on either.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone) -> Self {
        let above_zero = values.clone().filter(|value| *value > 0.0 && value.is_finite());
        let min = above_zero.clone().fold(f64::INFINITY, f64::min).clamp(SMALLEST, GREATEST);
        let max = greatest(values.clone());
        if max / min <= LOG_RATIO {
            return Self::linear(values);
        }
        Self::decades(min, max)
    }

    /// As [`Axis::fitting`], for dots: a log axis from a twentieth on, as far as the values reach and not in whole decades.
    pub(super) fn spanning(values: impl Iterator<Item = f64> + Clone) -> Self {
        let above_zero = values.clone().filter(|value| *value > 0.0 && value.is_finite());
        let min = above_zero.clone().fold(f64::INFINITY, f64::min).clamp(SMALLEST, GREATEST);
        let max = greatest(values.clone());
        if max / min <= DOTS_LOG_RATIO {
            return Self::linear(values);
        }
        if max / min > ROUND_STEPS_RATIO {
            return Self::decades(min, max);
        }
        let (first, last) = (round_below(min), round_step(max));
        let steps =
            std::iter::successors(Some(first), |tick| (*tick < last * 0.999).then(|| round_step(tick * 1.5)));
        Self { log: true, ticks: steps.collect() }
    }

    /// By powers of ten, whatever the values are.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64> + Clone) -> Self {
        let max = greatest(values.clone());
        let above_zero = values.filter(|value| *value > 0.0 && value.is_finite());
        Self::decades(above_zero.fold(max, f64::min).clamp(SMALLEST, GREATEST), max)
    }

    /// By powers of ten.
    fn decades(min: f64, max: f64) -> Self {
        let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        let power = |exponent: i32| {
            if exponent < 0 { 1.0 / 10f64.powi(-exponent) } else { 10f64.powi(exponent) }
        };
        Self { log: true, ticks: (first..=last).map(power).collect() }
    }

    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    pub(super) fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// Where a value lies: 0 at the axis' begin, 1 at its end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let (Some(&first), Some(&last)) = (self.ticks.first(), self.ticks.last()) else { return 0.0 };
        let along = if !self.log {
            value / last
        } else if value <= first {
            0.0
        } else {
            (value.log10() - first.log10()) / (last.log10() - first.log10())
        };
        if along.is_finite() { along.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    let max = values.filter(|value| value.is_finite()).fold(0.0, f64::max).min(GREATEST);
    if max < SMALLEST { 1.0 } else { max }
}

/// The least of 1, 2 or 5 times a power of ten that is not below `value`.
fn round_step(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= value).unwrap_or(10.0);
    factor * decade
}

/// The greatest of 1, 2 or 5 times a power of ten that is not above `value`.
fn round_below(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [5.0, 2.0].into_iter().find(|factor| factor * decade <= value).unwrap_or(1.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        let cases: [(&[f64], &[f64]); 5] = [
            (&[831.0, 3454.0], &[0.0, 1000.0, 2000.0, 3000.0, 4000.0]),
            (&[7.0], &[0.0, 2.0, 4.0, 6.0, 8.0]),
            (&[0.31], &[0.0, 0.1, 0.2, 0.3, 0.4]),
            (&[0.0], &[0.0, 0.5, 1.0]),
            (&[], &[0.0, 0.5, 1.0]),
        ];
        for (values, ticks) in cases {
            assert_eq!(Axis::linear(values.iter().copied()).ticks(), ticks, "{values:?}");
        }
    }

    #[test]
    fn values_more_than_a_hundredfold_apart_stand_on_a_log_axis() {
        let axis = |values: &[f64]| Axis::fitting(values.iter().copied());
        assert!(!axis(&[5.0, 500.0]).is_log());
        assert!(!axis(&[0.0, 5.0, 500.0]).is_log(), "0 says nothing about the range");
        let log = axis(&[3.0, 650.0, 0.0]);
        assert_eq!(log.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        for (value, position) in [(0.0, 0.0), (1.0, 0.0), (10.0, 1.0 / 3.0), (1000.0, 1.0), (5000.0, 1.0)] {
            assert!((log.position(value) - position).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn dots_more_than_twentyfold_apart_stand_on_a_log_axis_as_far_as_they_reach() {
        let axis = |values: &[f64]| Axis::spanning(values.iter().copied());
        assert!(!axis(&[5.0, 100.0]).is_log());
        assert_eq!(axis(&[3.0, 70.0]).ticks(), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let sweep = axis(&[1.0, 832.0]);
        assert_eq!(sweep.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert!(sweep.is_log() && sweep.position(1.0) == 0.0);
        assert_eq!(axis(&[3.0, 7000.0]).ticks(), [1.0, 10.0, 100.0, 1000.0, 10000.0]);
    }

    #[test]
    fn no_value_makes_an_endless_axis() {
        for value in [f64::INFINITY, f64::NAN, f64::MAX, f64::MIN_POSITIVE, -1.0] {
            let values = [value, 1.0].into_iter();
            for axis in
                [Axis::fitting(values.clone()), Axis::spanning(values.clone()), Axis::logarithmic(values)]
            {
                assert!(axis.ticks().len() < 20, "{value}");
                assert!((0.0..=1.0).contains(&axis.position(value)), "{value}");
            }
        }
    }
}
