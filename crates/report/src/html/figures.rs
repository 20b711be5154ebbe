//! The charts by case: total time, downtime, and the downtimes side by side.

use dunlin_record::{Outcome, Status};
use maud::{Markup, html};

use crate::Report;
use crate::cases::{CaseRow, DowntimeSpread};
use crate::chart::{BarRow, Group, GroupBar, Unfinished, bars, groups};
use crate::format::reading;
use crate::words::{Downtime, not_completed};

/// The three charts.
pub(super) fn figures(report: &Report, rows: &[CaseRow]) -> Markup {
    let total = bar_rows(rows, |outcome| outcome.total_time_ms, |outcome| outcome.floor_ms);
    html! {
        section class="charts" {
            h2 { "By case" }
            figure {
                figcaption { h3 { "Total time" } (bar_legend()) }
                (bars("Total time by case", "ms", &total))
            }
            @if let Some(downtime) = headline(report.outcomes) {
                @let name = format!("Downtime ({})", downtime.name());
                figure {
                    figcaption { h3 { (name) } (bar_legend()) }
                    (bars(&format!("{name} by case"), "ms",
                        &downtime_rows(rows, downtime)))
                }
            }
            (side_by_side(report, rows))
        }
    }
}

/// The downtime that tells most of the service: the first of these that was measured.
fn headline(outcomes: &[Outcome]) -> Option<Downtime> {
    [Downtime::Icmp, Downtime::Udp, Downtime::Tcp, Downtime::Http, Downtime::Paused, Downtime::Reported]
        .into_iter()
        .find(|downtime| outcomes.iter().any(|outcome| downtime.reading(outcome).is_some()))
}

fn bar_legend() -> Markup {
    html! {
        ul class="legend" {
            li { i class="swatch bar" {} "median" }
            li { i class="swatch dot" {} "a trial" }
            li { i class="swatch line" {} "floor" }
            li { b class="not-converged" { "▸" } " not converged: has no end" }
            li { b class="failed" { "✕" } " failed or cancelled" }
        }
    }
}

fn bar_rows(
    rows: &[CaseRow],
    figure: impl Fn(&Outcome) -> Option<f64>,
    floor: impl Fn(&Outcome) -> Option<f64>,
) -> Vec<BarRow> {
    rows.iter()
        .map(|row| BarRow {
            title: row.title.clone(),
            spread: row.spread(&figure),
            bound: None,
            dots: row
                .completed()
                .filter_map(|one| figure(one).map(|value| (trial_name(one), value)))
                .collect(),
            floor: row.spread(&floor).map(|spread| spread.median),
            unfinished: row
                .outcomes
                .iter()
                .filter(|one| one.status != Status::Completed)
                .map(|one| Unfinished { trial: trial_name(one), status: one.status })
                .collect(),
        })
        .collect()
}

/// The same of a downtime, whose median may be a bound.
fn downtime_rows(rows: &[CaseRow], downtime: Downtime) -> Vec<BarRow> {
    let mut bars = bar_rows(rows, |outcome| downtime.of(outcome), |outcome| outcome.downtime_floor_ms);
    for (bar, row) in bars.iter_mut().zip(rows) {
        let spread = row.downtime(downtime);
        bar.spread = spread.as_ref().and_then(DowntimeSpread::drawn);
        bar.bound = spread.filter(|_| bar.spread.is_none()).map(|spread| reading(spread.median));
    }
    bars
}

fn side_by_side(report: &Report, rows: &[CaseRow]) -> Markup {
    let downtimes = Downtime::shown(report.outcomes);
    let chart: Vec<Group> = rows.iter().map(|row| group(row, &downtimes)).collect();
    html! {
        figure class="wide" {
            figcaption {
                h3 { "The downtimes side by side" }
                ul class="legend" {
                    @for downtime in &downtimes {
                        li { i class={ "swatch bar s-" (downtime.name()) } {} (downtime.name()) }
                    }
                    li { i class="swatch whisker" {} "error of the estimate" }
                }
            }
            (groups("Downtimes by case", "ms", &chart))
        }
    }
}

fn group(row: &CaseRow, downtimes: &[Downtime]) -> Group {
    let bar = |downtime: &Downtime| GroupBar {
        name: downtime.name(),
        spread: row.downtime(*downtime).as_ref().and_then(DowntimeSpread::drawn),
        bound: row.downtime(*downtime).map(|spread| reading(spread.median)),
        error: row.downtime_error(*downtime),
        dots: row
            .completed()
            .filter_map(|one| downtime.of(one).map(|value| (trial_name(one), value)))
            .collect(),
    };
    let any_completed = row.completed().next().is_some();
    Group {
        title: row.title.clone(),
        note: if row.outcomes.is_empty() {
            row.without_trials().into()
        } else {
            not_completed(&row.outcomes)
        },
        bars: if any_completed { downtimes.iter().map(bar).collect() } else { Vec::new() },
    }
}

fn trial_name(outcome: &Outcome) -> String {
    format!("trial {}", outcome.trial)
}
