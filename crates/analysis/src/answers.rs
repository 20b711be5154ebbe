//! Who answered: a join of the probes' series with what passed the VM's tap on each host.

use std::collections::HashMap;

use dunlin_record::{ABSENT, AnsweredBy, HostId, Series};

use crate::probe_log::Request;
use crate::trial::Trial;

/// A request to the VM and an answer from it, in the column `direction` of the passages.
const TO_VM: i64 = 0;
const FROM_VM: i64 = 1;

/// Whose VM answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answerer {
    /// The source's.
    Source,
    /// The destination's.
    Destination,
    /// Answered, but no tap saw it.
    Unknown,
    /// Nobody.
    Nobody,
}

/// What the taps of a VM on both hosts saw of one probe.
#[derive(Debug)]
pub(crate) struct Passages {
    /// On whose tap the first answer to each request was seen, and when.
    first_seen: HashMap<i64, (i64, Answerer)>,
    /// On which taps each request was seen: the source's, the destination's.
    reached: HashMap<i64, [bool; 2]>,
}

impl Passages {
    /// What passed the taps of a VM for one probe; absent where no tap was watched or the probe leaves no mark there.
    pub(crate) fn of(trial: &Trial, probe: &str) -> Option<Self> {
        let code = match probe {
            "icmp" => 0,
            "udp" => 1,
            _ => return None,
        };
        let tap = |host: &HostId| trial.vm_series(&format!("passages-{host}"));
        let taps = [(tap(trial.source), Answerer::Source), (tap(trial.destination), Answerer::Destination)];
        if taps.iter().all(|(series, _)| series.is_none()) {
            return None;
        }
        let mut passages = Self { first_seen: HashMap::new(), reached: HashMap::new() };
        for (index, (series, answerer)) in taps.into_iter().enumerate() {
            for [probe, seq, direction, t_ns] in series.into_iter().flat_map(Series::rows_of) {
                match direction {
                    _ if probe != code || t_ns == ABSENT => {}
                    TO_VM => passages.reached.entry(seq).or_default()[index] = true,
                    FROM_VM => passages.answer_seen(seq, t_ns, answerer),
                    _ => {}
                }
            }
        }
        Some(passages)
    }

    fn answer_seen(&mut self, seq: i64, t_ns: i64, answerer: Answerer) {
        let first = self.first_seen.entry(seq).or_insert((t_ns, answerer));
        if t_ns < first.0 {
            *first = (t_ns, answerer);
        }
    }

    /// Whether a request was seen on its way to the VM on the source's tap, and on the destination's.
    pub(crate) fn reached(&self, request: &Request) -> [bool; 2] {
        self.reached.get(&request.seq).copied().unwrap_or_default()
    }

    /// Whose VM answered a request.
    pub(crate) fn answerer(&self, request: &Request) -> Answerer {
        match request.answered_ns {
            None => Answerer::Nobody,
            Some(_) => self.first_seen.get(&request.seq).map_or(Answerer::Unknown, |(_, answerer)| *answerer),
        }
    }

    /// How many of the requests whose VM answered.
    pub(crate) fn count<'a>(&self, requests: impl Iterator<Item = &'a Request>) -> AnsweredBy {
        let mut counts = AnsweredBy::default();
        for request in requests {
            match self.answerer(request) {
                Answerer::Source => counts.source += 1,
                Answerer::Destination => counts.destination += 1,
                Answerer::Unknown => counts.unknown += 1,
                Answerer::Nobody => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::shapes;

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// Answers seen on the two taps, as (ms, direction, probe's code); their sequence number is that of the request.
    fn counted(source: &[(i64, i64, i64)], destination: &[(i64, i64, i64)]) -> AnsweredBy {
        let series = |seen: &[(i64, i64, i64)]| {
            let row = |(at, direction, code): &(i64, i64, i64)| {
                [*code, at + 1000, *direction, ns(*at as f64 + 0.1)]
            };
            Series::from_rows(shapes::PASSAGES, &seen.iter().map(row).collect::<Vec<_>>())
        };
        let fixture = Fixture::pre_copy()
            .with_series("vm0-passages-host-a", series(source))
            .with_series("vm0-passages-host-b", series(destination))
            .with_probe("icmp", |at| (at < 4.0).then_some(at + 0.2));
        fixture.outcome().probes["icmp"].answered_by.unwrap()
    }

    #[test]
    fn an_answer_belongs_to_the_host_on_whose_tap_it_was_seen() {
        let by = |source, destination, unknown| AnsweredBy { source, destination, unknown };
        // Of the requests in the window, those at 0, 1, 2 and 3 were answered.
        assert_eq!(counted(&[(0, 1, 0), (1, 1, 0)], &[(2, 1, 0), (3, 1, 0)]), by(2, 2, 0));
        assert_eq!(counted(&[(0, 1, 0)], &[]), by(1, 0, 3));
        assert_eq!(
            counted(&[(0, 0, 0), (1, 1, 1)], &[]),
            by(0, 0, 4),
            "a request, and another probe's answer"
        );
        assert_eq!(
            counted(&[(-7, 1, 0), (20, 1, 0)], &[]),
            by(0, 0, 4),
            "before the window, and never answered"
        );
    }

    #[test]
    fn an_answer_seen_on_both_taps_belongs_to_the_one_that_saw_it_first() {
        let seen_at = |at_ms| Series::from_rows(shapes::PASSAGES, &[[0, 1001, 1, ns(at_ms)]]);
        let fixture = Fixture::pre_copy()
            .with_series("vm0-passages-host-a", seen_at(1.3))
            .with_series("vm0-passages-host-b", seen_at(1.1));
        let counts = fixture.outcome().probes["icmp"].answered_by.unwrap();
        assert_eq!((counts.source, counts.destination), (0, 1));
    }

    #[test]
    fn without_a_record_on_a_tap_nobody_knows() {
        assert_eq!(Fixture::pre_copy().outcome().probes["icmp"].answered_by, None);
    }
}
