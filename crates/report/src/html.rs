//! The run as one HTML page that opens offline: nothing in it is fetched from anywhere.

mod asked;
mod cpu;
mod figures;
mod grid;
mod performance;
mod responses;
mod setup;
mod storage;
mod stories;
mod streams;
mod summary;
mod sweeps;
mod trials;
mod wire;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Report;
use crate::cases::case_rows;
use crate::format::{count, utc};
use crate::words::not_completed;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/timeline.js");

/// One self-contained page: summary, charts, and a zoomable time line for each trial that has one.
#[must_use]
pub fn html(report: &Report) -> String {
    let rows = case_rows(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.info.title) " – Dunlin" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(report))
                    (setup::cautions(report))
                    (summary::summary(report, &rows))
                    (sweeps::sections(report, &rows))
                    (figures::figures(report, &rows))
                    (storage::disks(&rows))
                    (storage::standstills(&rows))
                    (storage::papers(report, &rows))
                    (responses::responses(&rows))
                    (performance::performance(report, &rows))
                    (wire::wire(report))
                    (sweeps::rates(&rows))
                    (summary::meanings(report))
                    (trials::trials(report, &rows))
                    (setup::setup(report, &rows))
                }
                footer { "Made by dunlin " (report.info.dunlin_version) ". The page holds all its data and fetches nothing." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    let outcomes: Vec<_> = report.outcomes.iter().collect();
    let others = not_completed(&outcomes);
    html! {
        header {
            h1 { (report.info.title) }
            p class="lead" {
                "Scenario " b { (report.info.scenario) } ": "
                (count(report.info.cases.len(), "case")) ", " (count(report.outcomes.len(), "trial"))
                @if !others.is_empty() { " (" (others) ")" }
                ", begun " (utc(report.info.started_epoch_ms)) "."
            }
        }
    }
}
