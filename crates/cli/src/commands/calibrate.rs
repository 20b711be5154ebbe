//! `dunlin calibrate`: the certificate of the probes.

mod page;

use std::collections::BTreeSet;

use dunlin_bench::{CalibrationOrder, CalibrationProgress, Verdict};
use dunlin_record::harmless;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{bench_failure, cancel_on_signals, enter_lab};
use crate::failure::{Exit, Failure, Result};
use crate::progress::in_words;
use crate::terminal;

/// Certify the probes: make outages of known length on the service path and measure them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time between two requests of each probe, in milliseconds (0.1 to 10)
    #[arg(long, value_name = "MS", default_value_t = 1.0, value_parser = interval_ms)]
    interval_ms: f64,
    /// How many outages of each length are dropped, and how many held
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// The lengths of the outages, in milliseconds
    #[arg(
        long,
        value_name = "MS,…",
        value_delimiter = ',',
        default_value = "5,20,100,300,1000,3000",
        value_parser = clap::value_parser!(u32).range(1..=60_000)
    )]
    sizes_ms: Vec<u32>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result {
    let inside = enter_lab("calibrate")?;
    let cancel = cancel_on_signals()?;
    // Sorted, and each once.
    let sizes_ms: Vec<u32> = args.sizes_ms.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let order = CalibrationOrder {
        sizes_ms: &sizes_ms,
        repetitions: args.repetitions,
        interval_ms: args.interval_ms,
        cancel: &cancel,
    };
    let progress = Progress::new();
    let calibration = dunlin_bench::calibrate(&inside, &order, &mut |step| progress.show(step));
    drop(progress);
    let calibration = calibration.map_err(|error| bench_failure(&error))?;
    if args.json {
        let json = serde_json::to_string_pretty(&calibration).map_err(|error| {
            Failure::says(Exit::Failed, format!("cannot write the result as JSON: {error}"))
        })?;
        terminal::print_json(&(json + "\n"))?;
    } else {
        terminal::print(&page::text(&calibration, terminal::width()))?;
    }
    match calibration.verdict {
        Verdict::Passed => Ok(()),
        Verdict::Failed => Err(Failure::says(Exit::NotCalibrated, "the probes do not measure truly here")),
        Verdict::Inconclusive => Err(Failure::says(Exit::Inconclusive, "the machine was too noisy to tell")
            .hint("try again while less else runs on it")),
    }
}

/// Shorter ones no probe keeps; with longer ones too few answers come between two outages to tell what is usual.
fn interval_ms(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(interval_ms) if (0.1..=10.0).contains(&interval_ms) => Ok(interval_ms),
        _ => Err("expected 0.1 to 10".into()),
    }
}

/// Tells a person how far it is: a bar on a terminal, a line now and then elsewhere.
struct Progress(ProgressBar);

/// How many outages pass between two lines where nobody watches.
const LINE_EVERY: usize = 20;

impl Progress {
    fn new() -> Self {
        let target =
            if terminal::is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant that a test checks.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn show(&self, step: &CalibrationProgress) {
        let left = in_words(step.left);
        if !self.0.is_hidden() {
            self.0.update(|state| {
                state.set_len(step.total as u64);
                state.set_pos(step.done as u64);
            });
            self.0.set_message(format!("{} (about {left} left)", harmless(&step.doing)));
        } else if step.done.is_multiple_of(LINE_EVERY) {
            terminal::say(&format!("{}/{}: {} (about {left} left)", step.done, step.total, step.doing));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const TEMPLATE: &str = "[{bar:24}] {pos}/{len} {wide_msg}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_that_a_probe_can_keep() {
        assert_eq!(interval_ms("0.1"), Ok(0.1));
        for wrong in ["0.09", "10.1", "-1", "NaN", "one"] {
            assert!(interval_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_bar_has_a_template_that_indicatif_takes() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
