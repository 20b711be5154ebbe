//! Charts as SVG. Widths are percentages and heights pixels, so that text keeps its size on any screen.

mod area;
mod axis;
mod bars;
mod groups;
mod histogram;
mod lanes;
mod scatter;
mod stacked;

pub(crate) use area::{Area, area};
pub(crate) use bars::{BarRow, Unfinished, bars};
pub(crate) use groups::{Group, GroupBar, groups};
pub(crate) use histogram::{Distribution, histogram};
pub(crate) use lanes::{Lane, lanes};
pub(crate) use scatter::{Dot, Missing, Rule, Scatter, Series, scatter};
pub(crate) use stacked::{Stack, stacked};

use axis::Axis;
use maud::{Markup, html};

use crate::format::number;

/// The part of the width, in percent, that the axis takes; the rest is for values and marks beyond its end.
const PLOT_PERCENT: f64 = 84.0;

/// Pixels below the grid for the ticks' values and the axis' name.
const AXIS: u32 = 36;

/// Where a value lies, as an SVG length.
fn x(axis: &Axis, value: f64) -> String {
    percent(axis.position(value))
}

fn percent(fraction: f64) -> String {
    format!("{:.2}%", fraction * PLOT_PERCENT)
}

/// Grid lines from the top to `bottom` with the ticks' values below them, and the axis' name.
fn grid(axis: &Axis, bottom: u32, unit: &str) -> Markup {
    let scale = if axis.is_log() { ", log scale" } else { "" };
    html! {
        g class="grid" {
            @for (index, &tick) in axis.ticks().iter().enumerate() {
                line x1=(x(axis, tick)) x2=(x(axis, tick)) y1="0" y2=(bottom) {}
                text x=(x(axis, tick)) y=(bottom + 15) text-anchor=(if index == 0 { "start" } else { "middle" }) {
                    (tick_label(tick))
                }
            }
            text x=(percent(1.0)) y=(bottom + 30) text-anchor="end" { (unit) (scale) }
        }
    }
}

/// A tick's value: 0.1, 5, 2000.
fn tick_label(tick: f64) -> String {
    if tick.fract() == 0.0 { format!("{tick:.0}") } else { format!("{tick}") }
}

/// A title that fits a narrow screen; the whole of it stands in a tooltip.
fn short(title: &str) -> String {
    const LONGEST: usize = 28;
    if title.chars().count() <= LONGEST {
        return title.to_owned();
    }
    title.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// A value with its unit and, where trials differ, its range.
fn value_label(spread: crate::cases::Spread, unit: &str) -> String {
    match spread.range() {
        Some(range) => format!("{} {unit} ({range})", number(spread.median)),
        None => format!("{} {unit}", number(spread.median)),
    }
}
