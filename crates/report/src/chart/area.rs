//! An amount over time as an area, with what happened as lines through it.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::{AXIS, Axis, PLOT_PERCENT, grid, x};
use crate::format::number;

/// What is drawn.
pub(crate) struct Area {
    /// What the area is, for those who cannot see it.
    pub(crate) name: String,
    /// The unit of the amount.
    pub(crate) unit: &'static str,
    /// From where to where on the time axis each value holds, in ms, and the value.
    pub(crate) steps: Vec<([f64; 2], f64)>,
    /// Times in ms, each with its letter and what happened then.
    pub(crate) marks: Vec<(f64, char, String)>,
}

/// Pixels above the area, for letters, and of the area.
const HEAD: u32 = 16;
const HEIGHT: u32 = 130;

/// The chart as one `<svg>`; the time axis begins at 0.
pub(crate) fn area(area: &Area) -> Markup {
    let axis = Axis::linear(area.steps.iter().map(|([_, to], _)| *to));
    let greatest = area.steps.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let bottom = HEAD + HEIGHT;
    html! {
        svg class="chart" role="img" aria-label=(area.name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, "ms"))
            // A coordinate system of its own, so that one path does for all widths.
            svg x="0" y=(HEAD) width=(format!("{PLOT_PERCENT}%")) height=(HEIGHT) viewBox="0 0 1000 1000" preserveAspectRatio="none" {
                path class="area" d=(outline(&axis, &area.steps, greatest)) {}
            }
            text class="value" x=(format!("{PLOT_PERCENT}%")) dx="6" y=(HEAD + 10) { (number(greatest)) " " (area.unit) }
            @for (at_ms, letter, text) in &area.marks {
                g class="event" {
                    title { (number(*at_ms)) " ms: " (text) }
                    line x1=(x(&axis, *at_ms)) x2=(x(&axis, *at_ms)) y1=(HEAD) y2=(bottom) {}
                    text x=(x(&axis, *at_ms)) y=(HEAD - 4) text-anchor="middle" { (letter) }
                }
            }
        }
    }
}

/// Thousandths of the width and height, from the bottom up.
fn outline(axis: &Axis, steps: &[([f64; 2], f64)], greatest: f64) -> String {
    let mut path = String::from("M0 1000");
    for ([from, to], value) in steps {
        let along = |at: f64| axis.position(at) * 1000.0;
        let height = if greatest > 0.0 { 1000.0 * (1.0 - value / greatest) } else { 1000.0 };
        let _ = write!(path, "H{:.1}V{height:.0}H{:.1}V1000", along(*from), along(*to));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_steps_and_what_happened_are_lines() {
        let chart = area(&Area {
            name: "bytes <over> time".into(),
            unit: "Mbit/s",
            steps: vec![([0.0, 10.0], 500.0), ([10.0, 20.0], 1000.0), ([80.0, 90.0], 250.0)],
            marks: vec![(5.0, 'a', "setup".into()), (85.0, 'b', "stop & copy".into())],
        });
        insta::assert_snapshot!(chart.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn nothing_is_flat() {
        let chart = area(&Area {
            name: "nothing".into(),
            unit: "Mbit/s",
            steps: vec![([0.0, 10.0], 0.0)],
            marks: vec![],
        });
        assert!(chart.into_string().contains("M0 1000H0.0V1000H1000.0V1000"));
    }
}
