//! The end of what a guest or a hypervisor said, as errors repeat it.

/// How much of a guest's console an error repeats: a kernel that panics says why some thirty lines before its end.
pub(crate) const CONSOLE_BYTES: usize = 4000;

/// The last of a text, some `most` characters of it.
pub(crate) fn last_of(text: &str, most: usize) -> &str {
    let start = text.char_indices().rev().nth(most).map_or(0, |(index, _)| index);
    text[start..].trim()
}
