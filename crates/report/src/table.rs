//! The run as a table for the terminal: a row a case, what the flags mean, and why trials did not complete.

use dunlin_record::{Outcome, Status};

use crate::Report;
use crate::cases::{CaseRow, Spread, case_rows};
use crate::format::{ABSENT, megabytes, number};
use crate::layout::{Table, wrapped};
use crate::outliers;
use crate::overhead::overhead;
use crate::performance::performance;
use crate::resumed;
use crate::words::{Downtime, failure_line, flag_words, flags_met, not_completed, one_line, share};
use crate::workload::corruption;

/// The terminal table: median over completed trials and, below it, the spread. Wraps at `width` columns; without one
/// it is as wide as it needs to be.
#[must_use]
pub fn table(report: &Report, width: Option<u16>) -> String {
    let downtimes = Downtime::shown(report.outcomes);
    let mut text =
        corruption(report.outcomes).map_or_else(String::new, |line| wrapped(&line, width, "  ") + "\n");
    text.push_str(&summary(report, &downtimes, width));
    text.push('\n');
    let legend = "Figures are medians over the completed trials; below them least–greatest where trials differ, then \
                  ± the error of an estimate. – was not measured.";
    text.push_str(&wrapped(legend, width, ""));
    if report.info.cases.iter().any(|case| case.trials.until.is_some()) {
        let legend = "± % below the trials: how well the least known of total time and ICMP downtime is known, in half \
                      the width of its median's 95 % confidence interval.";
        text.push_str(&wrapped(legend, width, ""));
    }
    for (flag, amount) in flags_met(report.outcomes) {
        let words = flag_words(flag);
        let share = share(amount, report.outcomes.len());
        text.push_str(&wrapped(
            &format!("{} {} ({share}): {}", words.letter, words.name, words.meaning),
            width,
            "  ",
        ));
    }
    text.push_str(&performance(report, width));
    text.push_str(&overhead(report, width));
    let outliers: Vec<_> = case_rows(report).iter().flat_map(outliers::of_case).collect();
    for (index, outlier) in outliers.iter().enumerate() {
        if index == 0 {
            text.push('\n');
            text.push_str(&wrapped(&format!("Outliers, {}:", outliers::MEANING), width, ""));
        }
        text.push_str(&wrapped(&outlier.line(), width, "  "));
    }
    text.push_str(&resumed::text(report.info, width));
    for (index, case) in report.info.skipped.iter().enumerate() {
        text.push_str(if index == 0 { "\nSkipped, as this machine cannot run them:\n" } else { "" });
        text.push_str(&wrapped(&format!("{}: {}", case.title, one_line(&case.because)), width, "  "));
    }
    let unfinished = report.outcomes.iter().filter(|outcome| outcome.status != Status::Completed);
    for (index, outcome) in unfinished.enumerate() {
        text.push_str(if index == 0 { "\nNot completed:\n" } else { "" });
        text.push_str(&wrapped(&failure_line(outcome), width, "  "));
    }
    text
}

fn summary(report: &Report, downtimes: &[Downtime], width: Option<u16>) -> String {
    let mut table = Table::new().key("case\nstrategy").words("trials");
    for name in ["total\nms", "floor\nms", "data\nMB"] {
        table = table.figure(name);
    }
    for downtime in downtimes {
        table = table.figure(&format!("{}\ndown ms", downtime.name()));
    }
    table = table.figure("floor\ndown ms").words("flags");
    for row in case_rows(report) {
        table.row(cells(&row, downtimes));
    }
    table.text(width)
}

fn cells(row: &CaseRow, downtimes: &[Downtime]) -> Vec<String> {
    let mut cells = vec![
        format!("{}\n{}", row.title, row.strategy),
        trials(row),
        figure(row.spread(|outcome| outcome.total_time_ms), None),
        figure(row.spread(|outcome| outcome.floor_ms), None),
        figure(row.spread(|outcome| outcome.wire_bytes.map(|wire| megabytes(wire.source_tx))), None),
    ];
    cells.extend(downtimes.iter().map(|downtime| {
        let error = row.spread(|outcome| downtime.error_of(outcome));
        figure(row.spread(|outcome| downtime.of(outcome)), error)
    }));
    cells.push(figure(row.spread(|outcome| outcome.downtime_floor_ms), None));
    cells.push(flags(&row.outcomes));
    cells
}

/// Completed of all, and how the others ended, a line each.
fn trials(row: &CaseRow) -> String {
    if row.outcomes.is_empty() {
        return row.without_trials().into();
    }
    let mut text = format!("{}/{}", row.completed().count(), row.outcomes.len());
    if let Some(reached) = row.reached() {
        text.push_str(&format!("\n±{} %", number(reached)));
    }
    let others = not_completed(&row.outcomes);
    if !others.is_empty() {
        text.push('\n');
        text.push_str(&others.replace(", ", "\n"));
    }
    text
}

/// Median, below it the spread, below that the error of the estimate.
fn figure(spread: Option<Spread>, error: Option<Spread>) -> String {
    let Some(spread) = spread else { return ABSENT.into() };
    let mut lines = spread.lines();
    lines.extend(error.map(|error| format!("±{}", number(error.median))));
    lines.join("\n")
}

/// The letters of the flags that any of these outcomes has.
fn flags(outcomes: &[&Outcome]) -> String {
    let mut flags: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.flags.iter().copied()).collect();
    flags.sort();
    flags.dedup();
    flags.into_iter().map(|flag| flag_words(flag).letter).collect()
}
