//! Trials that lie far from the others of their case: marked, never dropped.

use dunlin_analysis::outliers;
use dunlin_record::Outcome;
use serde::Serialize;

use crate::cases::CaseRow;
use crate::format::number;
use crate::words::Downtime;

/// A figure of a trial that lies far from those of the case's other trials.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outlier {
    /// The trial's id.
    pub(crate) trial: String,
    /// As in `total_time_ms` or `downtime_ms.icmp`.
    pub(crate) figure: String,
    pub(crate) value: f64,
    /// The case's.
    pub(crate) median: f64,
}

impl Outlier {
    /// It in a line.
    pub(crate) fn line(&self) -> String {
        let Self { trial, figure, value, median } = self;
        format!("{trial}: {figure} {} (median {})", number(*value), number(*median))
    }
}

/// What makes an outlier.
pub(crate) const MEANING: &str =
    "further from their case's median than 3 scaled median deviations; kept in every figure";

/// The outliers among a case's completed trials, in total time and downtimes.
pub(crate) fn of_case(row: &CaseRow) -> Vec<Outlier> {
    let total = of_figure(row, "total_time_ms", &|outcome| outcome.total_time_ms);
    let downtimes = Downtime::ALL.into_iter().flat_map(|downtime| {
        // Beside bounds nobody can say which value is unusual.
        let is_value = |outcome: &Outcome| downtime.reading(outcome).is_none_or(|one| one.exact().is_some());
        let name = format!("downtime_ms.{}", downtime.name());
        let has_bounds = !row.completed().all(is_value);
        if has_bounds { Vec::new() } else { of_figure(row, &name, &|outcome| downtime.of(outcome)) }
    });
    total.into_iter().chain(downtimes).collect()
}

fn of_figure(row: &CaseRow, figure: &str, value: &dyn Fn(&Outcome) -> Option<f64>) -> Vec<Outlier> {
    let measured: Vec<(&Outcome, f64)> =
        row.completed().filter_map(|outcome| Some((outcome, value(outcome)?))).collect();
    let values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
    let Some(spread) = row.spread(value) else { return Vec::new() };
    let marked = measured.into_iter().zip(outliers(&values)).filter(|(_, is_outlier)| *is_outlier);
    marked
        .map(|((outcome, value), _)| Outlier {
            trial: outcome.id.to_string(),
            figure: figure.to_owned(),
            value,
            median: spread.median,
        })
        .collect()
}
