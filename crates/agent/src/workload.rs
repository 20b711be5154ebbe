//! Workloads: each runs on a thread of its own until it is told to stop, and says what it did.

mod clocks;
mod content;
mod cpu;
mod disk;
mod fft;
mod http;
mod memory;
mod order;
mod pace;
mod stream;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_agent_proto::{Achieved, Work, Workload};
use dunlin_clock::now_ns;

use crate::role::Files;

/// How the names of its threads begin; their panic is not the guest's end.
pub(crate) const THREAD: &str = "workload";

/// What a workload says on its way.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is prepared and runs.
    Started,
    /// It was stopped.
    Achieved(Achieved),
    /// It cannot be, was stopped before it had started, or died.
    Failed(String),
}

/// Runs the workload until `stop` is set, and tells `report` of it. The last thing told is never `Started`.
pub(crate) fn run(asked: Workload, files: &Files, stop: &AtomicBool, report: impl Fn(Report)) {
    report(ending(|| work(asked, files, stop, &report)));
}

fn work(
    asked: Workload,
    files: &Files,
    stop: &AtomicBool,
    report: &impl Fn(Report),
) -> Result<Achieved, String> {
    let start = || {
        report(Report::Started);
        now_ns()
    };
    let said = |why: String| format!("start the workload: {why}");
    match asked {
        Workload::Memory(asked) => {
            let set = memory::prepare(&asked, stop).map_err(said)?;
            let started_ns = start();
            let done = memory::work(set, asked.rate, stop)?;
            Ok(achieved(started_ns, done.ended_ns, done.work))
        }
        Workload::Disk(asked) => {
            let file = disk::prepare(&asked, files, stop).map_err(said)?;
            let started_ns = start();
            let done = disk::work(file, asked.rate, stop)?;
            Ok(achieved(started_ns, done.ended_ns, done.work))
        }
        Workload::Cpu { priority } => {
            let load = cpu::prepare(priority).map_err(said)?;
            let started_ns = start();
            let work = load.work(stop)?;
            Ok(achieved(started_ns, now_ns(), work))
        }
        Workload::Clock => {
            let started_ns = start();
            let work = clocks::watch(stop)?;
            Ok(achieved(started_ns, now_ns(), work))
        }
        Workload::HttpServer { increase_calls } => {
            let server = http::prepare(increase_calls).map_err(said)?;
            let started_ns = start();
            let work = http::work(server, stop)?;
            Ok(achieved(started_ns, now_ns(), work))
        }
        Workload::Stream(asked) => {
            let end = stream::prepare(&asked).map_err(said)?;
            let started_ns = start();
            let work = end.work(stop)?;
            Ok(achieved(started_ns, now_ns(), work))
        }
    }
}

fn achieved(started_ns: i64, ended_ns: i64, work: Work) -> Achieved {
    Achieved { elapsed_ns: u64::try_from(ended_ns - started_ns).unwrap_or(0), work }
}

/// How it ended, a panic included.
fn ending(work: impl FnOnce() -> Result<Achieved, String>) -> Report {
    // What the panic left half done ends with the thread.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(achieved)) => Report::Achieved(achieved),
        Ok(Err(what)) => Report::Failed(what),
        Err(panic) => {
            Report::Failed(format!("keep the workload going: it died: {}", last_words(panic.as_ref())))
        }
    }
}

fn last_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

fn is_stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Duration;

    use dunlin_agent_proto::{Access, MemoryWork, PageOrder, PageRate};
    use dunlin_clock::{MILLISECOND_NS, sleep_until};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn memory(access: Access, order: PageOrder, rate: PageRate) -> Workload {
        Workload::Memory(MemoryWork {
            allocated_mib: 2,
            working_set_mib: 1,
            rate,
            order,
            access,
            compressibility_percent: 40,
        })
    }

    /// Runs a workload for a while.
    fn tried(asked: Workload) -> Achieved {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, reports) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || run(asked, &Files::of_init(), &stop, |report| told.send(report).unwrap())
        });
        let first = reports.recv_timeout(LIMIT).unwrap();
        assert!(matches!(first, Report::Started), "{asked:?}: {first:?}");
        sleep_until(now_ns() + 50 * MILLISECOND_NS);
        stop.store(true, Ordering::Relaxed);
        let last = reports.recv_timeout(LIMIT).unwrap();
        thread.join().unwrap();
        let Report::Achieved(achieved) = last else { panic!("{asked:?}: {last:?}") };
        assert!(achieved.elapsed_ns > 0);
        achieved
    }

    #[test]
    fn memory_is_worked_on_in_any_order_at_any_rate_and_found_whole() {
        for order in [PageOrder::Sequential, PageOrder::Uniform, PageOrder::Zipf] {
            for access in [Access::Read, Access::Write { bytes_per_page: 4096 }] {
                for rate in [PageRate::Full, PageRate::MibPerSecond(8.0)] {
                    let achieved = tried(memory(access, order, rate));
                    let Work::Memory { pages, passes, corrupt_pages } = achieved.work else {
                        panic!("{achieved:?}")
                    };
                    assert!(pages > 0 && corrupt_pages == 0, "{achieved:?}");
                    assert_eq!(passes, (order == PageOrder::Sequential).then_some(pages / 256));
                }
            }
        }
    }

    #[test]
    fn the_cpu_is_used_as_asked_and_computes_right() {
        let achieved = tried(Workload::Cpu { priority: 1 });
        let Work::Cpu { operations, wrong_results, user_ns, .. } = achieved.work else {
            panic!("{achieved:?}")
        };
        assert!(operations > 0 && user_ns > 0, "{achieved:?}");
        assert_eq!(wrong_results, 0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let said = |asked: Workload| {
            let (told, reports) = mpsc::channel();
            run(asked, &Files::of_init(), &AtomicBool::new(true), |report| told.send(report).unwrap());
            match reports.recv().unwrap() {
                Report::Failed(what) => what,
                other => panic!("{asked:?}: {other:?}"),
            }
        };
        let base = MemoryWork {
            allocated_mib: 1,
            working_set_mib: 1,
            rate: PageRate::Full,
            order: PageOrder::Sequential,
            access: Access::Write { bytes_per_page: 8 },
            compressibility_percent: 0,
        };
        let cases = [
            (MemoryWork { working_set_mib: 2, ..base }, "2 MiB of 1 MiB"),
            (MemoryWork { working_set_mib: 0, ..base }, "0 MiB of 1 MiB"),
            (MemoryWork { allocated_mib: u32::MAX, ..base }, "available"),
            (MemoryWork { rate: PageRate::MibPerSecond(-1.0), ..base }, "-1 MiB/s"),
            (MemoryWork { access: Access::Write { bytes_per_page: 12 }, ..base }, "12 bytes"),
            (MemoryWork { compressibility_percent: 101, ..base }, "101 %"),
            (base, "stopped before"),
        ];
        for (asked, expected) in cases {
            let said = said(Workload::Memory(asked));
            assert!(said.contains(expected), "{said}");
        }
        let said = said(Workload::Cpu { priority: 11 });
        assert!(said.contains("priority 11"), "{said}");
    }

    #[test]
    fn a_workload_that_dies_leaves_its_last_words() {
        let Report::Failed(said) = ending(|| panic!("page {} is gone", 7)) else { panic!("it lives") };
        assert!(said.contains("died: page 7 is gone"), "{said}");
    }
}
