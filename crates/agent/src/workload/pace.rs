//! Keeps a rate: how many pages are due when.

use std::sync::atomic::AtomicBool;

use dunlin_agent_proto::PageRate;
use dunlin_clock::{MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};

use super::is_stopped;
use crate::pages::PAGE_BYTES;

const MIB: u64 = 1024 * 1024;
/// Pages worked on between two looks at whether to stop.
const BATCH_PAGES: u64 = 64;
/// Pages are due once a tick at a given rate.
const TICK_NS: i64 = MILLISECOND_NS;
/// Work that is later than this is not caught up with, or a stall would be followed by a burst at full speed.
const CATCH_UP_NS: i64 = 100 * MILLISECOND_NS;

/// Refuses a rate that cannot be kept at all.
pub(super) fn check(rate: PageRate) -> Result<(), String> {
    match rate {
        PageRate::MibPerSecond(rate) if !(rate.is_finite() && rate > 0.0) => {
            Err(format!("a rate of {rate} MiB/s"))
        }
        _ => Ok(()),
    }
}

/// Has `work` done on pages, so many at a time, at this rate until it is stopped or fails; says when that was.
pub(super) fn keep(
    rate: PageRate,
    stop: &AtomicBool,
    mut work: impl FnMut(u64) -> Result<(), String>,
) -> Result<i64, String> {
    match rate {
        PageRate::Full => {
            while !is_stopped(stop) {
                work(BATCH_PAGES)?;
            }
        }
        PageRate::MibPerSecond(rate) => keep_paced(rate, stop, work)?,
    }
    Ok(now_ns())
}

fn keep_paced(
    rate_mib_s: f64,
    stop: &AtomicBool,
    mut work: impl FnMut(u64) -> Result<(), String>,
) -> Result<(), String> {
    let mut tick_ns = now_ns();
    let mut pace = Pace::new(rate_mib_s, tick_ns);
    while !is_stopped(stop) {
        let mut due_pages = pace.due_pages(now_ns());
        while due_pages > 0 && !is_stopped(stop) {
            let batch = due_pages.min(BATCH_PAGES);
            work(batch)?;
            due_pages -= batch;
        }
        // Ticks lie on a grid, so that lateness does not add up.
        tick_ns = (tick_ns + TICK_NS).max(now_ns());
        sleep_until(tick_ns);
    }
    Ok(())
}

#[derive(Debug)]
struct Pace {
    pages_per_ns: f64,
    /// The rate is kept from here on …
    origin_ns: i64,
    /// … where so many pages were asked for since.
    asked_pages: u64,
}

impl Pace {
    fn new(rate_mib_s: f64, origin_ns: i64) -> Self {
        let pages_per_second = rate_mib_s * MIB as f64 / PAGE_BYTES as f64;
        Self { pages_per_ns: pages_per_second / SECOND_NS as f64, origin_ns, asked_pages: 0 }
    }

    /// The pages that have become due since the last call.
    fn due_pages(&mut self, now_ns: i64) -> u64 {
        let due_pages = self.pages_by(now_ns).saturating_sub(self.asked_pages);
        let most_pages = ((self.pages_per_ns * CATCH_UP_NS as f64) as u64).max(1);
        if due_pages > most_pages {
            self.origin_ns = now_ns;
            self.asked_pages = 0;
            return most_pages;
        }
        self.asked_pages += due_pages;
        due_pages
    }

    fn pages_by(&self, now_ns: i64) -> u64 {
        ((now_ns - self.origin_ns).max(0) as f64 * self.pages_per_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_through_lateness_but_not_through_a_stall() {
        // 4 MiB/s are 1024 pages a second.
        let mut pace = Pace::new(4.0, 0);
        let by_ms = |pace: &mut Pace, ms: i64| pace.due_pages(ms * MILLISECOND_NS);
        let total: u64 = [1, 2, 30, 31, 100, 250].map(|ms| by_ms(&mut pace, ms)).iter().sum();
        assert!((204..=256).contains(&total), "{total}");
        let after_stall = by_ms(&mut pace, 60_000);
        assert_eq!(after_stall, 102);
        assert_eq!(by_ms(&mut pace, 60_050), 51);
    }

    #[test]
    fn a_very_slow_pace_still_works() {
        let mut pace = Pace::new(0.01, 0);
        let total: u64 = (0..=2000).map(|ms| pace.due_pages(ms * MILLISECOND_NS)).sum();
        assert!((4..=6).contains(&total), "{total}");
    }
}
