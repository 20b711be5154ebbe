//! TCP beside the migrations.

use dunlin_analysis::{RateTrack, Timeline};
use dunlin_record::Outcome;
use maud::{Markup, html};

use super::grid::table;
use crate::Report;
use crate::cases::CaseRow;
use crate::chart::{Area, area};
use crate::format::number;
use crate::performance::{BUFFERS, ends, grids};

/// The events that are marked in a chart, by their labels in the time line.
const MARKED: [&str; 4] = ["migrate-command", "vcpus-stopped", "vcpus-running", "migration-completed"];

/// The section; nothing where no TCP probe ran.
pub(super) fn performance(report: &Report, rows: &[CaseRow]) -> Markup {
    let grids = grids(rows);
    html! {
        @if !grids.is_empty() {
            section {
                h2 { "TCP beside the migration" }
                p class="note" {
                    "What the service network (bench and guest) and the migration network (source and destination) carried for \
                     others, before the migrate command, during the migration and after it. Medians over the completed trials, \
                     below them the least and the greatest. " (BUFFERS)
                }
                @for grid in &grids { (table(grid)) }
                div class="charts" { @for row in rows { (over_time(report, row)) } }
            }
        }
    }
}

/// What the TCP probes of a case's first completed trial carried over time.
fn over_time(report: &Report, row: &CaseRow) -> Markup {
    let drawn = row.completed().find_map(|outcome| {
        let timeline = report.timelines.iter().find(|timeline| timeline.trial == outcome.id)?;
        (!timeline.rates.is_empty()).then_some((outcome, timeline))
    });
    html! {
        @if let Some((outcome, timeline)) = drawn {
            @for track in &timeline.rates { (figure(&row.title, track, timeline, outcome)) }
        }
    }
}

fn figure(case: &str, track: &RateTrack, timeline: &Timeline, outcome: &Outcome) -> Markup {
    let start_ms = track.ticks.first().map_or(0.0, |(at_ms, _)| *at_ms);
    let step = |&(at_ms, rate): &(f64, f64)| {
        let from = at_ms - start_ms;
        ([from, from + track.tick_ms], rate)
    };
    let marked = timeline.marks.iter().filter(|mark| MARKED.contains(&mark.label.as_str()));
    let marks: Vec<(f64, char, &str)> =
        marked.zip('a'..='z').map(|(mark, letter)| (mark.at_ms, letter, mark.label.as_str())).collect();
    let reverse = outcome.tcp_streams.get(&track.name).is_some_and(|stream| stream.asked.reverse);
    html! {
        figure {
            figcaption { h3 { (case) " " small { (ends(&track.name, reverse)) ", " (track.unit) ", trial " (outcome.trial) } } }
            (area(&Area {
                name: format!("{} over time, {case}", track.name),
                unit: track.unit,
                steps: track.ticks.iter().map(step).collect(),
                marks: marks.iter().map(|&(at_ms, letter, text)| (at_ms - start_ms, letter, text.into())).collect(),
            }))
            ul class="legend" { @for (at_ms, letter, text) in &marks {
                li { b { (letter) } " " (text) ", " (number(*at_ms)) " ms" }
            } }
        }
    }
}
