//! What to say of a run that was gone on with under other conditions.

use dunlin_record::{Resumption, RunInfo};
use maud::{Markup, html};

use crate::format::{count, utc};
use crate::layout::wrapped;

/// The paragraph for the terminal; nothing where all was made under the same conditions.
pub(crate) fn text(info: &RunInfo, width: Option<u16>) -> String {
    let mut text = String::new();
    for (index, resumption) in changed(info).enumerate() {
        text.push_str(if index == 0 { "\nGone on with under other conditions:\n" } else { "" });
        let line = format!("{}: {}", when(resumption), differences(resumption).join("; "));
        text.push_str(&wrapped(&line, width, "  "));
    }
    text
}

/// The same for the page.
pub(crate) fn markup(info: &RunInfo) -> Markup {
    html! {
        @for resumption in changed(info) {
            p class="warn" { "Gone on with under other conditions, " (when(resumption)) ":" }
            ul { @for difference in differences(resumption) { li { (difference) } } }
        }
    }
}

fn changed(info: &RunInfo) -> impl Iterator<Item = &Resumption> {
    info.resumed.iter().filter(|resumption| !resumption.differences.is_empty())
}

fn when(resumption: &Resumption) -> String {
    format!("{}, after {}", utc(resumption.at_epoch_ms), count(resumption.kept.len(), "trial"))
}

fn differences(resumption: &Resumption) -> Vec<String> {
    resumption.differences.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Difference, Software, TrialId};

    use super::*;

    #[test]
    fn only_parts_made_under_other_conditions_are_told_and_cannot_break_the_page() {
        let resumption = |differences| Resumption {
            at_epoch_ms: 1_763_686_987_000,
            kept: vec![TrialId::new("01-idle-1")],
            differences,
        };
        let other = Difference {
            what: "kernel of host-a".into(),
            before: Some("6.1.0".into()),
            now: Some("<script>".into()),
        };
        let info = RunInfo {
            format: 1,
            dunlin_version: String::new(),
            scenario: String::new(),
            title: String::new(),
            started_epoch_ms: 0,
            cases: Vec::new(),
            seed: None,
            skipped: Vec::new(),
            hosts: Vec::new(),
            software: Software::default(),
            existing: Vec::new(),
            stay: false,
            resumed: vec![resumption(Vec::new()), resumption(vec![other])],
        };
        let expected = "\nGone on with under other conditions:\n\
            2025-11-21 01:03:07 UTC, after 1 trial: kernel of host-a was 6.1.0, is <script>\n";
        assert_eq!(text(&info, None), expected);
        let page = markup(&info).into_string();
        assert!(page.contains("<li>kernel of host-a was 6.1.0, is &lt;script&gt;</li>"), "{page}");
        assert_eq!(page.matches("<p").count(), 1, "{page}");
        let same = RunInfo { resumed: Vec::new(), ..info };
        assert!(text(&same, None).is_empty() && markup(&same).into_string().is_empty());
    }
}
