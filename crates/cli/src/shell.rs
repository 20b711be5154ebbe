//! Words for a shell, in commands that are told to be copied.

use std::path::Path;

/// A path as one word of a POSIX shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./+:@%,=".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_it_is_called() {
        let cases =
            [("runs/demo", "runs/demo"), ("a b", "'a b'"), ("it's; rm", "'it'\\''s; rm'"), ("", "''")];
        for (path, word) in cases {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
