//! How the clocks of a host stand to the bench's, over time.

#[cfg(test)]
mod tests;
mod track;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Mapping, SECOND_NS, now_ns};
use track::{Bounds, Reading, Track};

/// By how much the clocks of two machines may run apart. `adjtimex(2)` keeps the frequency within 500 ppm of the
/// nominal, and `adjtime(3)` slews by as much; that is what a daemon corrects the clock's own drift by (some tens of ppm), so
/// what is left of both is within it. Either clock may be slewed, one forwards and the other backwards. (chrony may slew by
/// more, with the `tick`: that shows in the next exchange as a contradiction, which is in the error.)
const APART_PPM: u32 = 2 * 500;
/// How old a reading of the bench's own real-time clock may be.
const OWN_READING_NS: i64 = SECOND_NS;

/// One question to a host for the time, and its answer. All stamps in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When it was asked, by the bench's clock.
    pub asked_ns: i64,
    /// When its answer had come, by the bench's clock.
    pub answered_ns: i64,
    /// What its monotonic clock said in between.
    pub monotonic_ns: i64,
    /// What its real-time clock said in between.
    pub realtime_ns: i64,
    /// How far apart those two may have been read.
    pub apart_ns: i64,
}

impl Exchange {
    /// How long it took: the shorter, the better its answer is known.
    #[must_use]
    pub fn took_ns(&self) -> i64 {
        self.answered_ns.saturating_sub(self.asked_ns)
    }
}

/// A moment on the bench's clock, give or take an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When, in nanoseconds of the bench's clock.
    pub t_ns: i64,
    /// By how much that may be wrong, either way, in nanoseconds.
    pub error_ns: i64,
}

/// How a host's two clocks stood to the bench's at one moment: what to add to their stamps, and by how much that may be
/// wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its monotonic clock.
    pub monotonic: Mapping,
    /// Its real-time clock.
    pub realtime: Mapping,
}

/// A host's clocks as the bench knows them. Cheap to clone: all clones learn together.
#[derive(Debug, Clone)]
pub struct HostClock {
    is_own: bool,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    /// Of the bench's own machine nothing: it is the bench's clock.
    monotonic: Track,
    realtime: Track,
}

impl HostClock {
    /// The clocks of the machine that the bench itself runs on.
    #[must_use]
    pub fn own() -> Self {
        // One machine's two clocks are slewed together; they only run apart where the real-time clock is set.
        Self::new(true, 0)
    }

    /// Those of another machine, of which nothing is known before the first exchange.
    #[must_use]
    pub fn of_another() -> Self {
        Self::new(false, APART_PPM)
    }

    fn new(is_own: bool, apart_ppm: u32) -> Self {
        let known = Known { monotonic: Track::new(apart_ppm), realtime: Track::new(apart_ppm) };
        Self { is_own, known: Arc::new(Mutex::new(known)) }
    }

    /// Whether it is the bench's own machine, whose monotonic clock is the bench's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Takes note of an exchange.
    pub fn learn(&self, exchange: Exchange) {
        if self.is_own {
            return;
        }
        let Exchange { asked_ns, answered_ns, monotonic_ns, realtime_ns, apart_ns } = exchange;
        let reading =
            |said_ns, apart_ns| Reading { asked_ns, answered_ns, said_ns, apart_ns, contradicts: false };
        let mut known = self.known();
        known.monotonic.learn(reading(monotonic_ns, 0));
        known.realtime.learn(reading(realtime_ns, apart_ns));
    }

    /// A stamp of its monotonic clock on the bench's; absent before the first exchange.
    #[must_use]
    pub fn monotonic(&self, host_ns: i64) -> Option<Moment> {
        if self.is_own {
            return Some(Moment { t_ns: host_ns, error_ns: 0 });
        }
        self.known().monotonic.moment(host_ns).map(moment)
    }

    /// A stamp of its real-time clock on the bench's; absent before the first exchange. Where that clock was set back, it
    /// showed some times twice: then the error holds both.
    #[must_use]
    pub fn realtime(&self, host_epoch_ns: i64) -> Option<Moment> {
        self.refreshed().realtime.moment(host_epoch_ns).map(moment)
    }

    /// The same of a stamp that was seen at `seen_ns` of the bench's clock, soon after it was taken: of two times the later;
    /// absent too where it would be later than that.
    #[must_use]
    pub fn realtime_seen(&self, host_epoch_ns: i64, seen_ns: i64) -> Option<Moment> {
        self.refreshed().realtime.moment_seen(host_epoch_ns, seen_ns).map(moment)
    }

    /// How its clocks stood at a moment of the bench's; absent before the first exchange.
    #[must_use]
    pub fn standing(&self, t_ns: i64) -> Option<Standing> {
        let known = self.refreshed();
        let monotonic = if self.is_own { Some(SAME) } else { known.monotonic.offset_at(t_ns).map(mapping) };
        Some(Standing { monotonic: monotonic?, realtime: known.realtime.offset_at(t_ns).map(mapping)? })
    }

    /// What to add to all stamps that its monotonic clock made between two moments of the bench's.
    #[must_use]
    pub fn monotonic_during(&self, from_ns: i64, to_ns: i64) -> Option<Mapping> {
        if self.is_own {
            return Some(SAME);
        }
        self.known().monotonic.offset_during(from_ns, to_ns).map(mapping)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, with a young reading of the bench's own real-time clock.
    fn refreshed(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known();
        let is_old = |last_ns: Option<i64>| last_ns.is_none_or(|last_ns| now_ns() - last_ns > OWN_READING_NS);
        if self.is_own && is_old(known.realtime.last_ns()) {
            known.realtime.learn(own_reading());
        }
        known
    }
}

const SAME: Mapping = Mapping { offset_ns: 0, error_ns: 0 };

fn own_reading() -> Reading {
    let Mapping { offset_ns, error_ns } = Mapping::read();
    let now_ns = now_ns();
    Reading {
        asked_ns: now_ns - error_ns,
        answered_ns: now_ns + error_ns,
        said_ns: now_ns - offset_ns,
        apart_ns: 0,
        contradicts: false,
    }
}

fn moment(bounds: Bounds) -> Moment {
    let (t_ns, error_ns) = bounds.middle();
    Moment { t_ns, error_ns }
}

fn mapping(bounds: Bounds) -> Mapping {
    let (offset_ns, error_ns) = bounds.middle();
    Mapping { offset_ns, error_ns }
}
