//! A figure against a dial: a dot a trial, a line through the medians, and at the top edge the trials that have no end.

use dunlin_record::Status;
use maud::{Markup, html};

use super::{Axis, tick_label};
use crate::format::{count, number};
use crate::words::status_words;

/// A figure against a dial.
pub(crate) struct Scatter<'a> {
    /// What is shown, for those who cannot see it.
    pub(crate) name: &'a str,
    /// The dial's name, and the figure's unit.
    pub(crate) dial: &'a str,
    pub(crate) unit: &'a str,
    /// One, or several of the same unit.
    pub(crate) series: Vec<Series>,
    pub(crate) unfinished: Vec<Missing>,
    /// Values of the dial that mean something by themselves.
    pub(crate) rules: Vec<Rule>,
}

/// One kind of figure.
pub(crate) struct Series {
    /// Its name; also its colour's class.
    pub(crate) name: &'static str,
    /// Medians by the dial's rising value; a line joins neighbours, and none leads over a case without a figure.
    pub(crate) medians: Vec<(f64, Option<f64>)>,
    pub(crate) dots: Vec<Dot>,
}

/// One trial's value.
pub(crate) struct Dot {
    /// The words that name the trial.
    pub(crate) trial: String,
    pub(crate) at: f64,
    pub(crate) value: f64,
    /// Drawn hollow: the machine, not the migration, may have set the pace.
    pub(crate) doubtful: bool,
}

/// Trials at one value of the dial that did not complete.
pub(crate) struct Missing {
    pub(crate) at: f64,
    pub(crate) status: Status,
    pub(crate) trials: usize,
}

/// A vertical line with its words.
pub(crate) struct Rule {
    pub(crate) at: f64,
    pub(crate) label: String,
    /// Its colour's class.
    pub(crate) class: &'static str,
}

/// Pixels of a line of text above the plot, of the band of marks, of the plot itself, and below it.
const LINE: u32 = 16;
const BAND: u32 = 34;
const PLOT: u32 = 210;
const FOOT: u32 = 38;

/// Where the plot lies, in percent of the width; the values of the vertical axis stand left of it.
const LEFT: f64 = 13.0;
const RIGHT: f64 = 97.0;

/// The chart as one `<svg>`.
pub(crate) fn scatter(chart: &Scatter) -> Markup {
    let frame = Frame::of(chart);
    let bottom = frame.bottom();
    html! {
        svg class="chart" role="img" aria-label=(chart.name) width="100%" height=(bottom + FOOT) {
            (grid(&frame, chart))
            @for (rule, line) in chart.rules.iter().zip(0..) { (draw_rule(&frame, rule, line)) }
            @for missing in &chart.unfinished { (mark(&frame, missing)) }
            @for series in &chart.series { (draw(&frame, series, chart)) }
        }
    }
}

/// Where values lie.
struct Frame {
    x: Axis,
    y: Axis,
    /// The top of the plot, below the rules' words and the band of marks.
    top: u32,
}

impl Frame {
    fn of(chart: &Scatter) -> Self {
        let dots = || chart.series.iter().flat_map(|series| &series.dots);
        let at = dots().map(|dot| dot.at).chain(chart.unfinished.iter().map(|missing| missing.at));
        let at: Vec<f64> = at.chain(chart.rules.iter().map(|rule| rule.at)).collect();
        let values: Vec<f64> = dots().map(|dot| dot.value).collect();
        let lines = LINE * u32::try_from(chart.rules.len()).unwrap_or(0);
        Self {
            x: Axis::spanning(at.iter().copied()),
            y: Axis::spanning(values.iter().copied()),
            top: lines + BAND,
        }
    }

    fn bottom(&self) -> u32 {
        self.top + PLOT
    }

    fn x(&self, value: f64) -> String {
        format!("{:.2}%", LEFT + self.x.position(value) * (RIGHT - LEFT))
    }

    fn y(&self, value: f64) -> String {
        format!("{:.1}", f64::from(self.bottom()) - self.y.position(value) * f64::from(PLOT))
    }
}

fn grid(frame: &Frame, chart: &Scatter) -> Markup {
    let (top, bottom) = (frame.top, frame.bottom());
    let scale = |axis: &Axis| if axis.is_log() { ", log scale" } else { "" };
    html! {
        g class="grid" {
            @for &tick in frame.y.ticks() {
                line x1={ (LEFT) "%" } x2={ (RIGHT) "%" } y1=(frame.y(tick)) y2=(frame.y(tick)) {}
                text x={ (LEFT) "%" } dx="-6" y=(frame.y(tick)) dy="4" text-anchor="end" { (tick_label(tick)) }
            }
            @for &tick in frame.x.ticks() {
                line x1=(frame.x(tick)) x2=(frame.x(tick)) y1=(top) y2=(bottom) {}
                text x=(frame.x(tick)) y=(bottom + 15) text-anchor="middle" { (tick_label(tick)) }
            }
            text x={ (RIGHT) "%" } y=(bottom + 31) text-anchor="end" { (chart.dial) (scale(&frame.x)) }
            text x="0" y=(bottom + 31) { (chart.unit) (scale(&frame.y)) }
        }
    }
}

/// The words stand on a line of their own, on the side that has room for them.
fn draw_rule(frame: &Frame, rule: &Rule, line: u32) -> Markup {
    let (x, text_y) = (frame.x(rule.at), LINE * line + 11);
    let (anchor, dx) = if frame.x.position(rule.at) > 0.45 { ("end", "-5") } else { ("start", "5") };
    html! {
        line class={ "rule " (rule.class) } x1=(x) x2=(x) y1=(LINE * line) y2=(frame.bottom()) {}
        text class={ "rule " (rule.class) } x=(x) dx=(dx) y=(text_y) text-anchor=(anchor) { (rule.label) }
    }
}

/// Above the plot: an arrow for what has no end, a cross for what failed, with how many trials there are.
fn mark(frame: &Frame, missing: &Missing) -> Markup {
    let unending = missing.status == Status::NotConverged;
    // The two kinds may meet at one value.
    let (path, y) = if unending {
        ("M-5,4 L0,-5 L5,4 Z", frame.top - 8)
    } else {
        ("M-4,-4 L4,4 M-4,4 L4,-4", frame.top - 22)
    };
    html! {
        svg x=(frame.x(missing.at)) y=(y) overflow="visible" {
            path class={ "mark " (missing.status) } d=(path) {
                title {
                    (number(missing.at)) ": " (count(missing.trials, "trial")) " " (status_words(missing.status))
                }
            }
        }
    }
}

fn draw(frame: &Frame, series: &Series, chart: &Scatter) -> Markup {
    let segments = series.medians.windows(2).filter_map(|pair| match pair {
        [(from, Some(from_y)), (to, Some(to_y))] => Some((*from, *from_y, *to, *to_y)),
        _ => None,
    });
    html! {
        g class={ "series s-" (series.name) } {
            @for (from, from_y, to, to_y) in segments {
                line x1=(frame.x(from)) x2=(frame.x(to)) y1=(frame.y(from_y)) y2=(frame.y(to_y)) {}
            }
            @for dot in &series.dots {
                circle class=[dot.doubtful.then_some("doubtful")] cx=(frame.x(dot.at)) cy=(frame.y(dot.value)) r="3.2" {
                    title {
                        (dot.trial) ", " (series.name) ", at " (number(dot.at)) ": " (number(dot.value)) " " (chart.unit)
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
    fn trials_are_dots_medians_a_line_and_those_without_an_end_stand_at_the_top() {
        let series = |name, medians: &[(f64, Option<f64>)]| Series {
            name,
            medians: medians.to_vec(),
            dots: medians
                .iter()
                .filter_map(|(at, value)| {
                    value.map(|value| Dot {
                        trial: "trial 1".into(),
                        at: *at,
                        value,
                        doubtful: value > 200.0,
                    })
                })
                .collect(),
        };
        let chart = Scatter {
            name: "Downtime <by> working set",
            dial: "working_set_mib",
            unit: "ms",
            series: vec![
                series(
                    "reported",
                    &[(1.0, Some(4.0)), (16.0, Some(190.0)), (64.0, None), (512.0, Some(250.0))],
                ),
                series("icmp", &[(1.0, Some(50.0)), (16.0, Some(260.0)), (64.0, None)]),
            ],
            unfinished: vec![
                Missing { at: 64.0, status: Status::NotConverged, trials: 3 },
                Missing { at: 64.0, status: Status::Failed, trials: 1 },
            ],
            rules: vec![
                Rule { at: 34.0, label: "the law: 34".into(), class: "law" },
                Rule { at: 2.0, label: "the paper's 2".into(), class: "paper" },
            ],
        };
        insta::assert_snapshot!(scatter(&chart).into_string().replace("><", ">\n<"));
    }
}
