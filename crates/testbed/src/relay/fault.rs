//! An injected outage: what was asked, and the relay's own stamps of what came of it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::{Result, TestbedError};

/// What an outage does to frames that reach the relay while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They are lost.
    Drop,
    /// They wait, and are forwarded at once and in order when it ends, as at the end of a migration's downtime.
    Hold,
}

/// An outage that was made. All times are on the bench's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// What it did.
    pub fault: Fault,
    /// When it was to begin.
    pub asked_start_ns: i64,
    /// When it began: frames taken in later than this met it.
    pub start_ns: i64,
    /// When it was to end.
    pub asked_end_ns: i64,
    /// When it ended.
    pub end_ns: i64,
    /// What passed from `a` to `b`.
    pub a_to_b: Crossing,
    /// What passed from `b` to `a`.
    pub b_to_a: Crossing,
}

/// The frames around and in an outage, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crossing {
    /// When the last frame that reached the relay before the outage was forwarded; absent if none ever was.
    pub last_before_ns: Option<i64>,
    /// When the first frame was forwarded that reached the relay in the outage (held) or after it; absent if none
    /// came for half a second.
    pub first_after_ns: Option<i64>,
    /// Frames that met the outage.
    pub met: u64,
}

/// An outage that was planned.
#[derive(Debug)]
pub struct PendingInjection {
    asked_end_ns: i64,
    result: Receiver<Injection>,
}

impl PendingInjection {
    /// Waits until the outage has ended and frames pass again.
    ///
    /// # Errors
    /// When `limit` has passed, or the relay ended before the outage did.
    pub fn wait(&self, limit: Duration) -> Result<Injection> {
        self.result.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => TestbedError::Timeout {
                waiting_for: format!("the end of the fault planned to end at {} ns", self.asked_end_ns),
                after_s: limit.as_secs_f64(),
            },
            RecvTimeoutError::Disconnected => {
                let why = std::io::Error::other("the relay ended first");
                TestbedError::io("inject a fault")(why)
            }
        })
    }
}

/// An outage for the relay to make.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    result: Sender<Injection>,
}

pub(super) fn plan(fault: Fault, at_ns: i64, for_ns: i64) -> (Plan, PendingInjection) {
    let (sender, result) = channel();
    let end_ns = at_ns.saturating_add(for_ns.max(0));
    (
        Plan { fault, start_ns: at_ns, end_ns, result: sender },
        PendingInjection { asked_end_ns: end_ns, result },
    )
}

/// An outage that has begun.
#[derive(Debug)]
pub(super) struct Outage {
    plan: Plan,
    start_ns: i64,
    end_ns: Option<i64>,
    crossings: [Crossing; 2],
}

impl Outage {
    /// How long frames are waited for after an outage.
    const PATIENCE_NS: i64 = dunlin_clock::SECOND_NS / 2;

    pub(super) fn begin(plan: Plan, now_ns: i64, last_sent_ns: [Option<i64>; 2]) -> Self {
        let crossings = last_sent_ns.map(|last_before_ns| Crossing { last_before_ns, ..Crossing::default() });
        Self { plan, start_ns: now_ns, end_ns: None, crossings }
    }

    /// What frames taken in now meet, if anything.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.end_ns.is_none().then_some(self.plan.fault)
    }

    /// When something is to be done about it next: its end, or to stop waiting for frames after it.
    pub(super) fn due_ns(&self) -> i64 {
        self.end_ns.map_or(self.plan.end_ns, |end_ns| end_ns + Self::PATIENCE_NS)
    }

    pub(super) fn end(&mut self, now_ns: i64) {
        self.end_ns = Some(now_ns);
    }

    pub(super) fn met(&mut self, direction: usize) {
        self.crossings[direction].met += 1;
    }

    /// Notes that a frame was forwarded.
    pub(super) fn sent(&mut self, direction: usize, taken_ns: i64, sent_ns: i64) {
        let crossing = &mut self.crossings[direction];
        if taken_ns < self.start_ns {
            crossing.last_before_ns = Some(sent_ns);
        } else if crossing.first_after_ns.is_none() {
            crossing.first_after_ns = Some(sent_ns);
        }
    }

    /// Whether it has ended and all there is to know about it is known.
    pub(super) fn is_over(&self, now_ns: i64) -> bool {
        let passing_again = self.crossings.iter().all(|crossing| crossing.first_after_ns.is_some());
        self.end_ns.is_some() && (passing_again || now_ns >= self.due_ns())
    }

    /// Tells whoever planned it.
    pub(super) fn report(self, now_ns: i64) {
        let [a_to_b, b_to_a] = self.crossings;
        // Whoever planned it may no longer want to know.
        let _ = self.plan.result.send(Injection {
            fault: self.plan.fault,
            asked_start_ns: self.plan.start_ns,
            start_ns: self.start_ns,
            asked_end_ns: self.plan.end_ns,
            end_ns: self.end_ns.unwrap_or(now_ns),
            a_to_b,
            b_to_a,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_taken_before_an_outage_count_as_before_however_late_they_leave() {
        let (plan, pending) = plan(Fault::Drop, 100, 50);
        let mut outage = Outage::begin(plan, 110, [Some(90), None]);
        assert_eq!((outage.fault(), outage.due_ns()), (Some(Fault::Drop), 150));
        outage.met(0);
        outage.sent(0, 105, 120);
        outage.end(160);
        assert_eq!(outage.fault(), None);
        outage.sent(0, 109, 165);
        assert!(!outage.is_over(170));
        outage.sent(0, 161, 170);
        outage.sent(0, 162, 171);
        outage.sent(1, 163, 172);
        assert!(outage.is_over(172));
        outage.report(172);
        let injection = pending.wait(Duration::ZERO).unwrap();
        let a_to_b = Crossing { last_before_ns: Some(165), first_after_ns: Some(170), met: 1 };
        let b_to_a = Crossing { last_before_ns: None, first_after_ns: Some(172), met: 0 };
        assert_eq!((injection.a_to_b, injection.b_to_a), (a_to_b, b_to_a));
        assert_eq!((injection.start_ns, injection.end_ns, injection.asked_end_ns), (110, 160, 150));
    }

    #[test]
    fn an_outage_nothing_follows_is_over_after_a_while() {
        let (plan, _pending) = plan(Fault::Hold, 0, 10);
        let mut outage = Outage::begin(plan, 0, [None, None]);
        outage.end(10);
        assert!(!outage.is_over(11));
        assert!(outage.is_over(10 + Outage::PATIENCE_NS));
    }

    #[test]
    fn a_wait_for_an_outage_of_a_relay_that_ended_fails_at_once() {
        let (plan, pending) = plan(Fault::Drop, 0, 10);
        assert!(matches!(pending.wait(Duration::ZERO), Err(TestbedError::Timeout { .. })));
        drop(plan);
        assert!(matches!(pending.wait(Duration::from_secs(60)), Err(TestbedError::Io { .. })));
    }
}
