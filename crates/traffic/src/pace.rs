//! Keeps a rate: how much is due when.

use dunlin_clock::{MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};

/// Something is due once a tick.
const TICK_NS: i64 = MILLISECOND_NS;
/// What is later than this is not caught up with, or a stall would be followed by a burst at full speed.
const CATCH_UP_NS: i64 = 100 * MILLISECOND_NS;

/// A rate of anything that can be counted.
#[derive(Debug)]
pub struct Pace {
    per_ns: f64,
    /// The rate is kept from here on …
    origin_ns: i64,
    /// … where so many were asked for since.
    asked: u64,
    tick_ns: i64,
}

impl Pace {
    /// So many a second from `origin_ns` on.
    #[must_use]
    pub fn new(per_second: f64, origin_ns: i64) -> Self {
        Self { per_ns: per_second / SECOND_NS as f64, origin_ns, asked: 0, tick_ns: origin_ns }
    }

    /// How many have become due since the last call.
    pub fn due(&mut self, now_ns: i64) -> u64 {
        let due = self.by(now_ns).saturating_sub(self.asked);
        let most = ((self.per_ns * CATCH_UP_NS as f64) as u64).max(1);
        if due > most {
            self.origin_ns = now_ns;
            self.asked = 0;
            return most;
        }
        self.asked += due;
        due
    }

    /// Sleeps until the next tick (1 ms). Ticks lie on a grid, so that lateness does not add up.
    pub fn await_tick(&mut self) {
        self.tick_ns = (self.tick_ns + TICK_NS).max(now_ns());
        sleep_until(self.tick_ns);
    }

    fn by(&self, now_ns: i64) -> u64 {
        ((now_ns - self.origin_ns).max(0) as f64 * self.per_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_through_lateness_but_not_through_a_stall() {
        let mut pace = Pace::new(1024.0, 0);
        let by_ms = |pace: &mut Pace, ms: i64| pace.due(ms * MILLISECOND_NS);
        let total: u64 = [1, 2, 30, 31, 100, 250].map(|ms| by_ms(&mut pace, ms)).iter().sum();
        assert!((204..=256).contains(&total), "{total}");
        let after_stall = by_ms(&mut pace, 60_000);
        assert_eq!(after_stall, 102);
        assert_eq!(by_ms(&mut pace, 60_050), 51);
    }

    #[test]
    fn a_very_slow_pace_still_works() {
        let mut pace = Pace::new(2.56, 0);
        let total: u64 = (0..=2000).map(|ms| pace.due(ms * MILLISECOND_NS)).sum();
        assert!((4..=6).contains(&total), "{total}");
    }
}
