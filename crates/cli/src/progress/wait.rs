//! A time that passes while something is measured or served.

use std::time::Duration;

use dunlin_clock::{Cancel, Deadline};
use dunlin_record::harmless;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{TEMPLATE_BEFORE, in_words};
use crate::terminal;

/// How often it is seen whether to end, and how much is left is shown.
const LOOK_UP: Duration = Duration::from_millis(20);
/// Of a shorter wait nobody needs to know how much is left.
const SHORT: Duration = Duration::from_secs(2);

/// Lets a time pass and shows a person how much of it is left; ends early when it is cancelled.
pub(crate) fn wait(what: &str, time: Duration, cancel: &Cancel) {
    wait_while(what, time, || !cancel.is_cancelled());
}

/// The same for as long as something goes on.
pub(crate) fn wait_while(what: &str, time: Duration, mut goes_on: impl FnMut() -> bool) {
    let is_shown = terminal::is_watched() && time > SHORT;
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    // A constant that a test checks.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE_BEFORE) {
        bar.set_style(style);
    }
    let deadline = Deadline::after(time);
    while !deadline.passed() && goes_on() {
        bar.set_message(format!("{}, {} left", harmless(what), in_words(deadline.left())));
        bar.tick();
        std::thread::sleep(deadline.step(LOOK_UP));
    }
    bar.finish_and_clear();
}

/// Lets a time pass, or none that ends, for as long as something goes on, and shows nothing.
pub(crate) fn stay(time: Option<Duration>, mut goes_on: impl FnMut() -> bool) {
    let deadline = Deadline::after(time.unwrap_or(Duration::MAX));
    while !deadline.passed() && goes_on() {
        std::thread::sleep(deadline.step(LOOK_UP));
    }
}

/// Until when something goes on, in words.
pub(crate) fn until(time: Option<Duration>) -> String {
    time.map_or("Ctrl-C".to_owned(), |time| format!("{} s have passed", time.as_secs_f64()))
}
