//! Amounts in the outcome's units, rounded so that an outcome computed again reads the same.

/// Bytes of a guest page.
pub(crate) const PAGE_BYTES: i64 = 4096;
/// Bytes of a MiB.
pub(crate) const MIB_BYTES: f64 = 1_048_576.0;
const MILLISECOND_NS: f64 = 1e6;

/// From one moment to another (negative if that was earlier), in ms to the µs.
pub(crate) fn ms_between(from_ns: i64, to_ns: i64) -> f64 {
    ns_in_ms(to_ns.saturating_sub(from_ns))
}

/// Nanoseconds in ms, to the µs.
pub(crate) fn ns_in_ms(ns: i64) -> f64 {
    to_thousandths(ns as f64 / MILLISECOND_NS)
}

/// An error in ms, rounded up to the µs.
pub(crate) fn error_in_ms(ns: i64) -> f64 {
    let us = ns / 1_000 + i64::from(ns % 1_000 > 0);
    us as f64 / 1_000.0
}

/// Milliseconds in whole nanoseconds; what is no number is 0.
pub(crate) fn ms_in_ns(ms: f64) -> i64 {
    (ms * MILLISECOND_NS).round() as i64
}

/// A figure to three decimals; absent if it is no number.
pub(crate) fn figure(value: f64) -> Option<f64> {
    value.is_finite().then(|| to_thousandths(value))
}

/// The value that `share` (0 to 1) of a sorted list does not exceed (nearest rank); absent for an empty list.
pub(crate) fn quantile(sorted: &[i64], share: f64) -> Option<i64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn to_thousandths(value: f64) -> f64 {
    // Adding 0 turns -0, which would print as "-0.0", into 0.
    let rounded = (value * 1000.0).round() / 1000.0 + 0.0;
    // The largest numbers have no thousandths, and a thousand times them is no number.
    if rounded.is_finite() { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        assert_eq!(ms_between(1_000, 2_000_499), 1.999);
        assert_eq!(ms_between(2_000_000, 0), -2.0);
        assert_eq!(ms_between(100, 0).to_string(), "0");
        assert_eq!(ms_between(i64::MIN, i64::MAX), ms_between(0, i64::MAX));
        assert_eq!([0, 1, 1_000, 1_001].map(error_in_ms), [0.0, 0.001, 0.001, 0.002]);
        assert_eq!(ms_in_ns(0.1), 100_000);
        assert_eq!(ms_in_ns(f64::NAN), 0);
        assert_eq!((figure(1.23456), figure(f64::INFINITY)), (Some(1.235), None));
        assert_eq!(figure(f64::MAX), Some(f64::MAX));
    }

    #[test]
    fn a_quantile_is_a_value_of_the_list() {
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99));
        assert_eq!(quantile(&hundred, 0.5), Some(50));
        assert_eq!(quantile(&[7], 0.99), Some(7));
        assert_eq!(quantile(&[7, 8], 0.0), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
