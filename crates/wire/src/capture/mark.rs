//! Moments in a capture, told in the comments of packets, whose own times are others.

use std::borrow::Cow;

/// What follows how far a moment lies before the packet on which its comment is.
const BEFORE: &str = " ms before this packet)";
/// The same, after it.
const AFTER: &str = " ms after this packet)";

/// Something that happened during a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureMark {
    /// When, in nanoseconds since the Unix epoch, as the capture's stamps are.
    pub epoch_ns: i64,
    /// What.
    pub text: String,
}

impl CaptureMark {
    /// The comment for something of another time, as in `vm0: migration completed (1706.312000 ms before this packet)`.
    pub(super) fn comment(&self, on_ns: i64) -> Cow<'_, str> {
        let by_ns = on_ns.saturating_sub(self.epoch_ns);
        let direction = if by_ns > 0 { BEFORE } else { AFTER };
        let (ms, rest_ns) = (by_ns.unsigned_abs() / 1_000_000, by_ns.unsigned_abs() % 1_000_000);
        match by_ns {
            0 => Cow::Borrowed(&self.text),
            _ => Cow::Owned(format!("{} ({ms}.{rest_ns:06}{direction}", self.text)),
        }
    }
}

/// What a comment tells of, and by how many nanoseconds that lies after what it is on. Of other comments nothing is known but
/// that they are on something of their time.
pub(crate) fn read_comment(text: &str) -> (&str, i64) {
    let told = || {
        let (head, direction) = text
            .strip_suffix(BEFORE)
            .map(|head| (head, -1))
            .or_else(|| Some((text.strip_suffix(AFTER)?, 1)))?;
        let (what, ms) = head.rsplit_once(" (")?;
        let (ms, rest) = ms.split_once('.')?;
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(ms) || !is_number(rest) || rest.len() != 6 {
            return None;
        }
        let by_ns = ms.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(rest.parse().ok()?)?;
        Some((what, direction * by_ns))
    };
    told().unwrap_or((text, 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_says_how_far_it_is_from_its_packet() {
        let mark = CaptureMark { epoch_ns: 1_000_000_000, text: "vm0: migration completed".into() };
        let cases = [
            (1_000_000_000, "vm0: migration completed"),
            (2_706_312_004, "vm0: migration completed (1706.312004 ms before this packet)"),
            (999_999_999, "vm0: migration completed (0.000001 ms after this packet)"),
        ];
        for (on_ns, comment) in cases {
            assert_eq!(mark.comment(on_ns), comment);
        }
    }

    #[test]
    fn other_comments_are_left_alone() {
        for text in [
            "",
            " ms before this packet)",
            "x ( ms before this packet)",
            "x (-1.000000 ms before this packet)",
            "x (1.5 ms before this packet)",
            "x (99999999999999999.000000 ms after this packet)",
        ] {
            assert_eq!(read_comment(text), (text, 0));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".{0,20}", epoch_ns in 0..i64::MAX / 4, by_ns in -(1_i64 << 60)..1 << 60) {
            let mark = CaptureMark { epoch_ns, text: text.clone() };
            let (on_ns, comment) = (epoch_ns + by_ns, mark.comment(epoch_ns + by_ns).into_owned());
            let (what, after_ns) = read_comment(&comment);
            prop_assert_eq!((what, on_ns + after_ns), (text.as_str(), epoch_ns));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}( \\([0-9]{0,25}\\.[0-9]{0,8} ms (before|after) this packet\\))?") {
            let _ = read_comment(&text);
        }
    }
}
