//! Times in which a service did not answer: gaps between arrivals that stand out of those before the migration.

use crate::moments::Moments;
use crate::probe_log::ProbeLog;

/// A gap between two consecutive arrivals of answers, or from the last one to the end of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The arrival before it.
    pub(crate) start_ns: i64,
    /// The arrival after it; where none came, the last request that should have been answered.
    pub(crate) end_ns: i64,
    /// Its length less one interval: the time for which no answer came that should have.
    pub(crate) missing_ns: i64,
    /// Whether no answer came after it: it is then at least as long as it seems.
    pub(crate) is_unfinished: bool,
}

/// What a probe's arrivals say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outages {
    /// The longest gap before the migration, less one interval; absent with fewer than two answers before it.
    pub(crate) baseline_ns: Option<i64>,
    /// The gaps that overlap the window and stand out, in order.
    pub(crate) gaps: Vec<Gap>,
}

impl Outages {
    /// Finds the outages in a probe's log.
    pub(crate) fn find(log: &ProbeLog, moments: &Moments) -> Self {
        let baseline_ns = gaps(log)
            .filter(|gap| !gap.is_unfinished && gap.end_ns <= moments.command)
            .map(|gap| gap.missing_ns.max(0))
            .max();
        let usual_ns = baseline_ns.unwrap_or(0).max(log.interval_ns);
        let overlaps_window = |gap: &Gap| gap.end_ns > moments.command && gap.start_ns < moments.window_end;
        let gaps = gaps(log).filter(|gap| gap.missing_ns > usual_ns && overlaps_window(gap)).collect();
        Self { baseline_ns, gaps }
    }

    /// The longest outage.
    pub(crate) fn longest(&self) -> Option<&Gap> {
        self.gaps.iter().max_by_key(|gap| gap.missing_ns)
    }
}

fn gaps(log: &ProbeLog) -> impl Iterator<Item = Gap> + '_ {
    let gap = |start_ns: i64, end_ns: i64, is_unfinished| Gap {
        start_ns,
        end_ns,
        missing_ns: end_ns.saturating_sub(start_ns).saturating_sub(log.interval_ns),
        is_unfinished,
    };
    let finished = log.arrivals_ns.windows(2).map(move |pair| gap(pair[0], pair[1], false));
    let unfinished = log
        .arrivals_ns
        .last()
        .zip(log.last_sent_ns())
        .filter(|(arrived_ns, sent_ns)| sent_ns > arrived_ns)
        .map(|(arrived_ns, sent_ns)| gap(*arrived_ns, sent_ns, true));
    finished.chain(unfinished)
}
