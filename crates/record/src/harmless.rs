//! Foreign text made harmless for a terminal: what guests' consoles, hypervisors, captures and peers say.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every character escaped that would steer a terminal instead of being seen: control characters (C0 but line
/// feeds and tabs, DEL, C1), which may move the cursor, clear the screen or set the clipboard; and those that turn or part
/// lines (Unicode's `Bidi_Control`, U+2028, U+2029), by which text can pose as other text. They are shown as in `\u{1b}`.
/// A carriage return at a line's end is left out.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            _ if steers(character) => {
                // Writing to a string does not fail.
                let _ = write!(shown, "{}", character.escape_unicode());
            }
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// JSON that means the same, its strings written without such characters.
#[must_use]
pub fn harmless_json(json: &str) -> Cow<'_, str> {
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers(character) {
            // All of them are in the basic plane, which needs one unit (RFC 8259, section 7).
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn steers(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_all_else_stays() {
        let cases = [
            ("plain\n\ttext, ähnlich \u{1f426} عربي", "plain\n\ttext, ähnlich \u{1f426} عربي"),
            ("\u{1b}[2J\u{1b}]52;c;aGk=\u{7}", "\\u{1b}[2J\\u{1b}]52;c;aGk=\\u{7}"),
            ("\u{9b}31m \u{90}q\u{9c} \u{7f} \u{0}", "\\u{9b}31m \\u{90}q\\u{9c} \\u{7f} \\u{0}"),
            (
                "user\u{202e}gpj.exe \u{2067}x\u{2069}\u{200f}",
                "user\\u{202e}gpj.exe \\u{2067}x\\u{2069}\\u{200f}",
            ),
            ("one\u{2028}two", "one\\u{2028}two"),
            ("console\r\nline\rover", "console\nline\\u{d}over"),
        ];
        for (text, shown) in cases {
            assert_eq!(harmless(text), shown);
        }
        assert!(matches!(harmless("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same_without_them() {
        let value = serde_json::json!({ "title\u{9b}": "\u{1b}[2J \u{202e}x\u{2028} \u{7f}\r\n\u{fff}" });
        let json = serde_json::to_string_pretty(&value).unwrap();
        let shown = harmless_json(&json);
        assert!(!shown.contains(steers), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
