//! The story of each probe around the switch of hosts, as in Hu et al., figure 3: on whose tap each request was seen,
//! and whose VM answered it, in time, late or never.

use crate::answers::Passages;
use crate::moments::Moments;
use crate::observers::{baseline_round_trips, usual_trip_ns};
use crate::probe_log::ProbeLog;
use crate::timeline::Answerer;
use crate::trial::Trial;

/// How many requests are told on either side of the switch, as a share of those in it, and at least.
const MARGIN_SHARE: f64 = 0.25;
const MARGIN_LEAST: usize = 20;

/// What became of one probe's requests around the switch, by their sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStory {
    /// As in `icmp`.
    pub probe: String,
    /// In order; each begins where the one before it ends.
    pub runs: Vec<StoryRun>,
}

/// Consecutive requests that fared alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoryRun {
    /// The first one's sequence number.
    pub first_seq: u64,
    /// How many they are.
    pub count: u64,
    /// How they fared.
    pub fate: Fate,
}

/// How a request fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// Whether it was seen on the source's tap, on its way to the VM.
    pub at_source: bool,
    /// Whether it was seen on the destination's.
    pub at_destination: bool,
    /// Whose VM answered.
    pub by: Answerer,
    /// Whether that took longer than the slowest answer before the migration and than one interval.
    pub late: bool,
}

impl Fate {
    fn is_usual(self, host: Answerer) -> bool {
        self.by == host && !self.late
    }
}

/// The stories of a VM's probes; none of a probe that leaves no mark on the taps, or where no request was answered in
/// time by both hosts, so that there was no switch to be seen.
pub(crate) fn stories(trial: &Trial, moments: &Moments) -> Vec<ProbeStory> {
    ProbeLog::of_vm(trial).iter().filter_map(|log| story(trial, moments, log)).collect()
}

fn story(trial: &Trial, moments: &Moments, log: &ProbeLog) -> Option<ProbeStory> {
    let passages = Passages::of(trial, &log.name)?;
    let usual_ns = usual_trip_ns(log, &baseline_round_trips(log, moments));
    let watched = log
        .requests
        .iter()
        .filter(|request| (moments.baseline_start..=moments.window_end).contains(&request.sent_ns));
    let fates: Vec<(u64, Fate)> = watched
        .filter_map(|request| {
            let [at_source, at_destination] = passages.reached(request);
            let late = request.round_trip_ns().is_some_and(|trip_ns| trip_ns > usual_ns);
            let by = passages.answerer(request);
            Some((u64::try_from(request.seq).ok()?, Fate { at_source, at_destination, by, late }))
        })
        .collect();
    let last_by_source = fates.iter().rposition(|(_, fate)| fate.is_usual(Answerer::Source))?;
    let first_by_destination = fates.iter().position(|(_, fate)| fate.is_usual(Answerer::Destination))?;
    let (first, last) = (last_by_source.min(first_by_destination), last_by_source.max(first_by_destination));
    let margin = (((last - first) as f64 * MARGIN_SHARE) as usize).max(MARGIN_LEAST);
    let told = &fates[first.saturating_sub(margin)..(last + margin + 1).min(fates.len())];
    Some(ProbeStory { probe: log.name.clone(), runs: runs(told) })
}

/// Consecutive requests of the same fate, joined; one that never left is in none.
fn runs(fates: &[(u64, Fate)]) -> Vec<StoryRun> {
    let mut runs: Vec<StoryRun> = Vec::new();
    for &(seq, fate) in fates {
        match runs.last_mut() {
            Some(run) if run.fate == fate && run.first_seq.checked_add(run.count) == Some(seq) => {
                run.count += 1;
            }
            _ => runs.push(StoryRun { first_seq: seq, count: 1, fate }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// Passages on a tap: requests and answers with these times of sending, in ms.
    fn tap(requests: std::ops::Range<i64>, answers: std::ops::Range<i64>) -> Series {
        let row = |at_ms: i64, direction| [0, at_ms + 1000, direction, ns(at_ms as f64 + 0.1)];
        let rows: Vec<[i64; 4]> =
            requests.map(|at_ms| row(at_ms, 0)).chain(answers.map(|at_ms| row(at_ms, 1))).collect();
        Series::from_rows(shapes::PASSAGES, &rows)
    }

    /// Sent from 500 to 509: never answered, though seen at the source; from 510 to 539: seen there, carried over and
    /// answered late by the destination.
    fn carried_over() -> Fixture {
        let answered = |at_ms: f64| match at_ms {
            500.0..510.0 => None,
            510.0..540.0 => Some(545.0),
            at_ms => Some(at_ms + 0.2),
        };
        Fixture::pre_copy()
            .with_probe("icmp", answered)
            .with_series("vm0-passages-host-a", tap(-1000..540, -1000..500))
            .with_series("vm0-passages-host-b", tap(540..1600, 510..1600))
    }

    #[test]
    fn requests_around_the_switch_are_told_by_where_they_were_seen_and_who_answered() {
        let [story] = carried_over().timeline().stories.try_into().unwrap();
        let fate =
            |[at_source, at_destination]: [bool; 2], by, late| Fate { at_source, at_destination, by, late };
        let run = |first_seq, count, fate| StoryRun { first_seq, count, fate };
        // Sequence numbers begin at -1000 ms; there is a margin of 20 requests on either side.
        let expected = vec![
            run(1479, 21, fate([true, false], Answerer::Source, false)),
            run(1500, 10, fate([true, false], Answerer::Nobody, false)),
            run(1510, 30, fate([true, false], Answerer::Destination, true)),
            run(1540, 21, fate([false, true], Answerer::Destination, false)),
        ];
        assert_eq!(story, ProbeStory { probe: "icmp".into(), runs: expected });
    }

    #[test]
    fn without_taps_or_without_a_switch_there_is_no_story() {
        assert_eq!(Fixture::pre_copy().timeline().stories, []);
        let stayed =
            Fixture::not_converged().with_series("vm0-passages-host-a", tap(-1000..1600, -1000..1600));
        assert_eq!(stayed.timeline().stories, []);
    }
}
