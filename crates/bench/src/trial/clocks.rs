//! How the hosts' clocks stood to the bench's during a trial, as series.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use dunlin_clock::{Cancel, HostClock, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_record::shapes;
use dunlin_testbed::Host;

use super::Run;
use crate::recording::SeriesHandle;
use crate::{BenchError, Result};

/// How often a row is made: often enough that one comes shortly before any exchange with a host, when least is known.
const ROW_NS: i64 = 100 * MILLISECOND_NS;

/// The thread that notes it. Dropping it ends it.
pub(super) struct Clocks {
    end: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Clocks {
    /// Begins to note it of both hosts.
    pub(super) fn start(run: &Run<'_>) -> Result<Self> {
        let hosts = run.world.hosts()?;
        let series = |host: &Arc<dyn Host>| {
            let series = run.recording.series(&format!("clock-{}", host.id()), shapes::CLOCK)?;
            Ok((host.clock(), series))
        };
        let clocks = hosts.iter().map(series).collect::<Result<Vec<_>>>()?;
        let end = Cancel::new();
        let ended = end.clone();
        let thread = Builder::new().name("clocks".into()).spawn(move || note(&clocks, &ended));
        let doing = "start the thread that notes how the hosts' clocks stand".to_owned();
        Ok(Self { end, thread: Some(thread.map_err(|source| BenchError::Io { doing, source })?) })
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell: what cannot be written is kept by the recording.
            let _ = thread.join();
        }
    }
}

fn note(clocks: &[(HostClock, SeriesHandle)], end: &Cancel) {
    let mut due_ns = now_ns();
    while !end.is_cancelled() {
        for (clock, series) in clocks {
            if let Some(row) = row(clock, now_ns()) {
                series.push(&row);
            }
        }
        // A machine that stood still for a while is not made up for.
        due_ns = due_ns.saturating_add(ROW_NS).max(now_ns());
        sleep_until(due_ns);
    }
    clocks.iter().for_each(|(_, series)| series.finish());
}

/// None before anything is known.
fn row(clock: &HostClock, t_ns: i64) -> Option<[i64; shapes::CLOCK.len()]> {
    let standing = clock.standing(t_ns)?;
    let (monotonic, realtime) = (standing.monotonic, standing.realtime);
    Some([t_ns, monotonic.offset_ns, monotonic.error_ns, realtime.offset_ns, realtime.error_ns])
}

#[cfg(test)]
mod tests {
    use dunlin_clock::{Exchange, Mapping};

    use super::*;

    #[test]
    fn a_row_says_how_both_clocks_stand_once_that_is_known() {
        let clock = HostClock::of_another();
        assert_eq!(row(&clock, 1_000), None);
        let (asked_ns, answered_ns) = (900, 1_000);
        clock.learn(Exchange { asked_ns, answered_ns, monotonic_ns: 0, realtime_ns: 2_000, apart_ns: 20 });
        let [t_ns, offset_ns, error_ns, realtime_offset_ns, realtime_error_ns] = row(&clock, 1_000).unwrap();
        assert_eq!((t_ns, offset_ns, realtime_offset_ns), (1_000, 950, -1_050));
        assert!((50..60).contains(&error_ns) && (70..80).contains(&realtime_error_ns));
    }

    #[test]
    fn the_benchs_own_machine_has_one_monotonic_clock() {
        let [_, offset_ns, error_ns, realtime_offset_ns, _] = row(&HostClock::own(), now_ns()).unwrap();
        assert_eq!((offset_ns, error_ns), (0, 0));
        // Apart by what the wall clock may be slewed or set meanwhile.
        let Mapping { offset_ns, .. } = Mapping::read();
        assert!((offset_ns - realtime_offset_ns).abs() < 50 * MILLISECOND_NS);
    }
}
