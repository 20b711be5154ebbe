//! Disks that moved, VMs that stood still, and the papers' figures of both.

use dunlin_record::StandstillMs;
use maud::{Markup, html};

use super::grid::table;
use crate::Report;
use crate::cases::CaseRow;
use crate::chart::{Stack, stacked};
use crate::words::not_completed;
use crate::{papers, standstill, storage};

/// Of a move while the VM ran: the time in which it was there, and the one in which it was not.
const LIVE: [&str; 2] = ["running", "downtime"];

/// The section of disks; nothing where none moved or lay at a server.
pub(super) fn disks(rows: &[CaseRow]) -> Markup {
    let (grids, compared) = (storage::grids(rows), storage::comparisons(rows));
    html! {
        @if !grids.is_empty() || !compared.is_empty() {
            section {
                h2 { "Storage" }
                @if !grids.is_empty() { p class="note" { (storage::LEGEND) } }
                @for grid in &grids { (table(grid)) }
                @if !compared.is_empty() {
                    h3 { "Compared block by block" }
                    ul class="note" { @for line in &compared { li { (line) } } }
                }
            }
        }
    }
}

/// The section of moves for which a VM stood still; nothing where there were none.
pub(super) fn standstills(rows: &[CaseRow]) -> Markup {
    html! {
        @if let Some(grid) = standstill::grid(rows) {
            section {
                h2 { "Cold and offline" }
                p class="note" { (standstill::LEGEND) }
                (table(&grid))
                figure {
                    figcaption {
                        h3 { "Part by part" }
                        ul class="legend" {
                            @for name in names() { li { i class={ "swatch bar p-" (name) } {} (name) } }
                        }
                    }
                    (stacked("Parts of moves by case", "s", &rows.iter().map(stack).collect::<Vec<_>>()))
                }
                p class="note" {
                    "Medians of each part, over the completed trials. A live migration has two: the time in which the VM ran \
                     meanwhile, and its downtime by the ICMP probe."
                }
            }
        }
    }
}

/// What a paper has of the same; nothing where the scenario repeats none.
pub(super) fn papers(report: &Report, rows: &[CaseRow]) -> Markup {
    html! {
        @if let Some(grid) = papers::grid(report, rows) {
            section {
                h2 { "Beside the paper" }
                (table(&grid))
                p class="note" { (papers::LEGEND) }
            }
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    StandstillMs::default().named().map(|(name, _)| name).into_iter().chain(LIVE)
}

fn stack(row: &CaseRow) -> Stack {
    let parts = StandstillMs::default().named();
    let part = |index: usize| row.spread(|outcome| outcome.standstill_ms?.named()[index].1);
    let stood_still = parts.iter().enumerate().map(|(index, (name, _))| (*name, part(index)));
    let live = [
        (
            LIVE[0],
            row.spread(|outcome| outcome.migration_time_ms.filter(|_| outcome.standstill_ms.is_none())),
        ),
        (LIVE[1], row.spread(|outcome| outcome.downtime_ms.icmp.filter(|_| outcome.standstill_ms.is_none()))),
    ];
    let in_s =
        |(name, spread): (&'static str, Option<crate::cases::Spread>)| Some((name, spread?.median / 1e3));
    let parts: Vec<_> = stood_still.chain(live).filter_map(in_s).collect();
    let note = match () {
        () if row.outcomes.is_empty() => row.without_trials().to_owned(),
        () if row.completed().next().is_none() => not_completed(&row.outcomes),
        () => "not measured".into(),
    };
    Stack { title: row.title.clone(), note, parts }
}
