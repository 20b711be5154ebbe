//! Times as they are written on the command line.

use std::time::Duration;

/// A time with its unit.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time as in 10s, 500ms or 2min".to_owned();
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("0.5 ms"), Ok(Duration::from_micros(500)));
        assert_eq!(time("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "s", "-1s", "1h", "1e400s", "nans"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
