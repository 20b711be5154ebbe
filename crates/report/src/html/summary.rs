//! The summary table, and what its figures mean.

use maud::{Markup, html};

use crate::Report;
use crate::cases::{CaseRow, Spread};
use crate::format::{ABSENT, megabytes, number, reading};
use crate::outliers;
use crate::words::{DOWNTIME_FLOOR_MEANING, Downtime, FLOOR_MEANING, flag_words, not_completed};
use crate::workload::corruption;

/// One row a case: medians with their spread.
pub(super) fn summary(report: &Report, rows: &[CaseRow]) -> Markup {
    let downtimes = Downtime::shown(report.outcomes);
    html! {
        section {
            h2 { "What came out" }
            @if let Some(line) = corruption(report.outcomes) { p class="bad" role="alert" { b { (line) } } }
            div class="scroll" tabindex="0" role="region" aria-label="Summary by case" {
                table {
                    thead {
                        tr {
                            th rowspan="2" scope="col" { "Case" }
                            th rowspan="2" scope="col" { "Trials completed" }
                            th colspan="2" scope="colgroup" { "Total time, ms" }
                            th rowspan="2" scope="col" class="n" { "Migration data, MB" }
                            th colspan=(downtimes.len() + 1) scope="colgroup" { "Downtime, ms" }
                            th rowspan="2" scope="col" { "Flags" }
                        }
                        tr {
                            th scope="col" class="n" { "measured" }
                            th scope="col" class="n" { "floor" }
                            @for downtime in &downtimes { th scope="col" class="n" { (downtime.name()) } }
                            th scope="col" class="n" { "floor" }
                        }
                    }
                    tbody { @for row in rows { (case(row, &downtimes)) } }
                }
            }
            @let outliers: Vec<_> = rows.iter().flat_map(outliers::of_case).collect();
            @if !outliers.is_empty() {
                p class="note" { "Outliers, " (outliers::MEANING) ":" }
                ul class="note" { @for outlier in &outliers { li { (outlier.line()) } } }
            }
            @for case in &report.info.skipped {
                p class="warn" { b { (case.title) } " was skipped, as this machine cannot run it: " (case.because) }
            }
            p class="note" {
                "Medians over the completed trials, below them the least and the greatest; ± is the error of an \
                 estimate. ≤ and ≥ are bounds, and so is a median over them. " (ABSENT) " was not measured, which is not 0."
            }
        }
    }
}

fn case(row: &CaseRow, downtimes: &[Downtime]) -> Markup {
    let others = not_completed(&row.outcomes);
    let mut flags: Vec<_> = row.outcomes.iter().flat_map(|outcome| outcome.flags.iter().copied()).collect();
    flags.sort();
    flags.dedup();
    html! {
        tr {
            th scope="row" { (row.title) small { (row.strategy) } }
            td {
                @if row.outcomes.is_empty() { (row.without_trials()) } @else {
                    (row.completed().count()) " of " (row.outcomes.len())
                    @if let Some(reached) = row.reached() {
                        small title="half the width of the 95 % confidence interval of the least known median: total time or ICMP downtime" {
                            "±" (number(reached)) " %"
                        }
                    }
                    @if !others.is_empty() { small class="bad" { (others) } }
                }
            }
            (figure(row.spread(|outcome| outcome.total_time_ms)))
            (figure(row.spread(|outcome| outcome.floor_ms)))
            (figure(row.spread(|outcome| outcome.wire_bytes.map(|wire| megabytes(wire.source_tx)))))
            @for downtime in downtimes { (downtime_cell(row, *downtime)) }
            (figure(row.spread(|outcome| outcome.downtime_floor_ms)))
            td {
                @for flag in flags {
                    @let words = flag_words(flag);
                    span class="flag" title=(words.meaning) { (words.name) } " "
                }
            }
        }
    }
}

fn downtime_cell(row: &CaseRow, downtime: Downtime) -> Markup {
    html! {
        td class="n" {
            @if let Some(spread) = row.downtime(downtime) {
                (reading(spread.median))
                @if let Some(error) = row.downtime_error(downtime) { span class="error" { " ±" (number(error)) } }
                @if let Some(range) = spread.range() { small { (range) } }
            } @else { (ABSENT) }
        }
    }
}

fn figure(spread: Option<Spread>) -> Markup {
    html! {
        td class="n" {
            @if let Some(spread) = spread {
                (number(spread.median))
                @if let Some(range) = spread.range() { small { (range) } }
            } @else { (ABSENT) }
        }
    }
}

/// A sentence on each figure.
pub(super) fn meanings(report: &Report) -> Markup {
    html! {
        section {
            h2 { "How to read the figures" }
            p { "A migration has no one downtime. Each of these is another question, and they are never mixed:" }
            dl {
                @for downtime in Downtime::shown(report.outcomes) {
                    dt { i class={ "swatch s-" (downtime.name()) } {} (downtime.name()) }
                    dd { (downtime.meaning()) }
                }
                dt { i class="swatch line" {} "floor" }
                dd { "of the total time: " (FLOOR_MEANING) " Of the downtime: " (DOWNTIME_FLOOR_MEANING) }
                dt { "total time" }
                dd { "from the migrate command to both ends complete." }
                dt { "migration data" }
                dd { "bytes the source sent on the migration link, Ethernet headers included; 1 MB is 10" sup { "6" } " bytes." }
            }
        }
    }
}
