//! Distributions one below the other on one logarithmic axis: which share of the requests took how long.

use maud::{Markup, html};

use super::{AXIS, Axis, grid, x};
use crate::format::number;

/// From a bound to the next: ten of them between one power of ten and the next.
const BOUNDS_RATIO: f64 = 1.258_925_411_794_167_3;

/// One distribution.
pub(crate) struct Distribution {
    /// Its name; also its colour's class, behind `t-`.
    pub(crate) name: &'static str,
    /// Upper bounds, each with how many fall between it and the bound below it.
    pub(crate) counts: Vec<(f64, u64)>,
    /// Said beside the name.
    pub(crate) note: String,
}

/// Pixels of a distribution's name, of its highest bar, and below it; and of the least bar that can be seen.
const HEAD: u32 = 18;
const PLOT: u32 = 52;
const TAIL: u32 = 8;
const LEAST_BAR: f64 = 1.5;

/// The chart as one `<svg>`.
pub(crate) fn histogram(name: &str, unit: &str, distributions: &[Distribution]) -> Markup {
    let bounds = || distributions.iter().flat_map(|one| one.counts.iter().map(|(bound, _)| *bound));
    let axis = Axis::logarithmic(bounds().map(|bound| bound / BOUNDS_RATIO).chain(bounds()));
    let step = HEAD + PLOT + TAIL;
    let bottom = step * u32::try_from(distributions.len()).unwrap_or(0);
    html! {
        svg class="chart" role="img" aria-label=(name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, unit))
            @for (distribution, top) in distributions.iter().zip((0..).step_by(step as usize)) {
                (draw(&axis, distribution, top, unit))
            }
        }
    }
}

fn draw(axis: &Axis, distribution: &Distribution, top: u32, unit: &str) -> Markup {
    let Distribution { name, counts, note } = distribution;
    let total = counts.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
    let highest = counts.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
    let foot = f64::from(top + HEAD + PLOT);
    html! {
        text class="value" x="0" y=(top + 12) { (name) ": " (note) }
        g class={ "histogram t-" (name) } {
            @for (bound, count) in counts {
                @let height = (*count as f64 / highest * f64::from(PLOT)).max(LEAST_BAR);
                @let (from, to) = (axis.position(bound / BOUNDS_RATIO), axis.position(*bound));
                rect x=(x(axis, bound / BOUNDS_RATIO)) y=(format!("{:.1}", foot - height))
                    width=(super::percent(to - from)) height=(format!("{height:.1}")) {
                    title {
                        (name) ", up to " (number(*bound)) " " (unit) ": " (count) " of " (total)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rare_and_slow_can_be_seen_beside_the_many() {
        let distribution = |name, counts: &[(f64, u64)]| Distribution {
            name,
            counts: counts.to_vec(),
            note: "1000 answered".into(),
        };
        let chart = [
            distribution("before", &[(0.1995, 400), (0.2512, 600)]),
            distribution("during", &[(0.1995, 960), (0.2512, 39), (1000.0, 1)]),
            distribution("after", &[]),
        ];
        insta::assert_snapshot!(
            histogram("Response <times>", "ms", &chart).into_string().replace("><", ">\n<")
        );
    }
}
