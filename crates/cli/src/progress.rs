//! Progress: a bar with the time left on a terminal, plain lines elsewhere.

mod estimate;
mod wait;

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_bench::Observer;
use dunlin_clock::now_ns;
use dunlin_record::{Outcome, Status, harmless};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::terminal;
use estimate::Estimate;
pub(crate) use wait::{stay, until, wait, wait_while};

/// Tells a person how a run goes.
pub(crate) struct RunProgress {
    bar: ProgressBar,
    /// How many, in words; nothing before the run begins.
    trials: String,
    estimate: Shared,
}

/// The bar is drawn anew a few times a second, on a thread of its own.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Estimate>>);

impl Shared {
    fn get(&self) -> MutexGuard<'_, Estimate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunProgress {
    pub(crate) fn new() -> Self {
        let target =
            if terminal::is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let progress = Self { bar, trials: String::new(), estimate: Shared::default() };
        progress.set_style(TEMPLATE_BEFORE);
        progress.bar.enable_steady_tick(TICK);
        progress
    }

    fn set_style(&self, template: &str) {
        // The templates are constants that a test checks.
        if let Ok(style) = style(template, &self.estimate) {
            self.bar.set_style(style);
        }
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() { terminal::say(text) } else { self.bar.suspend(|| terminal::say(text)) }
    }
}

const TICK: Duration = Duration::from_millis(200);
/// Before the run begins, as long as it is not known how much there is to do.
const TEMPLATE_BEFORE: &str = "{spinner} {wide_msg}";
const TEMPLATE: &str = "{spinner} [{done}] {prefix} {wide_msg} {left}";

fn style(template: &str, estimate: &Shared) -> Result<ProgressStyle, impl std::error::Error + use<>> {
    let (of_done, of_left) = (estimate.clone(), estimate.clone());
    let done = move |_: &ProgressState, out: &mut dyn Write| {
        let _ = out.write_str(&drawn(of_done.get().fraction(now_ns())));
    };
    let left = move |_: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "about {} left", in_words(of_left.get().left(now_ns())));
    };
    ProgressStyle::with_template(template).map(|style| style.with_key("done", done).with_key("left", left))
}

/// A bar of 24 columns.
fn drawn(fraction: f64) -> String {
    const COLUMNS: usize = 24;
    let full = (fraction.clamp(0.0, 1.0) * COLUMNS as f64) as usize;
    let head = if full > 0 && full < COLUMNS { ">" } else { "" };
    format!("{:<COLUMNS$}", "=".repeat(full - head.len()) + head)
}

impl Observer for RunProgress {
    fn run_started(&mut self, title: &str, trials: RangeInclusive<usize>, expected: Duration, folder: &Path) {
        self.trials = range(trials.into_inner());
        *self.estimate.get() = Estimate::of(expected);
        self.line(&format!(
            "{title}: {} trial{}, about {}, recorded in {}",
            self.trials,
            if self.trials == "1" { "" } else { "s" },
            in_words(expected),
            folder.display()
        ));
        self.bar.set_message("");
        self.set_style(TEMPLATE);
    }

    fn trial_started(&mut self, number: usize, title: &str, expected: Duration) {
        self.estimate.get().trial_started(expected, now_ns());
        self.bar.set_prefix(format!("{number}/{} {}:", self.trials, harmless(title)));
        if self.bar.is_hidden() {
            let left = in_words(self.estimate.get().left(now_ns()));
            terminal::say(&format!("trial {number}/{}: {title} (about {left} left in all)", self.trials));
        }
    }

    fn stage(&mut self, text: &str) {
        self.bar.set_message(harmless(text).into_owned());
        // The stages of a trial go by too fast for lines of their own.
        if self.bar.is_hidden() && self.trials.is_empty() {
            terminal::say(text);
        }
    }

    fn trial_ended(&mut self, outcomes: &[Outcome]) {
        self.estimate.get().trial_ended(now_ns());
        for outcome in outcomes {
            self.line(&outcome_line(outcome));
        }
    }

    fn note(&mut self, text: &str) {
        self.line(text);
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn outcome_line(outcome: &Outcome) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    let head = format!("  {} trial {}: {}", outcome.case.title(), outcome.trial, outcome.status);
    let downtime = &outcome.downtime_ms;
    let (at_most, at_least) = (&outcome.downtime_at_most_ms, &outcome.downtime_at_least_ms);
    let seen = |value, at_most: Option<f64>, at_least: Option<f64>| match (value, at_most, at_least) {
        (None, Some(bound), _) => format!("≤{bound:.0}"),
        (None, None, Some(bound)) => format!("≥{bound:.0}"),
        (value, ..) => ms(value),
    };
    match (outcome.status, &outcome.error) {
        (Status::Completed, _) => format!(
            "{head} in {} ms; downtime in ms: reported {}, paused {}, icmp {}, udp {}",
            ms(outcome.total_time_ms),
            ms(downtime.reported),
            ms(downtime.paused),
            seen(downtime.icmp, at_most.icmp, at_least.icmp),
            seen(downtime.udp, at_most.udp, at_least.udp),
        ),
        (_, Some(error)) => format!("{head}: {error}"),
        (_, None) => head,
    }
}

/// The least and the most of something, which may be the same.
pub(crate) fn range<N: PartialEq + Display>((least, most): (N, N)) -> String {
    if least == most { least.to_string() } else { format!("{least}–{most}") }
}

/// A duration as people say it.
pub(crate) fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, words) in [(0, "0 s"), (89, "89 s"), (90, "2 min"), (300, "5 min"), (7200, "2.0 h")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_range_of_one_is_a_number() {
        assert_eq!((range((3, 3)), range((6, 30))), ("3".into(), "6–30".into()));
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_done() {
        for (fraction, bar) in [
            (0.0, "                        "),
            (0.05, ">                       "),
            (0.5, "===========>            "),
            (0.99, "======================> "),
            (1.0, "========================"),
            (7.0, "========================"),
        ] {
            assert_eq!(drawn(fraction), bar, "{fraction}");
        }
    }

    #[test]
    fn the_bar_has_templates_that_indicatif_takes() {
        for template in [TEMPLATE_BEFORE, TEMPLATE] {
            assert!(style(template, &Shared::default()).is_ok(), "{template}");
        }
    }
}
