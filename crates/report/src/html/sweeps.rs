//! Sweeps drawn: time, data and downtimes against a dial; and what workloads achieved of the rate asked for.

use dunlin_record::{Flag, Outcome, Rate, Status};
use maud::{Markup, html};

use crate::Report;
use crate::cases::{CaseRow, Spread};
use crate::chart::{Dot, Missing, Rule, Scatter, Series, scatter};
use crate::format::{ABSENT, megabytes, number};
use crate::sweep::{Law, Sweep, sweeps};
use crate::words::Downtime;
use crate::workload::asked;

/// Beyond this "KVM is unable to finish", at the default settings of 2013 (Hu et al., section 4.2.3.1).
const PAPER_MIB: f64 = 32.0;

/// A section for each sweep; nothing where there is none.
pub(super) fn sections(report: &Report, rows: &[CaseRow]) -> Markup {
    let downtimes = Downtime::shown(report.outcomes);
    html! { @for sweep in sweeps(rows) { (section(&sweep, &downtimes)) } }
}

fn section(sweep: &Sweep, downtimes: &[Downtime]) -> Markup {
    let law = sweep.law();
    let dial = &sweep.dial;
    let chart = |name: &str, unit: &str, series: Vec<Series>| {
        scatter(&Scatter {
            name: &format!("{name} against {dial}"),
            dial,
            unit,
            series,
            unfinished: unfinished(sweep),
            rules: rules(law),
        })
    };
    let wire = |outcome: &Outcome| outcome.wire_bytes.map(|wire| megabytes(wire.source_tx));
    html! {
        section class="charts" {
            h2 { (sweep.title) " by " (dial) }
            @if let Some(law) = law { p class="wide" { (law_words(law)) } }
            figure {
                figcaption { h3 { "Total time" } (legend(&[])) }
                (chart("Total time", "ms", vec![series(sweep, "total", |outcome| outcome.total_time_ms)]))
            }
            figure {
                figcaption { h3 { "Migration data" } (legend(&[])) }
                (chart("Migration data", "MB", vec![series(sweep, "data", wire)]))
            }
            figure class="wide" {
                figcaption { h3 { "Downtimes" } (legend(downtimes)) }
                (chart("Downtimes", "ms", downtimes
                    .iter()
                    .map(|downtime| Series {
                        // A median that is a bound has no place on the axis.
                        medians: sweep
                            .points
                            .iter()
                            .map(|point| {
                                let spread = point.row.downtime(*downtime);
                                (point.value, spread.and_then(|spread| spread.median.exact()))
                            })
                            .collect(),
                        ..series(sweep, downtime.name(), |outcome| downtime.of(outcome))
                    })
                    .collect()))
            }
        }
    }
}

fn law_words(law: Law) -> String {
    format!(
        "Pre-copy ends once what is dirty can be sent within the downtime limit: {} ms at {} MiB/s are {} MiB. A \
         working set written over and over at full speed that is smaller is moved; one that is greater is sent again \
         and again, without an end; unless the machine is so busy that the guest hardly runs, and so hardly writes. \
         The paper's 32 MB is the same law with the limits of 2013.",
        number(law.downtime_limit_ms),
        number(law.mib_s),
        number(law.working_set_mib())
    )
}

fn rules(law: Option<Law>) -> Vec<Rule> {
    let Some(law) = law else { return Vec::new() };
    let label = format!("limit × goodput: {} MiB", number(law.working_set_mib()));
    vec![
        Rule { at: law.working_set_mib(), label, class: "law" },
        Rule { at: PAPER_MIB, label: "Hu et al.: 32 MB".into(), class: "paper" },
    ]
}

fn series(sweep: &Sweep, name: &'static str, figure: impl Fn(&Outcome) -> Option<f64>) -> Series {
    let medians =
        sweep.points.iter().map(|point| (point.value, point.row.spread(&figure).map(|one| one.median)));
    let dots = sweep.points.iter().flat_map(|point| {
        let measured = point.row.completed().filter_map(|one| Some((one, figure(one)?)));
        measured.map(|(one, value)| Dot {
            trial: format!("trial {}", one.trial),
            at: point.value,
            value,
            doubtful: one.flags.contains(&Flag::HostSaturated),
        })
    });
    Series { name, medians: medians.collect(), dots: dots.collect() }
}

/// By case and status: those that did not complete are marked, not left out.
fn unfinished(sweep: &Sweep) -> Vec<Missing> {
    let missing = sweep.points.iter().flat_map(|point| {
        [Status::NotConverged, Status::Failed, Status::Cancelled].into_iter().map(|status| Missing {
            at: point.value,
            status,
            trials: point.row.outcomes.iter().filter(|one| one.status == status).count(),
        })
    });
    missing.filter(|missing| missing.trials > 0).collect()
}

fn legend(downtimes: &[Downtime]) -> Markup {
    html! {
        ul class="legend" {
            @if downtimes.is_empty() { li { i class="swatch dot" {} "a trial; the line joins medians" } }
            @for downtime in downtimes {
                li { i class={ "swatch dot s-" (downtime.name()) } {} (downtime.name()) }
            }
            li { i class="swatch dot doubtful" {} "host saturated" }
            li { b class="not-converged" { "▴" } " not converged: has no end" }
            li { b class="failed" { "✕" } " failed or cancelled" }
        }
    }
}

/// What workloads achieved of the rate asked for; nothing where none had a rate.
pub(super) fn rates(rows: &[CaseRow]) -> Markup {
    let paced: Vec<Paced> = rows.iter().flat_map(Paced::of).collect();
    html! {
        @if !paced.is_empty() {
            section {
                h2 { "Asked against achieved" }
                div class="scroll" tabindex="0" role="region" aria-label="Rates by case" {
                    table {
                        thead { tr {
                            th scope="col" { "Case" }
                            @for name in ["Asked, MiB/s", "Achieved, MiB/s", "Achieved, % of asked"] {
                                th scope="col" class="n" { (name) }
                            }
                        } }
                        tbody { @for paced in paced { (rate(&paced)) } }
                    }
                }
                p class="note" {
                    "Pages written (or read) a second, as MiB/s, by the guest's own count and clock over its whole running; \
                     medians over all trials that said it, below them the least and the greatest."
                }
            }
        }
    }
}

/// One of a case's workloads that has a rate to keep.
struct Paced<'a> {
    row: &'a CaseRow<'a>,
    /// Which of the case's workloads.
    index: usize,
    /// Its name where it is one of several.
    name: Option<String>,
    asked_mib_s: f64,
}

impl<'a> Paced<'a> {
    fn of(row: &'a CaseRow<'a>) -> Vec<Self> {
        let done = row.outcomes.first().and_then(|outcome| outcome.workload.as_ref());
        let parts = done.map(|done| done.asked.parts()).unwrap_or_default();
        let paced = parts.iter().enumerate().filter_map(|(index, part)| {
            let Some(Rate::MibPerSecond(asked_mib_s)) = part.rate() else { return None };
            let name = (parts.len() > 1).then(|| asked(part));
            Some(Self { row, index, name, asked_mib_s })
        });
        paced.collect()
    }

    /// What it achieved in each trial that said it.
    fn achieved_mib_s(&self) -> impl Iterator<Item = f64> {
        self.row.outcomes.iter().filter_map(|outcome| {
            let achieved = outcome.workload.as_ref()?.achieved.as_ref()?;
            achieved.parts().get(self.index)?.rate_mib_s
        })
    }
}

fn rate(paced: &Paced) -> Markup {
    let achieved = Spread::of(paced.achieved_mib_s());
    html! {
        tr {
            th scope="row" { (paced.row.title) @if let Some(name) = &paced.name { " " small { (name) } } }
            td class="n" { (number(paced.asked_mib_s)) }
            td class="n" {
                @if let Some(achieved) = achieved {
                    (number(achieved.median))
                    @if let Some(range) = achieved.range() { small { (range) } }
                } @else { (ABSENT) }
            }
            td class="n" {
                @if let Some(achieved) = achieved { (number(achieved.median / paced.asked_mib_s * 100.0)) } @else { (ABSENT) }
            }
        }
    }
}
