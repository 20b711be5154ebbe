//! Lanes over one axis, each with the stretches in which something held.

use maud::{Markup, html};

use super::{AXIS, Axis, grid, x};

/// One lane.
pub(crate) struct Lane {
    pub(crate) title: &'static str,
    /// The class of its colour.
    pub(crate) class: &'static str,
    /// From where to where, in units of the axis; each with the words that tell it.
    pub(crate) stretches: Vec<(f64, f64, String)>,
}

/// Pixels of a lane's title, of its stretches, and below them.
const HEAD: u32 = 16;
const BAR: u32 = 10;
const TAIL: u32 = 6;
const STEP: u32 = HEAD + BAR + TAIL;

/// The chart as one `<svg>`; the axis begins at 0.
pub(crate) fn lanes(name: &str, unit: &str, lanes: &[Lane]) -> Markup {
    let axis = Axis::linear(lanes.iter().flat_map(|lane| &lane.stretches).map(|(_, to, _)| *to));
    let bottom = STEP * u32::try_from(lanes.len()).unwrap_or(0);
    html! {
        svg class="chart" role="img" aria-label=(name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, unit))
            @for (lane, top) in lanes.iter().zip((0..).step_by(STEP as usize)) {
                text class="value" x="0" y=(top + HEAD - 4) { (lane.title) }
                @for (from, to, words) in &lane.stretches {
                    rect class={ "bar " (lane.class) } x=(x(&axis, *from)) y=(top + HEAD)
                        width=(x(&axis, *to - *from)) height=(BAR) { title { (words) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_has_a_stretch_wherever_something_held() {
        let seen = |from: f64, to: f64| (from, to, format!("{from} to {to}"));
        let lane = |title, stretches| Lane { title, class: "by-source", stretches };
        let svg = lanes(
            "Requests",
            "request",
            &[lane("seen", vec![seen(0.0, 25.0), seen(30.0, 50.0)]), lane("not & never", vec![])],
        );
        insta::assert_snapshot!(svg.into_string().replace("><", ">\n<"));
    }
}
