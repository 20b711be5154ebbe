//! A run's outcomes by case, and the spread of a figure over a case's trials.

use std::collections::BTreeSet;

use dunlin_analysis::{Precision, Reading, precision};
use dunlin_record::{Case, Outcome, Status};

use crate::Report;
use crate::format::{number, reading};
use crate::words::Downtime;

/// One case of the scenario with what its trials came to: a row of the summary. Where several VMs are moved, one row
/// for each, for a VM moved first and one moved last are not repetitions of each other.
pub(crate) struct CaseRow<'a> {
    /// The case's title; with the VM's name where there are several.
    pub(crate) title: String,
    /// The strategy's name.
    pub(crate) strategy: String,
    /// What was asked, if `run.json` still says it.
    pub(crate) case: Option<&'a Case>,
    /// Why it could not be run here, if so.
    pub(crate) skipped: Option<&'a str>,
    /// The outcomes, in the order given.
    pub(crate) outcomes: Vec<&'a Outcome>,
}

impl<'a> CaseRow<'a> {
    /// What is said instead of figures where there are no trials.
    pub(crate) fn without_trials(&self) -> &'static str {
        if self.skipped.is_some() { "skipped" } else { "not run" }
    }

    /// The outcomes of trials that completed: only they are repetitions of the same thing.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &'a Outcome> + '_ {
        self.outcomes.iter().copied().filter(|outcome| outcome.status == Status::Completed)
    }

    /// How well the least known of the medians that decide is known, in percent of it; only where the scenario asked
    /// for a precision and there are trials enough to tell.
    pub(crate) fn reached(&self) -> Option<f64> {
        self.case?.trials.until?;
        let known = precision(&self.outcomes);
        known.iter().filter_map(Precision::percent).max_by(f64::total_cmp)
    }

    /// The spread of a figure over the completed trials.
    pub(crate) fn spread(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.completed().filter_map(figure))
    }

    /// The spread of a downtime over the completed trials, of which some may be known by bounds only.
    pub(crate) fn downtime(&self, downtime: Downtime) -> Option<DowntimeSpread> {
        DowntimeSpread::of(self.completed().filter_map(|outcome| downtime.reading(outcome)).collect())
    }

    /// Median error of the estimate, where the downtime's median is one.
    pub(crate) fn downtime_error(&self, downtime: Downtime) -> Option<f64> {
        self.downtime(downtime)?.median.exact()?;
        self.spread(|outcome| downtime.error_of(outcome)).map(|error| error.median)
    }
}

/// A downtime over repetitions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DowntimeSpread {
    /// A bound where bounds reach the middle.
    pub(crate) median: Reading,
    readings: Vec<Reading>,
}

impl DowntimeSpread {
    fn of(mut readings: Vec<Reading>) -> Option<Self> {
        readings.sort_by(|one, other| one.low.total_cmp(&other.low).then(one.high.total_cmp(&other.high)));
        Some(Self { median: Reading::median(&readings)?, readings })
    }

    /// The spread to be drawn: a median that is a bound has no place on an axis.
    pub(crate) fn drawn(&self) -> Option<Spread> {
        let median = self.median.exact()?;
        let values = Spread::of(self.readings.iter().filter_map(|one| one.exact()))?;
        Some(Spread { median, ..values })
    }

    /// Least and greatest, as in `≤ 2.00–44`; absent where they do not differ.
    pub(crate) fn range(&self) -> Option<String> {
        let least = self.readings.first()?;
        let greatest = self.readings.iter().max_by(|one, other| one.high.total_cmp(&other.high))?;
        match (least.exact(), greatest.exact()) {
            (Some(min), Some(max)) => Spread { median: min, min, max }.range(),
            _ => Some((reading(*least), reading(*greatest)))
                .filter(|(least, greatest)| least != greatest)
                .map(|(least, greatest)| format!("{least}–{greatest}")),
        }
    }
}

/// A figure over repetitions.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Median (of an even number: the mean of the middle two), least and greatest; absent for no values.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// The median and, where they differ, least and greatest: a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        [number(self.median)].into_iter().chain(self.range()).collect()
    }

    /// Least and greatest, as in `69–128`, with a decimal below 10; absent where they do not differ.
    pub(crate) fn range(&self) -> Option<String> {
        let decimals = if self.max >= 10.0 { 0 } else { 1 };
        let (min, max) = (format!("{:.decimals$}", self.min), format!("{:.decimals$}", self.max));
        (min != max).then(|| format!("{min}–{max}"))
    }
}

/// The rows of a report: the scenario's cases in its order, run or not, then cases only the outcomes know.
pub(crate) fn case_rows<'a>(report: &Report<'a>) -> Vec<CaseRow<'a>> {
    let several_vms = report.outcomes.iter().map(|outcome| &outcome.vm).collect::<BTreeSet<_>>().len() > 1;
    let mut titles: Vec<String> = report.info.cases.iter().map(Case::title).collect();
    for outcome in report.outcomes {
        let title = outcome.case.title();
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles.iter().flat_map(|title| rows_of_case(report, title, several_vms)).collect()
}

fn rows_of_case<'a>(report: &Report<'a>, title: &str, several_vms: bool) -> Vec<CaseRow<'a>> {
    let case = report.info.cases.iter().find(|case| case.title() == title);
    let skipped = report.info.skipped.iter().find(|one| one.title == title).map(|one| one.because.as_str());
    let outcomes: Vec<&Outcome> =
        report.outcomes.iter().filter(|outcome| outcome.case.title() == title).collect();
    let row = |title: String, outcomes: Vec<&'a Outcome>| CaseRow {
        title,
        strategy: case
            .map(|case| case.strategy.name().to_owned())
            .or_else(|| outcomes.first().map(|outcome| outcome.strategy.clone()))
            .unwrap_or_default(),
        case,
        skipped,
        outcomes,
    };
    if !several_vms || outcomes.is_empty() {
        return vec![row(title.to_owned(), outcomes)];
    }
    let vms: BTreeSet<_> = outcomes.iter().map(|outcome| &outcome.vm).collect();
    vms.into_iter()
        .map(|vm| {
            row(format!("{title} {vm}"), outcomes.iter().copied().filter(|one| &one.vm == vm).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_over_bounds_is_a_bound_and_is_not_drawn() {
        let bounds = DowntimeSpread::of([2.0, 40.0, 3.0].map(Reading::at_most).into()).unwrap();
        assert_eq!((bounds.median, bounds.drawn()), (Reading::at_most(3.0), None));
        assert_eq!(bounds.range().unwrap(), "≤\u{a0}2.00–≤\u{a0}40.0");
        let mixed = [Reading::at_most(2.0), Reading::value(40.0), Reading::value(44.0)];
        let mixed = DowntimeSpread::of(mixed.into()).unwrap();
        assert_eq!(mixed.drawn(), Some(Spread { median: 40.0, min: 40.0, max: 44.0 }));
        assert_eq!(mixed.range().unwrap(), "≤\u{a0}2.00–44.0");
        assert_eq!(DowntimeSpread::of(vec![]), None);
    }

    #[test]
    fn the_spread_has_the_middle_value_or_the_mean_of_the_middle_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
    }
}
