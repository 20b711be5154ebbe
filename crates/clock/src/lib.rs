//! The bench's one clock: every stamp in Dunlin is nanoseconds of `CLOCK_MONOTONIC` on the bench host.
//!
//! Stamps are plain `i64` nanoseconds in variables named `*_ns`. Times read on another clock (the kernel's packet
//! stamps and QEMU's events are in `CLOCK_REALTIME`) are mapped here by a [`Mapping`] that carries its own error.
#![expect(unsafe_code, reason = "clock_gettime and clock_nanosleep have no safe wrapper in std")]

mod cancel;
mod cpu_time;
mod deadline;
mod host_clock;
#[cfg(feature = "skew")]
mod skew;

pub use cancel::Cancel;
pub use cpu_time::{CpuTime, MachineCpu, process_cpu_ns, thread_of_process_cpu_ns};
pub use deadline::Deadline;
pub use host_clock::{Exchange, HostClock, Moment, Standing};
#[cfg(feature = "skew")]
pub use skew::{skew, skewed};

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND_NS: i64 = 1_000_000;

/// Now, in nanoseconds of the bench's monotonic clock.
#[must_use]
pub fn now_ns() -> i64 {
    let now_ns = read(libc::CLOCK_MONOTONIC);
    #[cfg(feature = "skew")]
    let now_ns = skewed(now_ns);
    now_ns
}

/// Now in nanoseconds since the Unix epoch: for names and for the guest's clock, never for measuring.
#[must_use]
pub fn epoch_ns() -> i64 {
    let epoch_ns = read(libc::CLOCK_REALTIME);
    #[cfg(feature = "skew")]
    let epoch_ns = skewed(epoch_ns);
    epoch_ns
}

/// CPU time this thread has used so far, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> i64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Sleeps until the monotonic clock reaches `due_ns`; returns at once if it has. Signals do not cut it short.
pub fn sleep_until(due_ns: i64) {
    #[cfg(feature = "skew")]
    let due_ns = skew::straight(due_ns);
    let due = libc::timespec { tv_sec: due_ns / SECOND_NS, tv_nsec: due_ns % SECOND_NS };
    loop {
        // SAFETY: `due` is a valid timespec that lives across the call; the remainder pointer may be null.
        let code = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const due,
                std::ptr::null_mut(),
            )
        };
        if code != libc::EINTR {
            return;
        }
    }
}

/// How the wall clock stood to the monotonic clock at one moment: `monotonic = realtime + offset_ns`, give or take
/// `error_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// What to add to a `CLOCK_REALTIME` stamp to get the bench's clock.
    pub offset_ns: i64,
    /// Half the width of the bracket in which the two clocks were read.
    pub error_ns: i64,
}

impl Mapping {
    /// Reads both clocks a few times and keeps the tightest bracket.
    #[must_use]
    pub fn read() -> Self {
        (0..5)
            .map(|_| Self::read_once())
            .min_by_key(|mapping| mapping.error_ns)
            .unwrap_or_else(Self::read_once)
    }

    /// A `CLOCK_REALTIME` stamp on the bench's clock.
    #[must_use]
    pub fn to_monotonic(&self, realtime_ns: i64) -> i64 {
        realtime_ns + self.offset_ns
    }

    fn read_once() -> Self {
        let before = now_ns();
        let realtime = epoch_ns();
        let after = now_ns();
        let middle = before + (after - before) / 2;
        Self { offset_ns: middle - realtime, error_ns: (after - before) / 2 + 1 }
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec; one of a clock that is gone stays 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * SECOND_NS + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_wall_clock_stamp_lies_between_the_monotonic_reads_around_it() {
        let mapping = Mapping::read();
        let before = now_ns();
        let mapped = mapping.to_monotonic(epoch_ns());
        let after = now_ns();
        // The wall clock may be slewed between the two reads, so allow far more than the bracket.
        assert!(mapped > before - MILLISECOND_NS - mapping.error_ns, "{mapped} {before}");
        assert!(mapped < after + MILLISECOND_NS + mapping.error_ns, "{mapped} {after}");
    }

    #[test]
    fn sleeping_until_a_time_never_returns_before_it() {
        let due = now_ns() + 2 * MILLISECOND_NS;
        sleep_until(due);
        assert!(now_ns() >= due);
        sleep_until(due - SECOND_NS);
    }
}
