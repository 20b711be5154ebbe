//! Keys and other words of a file: which is meant by one that is unknown, and how messages write them.

use super::{Findings, ProblemKind, Table};

/// No word that is longer is like one of ours.
const LENGTH_MAX: usize = 64;

/// Notes the keys of a table that mean nothing there.
pub(crate) fn unknown_keys(entries: &Table, known: &[&str], path: &str, findings: &mut Findings) {
    for (name, node) in entries {
        if !known.contains(&name.as_str()) {
            let suggestion = nearest(name, known).map(str::to_owned);
            let known = known.iter().map(|&key| key.to_owned()).collect();
            findings.add(node.key_at, join(path, name), ProblemKind::UnknownKey { suggestion, known });
        }
    }
}

/// The word most like a name, if one is like enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LENGTH_MAX {
        return None;
    }
    let name: Vec<char> = name.chars().collect();
    let far = (name.len() / 3).max(1);
    known
        .iter()
        .map(|&word| (edit_distance(&name, &word.chars().collect::<Vec<_>>()), word))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to make one word of the
/// other (Damerau and Levenshtein, in the form that changes no place twice).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut distance = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                distance[i][j] = i + j;
                continue;
            }
            let replaced = distance[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(distance[i - 1][j] + 1).min(distance[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(distance[i - 2][j - 2] + 1);
            }
            distance[i][j] = least;
        }
    }
    distance[a.len()][b.len()]
}

/// The words as a message lists them.
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [word] => format!("\"{word}\""),
        words => format!("one of \"{}\"", words.join("\", \"")),
    }
}

/// A path as TOML writes it: keys with other than the usual characters stand in quotes.
pub(crate) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_insertions_removals_replacements_and_swaps() {
        let distance =
            |a: &str, b: &str| edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("memory", "memory"), 0);
        assert_eq!(distance("memroy", "memory"), 1);
        assert_eq!(distance("vcpu", "vcpus"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_word_is_suggested_only_where_it_is_alike() {
        assert_eq!(nearest("vcpu", &["memory_mib", "vcpus"]), Some("vcpus"));
        assert_eq!(nearest("nmae", &["case", "name"]), Some("name"));
        assert_eq!(nearest("colour", &["memory_mib", "vcpus"]), None);
    }
}
