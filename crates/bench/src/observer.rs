//! What a run tells whoever watches it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use dunlin_record::Outcome;

/// Watches a run.
pub trait Observer {
    /// The run begins; `trials` are the least and the most that it will make.
    fn run_started(&mut self, title: &str, trials: RangeInclusive<usize>, expected: Duration, folder: &Path);

    /// A trial begins; `number` counts from 1.
    fn trial_started(&mut self, number: usize, title: &str, expected: Duration);

    /// Something of the current trial (or of the run's preparation) goes on now.
    fn stage(&mut self, text: &str);

    /// A trial has ended: one outcome a VM.
    fn trial_ended(&mut self, outcomes: &[Outcome]);

    /// Something worth saying that is no outcome.
    fn note(&mut self, text: &str);
}
