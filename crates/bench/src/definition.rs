//! How VMs that exist are defined at the source, and whether that is still so once they are back.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Of what differs, so many lines are shown; definitions have some hundred.
const MOST_LINES: usize = 60;
/// So many lines that are equal are shown around it.
const AROUND: usize = 2;

/// The definitions of a run's VMs, by name.
#[derive(Default)]
pub(crate) struct Definitions(RefCell<BTreeMap<String, String>>);

impl Definitions {
    /// Whether it is known how a VM is defined.
    pub(crate) fn knows(&self, vm: &str) -> bool {
        self.0.borrow().contains_key(vm)
    }

    /// Takes note of a definition. Where it is other than the one known before, says what differs: a line each.
    pub(crate) fn note(&self, vm: &str, now: &str) -> Option<Vec<String>> {
        let mut known = self.0.borrow_mut();
        let before = known.insert(vm.to_owned(), now.to_owned())?;
        (before != now).then(|| difference(&before, now))
    }
}

/// What lies between the first and the last line that differ, as `diff -u` shows it.
fn difference(before: &str, now: &str) -> Vec<String> {
    let (before, now): (Vec<&str>, Vec<&str>) = (before.lines().collect(), now.lines().collect());
    let same = before.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let ends = before[same..].iter().rev().zip(now[same..].iter().rev());
    let same_after = ends.take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[same..before.len() - same_after], &now[same..now.len() - same_after]);
    let lines = |mark: char, lines: &[&str]| -> Vec<String> {
        let mut shown: Vec<String> =
            lines.iter().take(MOST_LINES).map(|line| format!("{mark}{line}")).collect();
        if lines.len() > MOST_LINES {
            shown.push(format!("{mark}… and {} lines more", lines.len() - MOST_LINES));
        }
        shown
    };
    let after = before.len() - same_after;
    [
        lines(' ', &before[same.saturating_sub(AROUND)..same]),
        lines('-', old),
        lines('+', new),
        lines(' ', &before[after..(after + AROUND).min(before.len())]),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        let definitions = Definitions::default();
        assert!(!definitions.knows("db"));
        assert_eq!(definitions.note("db", "a\nb\nc\nd\ne\nf"), None);
        assert!(definitions.knows("db") && !definitions.knows("web"));
        assert_eq!(definitions.note("db", "a\nb\nc\nd\ne\nf"), None);
        let changed = definitions.note("db", "a\nb\nc\nD\nD\ne\nf").unwrap();
        assert_eq!(changed, [" b", " c", "-d", "+D", "+D", " e", " f"]);
        // What it is now is what the next return is held against.
        assert_eq!(definitions.note("db", "a\nb\nc\nD\nD\ne\nf"), None);
        assert_eq!(definitions.note("db", "").unwrap().len(), 7);
    }

    #[test]
    fn a_definition_that_is_wholly_other_is_cut() {
        let long = "x\n".repeat(1000);
        let lines = difference(&long, "y");
        assert_eq!(lines.len(), MOST_LINES + 2);
        assert_eq!(lines[MOST_LINES..], ["-… and 940 lines more", "+y"]);
    }
}
