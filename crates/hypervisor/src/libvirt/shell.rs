//! Words in commands that are shown to be copied.

/// A word as a shell takes it for one, whatever is in it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@%+,".contains(char);
    // One that begins with a hyphen would be taken for an option, which no quotes change: it is at least seen as a word.
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_very_word() {
        assert_eq!(quoted("db-1.example"), "db-1.example");
        for word in ["", "a b", "it's", "$(reboot)", "a;b", "-x", "a\nb", "é", "`id`", "''", "~", "*"] {
            let script = format!("printf '<%s>' {}", quoted(word));
            let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("<{word}>"), "{script}");
        }
    }
}
