//! Numbers and dates as people read them.

use std::fmt::Display;

use dunlin_analysis::Reading;

/// What stands where nothing was measured.
pub(crate) const ABSENT: &str = "–";

/// A figure with about three digits: no decimals from 100 on, one from 10 on, else two.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        ABSENT.into()
    } else if value == 0.0 || size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A figure, or what bounds it: as in `42.0`, `≤ 40.0`, `≥ 1100`, `20.0–40.0`.
#[must_use]
pub fn reading(reading: Reading) -> String {
    let Reading { low, high } = reading;
    if let Some(value) = reading.exact() {
        number(value)
    } else if low <= 0.0 {
        format!("≤\u{a0}{}", number(high))
    } else if high.is_infinite() {
        format!("≥\u{a0}{}", number(low))
    } else {
        format!("{}–{}", number(low), number(high))
    }
}

/// A figure, or a dash where it was not measured.
pub(crate) fn number_or_absent(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.into(), number)
}

/// Bytes as megabytes (10^6), the unit of the papers' tables.
pub(crate) fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / 1e6
}

/// A count with its noun, as in `1 trial` or `3 trials`.
#[must_use]
pub fn count<N: Copy + Display + PartialEq + From<u8>>(amount: N, noun: &str) -> String {
    let plural = if amount == N::from(1) { "" } else { "s" };
    format!("{amount} {noun}{plural}")
}

/// Milliseconds since the Unix epoch as `2025-11-21 01:03:07 UTC`.
#[must_use]
pub fn utc(epoch_ms: i64) -> String {
    let seconds = epoch_ms.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day counted from 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`): years begin in March, so that the leap day is the last of its year.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_about_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.0412, "0.04"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (43.25, "43.2"),
            (99.94, "99.9"),
            (99.96, "100"),
            (1402.4, "1402"),
            (-3.5, "-3.50"),
            (f64::NAN, ABSENT),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!(number_or_absent(None), ABSENT);
    }

    #[test]
    fn a_bound_never_looks_like_a_value() {
        for (of, text) in [
            (Reading::value(0.0), "0"),
            (Reading::at_most(40.0), "≤\u{a0}40.0"),
            (Reading::at_least(1099.81), "≥\u{a0}1100"),
            (Reading { low: 20.0, high: 40.0 }, "20.0–40.0"),
        ] {
            assert_eq!(reading(of), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_proleptic_gregorian_calendar() {
        let cases = [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199_999, "2024-02-29 23:59:59 UTC"),
            (1_763_686_987_000, "2025-11-21 01:03:07 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ];
        for (epoch_ms, text) in cases {
            assert_eq!(utc(epoch_ms), text, "{epoch_ms}");
        }
    }
}
