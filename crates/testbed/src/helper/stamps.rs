//! Puts the stamps of a helper's host on the bench's clock.

use dunlin_clock::{HostClock, Mapping, now_ns};
use dunlin_probe::TcpProbeSummary;
use dunlin_record::{ABSENT, shapes};
use dunlin_wire::{CaptureSummary, RowSink};

/// The clock of a helper's host.
#[derive(Debug)]
pub(super) struct Stamps(HostClock);

impl Stamps {
    pub(super) fn new(clock: HostClock) -> Self {
        Self(clock)
    }

    pub(super) fn clock(&self) -> &HostClock {
        &self.0
    }

    /// A sink for rows of a shape as the helper stamped them. Rows of the bench's own machine go through untouched.
    pub(super) fn rows(&self, shape: shapes::Shape, mut sink: RowSink) -> RowSink {
        if self.0.is_own() {
            return sink;
        }
        let clock = self.0.clone();
        let columns = stamped(shape);
        Box::new(move |rows| {
            let mut rows = rows.to_vec();
            for row in rows.chunks_exact_mut(shape.len()) {
                columns.iter().for_each(|column| row[*column] = on_the_benchs(&clock, row[*column]));
            }
            sink(&rows);
        })
    }

    /// What a TCP probe did.
    pub(super) fn probe(&self, mut summary: TcpProbeSummary) -> TcpProbeSummary {
        for connection in &mut summary.connections {
            connection.connected_ns = on_the_benchs(&self.0, connection.connected_ns);
            connection.ended_ns = on_the_benchs(&self.0, connection.ended_ns);
        }
        summary
    }

    /// What a capture holds that began at `began_ns` of the bench's clock and ended now. Its stamps need one mapping for all
    /// of its time; what the clocks ran apart meanwhile is in the error.
    pub(super) fn capture(&self, mut summary: CaptureSummary, began_ns: i64) -> CaptureSummary {
        if let Some(Mapping { offset_ns, error_ns }) = self.0.monotonic_during(began_ns, now_ns()) {
            summary.clock_offset_ns = summary.clock_offset_ns.saturating_add(offset_ns);
            summary.clock_error_ns = summary.clock_error_ns.saturating_add(error_ns);
        }
        summary
    }
}

/// Which columns of a shape hold moments of the host's clock; amounts of time there are named otherwise.
fn stamped(shape: shapes::Shape) -> Vec<usize> {
    let is_moment = |name: &str| matches!(name, "t_ns" | "sent_ns" | "arrived_ns");
    (0..shape.len()).filter(|column| is_moment(shape[*column].0)).collect()
}

fn on_the_benchs(clock: &HostClock, host_ns: i64) -> i64 {
    if host_ns == ABSENT {
        return ABSENT;
    }
    clock.monotonic(host_ns).map_or(ABSENT, |moment| moment.t_ns)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use dunlin_clock::Exchange;

    use super::*;

    /// A clock that is 1000 ahead, as it is known after one exchange without delay.
    fn ahead() -> HostClock {
        let clock = HostClock::of_another();
        clock.learn(Exchange {
            asked_ns: 0,
            answered_ns: 0,
            monotonic_ns: 1000,
            realtime_ns: 5000,
            apart_ns: 0,
        });
        clock
    }

    fn mapped(clock: HostClock, shape: shapes::Shape, rows: &[i64]) -> Vec<i64> {
        let (sender, receiver) = channel();
        let mut sink =
            Stamps::new(clock).rows(shape, Box::new(move |rows| sender.send(rows.to_vec()).unwrap()));
        sink(rows);
        receiver.recv().unwrap()
    }

    #[test]
    fn only_moments_are_mapped_and_what_is_absent_stays_so() {
        for (shape, columns) in [
            (shapes::PASSAGES, vec![3]),
            (shapes::WIRE, vec![0]),
            (shapes::CPU, vec![0]),
            (shapes::PROCESS_CPU, vec![0]),
            (shapes::PROBE_SAMPLES, vec![0]),
            (shapes::PROBE_TRANSACTIONS, vec![0, 1]),
        ] {
            assert_eq!(stamped(shape), columns, "{shape:?}");
        }
        let rows = [1010, 1030, ABSENT, 1020, ABSENT, 1];
        assert_eq!(mapped(ahead(), shapes::PROBE_TRANSACTIONS, &rows), [10, 30, ABSENT, 20, ABSENT, 1]);
        assert_eq!(mapped(ahead(), shapes::CPU, &[1007, 1007, 1007]), [7, 1007, 1007]);
        assert_eq!(mapped(HostClock::own(), shapes::CPU, &[1007, 1, 2]), [1007, 1, 2]);
        assert_eq!(mapped(HostClock::of_another(), shapes::CPU, &[1007, 1, 2]), [ABSENT, 1, 2]);
    }

    #[test]
    fn one_mapping_of_a_capture_holds_all_of_its_time() {
        let summary =
            CaptureSummary { clock_offset_ns: -4000, clock_error_ns: 10, ..CaptureSummary::default() };
        let own = Stamps::new(HostClock::own()).capture(summary.clone(), 0);
        assert_eq!((own.clock_offset_ns, own.clock_error_ns), (-4000, 10));
        let clock = ahead();
        let now_ns = now_ns();
        // It has lost 4000 since.
        let exchange = |t_ns: i64| Exchange {
            asked_ns: t_ns,
            answered_ns: t_ns,
            monotonic_ns: t_ns - 3000,
            realtime_ns: t_ns,
            apart_ns: 0,
        };
        clock.learn(exchange(now_ns));
        let captured = Stamps::new(clock).capture(summary, 0);
        let error_ns = captured.clock_error_ns;
        for offset_ns in [-1000, 3000] {
            assert!((captured.clock_offset_ns - (offset_ns - 4000)).abs() <= error_ns, "{captured:?}");
        }
    }
}
