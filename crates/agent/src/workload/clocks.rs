//! The guest's own view of a move: jumps of its clocks against each other, and gaps in its own running.
//!
//! What the hypervisor hides from all of the guest's clocks (a pause during which they stand still) cannot be seen from
//! inside; that is what the probes are for.

use std::sync::atomic::AtomicBool;

use dunlin_agent_proto::{Excursions, Work};
use dunlin_clock::{MILLISECOND_NS, epoch_ns, now_ns, sleep_until};

use super::is_stopped;
use crate::sys;

/// Time between two looks.
const LOOK_NS: i64 = MILLISECOND_NS / 5;
/// What is larger is an excursion.
const SMALL_NS: i64 = MILLISECOND_NS;
/// Clocks that could not be read within this time of each other say nothing about each other.
const BRACKET_NS: i64 = SMALL_NS / 4;

/// Watches until it is stopped.
pub(super) fn watch(stop: &AtomicBool) -> Result<Work, String> {
    // Gaps are to be the virtual CPU's, not those of its other threads. A guest's init may ask for this; a test need not.
    let _ = sys::put_this_thread_first();
    let mut watch = Watch::default();
    while !is_stopped(stop) {
        let before_ns = now_ns();
        let realtime_ns = epoch_ns();
        let boottime_ns = sys::boottime_ns().map_err(|error| format!("read the boot-time clock: {error}"))?;
        watch.look(Look { before_ns, realtime_ns, boottime_ns, after_ns: now_ns() });
        sleep_until(before_ns + LOOK_NS);
    }
    let Watch { looks, gaps, realtime, boottime, .. } = watch;
    Ok(Work::Clock { looks, gaps, realtime, boottime })
}

/// All clocks, read one after the other; the monotonic one before and after.
#[derive(Debug, Clone, Copy)]
struct Look {
    before_ns: i64,
    realtime_ns: i64,
    boottime_ns: i64,
    after_ns: i64,
}

#[derive(Debug, Default)]
struct Watch {
    looks: u64,
    last_ns: Option<i64>,
    /// How the wall clock and the boot-time clock stood to the monotonic one when last compared.
    offsets_ns: Option<(i64, i64)>,
    gaps: Excursions,
    realtime: Excursions,
    boottime: Excursions,
}

impl Watch {
    fn look(&mut self, look: Look) {
        self.looks += 1;
        if let Some(last_ns) = self.last_ns.replace(look.before_ns) {
            note(&mut self.gaps, (look.before_ns - last_ns - LOOK_NS).max(0));
        }
        if look.after_ns - look.before_ns > BRACKET_NS {
            return;
        }
        let monotonic_ns = i64::midpoint(look.before_ns, look.after_ns);
        let offsets_ns = (look.realtime_ns - monotonic_ns, look.boottime_ns - monotonic_ns);
        if let Some((realtime_ns, boottime_ns)) = self.offsets_ns.replace(offsets_ns) {
            note(&mut self.realtime, offsets_ns.0 - realtime_ns);
            note(&mut self.boottime, offsets_ns.1 - boottime_ns);
        }
    }
}

fn note(excursions: &mut Excursions, value_ns: i64) {
    if value_ns.abs() > excursions.largest_ns.abs() {
        excursions.largest_ns = value_ns;
    }
    if value_ns.abs() > SMALL_NS {
        excursions.count += 1;
        excursions.total_ns += value_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

    /// A look at a time, with the wall clock and the boot-time clock ahead by so much.
    fn look(ms: f64, ahead_ms: (i64, i64), took_ns: i64) -> Look {
        let before_ns = (ms * MILLISECOND_NS as f64) as i64;
        Look {
            before_ns,
            realtime_ns: before_ns + EPOCH_NS + ahead_ms.0 * MILLISECOND_NS,
            boottime_ns: before_ns + ahead_ms.1 * MILLISECOND_NS,
            after_ns: before_ns + took_ns,
        }
    }

    #[test]
    fn gaps_and_jumps_are_told_apart_and_small_ones_left_out() {
        let mut watch = Watch::default();
        for at in [
            look(0.0, (0, 0), 1000),
            look(0.3, (0, 0), 1000),
            look(40.5, (0, 0), 1000),
            look(42.7, (-250, 0), 1000),
            look(42.9, (-250, 70), 1000),
            look(43.1, (-200, 70), 1000),
        ] {
            watch.look(at);
        }
        assert_eq!(watch.looks, 6);
        let ms = MILLISECOND_NS;
        assert_eq!(watch.gaps, Excursions { count: 2, total_ns: 42 * ms, largest_ns: 40 * ms });
        assert_eq!(watch.realtime, Excursions { count: 2, total_ns: -200 * ms, largest_ns: -250 * ms });
        assert_eq!(watch.boottime, Excursions { count: 1, total_ns: 70 * ms, largest_ns: 70 * ms });
    }

    #[test]
    fn clocks_that_were_read_too_far_apart_are_not_compared() {
        let mut watch = Watch::default();
        watch.look(look(0.0, (0, 0), 1000));
        watch.look(look(0.2, (100, 100), 300_000));
        watch.look(look(0.6, (0, 0), 1000));
        assert_eq!((watch.realtime.count, watch.boottime.count), (0, 0));
    }
}
