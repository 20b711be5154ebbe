//! A load of HTTP requests on its own: how many there were, how long their answers took, and how busy the machine was that
//! sent them.

use std::thread::{Builder, JoinHandle};

use dunlin_clock::{CpuTime, MachineCpu, now_ns};
use dunlin_traffic::{Load, LoadEnd, LoadEvent, LoadSpec};

use crate::error::{ProbeError, Result};

/// A load that runs. Dropped, it ends, and waits for no answers.
#[derive(Debug)]
pub struct RunningLoad {
    end: LoadEnd,
    /// With what it said at the start; absent where it cannot be asked.
    cpu: Option<(MachineCpu, CpuTime)>,
    thread: Option<JoinHandle<Tally>>,
}

/// What a load came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadSummary {
    /// Requests that were due.
    pub requests: u64,
    /// Requests that had no good answer. Neither these nor answered are those still under way at the end.
    pub failed: u64,
    /// How long each good answer took, from when its request was sent, in the order in which they came.
    pub responses_ns: Vec<i64>,
    /// For how long the CPUs of the machine that sent them were busy; absent where that was not told.
    pub cpu_busy_ns: Option<i64>,
    /// Of how long in all, summed over the CPUs.
    pub cpu_all_ns: Option<i64>,
}

/// Starts a load in the network namespace of the calling thread.
///
/// # Errors
/// Where its thread cannot be had.
pub fn start_load(spec: &LoadSpec) -> Result<RunningLoad> {
    let cpu = MachineCpu::open().ok().and_then(|mut cpu| {
        let before = cpu.read().ok()?;
        Some((cpu, before))
    });
    let (load, end) = Load::new(spec);
    let run = move || {
        let mut tally = Tally::default();
        load.run(|event| tally.count(event));
        tally
    };
    let thread = Builder::new().name("dunlin-http-load".into()).spawn(run);
    let thread = thread.map_err(|source| ProbeError::HttpThread { source })?;
    Ok(RunningLoad { end, cpu, thread: Some(thread) })
}

impl RunningLoad {
    /// Sends no more; where it `waits`, answers are taken for as long as any can come, which is some 5 s.
    ///
    /// # Panics
    /// If its thread panicked, with its panic.
    #[must_use]
    pub fn stop(mut self, waits: bool) -> LoadSummary {
        if waits {
            self.end.end_sending();
        } else {
            self.end.end_at(now_ns());
        }
        let tally = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(tally)) => tally,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Tally::default(),
        };
        let cpu = self.cpu.take().and_then(|(mut cpu, before)| {
            let after = cpu.read().ok()?;
            let busy_ns = after.busy_ns - before.busy_ns;
            Some((busy_ns, busy_ns + after.idle_ns - before.idle_ns))
        });
        LoadSummary {
            requests: tally.sent_ns.len() as u64,
            failed: tally.failed,
            responses_ns: tally.responses_ns,
            cpu_busy_ns: cpu.map(|(busy_ns, _)| busy_ns),
            cpu_all_ns: cpu.map(|(_, all_ns)| all_ns),
        }
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.end.end_at(now_ns());
        if let Some(thread) = self.thread.take() {
            // Whoever drops it no longer asks how it went.
            let _ = thread.join();
        }
    }
}

/// What is kept of a load while it runs.
#[derive(Debug, Default)]
struct Tally {
    /// When each request was sent, by its number; absent where it was not.
    sent_ns: Vec<Option<i64>>,
    responses_ns: Vec<i64>,
    failed: u64,
}

impl Tally {
    fn count(&mut self, event: LoadEvent) {
        match event {
            LoadEvent::Due { sent_ns, .. } => self.sent_ns.push(sent_ns),
            LoadEvent::Answered { seq, arrived_ns } => {
                let sent_ns = usize::try_from(seq).ok().and_then(|seq| *self.sent_ns.get(seq)?);
                self.responses_ns.extend(sent_ns.map(|sent_ns| arrived_ns - sent_ns));
            }
            LoadEvent::Failed { .. } => self.failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_traffic::Failure;

    #[test]
    fn answers_are_timed_by_when_their_requests_were_sent() {
        let mut tally = Tally::default();
        for event in [
            LoadEvent::Due { seq: 0, due_ns: 5, sent_ns: Some(10) },
            LoadEvent::Due { seq: 1, due_ns: 15, sent_ns: None },
            LoadEvent::Failed { seq: 1, at_ns: 16, failure: Failure::NotSent },
            LoadEvent::Due { seq: 2, due_ns: 25, sent_ns: Some(26) },
            LoadEvent::Answered { seq: 2, arrived_ns: 30 },
            LoadEvent::Answered { seq: 0, arrived_ns: 40 },
        ] {
            tally.count(event);
        }
        assert_eq!((tally.sent_ns.len(), tally.failed, tally.responses_ns), (3, 1, vec![4, 30]));
    }
}
