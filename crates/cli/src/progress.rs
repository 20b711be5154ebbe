//! A run's progress: a bar with the time left on a terminal, plain lines elsewhere.

use std::path::Path;
use std::time::Duration;

use dunlin_bench::Observer;
use dunlin_clock::now_ns;
use dunlin_record::{Outcome, Status};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Tells a person how a run goes.
pub(crate) struct RunProgress {
    bar: ProgressBar,
    started_ns: i64,
    trials: usize,
    expected: Duration,
    expected_done: Duration,
    current: (usize, Duration, String),
}

impl RunProgress {
    pub(crate) fn new() -> Self {
        let target = if terminal::is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant that a test checks.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            started_ns: now_ns(),
            trials: 0,
            expected: Duration::ZERO,
            expected_done: Duration::ZERO,
            current: (0, Duration::ZERO, String::new()),
        }
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() { terminal::say(text) } else { self.bar.suspend(|| terminal::say(text)) }
    }

    /// What is left by the expected durations, corrected by how true they were so far.
    fn left(&self) -> Duration {
        let spent = Duration::from_nanos(u64::try_from(now_ns() - self.started_ns).unwrap_or(0));
        let pace = if self.expected_done.as_secs_f64() > 1.0 {
            (spent.as_secs_f64() / self.expected_done.as_secs_f64()).clamp(0.2, 5.0)
        } else {
            1.0
        };
        self.expected.saturating_sub(self.expected_done).mul_f64(pace)
    }
}

const TEMPLATE: &str = "{spinner} [{bar:24}] {prefix} {wide_msg}";

impl Observer for RunProgress {
    fn run_started(&mut self, title: &str, trials: usize, expected: Duration, folder: &Path) {
        (self.started_ns, self.trials, self.expected) = (now_ns(), trials, expected);
        self.line(&format!("{title}: {trials} trials, about {}, recorded in {}", in_words(expected), folder.display()));
        self.bar.set_length(expected.as_secs().max(1));
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn trial_started(&mut self, number: usize, title: &str, expected: Duration) {
        self.current = (number, expected, title.to_owned());
        self.bar.set_position(self.expected_done.as_secs());
        self.bar.set_prefix(format!("trial {number}/{}", self.trials));
        if self.bar.is_hidden() {
            let left = in_words(self.left());
            terminal::say(&format!("trial {number}/{}: {title} (about {left} left in all)", self.trials));
        }
    }

    fn stage(&mut self, text: &str) {
        let left = if self.trials == 0 { String::new() } else { format!(" (about {} left)", in_words(self.left())) };
        self.bar.set_message(format!("{}: {text}{left}", self.current.2));
        self.bar.tick();
    }

    fn trial_ended(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.line(&outcome_line(outcome));
        }
        self.expected_done += self.current.1;
        if self.current.0 == self.trials {
            self.bar.finish_and_clear();
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
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
    let head = format!("  {} trial {}: {}", outcome.case.title(), outcome.trial, outcome.status);
    match (outcome.status, &outcome.error) {
        (Status::Completed, _) => format!(
            "{head} in {}, downtime reported {}, paused {}, icmp {}, udp {}",
            ms(outcome.total_time_ms),
            ms(outcome.downtime_ms.reported),
            ms(outcome.downtime_ms.paused),
            ms(outcome.downtime_ms.icmp),
            ms(outcome.downtime_ms.udp),
        ),
        (_, Some(error)) => format!("{head}: {error}"),
        (_, None) => head,
    }
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
    fn the_bar_has_a_template_that_indicatif_takes() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
