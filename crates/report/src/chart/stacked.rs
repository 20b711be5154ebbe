//! One bar a case, of parts one after the other.

use maud::{Markup, html};

use super::{AXIS, Axis, grid, percent, short};
use crate::format::number;

/// One case in a stacked chart.
pub(crate) struct Stack {
    pub(crate) title: String,
    /// Said beside the title where there are no parts, as in `3 not converged`.
    pub(crate) note: String,
    /// The parts in their order, each with its name, which is also its colour's class, and its length.
    pub(crate) parts: Vec<(&'static str, f64)>,
}

/// Pixels of a case: a line of text, the bar, and room below it.
const ROW: u32 = 50;
const BAR_TOP: u32 = 20;
const BAR: u32 = 18;

/// The chart as one `<svg>`.
pub(crate) fn stacked(name: &str, unit: &str, stacks: &[Stack]) -> Markup {
    let axis = Axis::linear(stacks.iter().map(length));
    let bottom = ROW * u32::try_from(stacks.len()).unwrap_or(0);
    html! {
        svg class="chart" role="img" aria-label=(name) width="100%" height=(bottom + AXIS) {
            (grid(&axis, bottom, unit))
            @for (stack, top) in stacks.iter().zip((0..).step_by(ROW as usize)) { (draw(&axis, stack, top, unit)) }
        }
    }
}

fn length(stack: &Stack) -> f64 {
    stack.parts.iter().map(|(_, length)| length.max(0.0)).sum()
}

fn draw(axis: &Axis, stack: &Stack, top: u32, unit: &str) -> Markup {
    let label =
        if stack.parts.is_empty() { stack.note.clone() } else { format!("{} {unit}", number(length(stack))) };
    let mut from = 0.0;
    let parts = stack.parts.iter().map(|(name, length)| {
        let (begin, length) = (from, length.max(0.0));
        from += length;
        (*name, begin, length)
    });
    let parts: Vec<_> = parts.collect();
    html! {
        text class="label" x="0" y=(top + 14) { (short(&stack.title)) title { (stack.title) } }
        text class="value" x="100%" y=(top + 14) text-anchor="end" { (label) }
        @for (name, begin, length) in parts {
            rect class={ "bar p-" (name) } x=(percent(axis.position(begin))) y=(top + BAR_TOP)
                width=(percent(axis.position(begin + length) - axis.position(begin))) height=(BAR) {
                title { (name) ": " (number(length)) " " (unit) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_one_another_without_a_gap() {
        let stacks = [
            Stack {
                title: "cold & packed".into(),
                note: String::new(),
                parts: vec![("rest", 4.0), ("compress", 30.0), ("transfer", 61.0), ("wake", 5.0)],
            },
            Stack { title: "live".into(), note: "3 not converged".into(), parts: Vec::new() },
        ];
        let svg = stacked("Parts by case", "s", &stacks).into_string();
        insta::assert_snapshot!(svg.replace("><", ">\n<"));
    }
}
