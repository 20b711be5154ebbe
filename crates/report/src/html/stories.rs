//! The story of each probe around the switch of hosts: a diagram by sequence number, and counts.

use std::collections::BTreeMap;

use dunlin_analysis::{Answerer, Fate, ProbeStory, StoryRun};
use maud::{Markup, html};

use crate::chart::{Lane, lanes};

/// What a lane shows: its title, its colour's class, and which requests are in it.
type Rule = (&'static str, &'static str, fn(Fate) -> bool);

const RULES: [Rule; 8] = [
    ("request at the source's tap", "by-source", |fate| fate.at_source),
    ("request at the destination's tap", "by-destination", |fate| fate.at_destination),
    ("answered by the source", "by-source", |fate| fate.by == Answerer::Source && !fate.late),
    ("by the source, late", "by-source", |fate| fate.by == Answerer::Source && fate.late),
    ("answered by the destination", "by-destination", |fate| fate.by == Answerer::Destination && !fate.late),
    ("by the destination, late", "by-destination", |fate| fate.by == Answerer::Destination && fate.late),
    ("answered, no tap saw by whom", "by-unknown", |fate| fate.by == Answerer::Unknown),
    ("never answered", "by-nobody", |fate| fate.by == Answerer::Nobody),
];

/// The stories of a trial's probes; nothing where there are none.
pub(super) fn stories(stories: &[ProbeStory]) -> Markup {
    html! {
        @if !stories.is_empty() {
            details class="more" {
                summary { "The story of each request around the switch" }
                p class="note" {
                    "By sequence number, as in figure 3 of Hu et al.: on whose tap a request was seen on its way to the VM, \
                     and whose VM answered it. What was seen at the source and answered by the destination waited in the \
                     VM's memory and moved with it. Late is an answer that took longer than the slowest before the \
                     migration and than one interval."
                }
                @for story in stories { (one(story)) }
            }
        }
    }
}

fn one(story: &ProbeStory) -> Markup {
    let Some(first) = story.runs.first() else { return html! {} };
    let lane = |(title, class, holds): Rule| Lane {
        title,
        class,
        stretches: stretches(story, first.first_seq, holds),
    };
    let shown: Vec<Lane> = RULES.into_iter().map(lane).filter(|lane| !lane.stretches.is_empty()).collect();
    let name = format!("{}: requests around the switch", story.probe);
    html! {
        figure {
            figcaption { b { (story.probe) } }
            (lanes(&name, &format!("requests, from number {} on", first.first_seq), &shown))
        }
        (counts(story))
    }
}

/// Where a rule holds, counted from the first request that is told.
fn stretches(story: &ProbeStory, zero_seq: u64, holds: fn(Fate) -> bool) -> Vec<(f64, f64, String)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for StoryRun { first_seq, count, .. } in story.runs.iter().filter(|run| holds(run.fate)) {
        let end = first_seq.saturating_add(*count);
        match joined.last_mut() {
            Some(last) if last.1 == *first_seq => last.1 = end,
            _ => joined.push((*first_seq, end)),
        }
    }
    let stretch = |(from, end): (u64, u64)| {
        let words = match end.saturating_sub(from) {
            1 => format!("{from}"),
            amount => format!("{from} to {}: {amount} requests", end.saturating_sub(1)),
        };
        (from.saturating_sub(zero_seq) as f64, end.saturating_sub(zero_seq) as f64, words)
    };
    joined.into_iter().map(stretch).collect()
}

/// How many requests fared in each way.
fn counts(story: &ProbeStory) -> Markup {
    let mut counts: BTreeMap<Fate, u64> = BTreeMap::new();
    for run in &story.runs {
        let count = counts.entry(run.fate).or_default();
        *count = count.saturating_add(run.count);
    }
    let mut counts: Vec<(Fate, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    html! {
        div class="scroll" {
            table {
                thead { tr {
                    th scope="col" { "Seen on its way to the VM" }
                    th scope="col" { "Answered" }
                    th scope="col" class="n" { "Requests" }
                } }
                tbody {
                    @for (fate, count) in counts {
                        tr { td { (seen(fate)) } td { (answered(fate)) } td class="n" { (count) } }
                    }
                }
            }
        }
    }
}

fn seen(fate: Fate) -> &'static str {
    match (fate.at_source, fate.at_destination) {
        (true, false) => "at the source",
        (false, true) => "at the destination",
        (true, true) => "at both",
        (false, false) => "at neither",
    }
}

fn answered(fate: Fate) -> String {
    let late = if fate.late { ", late" } else { "" };
    match fate.by {
        Answerer::Source => format!("by the source{late}"),
        Answerer::Destination => format!("by the destination{late}"),
        Answerer::Unknown => format!("no tap saw by whom{late}"),
        Answerer::Nobody => "never".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> ProbeStory {
        let run = |first_seq, count, [at_source, at_destination]: [bool; 2], by, late| StoryRun {
            first_seq,
            count,
            fate: Fate { at_source, at_destination, by, late },
        };
        ProbeStory {
            probe: "icmp".into(),
            runs: vec![
                run(100, 20, [true, false], Answerer::Source, false),
                run(120, 5, [true, false], Answerer::Nobody, false),
                run(125, 1, [true, false], Answerer::Destination, true),
                run(126, 3, [false, true], Answerer::Destination, true),
                run(129, 20, [false, true], Answerer::Destination, false),
            ],
        }
    }

    #[test]
    fn runs_that_a_lane_does_not_tell_apart_are_one_stretch() {
        let seen = |holds| stretches(&story(), 100, holds);
        assert_eq!(seen(|fate| fate.at_source), [(0.0, 26.0, "100 to 125: 26 requests".into())]);
        assert_eq!(seen(|fate| fate.by == Answerer::Nobody), [(20.0, 25.0, "120 to 124: 5 requests".into())]);
        assert_eq!(seen(|fate| fate.late && fate.at_source), [(25.0, 26.0, "125".into())]);
    }

    #[test]
    fn only_lanes_with_requests_are_shown_and_every_way_is_counted() {
        let page = stories(&[story()]).into_string();
        assert!(page.contains("never answered") && !page.contains("by the source, late"), "{page}");
        assert!(
            page.contains("<td>at the source</td><td>by the destination, late</td><td class=\"n\">1</td>"),
            "{page}"
        );
        assert!(stories(&[]).into_string().is_empty());
    }
}
