//! Student's t: how far means of few values lie apart by chance alone.

use std::f64::consts::PI;

/// The probability that |t| is at least so great, of so many degrees of freedom (Abramowitz and Stegun, "Handbook of
/// Mathematical Functions", 26.7.3 and 26.7.4: exact for whole degrees).
pub(crate) fn beyond(t: f64, degrees: usize) -> f64 {
    if degrees == 0 || t.is_nan() {
        return 1.0;
    }
    let angle = (t.abs() / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    // 1 + 2/3 cos^2 + 2 4/3 5 cos^4 ... of odd degrees, 1 + 1/2 cos^2 + 1 3/2 4 cos^4 ... of even ones.
    let first = degrees % 2;
    let (mut term, mut sum) = (1.0, 1.0);
    for step in 1..((degrees - first) / 2) {
        let step = 2.0 * step as f64 + first as f64;
        term *= cosine * cosine * (step - 1.0) / step;
        sum += term;
    }
    let within = match (first, degrees) {
        (_, 1) => 2.0 * angle / PI,
        (1, _) => 2.0 / PI * (angle + sine * cosine * sum),
        _ => sine * sum,
    };
    (1.0 - within).max(0.0)
}

/// The t that is reached with that probability, to either side; infinite without degrees of freedom.
pub(crate) fn reach(probability: f64, degrees: usize) -> f64 {
    if degrees == 0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while beyond(high, degrees) > probability && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if beyond(middle, degrees) > probability { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Abramowitz and Stegun, table 26.10.
        let cases = [
            (0.05, 1, 12.706),
            (0.05, 2, 4.303),
            (0.05, 3, 3.182),
            (0.05, 4, 2.776),
            (0.01, 5, 4.032),
            (0.05, 10, 2.228),
            (0.002, 6, 5.208),
            (0.05, 30, 2.042),
        ];
        for (probability, degrees, expected) in cases {
            let found = reach(probability, degrees);
            assert!(
                (found - expected).abs() < 1e-3,
                "{probability}, {degrees}: {found}, expected {expected}"
            );
        }
        assert_eq!((beyond(0.0, 3), beyond(9.0, 0)), (1.0, 1.0));
        assert_eq!(reach(0.05, 0), f64::INFINITY);
    }
}
