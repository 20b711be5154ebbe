//! Times as they are written on the command line.

use dunlin_wire::TimePoint;

/// A length of time in nanoseconds, as in `10`, `10ms`, `0.5s`.
pub(super) fn tick_ns(text: &str) -> Result<i64, String> {
    let ns = length_ns(text)?;
    if !(1e3..=3.6e12).contains(&ns) {
        return Err("it must be from 1us to 3600s".into());
    }
    Ok(ns as i64)
}

/// A time after the file's first packet, as in `10`, `1.5s`, `-3ms`; or a date, as in `2026-11-21T04:45:34.5Z`.
pub(super) fn point(text: &str) -> Result<TimePoint, String> {
    if let Some(epoch_ns) = date_ns(text) {
        return Ok(TimePoint::Epoch(epoch_ns));
    }
    let ns = length_ns(text).map_err(|why| format!("{why}; or a date, as in 2026-11-21T04:45:34Z"))?;
    if !(-9.2e18..=9.2e18).contains(&ns) {
        return Err("it is further than 292 years off".into());
    }
    Ok(TimePoint::AfterFirst(ns as i64))
}

fn length_ns(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ns = match &text[digits.len()..] {
        "us" => 1e3,
        "" | "ms" => 1e6,
        "s" => 1e9,
        other => return Err(format!("{other:?} is no unit: us, ms or s")),
    };
    let length: f64 = digits.parse().map_err(|_| "not a number, as in 10ms".to_owned())?;
    Ok(length * unit_ns)
}

/// A date and time of RFC 3339 in UTC, with `T` or a space between, with or without fractions and `Z`; in nanoseconds since
/// the Unix epoch.
fn date_ns(text: &str) -> Option<i128> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let is_possible = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_possible || !is_fraction {
        return None;
    }
    let fraction_ns: i128 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(i128::from(seconds) * 1_000_000_000 + fraction_ns)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit()) && part.len() <= 4;
        part.parse::<i64>().ok().filter(|_| is_number)
    });
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`): years begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_number_with_or_without_a_unit() {
        for (text, ns) in [("10", 10_000_000), ("0.5ms", 500_000), ("20us", 20_000), ("2s", 2_000_000_000)] {
            assert_eq!(tick_ns(text), Ok(ns), "{text}");
        }
        for wrong in ["", "ms", "-1", "0", "10m", "nan", "1e9s", "1µs"] {
            assert!(tick_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_point_is_a_length_or_a_date() {
        for (text, ns) in [("10", 10_000_000), ("-1.5s", -1_500_000_000), ("0", 0)] {
            assert_eq!(point(text), Ok(TimePoint::AfterFirst(ns)), "{text}");
        }
        for (text, seconds, ns) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29 00:00:00", 951_782_400, 0),
            ("2025-11-21T01:03:07.25Z", 1_763_686_987, 250_000_000),
            ("1969-12-31 23:59:59.999999999", -1, 999_999_999),
        ] {
            assert_eq!(point(text), Ok(TimePoint::Epoch(seconds * 1_000_000_000 + ns)), "{text}");
        }
        for wrong in
            ["", "soon", "nan", "1e30", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00", "2026-01-01", "1m"]
        {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }
}
