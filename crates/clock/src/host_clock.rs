//! How the clocks of another machine stand to the bench's, over time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Mapping;

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

/// A moment on the bench's clock, give or take an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When, in nanoseconds of the bench's clock.
    pub t_ns: i64,
    /// By how much that may be wrong, either way, in nanoseconds.
    pub error_ns: i64,
}

/// A host's clocks as the bench knows them. Cheap to clone: all clones learn together.
#[derive(Debug, Clone)]
pub struct HostClock(Arc<Mutex<Known>>);

#[derive(Debug)]
enum Known {
    /// The bench's own machine: one monotonic clock.
    Own,
    Another(Vec<Exchange>),
}

impl HostClock {
    /// The clocks of the machine that the bench itself runs on.
    #[must_use]
    pub fn own() -> Self {
        Self(Arc::new(Mutex::new(Known::Own)))
    }

    /// Those of another machine, of which nothing is known before the first exchange.
    #[must_use]
    pub fn of_another() -> Self {
        Self(Arc::new(Mutex::new(Known::Another(Vec::new()))))
    }

    /// Takes note of an exchange.
    pub fn learn(&self, exchange: Exchange) {
        if let Known::Another(exchanges) = &mut *self.known() {
            exchanges.push(exchange);
        }
    }

    /// A stamp of its monotonic clock on the bench's; absent before the first exchange.
    #[must_use]
    pub fn monotonic(&self, host_ns: i64) -> Option<Moment> {
        match &*self.known() {
            Known::Own => Some(Moment { t_ns: host_ns, error_ns: 0 }),
            Known::Another(exchanges) => {
                let last = exchanges.last()?;
                let half_ns = (last.answered_ns - last.asked_ns) / 2;
                let t_ns = host_ns + last.asked_ns + half_ns - last.monotonic_ns;
                Some(Moment { t_ns, error_ns: half_ns + 1 })
            }
        }
    }

    /// A stamp of its real-time clock on the bench's; absent before the first exchange.
    #[must_use]
    pub fn realtime(&self, host_epoch_ns: i64) -> Option<Moment> {
        match &*self.known() {
            Known::Own => {
                let mapping = Mapping::read();
                Some(Moment { t_ns: mapping.to_monotonic(host_epoch_ns), error_ns: mapping.error_ns })
            }
            Known::Another(exchanges) => {
                let last = exchanges.last()?;
                let half_ns = (last.answered_ns - last.asked_ns) / 2;
                let t_ns = host_epoch_ns + last.asked_ns + half_ns - last.realtime_ns;
                Some(Moment { t_ns, error_ns: half_ns + 1 + last.apart_ns })
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
