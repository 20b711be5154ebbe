//! Names of VMs as parts of file names: they come from outside, and may hold what is no part of one.

/// A text as one part of a path. What Dunlin itself names stays as it is.
#[must_use]
pub fn file_name(text: &str) -> String {
    let safe = text.replace('%', "%25").replace('/', "%2F");
    // Alone these are folders.
    if matches!(safe.as_str(), "." | "..") { safe.replace('.', "%2E") } else { safe }
}

/// The text that a part of a path was made of.
pub(super) fn text(name: &str) -> String {
    name.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn any_text_is_one_part_of_a_path_and_comes_back() {
        for name in ["vm0", "../../etc/passwd", "..", ".", "100%", "%2F", "a/b c", "%252E", "größe"] {
            let safe = file_name(name);
            assert_eq!(Path::new("/folder").join(&safe).parent(), Some(Path::new("/folder")), "{name}");
            assert_eq!(Path::new(&safe).components().count(), 1, "{name}");
            assert_eq!(text(&safe), name);
        }
        assert_eq!(file_name("vm0-probe-icmp-sent"), "vm0-probe-icmp-sent");
    }
}
