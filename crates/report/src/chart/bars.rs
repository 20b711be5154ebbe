//! One bar a case: the median, a dot a trial, the floor, and the trials that did not complete.

use dunlin_record::Status;
use maud::{Markup, html};

use super::{AXIS, Axis, grid, short, value_label, x};
use crate::cases::Spread;
use crate::format::number;
use crate::words::status_words;

/// One case in a bar chart.
pub(crate) struct BarRow {
    pub(crate) title: String,
    /// Over the completed trials; absent where none completed or none measured it.
    pub(crate) spread: Option<Spread>,
    /// Where there is none to be drawn: what bounds its median, in words.
    pub(crate) bound: Option<String>,
    /// Each completed trial's value, with the words that name it.
    pub(crate) dots: Vec<(String, f64)>,
    /// The least value that is possible.
    pub(crate) floor: Option<f64>,
    /// The trials that have no value because they did not complete.
    pub(crate) unfinished: Vec<Unfinished>,
}

/// A trial that did not complete.
pub(crate) struct Unfinished {
    pub(crate) trial: String,
    pub(crate) status: Status,
}

/// Pixels of a case: a line of text, the bar, and room below it.
const ROW: u32 = 50;
const BAR_TOP: u32 = 20;
const BAR: u32 = 16;

/// Pixels between two marks of trials that did not complete, and how many of them fit.
const MARK_STEP: usize = 14;
const MARKS: usize = 4;

/// The chart as one `<svg>`.
pub(crate) fn bars(name: &str, unit: &str, rows: &[BarRow]) -> Markup {
    let values = rows.iter().flat_map(|row| {
        row.dots.iter().map(|(_, value)| *value).chain(row.floor).chain(row.spread.map(|spread| spread.max))
    });
    let axis = Axis::linear(values);
    let bottom = ROW * u32::try_from(rows.len()).unwrap_or(0);
    html! {
        svg class="chart" role="img" aria-label=(name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, unit))
            @for (row, top) in rows.iter().zip((0..).step_by(ROW as usize)) {
                (bar(&axis, row, top, unit))
            }
        }
    }
}

fn bar(axis: &Axis, row: &BarRow, top: u32, unit: &str) -> Markup {
    let bar_top = top + BAR_TOP;
    let middle = bar_top + BAR / 2;
    html! {
        text class="label" x="0" y=(top + 14) { (short(&row.title)) title { (row.title) } }
        text class="value" x="100%" y=(top + 14) text-anchor="end" { (label(row, unit)) }
        @if let Some(spread) = row.spread {
            rect class="bar" x="0" y=(bar_top) width=(x(axis, spread.median)) height=(BAR) rx="2" {
                title { "median " (value_label(spread, unit)) }
            }
        }
        @if let Some(floor) = row.floor {
            line class="floor" x1=(x(axis, floor)) x2=(x(axis, floor)) y1=(bar_top - 2) y2=(bar_top + BAR + 4) {
                title { "floor " (number(floor)) " " (unit) }
            }
        }
        @for (trial, value) in &row.dots {
            circle class="dot" cx=(x(axis, *value)) cy=(middle) r="3.5" {
                title { (trial) ": " (number(*value)) " " (unit) }
            }
        }
        @for (index, one) in row.unfinished.iter().take(MARKS).enumerate() {
            (mark(one, middle, index))
        }
    }
}

/// A cross (or, where it would have gone on, an arrow) at the end of the row: a trial that has no length to draw.
fn mark(one: &Unfinished, middle: u32, index: usize) -> Markup {
    let left = -8 - i64::try_from(index * MARK_STEP).unwrap_or(0);
    let path =
        if one.status == Status::NotConverged { "M-4,-5 L4,0 L-4,5 Z" } else { "M-4,-4 L4,4 M-4,4 L4,-4" };
    html! {
        svg x="100%" y=(middle) overflow="visible" {
            path class={ "mark " (one.status) } d=(path) transform={ "translate(" (left) ",0)" } {
                title { (one.trial) ": " (status_words(one.status)) }
            }
        }
    }
}

/// The median and the range; and how many trials did not complete, where the marks alone would not say it.
fn label(row: &BarRow, unit: &str) -> String {
    let count = |status: Status| row.unfinished.iter().filter(|one| one.status == status).count();
    let bound = row.bound.as_ref().map(|bound| format!("{bound} {unit}"));
    let mut parts: Vec<String> =
        row.spread.map(|spread| value_label(spread, unit)).or(bound).into_iter().collect();
    if parts.is_empty() || row.unfinished.len() > MARKS {
        for status in [Status::NotConverged, Status::Failed, Status::Cancelled] {
            if count(status) > 0 {
                parts.push(format!("{} {}", count(status), status_words(status)));
            }
        }
    }
    if parts.is_empty() { "not measured".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_the_median_each_trial_a_dot_and_no_trial_is_left_out() {
        let row = |title: &str, values: &[f64], floor, unfinished: &[Status]| BarRow {
            title: title.into(),
            spread: Spread::of(values.iter().copied()),
            bound: None,
            dots: values.iter().map(|value| (format!("trial {value}"), *value)).collect(),
            floor,
            unfinished: unfinished
                .iter()
                .map(|&status| Unfinished { trial: "trial x".into(), status })
                .collect(),
        };
        let rows = [
            row("idle", &[805.0, 831.0, 838.0], Some(688.0), &[]),
            row("dirty <16> with a title that is too long", &[1400.0], None, &[Status::Failed]),
            row("dirty 128", &[], None, &[Status::NotConverged, Status::NotConverged, Status::Cancelled]),
            row("never run", &[], None, &[]),
        ];
        let svg = bars("Total time by case", "ms", &rows).into_string();
        insta::assert_snapshot!(svg.replace("><", ">\n<"));
    }
}
