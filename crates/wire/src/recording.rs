//! A record on a thread of its own: something is read at a fixed cadence and its rows are handed to a sink.

use dunlin_clock::{Cancel, MILLISECOND_NS, now_ns, sleep_until};

use crate::{Result, Task};

/// Takes a batch of rows, laid end to end; never called with none.
pub type RowSink = Box<dyn FnMut(&[i64]) + Send>;

/// How long rows are gathered before they are handed on.
const BATCH_NS: i64 = 100 * MILLISECOND_NS;

/// What is known of a record once it has ended. Absent where it does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames the kernel could not keep for the record.
    pub dropped: Option<u64>,
    /// The worst error of mapping the kernel's stamps to the bench's clock.
    pub clock_error_ns: Option<i64>,
}

/// Something that is read at a fixed cadence.
pub(crate) trait Source: Send + 'static {
    /// The cadence.
    const PERIOD_NS: i64;

    /// The cadence where it is not the same for all.
    fn period_ns(&self) -> i64 {
        Self::PERIOD_NS
    }

    /// Appends the rows there are now.
    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()>;

    /// What is known at the end.
    fn summary(&mut self) -> Result<Summary>;
}

/// A record that goes on until it is stopped or dropped, which takes a few periods of its cadence.
pub type Recording = Task<Summary>;

impl Recording {
    pub(crate) fn start(name: &str, source: impl Source, sink: RowSink) -> Result<Self> {
        Self::spawn(name, move |ending| run(source, sink, ending))
    }
}

fn run<S: Source>(mut source: S, mut sink: RowSink, ending: &Cancel) -> Result<Summary> {
    let mut rows = Vec::new();
    let period_ns = source.period_ns();
    let mut due_ns = now_ns();
    let mut hand_on_ns = due_ns + BATCH_NS;
    loop {
        // Looked at before the last reading, so that this reading holds all there was when the end was asked for.
        let last = ending.is_cancelled();
        let read = source.read(&mut rows);
        let now = now_ns();
        if (last || read.is_err() || now >= hand_on_ns) && !rows.is_empty() {
            sink(&rows);
            rows.clear();
            hand_on_ns = now + BATCH_NS;
        }
        read?;
        if last {
            return source.summary();
        }
        // A reading that comes late is not made up for: the next one is at the next multiple of the period.
        due_ns += period_ns * ((now - due_ns) / period_ns + 1);
        sleep_until(due_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::WireError;

    struct Counting {
        next: i64,
        fails_at: i64,
    }

    impl Source for Counting {
        const PERIOD_NS: i64 = MILLISECOND_NS;

        fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
            if self.next == self.fails_at {
                return Err(WireError::Answer { what: "the test".into(), why: "it is over".into() });
            }
            rows.push(self.next);
            self.next += 1;
            Ok(())
        }

        fn summary(&mut self) -> Result<Summary> {
            Ok(Summary { dropped: u64::try_from(self.next).ok(), clock_error_ns: None })
        }
    }

    fn start(fails_at: i64) -> (Recording, Receiver<Vec<i64>>) {
        let (sender, receiver) = channel();
        let sink = Box::new(move |rows: &[i64]| drop(sender.send(rows.to_vec())));
        (Recording::start("counting", Counting { next: 0, fails_at }, sink).unwrap(), receiver)
    }

    #[test]
    fn every_row_has_reached_the_sink_when_stop_returns() {
        let (recording, rows) = start(-1);
        sleep_until(now_ns() + 150 * MILLISECOND_NS);
        let summary = recording.stop().unwrap();
        // The iteration ends because the sink, and the sender in it, is gone.
        let rows: Vec<i64> = rows.iter().flatten().collect();
        assert!(rows.len() > 1);
        assert_eq!(rows, (0..i64::try_from(rows.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(summary.dropped, u64::try_from(rows.len()).ok());
    }

    #[test]
    fn a_record_that_breaks_off_hands_on_what_it_had_and_says_why() {
        let (recording, rows) = start(3);
        assert_eq!(rows.iter().flatten().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(matches!(recording.stop(), Err(WireError::Answer { .. })));
    }
}
