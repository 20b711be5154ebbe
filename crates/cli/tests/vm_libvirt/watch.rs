//! What is looked at while a domain moves: whether two copies of it are ever seen to run, and when a moment has come.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dunlin_clock::Deadline;

use super::ground::{Ground, Vm};

/// How often the hosts are asked.
const EVERY: Duration = Duration::from_millis(100);

/// What a watcher has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often both hosts were asked.
    pub(crate) looks: AtomicUsize,
    /// How often both ran it.
    pub(crate) both: AtomicUsize,
    ends: AtomicBool,
}

impl Seen {
    /// Does something while both hosts are asked, again and again, whether they run the domain. Both run it where the one that
    /// runs it now still does after the other has said the same: the right to run goes over once only in so short a time.
    pub(crate) fn during<T>(&self, ground: &Ground<'_>, vm: &Vm, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let _end = End(&self.ends);
            scope.spawn(|| {
                let runs = |host: &str| ground.state(host, vm).as_deref() == Some("running");
                while !self.ends.load(Ordering::Relaxed) {
                    let both = runs("host-a") && runs("host-b") && runs("host-a");
                    self.looks.fetch_add(1, Ordering::Relaxed);
                    self.both.fetch_add(usize::from(both), Ordering::Relaxed);
                    std::thread::sleep(EVERY);
                }
            });
            work()
        })
    }

    pub(crate) fn never_two(&self) {
        assert!(self.looks.load(Ordering::Relaxed) > 0);
        assert_eq!(self.both.load(Ordering::Relaxed), 0, "two copies ran");
    }
}

/// Ends the watching, also where the work panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until something holds; says whether it did in time.
pub(crate) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(limit);
    while !holds() {
        if deadline.passed() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
