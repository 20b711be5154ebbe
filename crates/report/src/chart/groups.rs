//! Several bars a case, side by side: one a kind of figure, with the error of its estimate.

use maud::{Markup, html};

use super::{AXIS, Axis, grid, percent, short, x};
use crate::cases::Spread;
use crate::format::number;

/// One case in a grouped chart.
pub(crate) struct Group {
    pub(crate) title: String,
    /// Said beside the title, as in `3 not converged`.
    pub(crate) note: String,
    /// The bars; none where no trial completed.
    pub(crate) bars: Vec<GroupBar>,
}

/// One kind of figure of a case.
pub(crate) struct GroupBar {
    /// The kind's name; also its colour's class.
    pub(crate) name: &'static str,
    /// Over the completed trials; absent where none measured it.
    pub(crate) spread: Option<Spread>,
    /// Where there is none to be drawn: what bounds its median, in words.
    pub(crate) bound: Option<String>,
    /// Median error of the estimate.
    pub(crate) error: Option<f64>,
    /// Each trial's value, with the words that name it.
    pub(crate) dots: Vec<(String, f64)>,
}

/// Pixels of the text above a group, of each bar in it, and below it.
const HEAD: u32 = 22;
const BAR_STEP: u32 = 15;
const BAR: u32 = 11;
const TAIL: u32 = 12;

/// The chart as one `<svg>`.
pub(crate) fn groups(name: &str, unit: &str, groups: &[Group]) -> Markup {
    let values: Vec<f64> = groups
        .iter()
        .flat_map(|group| &group.bars)
        .flat_map(|bar| {
            bar.spread
                .map(|spread| spread.median + bar.error.unwrap_or(0.0))
                .into_iter()
                .chain(bar.dots.iter().map(|dot| dot.1))
        })
        .collect();
    let axis = Axis::fitting(values.iter().copied());
    let mut bottom = 0;
    let mut tops = Vec::with_capacity(groups.len());
    for group in groups {
        tops.push(bottom);
        bottom += height(group);
    }
    html! {
        svg class="chart" role="img" aria-label=(name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, unit))
            @for (group, top) in groups.iter().zip(tops) {
                text class="label" x="0" y=(top + 15) { (short(&group.title)) title { (group.title) } }
                text class="value" x="100%" y=(top + 15) text-anchor="end" { (group.note) }
                @for (bar, bar_top) in group.bars.iter().zip((top + HEAD..).step_by(BAR_STEP as usize)) {
                    (draw(&axis, bar, bar_top, unit))
                }
            }
        }
    }
}

fn height(group: &Group) -> u32 {
    HEAD + BAR_STEP * u32::try_from(group.bars.len()).unwrap_or(0) + TAIL
}

fn draw(axis: &Axis, bar: &GroupBar, top: u32, unit: &str) -> Markup {
    let middle = top + BAR / 2;
    let Some(spread) = bar.spread else {
        let words =
            bar.bound.as_ref().map_or_else(|| "not measured".into(), |bound| format!("{bound} {unit}"));
        return html! { text class="absent" x="4" y=(top + BAR - 1) { (bar.name) ": " (words) } };
    };
    let error = bar.error.unwrap_or(0.0);
    let (low, high) = ((spread.median - error).max(0.0), spread.median + error);
    let farthest = bar.dots.iter().map(|dot| dot.1).fold(high, f64::max);
    html! {
        rect class={ "bar s-" (bar.name) } x="0" y=(top) width=(x(axis, spread.median)) height=(BAR) rx="2" {
            title { (bar.name) ": " (figure(spread, bar.error, unit)) }
        }
        @if bar.error.is_some() {
            g class="whisker" {
                line x1=(x(axis, low)) x2=(x(axis, high)) y1=(middle) y2=(middle) {}
                line x1=(x(axis, low)) x2=(x(axis, low)) y1=(middle - 3) y2=(middle + 3) {}
                line x1=(x(axis, high)) x2=(x(axis, high)) y1=(middle - 3) y2=(middle + 3) {}
            }
        }
        @for (trial, value) in &bar.dots {
            circle class="dot" cx=(x(axis, *value)) cy=(middle) r="2.2" {
                title { (trial) ", " (bar.name) ": " (number(*value)) " " (unit) }
            }
        }
        text class="value" x=(percent(axis.position(farthest))) dx="8" y=(top + BAR - 1) { (number(spread.median)) }
    }
}

fn figure(spread: Spread, error: Option<f64>, unit: &str) -> String {
    let error = error.map(|error| format!(" ± {}", number(error))).unwrap_or_default();
    format!("{}{error} {unit}", number(spread.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_far_apart_stand_on_a_log_axis_with_whiskers_and_what_is_absent_is_said() {
        let bar = |name, values: &[f64], error| GroupBar {
            name,
            spread: Spread::of(values.iter().copied()),
            bound: (name == "udp").then(|| "≤ 2.00".into()),
            error,
            dots: values.iter().map(|value| ("trial 1".to_owned(), *value)).collect(),
        };
        let chart = [
            Group {
                title: "hybrid & more".into(),
                note: String::new(),
                bars: vec![
                    bar("reported", &[4.0, 5.0, 6.0], None),
                    bar("paused", &[], None),
                    bar("icmp", &[640.0], Some(1.3)),
                    bar("udp", &[], None),
                ],
            },
            Group { title: "dirty 128".into(), note: "3 not converged".into(), bars: Vec::new() },
        ];
        let svg = groups("Downtimes by case", "ms", &chart).into_string();
        insta::assert_snapshot!(svg.replace("><", ">\n<"));
    }
}
