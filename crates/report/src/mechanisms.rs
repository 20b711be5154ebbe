//! What was asked for and whether it was used: of each case for the terminal, of each trial for the page and CSV.

use std::collections::BTreeMap;

use dunlin_record::{Mechanism, MechanismSeen, Outcome};
use maud::{Markup, html};

use crate::Report;
use crate::cases::case_rows;
use crate::layout::wrapped;
use crate::words::{one_line, share};

/// The paragraph for the terminal: what was not used though it was asked for; nothing where all was.
pub(crate) fn unused(report: &Report, width: Option<u16>) -> String {
    let mut text = String::new();
    for row in case_rows(report) {
        let mut found: BTreeMap<Mechanism, Vec<&MechanismSeen>> = BTreeMap::new();
        for seen in row.outcomes.iter().flat_map(|outcome| &outcome.mechanisms) {
            if seen.used == Some(false) {
                found.entry(seen.mechanism).or_default().push(seen);
            }
        }
        for (mechanism, unused) in found {
            text.push_str(if text.is_empty() { "\nAsked for, and not used:\n" } else { "" });
            let share = share(unused.len(), row.outcomes.len());
            let evidence = one_line(&unused[0].evidence);
            let as_in = if unused.len() > 1 { "as in: " } else { "" };
            let line = format!("{}: {}, {share} ({as_in}{evidence})", row.title, mechanism.name());
            text.push_str(&wrapped(&line, width, "  "));
        }
    }
    text
}

/// What tables of captures say where a second link carried a part that was not captured; nothing else.
pub(crate) fn one_link_of_two(outcomes: &[&Outcome]) -> Option<&'static str> {
    let has_second =
        |outcome: &&Outcome| outcome.mechanisms.iter().any(|seen| seen.mechanism == Mechanism::SecondLink);
    outcomes
        .iter()
        .any(has_second)
        .then_some("Of migrations over two links, only what went over the first was captured.")
}

/// What was asked for in a trial, for the page.
pub(crate) fn markup(outcome: &Outcome) -> Markup {
    html! {
        @if !outcome.mechanisms.is_empty() {
            table {
                caption { "Asked for" }
                thead { tr { th scope="col" { "Mechanism" } th scope="col" { "Used" } th scope="col" { "By" } } }
                tbody {
                    @for seen in &outcome.mechanisms {
                        tr {
                            th scope="row" { (seen.mechanism.name()) }
                            td { (used_words(seen.used)) }
                            td { (seen.evidence) }
                        }
                    }
                }
            }
        }
    }
}

/// The names of those of which one thing is known, for CSV; absent where nothing was asked for.
pub(crate) fn names(outcome: &Outcome, used: Option<bool>) -> Option<String> {
    let meant = outcome.mechanisms.iter().filter(|seen| seen.used == used);
    let names: Vec<&str> = meant.map(|seen| seen.mechanism.name()).collect();
    (!outcome.mechanisms.is_empty()).then(|| names.join(" "))
}

fn used_words(used: Option<bool>) -> &'static str {
    match used {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    }
}
