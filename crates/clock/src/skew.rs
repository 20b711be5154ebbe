//! Clocks of this process that go wrong on purpose: a test's other machine.

use std::sync::atomic::{AtomicI64, Ordering};

static AHEAD_NS: AtomicI64 = AtomicI64::new(0);
static GAINS_PPM: AtomicI64 = AtomicI64::new(0);

/// From now on this process's clocks are ahead, and gain so much from their 0 on.
pub fn skew(ahead_ns: i64, gains_ppm: i64) {
    AHEAD_NS.store(ahead_ns, Ordering::Relaxed);
    GAINS_PPM.store(gains_ppm, Ordering::Relaxed);
}

/// What a skewed clock says when a straight one says this.
#[must_use]
pub fn skewed(ns: i64) -> i64 {
    let gained = i128::from(ns) * i128::from(GAINS_PPM.load(Ordering::Relaxed)) / 1_000_000;
    let skewed = i128::from(ns) + gained + i128::from(AHEAD_NS.load(Ordering::Relaxed));
    i64::try_from(skewed).unwrap_or(i64::MAX)
}

/// What a straight clock says when a skewed one says this.
pub(crate) fn straight(ns: i64) -> i64 {
    let since_zero = i128::from(ns) - i128::from(AHEAD_NS.load(Ordering::Relaxed));
    let million_and_gains = 1_000_000 + i128::from(GAINS_PPM.load(Ordering::Relaxed));
    i64::try_from(since_zero * 1_000_000 / million_and_gains).unwrap_or(i64::MAX)
}
