//! What a probe asks of a guest, and whether that is more than it can answer.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dunlin_clock::now_ns;

/// Above this share of unanswered requests a probe asks more than is answered; analysis takes no outage from it then.
const MOST_UNANSWERED: f64 = 0.02;
/// A guest from which an answer came within this time is not dead.
const ALIVE_NS: i64 = 2_000_000_000;

/// Counts of one probe, kept while it runs.
#[derive(Debug, Default)]
pub(super) struct Load {
    sent: AtomicU64,
    answers: AtomicU64,
    last_answer_ns: AtomicI64,
    /// Whether too many were unanswered before the first question to the agent.
    was_too_much: AtomicU64,
}

impl Load {
    pub(super) fn sent(&self, requests: usize) {
        self.sent.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, answers: usize) {
        self.answers.fetch_add(answers as u64, Ordering::Relaxed);
        self.last_answer_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// Whether any answer has come.
    pub(super) fn is_answered(&self) -> bool {
        self.last_answer_ns.load(Ordering::Relaxed) > 0
    }

    /// Notes how it stood while the guest was known to be well, and counts anew.
    pub(super) fn mark(&self) {
        self.was_too_much.store(u64::from(self.unanswered() > MOST_UNANSWERED), Ordering::Relaxed);
        self.count_anew();
    }

    /// Forgets what was counted, as after a move, whose outage says nothing of what is asked.
    pub(super) fn count_anew(&self) {
        self.sent.store(0, Ordering::Relaxed);
        self.answers.store(0, Ordering::Relaxed);
    }

    /// What the probe asks and how much of it is answered, in words, if it drowns the guest: not where nothing is answered
    /// because the guest is gone.
    pub(super) fn drowning(&self, name: &str, interval_ms: f64) -> Option<String> {
        self.drowning_at(name, interval_ms, now_ns())
    }

    fn drowning_at(&self, name: &str, interval_ms: f64, at_ns: i64) -> Option<String> {
        let unanswered = self.unanswered();
        let is_alive = at_ns.saturating_sub(self.last_answer_ns.load(Ordering::Relaxed)) < ALIVE_NS;
        let is_sure = is_alive || self.was_too_much.load(Ordering::Relaxed) > 0;
        (unanswered > MOST_UNANSWERED && is_sure).then(|| {
            let per_s = 1000.0 / interval_ms;
            format!("{name} asks {per_s:.0} times a second and {:.0} % had no answer", unanswered * 100.0)
        })
    }

    fn unanswered(&self) -> f64 {
        let sent = self.sent.load(Ordering::Relaxed) as f64;
        let answers = self.answers.load(Ordering::Relaxed) as f64;
        if sent > 0.0 { ((sent - answers) / sent).max(0.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(sent: usize, answers: usize) -> Load {
        let load = Load::default();
        load.sent(sent);
        load.answered(answers);
        load
    }

    #[test]
    fn a_guest_that_answers_some_of_a_flood_drowns_in_it() {
        let flood = load(61_625, 40_000);
        let words = "icmp asks 10000 times a second and 35 % had no answer";
        assert_eq!(flood.drowning("icmp", 0.1).as_deref(), Some(words));
        assert_eq!(load(1000, 990).drowning("icmp", 1.0), None);
        assert!(!Load::default().is_answered() && flood.is_answered());
    }

    #[test]
    fn a_guest_that_is_gone_did_not_drown() {
        let later_ns = now_ns() + 20_000_000_000;
        let gone = load(22_000, 2000);
        assert_eq!(gone.drowning_at("icmp", 1.0, later_ns), None);
        // One that was drowning before it fell silent is told all the same.
        gone.mark();
        gone.sent(20_000);
        assert!(gone.drowning_at("icmp", 1.0, later_ns).is_some());
    }

    #[test]
    fn what_the_outage_of_a_move_lost_is_not_held_against_the_probe() {
        let moved = load(10_000, 4000);
        moved.count_anew();
        moved.sent(1000);
        moved.answered(1000);
        assert_eq!(moved.drowning("icmp", 1.0), None);
        assert!(moved.is_answered());
    }
}
