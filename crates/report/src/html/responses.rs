//! How long services took to answer before, during and after the migration, by case and probe.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_record::{ResponsePhases, Responses};
use maud::{Markup, html};

use crate::cases::{CaseRow, Spread};
use crate::chart::{Distribution, histogram};
use crate::format::{ABSENT, number};
use crate::words::RESPONSE_PARTS;

/// The times in which all but a few requests were answered.
type Share = (&'static str, fn(&Responses) -> Option<f64>);

const SHARES: [Share; 5] = [
    ("50 %", |times| times.p50),
    ("90 %", |times| times.p90),
    ("99 %", |times| times.p99),
    ("99.9 %", |times| times.p99_9),
    ("Longest", |times| times.max),
];

/// The section; nothing where no probe ran.
pub(super) fn responses(rows: &[CaseRow]) -> Markup {
    let answered: Vec<(&CaseRow, BTreeSet<&str>)> =
        rows.iter().map(|row| (row, probes(row))).filter(|(_, probes)| !probes.is_empty()).collect();
    html! {
        @if !answered.is_empty() {
            section {
                h2 { "Response times" }
                p class="note" {
                    "A request belongs to the time in which it was sent: in the baseline before the migrate command, \
                     during the migration, or after its end. One that was never answered has no response time; it is \
                     counted apart. The charts add up the requests of all trials of a case; the tables show medians over \
                     trials, and below them the least and the greatest."
                }
                @for (index, (row, probes)) in answered.iter().enumerate() {
                    details class="more" open[index == 0] {
                        summary { b { (row.title) } }
                        div class="charts" { @for probe in probes { (figure(row, probe)) } }
                    }
                }
            }
        }
    }
}

/// The probes whose response times are known.
fn probes<'a>(row: &CaseRow<'a>) -> BTreeSet<&'a str> {
    let probes = row.outcomes.iter().flat_map(|outcome| &outcome.probes);
    probes.filter(|(_, probe)| probe.response_ms.is_some()).map(|(name, _)| name.as_str()).collect()
}

fn figure(row: &CaseRow, probe: &str) -> Markup {
    let phases: Vec<&ResponsePhases> =
        row.outcomes.iter().filter_map(|outcome| outcome.probes.get(probe)?.response_ms.as_ref()).collect();
    let distributions =
        RESPONSE_PARTS.map(|(name, part)| distribution(name, phases.iter().map(|phases| part(phases))));
    html! {
        figure {
            figcaption { h3 { (probe) " " small { "share of requests by response time" } } }
            (histogram(&format!("Response times of {probe}, {}", row.title), "ms", &distributions))
            div class="scroll" {
                table {
                    thead { tr {
                        th scope="col" { "ms" }
                        @for (name, _) in SHARES { th scope="col" class="n" { (name) } }
                        th scope="col" class="n" { "Answered/s" }
                    } }
                    tbody {
                        @for (name, part) in RESPONSE_PARTS {
                            tr {
                                th scope="row" { (name) }
                                @for (_, share) in SHARES {
                                    (cell(phases.iter().filter_map(|phases| share(part(phases)))))
                                }
                                (cell(phases.iter().filter_map(|phases| part(phases).answered_per_s)))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(values: impl Iterator<Item = f64>) -> Markup {
    html! {
        td class="n" {
            @if let Some(spread) = Spread::of(values) {
                (number(spread.median))
                @if let Some(range) = spread.range() { small { (range) } }
            } @else { (ABSENT) }
        }
    }
}

/// The requests of all trials together.
fn distribution<'a>(name: &'static str, trials: impl Iterator<Item = &'a Responses>) -> Distribution {
    let (mut answered, mut unanswered) = (0_u64, 0_u64);
    // Bounds are above zero; in bits such numbers have the same order.
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for times in trials {
        answered = answered.saturating_add(times.n);
        unanswered = unanswered.saturating_add(times.unanswered);
        for (bound, count) in &times.histogram {
            let sum = counts.entry(bound.to_bits()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    let mut note = format!("{answered} answered");
    if unanswered > 0 {
        note.push_str(&format!(", {unanswered} not"));
    }
    let counts = counts.into_iter().map(|(bits, count)| (f64::from_bits(bits), count)).collect();
    Distribution { name, counts, note }
}
