//! The run as a table for the terminal: a row a case, what the flags mean, and why trials did not complete.

use dunlin_record::{Flag, Outcome, Status};

use crate::Report;
use crate::cases::{CaseRow, Spread, case_rows};
use crate::format::{ABSENT, megabytes, number, reading};
use crate::layout::{Table, wrapped};
use crate::mechanisms;
use crate::outliers;
use crate::overhead::overhead;
use crate::papers::papers;
use crate::performance::performance;
use crate::resumed;
use crate::standstill::standstill;
use crate::storage::storage;
use crate::unconverged::limits_of;
use crate::words::{
    Downtime, failure_line, flag_words, flags_met, not_completed, one_line, share, unfit_lines,
};
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
                  ± the error of an estimate. ≤ and ≥ are bounds, and so is a median over them. – was not measured.";
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
    text.push_str(&mechanisms::unused(report, width));
    text.push_str(&notes("Probes that tell no downtime:", report, width, unfit_lines));
    text.push_str(&guests_clocks(report, width));
    text.push_str(&storage(report, width));
    text.push_str(&standstill(report, width));
    text.push_str(&papers(report, width));
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
        text.push_str(if index == 0 { "\nSkipped, as they cannot be run here:\n" } else { "" });
        text.push_str(&wrapped(&format!("{}: {}", case.title, one_line(&case.because)), width, "  "));
    }
    let unfinished = report.outcomes.iter().filter(|outcome| outcome.status != Status::Completed);
    for (index, outcome) in unfinished.enumerate() {
        text.push_str(if index == 0 { "\nNot completed:\n" } else { "" });
        text.push_str(&wrapped(&failure_line(outcome, limits_of(report, outcome)), width, "  "));
    }
    text
}

/// By how much the guests' clocks fell behind, a line a case; nothing where no rate suffers by it.
fn guests_clocks(report: &Report, width: Option<u16>) -> String {
    let mut text = String::new();
    for row in case_rows(report) {
        let flagged = row.outcomes.iter().filter(|outcome| outcome.flags.contains(&Flag::GuestClockBehind));
        let behind: Vec<f64> =
            flagged.filter_map(|outcome| Some(outcome.guest_clock?.monotonic_behind_ms)).collect();
        let Some(spread) = Spread::of(behind.iter().copied()) else { continue };
        let by = spread.range().unwrap_or_else(|| number(spread.median));
        let share = share(behind.len(), row.outcomes.len());
        text.push_str(if text.is_empty() { "\nGuests' monotonic clocks:\n" } else { "" });
        text.push_str(&wrapped(
            &format!("{}: behind the bench's by {by} ms, {share}", row.title),
            width,
            "  ",
        ));
    }
    text
}

/// Lines on trials below a title; nothing where there are none.
fn notes(
    title: &str,
    report: &Report,
    width: Option<u16>,
    lines: impl Fn(&Outcome) -> Vec<String>,
) -> String {
    let lines: Vec<String> = report.outcomes.iter().flat_map(lines).collect();
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| wrapped(line, width, "  ")).collect();
    format!("\n{title}\n{lines}")
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
        figure(row.spread(|outcome| outcome.total_time_ms)),
        figure(row.spread(|outcome| outcome.floor_ms)),
        figure(row.spread(|outcome| outcome.wire_bytes.map(|wire| megabytes(wire.source_tx)))),
    ];
    cells.extend(downtimes.iter().map(|downtime| {
        let Some(spread) = row.downtime(*downtime) else { return ABSENT.into() };
        let error = row.downtime_error(*downtime).map(|error| format!("±{}", number(error)));
        [Some(reading(spread.median)), spread.range(), error]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n")
    }));
    cells.push(figure(row.spread(|outcome| outcome.downtime_floor_ms)));
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

/// Median, below it the spread.
fn figure(spread: Option<Spread>) -> String {
    spread.map_or_else(|| ABSENT.into(), |spread| spread.lines().join("\n"))
}

/// The letters of the flags that any of these outcomes has.
fn flags(outcomes: &[&Outcome]) -> String {
    let mut flags: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.flags.iter().copied()).collect();
    flags.sort();
    flags.dedup();
    flags.into_iter().map(|flag| flag_words(flag).letter).collect()
}
