//! The run as JSON: a summary and every outcome as it stands in `trials.jsonl`.

use std::collections::BTreeMap;

use dunlin_record::{Case, HostFingerprint, Outcome, Resumption, SkippedCase, Software};
use serde::Serialize;

use crate::Report;
use crate::cases::{CaseRow, Spread, case_rows};
use crate::format::utc;
use crate::outliers::{self, Outlier};
use crate::overhead::{FIGURES, Figure};
use crate::{standstill, storage};

/// The run as pretty JSON: `{ "run": …, "trials": [Outcome…] }`.
///
/// # Panics
/// Never: nothing in an outcome can fail to serialize into a string.
#[must_use]
pub fn json(report: &Report) -> String {
    let info = report.info;
    let document = Document {
        run: Run {
            format: info.format,
            dunlin_version: &info.dunlin_version,
            scenario: &info.scenario,
            title: &info.title,
            started_epoch_ms: info.started_epoch_ms,
            started: utc(info.started_epoch_ms),
            cases: case_rows(report)
                .into_iter()
                .map(|row| RunCase {
                    precision_percent: row.reached(),
                    outliers: outliers::of_case(&row),
                    capture: capture_spreads(&row),
                    storage: spreads(&storage::FIGURES, &row),
                    standstill: spreads(&standstill::FIGURES, &row),
                    strategy: row.strategy.clone(),
                    trials: row.outcomes.len(),
                    completed: row.completed().count(),
                    asked: row.case,
                    case: row.title,
                })
                .collect(),
            skipped: &info.skipped,
            hosts: &info.hosts,
            software: &info.software,
            resumed: &info.resumed,
        },
        trials: report.outcomes,
    };
    let mut text =
        serde_json::to_string_pretty(&document).expect("outcomes hold only strings, numbers and lists");
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Document<'a> {
    run: Run<'a>,
    trials: &'a [Outcome],
}

#[derive(Serialize)]
struct Run<'a> {
    format: u32,
    dunlin_version: &'a str,
    scenario: &'a str,
    title: &'a str,
    started_epoch_ms: i64,
    started: String,
    cases: Vec<RunCase<'a>>,
    skipped: &'a [SkippedCase],
    hosts: &'a [HostFingerprint],
    #[serde(skip_serializing_if = "Software::is_unknown")]
    software: &'a Software,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resumed: &'a [Resumption],
}

#[derive(Serialize)]
struct RunCase<'a> {
    case: String,
    strategy: String,
    trials: usize,
    completed: usize,
    /// How well the least known of the deciding medians is known; only where a precision was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision_percent: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outliers: Vec<Outlier>,
    /// What captures say of the migration's conversations, over the completed trials; only where there are any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capture: BTreeMap<&'static str, Spread>,
    /// Figures of disks that moved or lay at a server, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    storage: BTreeMap<&'static str, Spread>,
    /// Figures of a VM that stood still, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    standstill: BTreeMap<&'static str, Spread>,
    /// Every setting of the case, as resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a Case>,
}

fn capture_spreads(row: &CaseRow) -> BTreeMap<&'static str, Spread> {
    let spread = |figure: &Figure| Some((figure.name, figure.spread(row)?));
    FIGURES.iter().filter_map(spread).collect()
}

fn spreads(figures: &[storage::Figure], row: &CaseRow) -> BTreeMap<&'static str, Spread> {
    figures.iter().filter_map(|figure| Some((figure.name, row.spread(figure.of)?))).collect()
}
