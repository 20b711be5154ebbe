//! The workload `memory-write`: writes to each page of a working set in turn, over and over, and checks at the end that
//! every page holds what was written last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_agent_proto::{Achieved, MemoryWrite, WriteRate};
use dunlin_clock::{MILLISECOND_NS, SECOND_NS, now_ns, sleep_until};

use crate::memory;
use crate::pages::{PAGE_BYTES, PAGE_WORDS, Pages};

const MIB: u64 = 1024 * 1024;
/// Memory that must stay free beside the working set, or the kernel would end process 1.
const RESERVE_BYTES: u64 = 16 * MIB;
/// The word of a page that holds the number of the pass that wrote it last.
const PASS_WORD: usize = 0;
/// The word of a page that holds what the page's number says, for ever.
const MARK_WORD: usize = 1;
/// Pages written between two looks at whether to stop.
const BATCH_PAGES: u64 = 64;
/// Pages are written once a tick at a given rate.
const TICK_NS: i64 = MILLISECOND_NS;
/// Work that is later than this is not caught up with, or a stall would be followed by a burst at full speed.
const CATCH_UP_NS: i64 = 100 * MILLISECOND_NS;

/// What a workload says on its way.
#[derive(Debug)]
pub(crate) enum Report {
    /// Every page has been written once.
    Started,
    /// It was stopped.
    Achieved(Achieved),
    /// It cannot be, or was stopped before it had started.
    Failed(String),
}

/// Runs the workload until `stop` is set, and tells `report` of it. The last thing told is never `Started`.
pub(crate) fn run(settings: &MemoryWrite, stop: &Arc<AtomicBool>, report: impl Fn(Report)) {
    let set = match prepare(settings, stop) {
        Ok(set) => set,
        Err(what) => return report(Report::Failed(what)),
    };
    report(Report::Started);
    report(Report::Achieved(match settings.rate {
        WriteRate::Full => write_at_full_speed(set, stop),
        WriteRate::MibPerSecond(rate) => write_paced(set, rate, stop),
    }));
}

fn prepare(settings: &MemoryWrite, stop: &AtomicBool) -> Result<WorkingSet, String> {
    let mib = settings.working_set_mib;
    let said = |why: String| format!("start a memory-write workload of {mib} MiB: {why}");
    if mib == 0 {
        return Err(said("a working set has at least 1 MiB".into()));
    }
    if let WriteRate::MibPerSecond(rate) = settings.rate
        && !(rate.is_finite() && rate > 0.0)
    {
        return Err(said(format!("a rate of {rate} MiB/s")));
    }
    let bytes = u64::from(mib) * MIB;
    let available_bytes = memory::read().map_err(&said)?.available_bytes;
    if bytes + RESERVE_BYTES > available_bytes {
        return Err(said(format!("the guest has {} MiB available", available_bytes / MIB)));
    }
    let pages = usize::try_from(bytes).map_err(|error| said(error.to_string()))? / PAGE_BYTES;
    let pages = Pages::map(pages).map_err(|error| said(error.to_string()))?;
    WorkingSet::fill(pages, stop)
        .ok_or_else(|| said("it was stopped before every page had been written".into()))
}

fn write_at_full_speed(mut set: WorkingSet, stop: &AtomicBool) -> Achieved {
    let started_ns = now_ns();
    while !stop.load(Ordering::Relaxed) {
        set.write_pages(BATCH_PAGES);
    }
    set.achieved(now_ns() - started_ns)
}

fn write_paced(mut set: WorkingSet, rate_mib_s: f64, stop: &AtomicBool) -> Achieved {
    let started_ns = now_ns();
    let mut pace = Pace::new(rate_mib_s, started_ns);
    let mut tick_ns = started_ns;
    while !stop.load(Ordering::Relaxed) {
        let mut due_pages = pace.due_pages(now_ns());
        while due_pages > 0 && !stop.load(Ordering::Relaxed) {
            let batch = due_pages.min(BATCH_PAGES);
            set.write_pages(batch);
            due_pages -= batch;
        }
        // Ticks lie on a grid, so that lateness does not add up.
        tick_ns = (tick_ns + TICK_NS).max(now_ns());
        sleep_until(tick_ns);
    }
    set.achieved(now_ns() - started_ns)
}

/// How many pages are due when.
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

/// Pages, and what each of them must hold.
#[derive(Debug)]
struct WorkingSet {
    pages: Pages,
    /// The page to be written next.
    cursor: usize,
    /// The pass that is being written, from 1; a page not yet written in it holds the pass before.
    pass: u64,
    pages_written: u64,
}

impl WorkingSet {
    /// Writes every word of every page, with content no one can compress or merge; `None` if stopped meanwhile.
    fn fill(mut pages: Pages, stop: &AtomicBool) -> Option<Self> {
        for page in 0..pages.count() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            pages.write(page, PASS_WORD, 0);
            for word in MARK_WORD..PAGE_WORDS {
                pages.write(page, word, mark(page, word));
            }
        }
        Some(Self { pages, cursor: 0, pass: 1, pages_written: 0 })
    }

    fn write_pages(&mut self, count: u64) {
        for _ in 0..count {
            self.pages.write(self.cursor, PASS_WORD, self.pass);
            self.cursor += 1;
            if self.cursor == self.pages.count() {
                self.cursor = 0;
                self.pass += 1;
            }
        }
        self.pages_written += count;
    }

    fn achieved(&self, elapsed_ns: i64) -> Achieved {
        Achieved {
            elapsed_ns: u64::try_from(elapsed_ns).unwrap_or(0),
            pages_written: self.pages_written,
            passes: self.pass - 1,
            corrupt_pages: self.count_corrupt(),
        }
    }

    fn count_corrupt(&self) -> u64 {
        let is_sound = |page: usize| {
            let pass = if page < self.cursor { self.pass } else { self.pass - 1 };
            self.pages.read(page, PASS_WORD) == pass
                && self.pages.read(page, MARK_WORD) == mark(page, MARK_WORD)
        };
        (0..self.pages.count()).filter(|&page| !is_sound(page)).count() as u64
    }
}

/// What a word of a page holds for ever: splitmix64 of its place, so no two pages are alike.
fn mark(page: usize, word: usize) -> u64 {
    let mut x = ((page * PAGE_WORDS + word) as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn set_of(pages: usize) -> WorkingSet {
        WorkingSet::fill(Pages::map(pages).unwrap(), &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn each_page_is_written_once_a_pass_and_found_whole() {
        let mut set = set_of(10);
        for (count, passes) in [(0, 0), (3, 0), (7, 1), (25, 3)] {
            set.write_pages(count);
            let achieved = set.achieved(5);
            assert_eq!((achieved.passes, achieved.corrupt_pages, achieved.elapsed_ns), (passes, 0, 5));
        }
        assert_eq!(set.achieved(0).pages_written, 35);
    }

    #[test]
    fn a_page_that_went_back_in_time_or_changed_its_place_is_corrupt() {
        let mut set = set_of(10);
        set.write_pages(15);
        set.pages.write(2, PASS_WORD, 1);
        set.pages.write(7, PASS_WORD, 2);
        set.pages.write(9, MARK_WORD, mark(8, MARK_WORD));
        assert_eq!(set.count_corrupt(), 3);
    }

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
    fn a_very_slow_pace_still_writes() {
        let mut pace = Pace::new(0.01, 0);
        let total: u64 = (0..=2000).map(|ms| pace.due_pages(ms * MILLISECOND_NS)).sum();
        assert!((4..=6).contains(&total), "{total}");
    }

    #[test]
    fn a_workload_starts_stops_and_reports_at_any_rate() {
        for rate in [WriteRate::Full, WriteRate::MibPerSecond(8.0)] {
            let stop = Arc::new(AtomicBool::new(false));
            let (told, reports) = mpsc::channel();
            let settings = MemoryWrite { working_set_mib: 1, rate };
            let thread = std::thread::spawn({
                let stop = Arc::clone(&stop);
                move || run(&settings, &stop, |report| told.send(report).unwrap())
            });
            assert!(matches!(reports.recv_timeout(LIMIT).unwrap(), Report::Started));
            sleep_until(now_ns() + 50 * MILLISECOND_NS);
            stop.store(true, Ordering::Relaxed);
            let Report::Achieved(achieved) = reports.recv_timeout(LIMIT).unwrap() else {
                panic!("not achieved")
            };
            thread.join().unwrap();
            assert_eq!(achieved.corrupt_pages, 0);
            assert!(achieved.pages_written > 0 && achieved.elapsed_ns > 0, "{achieved:?}");
            assert_eq!(achieved.passes, achieved.pages_written / 256);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let outcome = |settings| {
            let (told, reports) = mpsc::channel();
            run(&settings, &Arc::new(AtomicBool::new(true)), |report| told.send(report).unwrap());
            match reports.recv().unwrap() {
                Report::Failed(what) => what,
                other => panic!("{other:?}"),
            }
        };
        let said = outcome(MemoryWrite { working_set_mib: u32::MAX, rate: WriteRate::Full });
        assert!(said.contains("available"), "{said}");
        let said = outcome(MemoryWrite { working_set_mib: 1, rate: WriteRate::MibPerSecond(-1.0) });
        assert!(said.contains("-1 MiB/s"), "{said}");
        let said = outcome(MemoryWrite { working_set_mib: 1, rate: WriteRate::Full });
        assert!(said.contains("stopped before"), "{said}");
    }
}
