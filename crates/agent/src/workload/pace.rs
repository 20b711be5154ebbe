//! Keeps a rate: how many pages are due when.

use std::sync::atomic::AtomicBool;

use dunlin_agent_proto::PageRate;
use dunlin_clock::now_ns;
use dunlin_traffic::Pace;

use super::is_stopped;
use crate::pages::PAGE_BYTES;

const MIB: f64 = 1024.0 * 1024.0;
/// Pages worked on between two looks at whether to stop.
const BATCH_PAGES: u64 = 64;

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
    let mut pace = Pace::new(rate_mib_s * MIB / PAGE_BYTES as f64, now_ns());
    while !is_stopped(stop) {
        let mut due_pages = pace.due(now_ns());
        while due_pages > 0 && !is_stopped(stop) {
            let batch = due_pages.min(BATCH_PAGES);
            work(batch)?;
            due_pages -= batch;
        }
        pace.await_tick();
    }
    Ok(())
}
