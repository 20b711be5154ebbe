//! Which injections tell nothing, because the machine was held up while they were made.
//!
//! What a probe measured of an injection is never asked here, or a probe that measures wrongly would have its own
//! errors forgiven. Asked are the relay's stamps, when requests left, and the gaps before the injection.

use dunlin_record::ABSENT;
use dunlin_testbed::Injection;

use super::measure::{Sample, Seen};

/// How late anything may be around each edge of an outage: the two edges together then use up the millisecond that a
/// measurement may be off beyond one interval.
const TOLERANCE_NS: i64 = 500_000;

/// Why an injection tells nothing, if so.
pub(super) fn noise(sample: &Sample) -> Option<String> {
    late_injector(&sample.injection)
        .or_else(|| late_crossing(&sample.injection, sample.interval_ns))
        .or_else(|| sample.probes.iter().find_map(|(name, seen)| late_probe(name, seen, sample)))
}

/// The relay was held up when it was to begin or end the outage: frames that came meanwhile passed, or did not, at
/// other times than its stamps say.
fn late_injector(injection: &Injection) -> Option<String> {
    let edges = [
        ("began", injection.start_ns - injection.asked_start_ns),
        ("ended", injection.end_ns - injection.asked_end_ns),
    ];
    let (edge, late_ns) = edges.into_iter().find(|(_, late_ns)| *late_ns > TOLERANCE_NS)?;
    Some(format!("the outage {edge} {:.1} ms late", ms(late_ns)))
}

/// Frames did not cross the relay right before or after the outage, though two probes ask once an interval each: the
/// path was silent for longer than the relay made it.
fn late_crossing(injection: &Injection, interval_ns: i64) -> Option<String> {
    let usual_ns = interval_ns + TOLERANCE_NS;
    let crossings = [("answer", injection.a_to_b), ("request", injection.b_to_a)];
    crossings.into_iter().find_map(|(what, crossing)| {
        let silences = [
            ("before", crossing.last_before_ns.map(|last_ns| injection.start_ns - last_ns)),
            ("after", crossing.first_after_ns.map(|first_ns| first_ns - injection.end_ns)),
        ];
        let silent =
            silences.into_iter().find(|(_, silence)| silence.is_none_or(|silence| silence > usual_ns));
        silent.map(|(when, silence)| match silence {
            Some(ns) => format!("no {what} crossed the relay for {:.1} ms {when} the outage", ms(ns)),
            None => format!("no {what} crossed the relay {when} the outage"),
        })
    })
}

fn late_probe(name: &str, seen: &Seen, sample: &Sample) -> Option<String> {
    let hidden = seen.baseline_gap_ms.filter(|gap_ms| *gap_ms >= sample.injected_ms());
    if let Some(gap_ms) = hidden {
        return Some(format!("{name} saw a gap of {gap_ms:.1} ms before the outage, which is no longer"));
    }
    let near_ns = sample.interval_ns + TOLERANCE_NS;
    let is_near = |due_ns: i64| {
        [sample.injection.start_ns, sample.injection.end_ns]
            .iter()
            .any(|edge_ns| (due_ns - edge_ns).abs() <= near_ns)
    };
    let mut near = seen.sent.iter().filter(|[_, due_ns, _]| is_near(*due_ns));
    near.find_map(|[_, due_ns, sent_ns]| match sent_ns {
        &ABSENT => Some(format!("a request of {name} did not leave")),
        sent_ns if sent_ns - due_ns > TOLERANCE_NS => {
            Some(format!("a request of {name} left {:.1} ms late", ms(sent_ns - due_ns)))
        }
        _ => None,
    })
}

fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use dunlin_clock::MILLISECOND_NS;
    use dunlin_testbed::{Crossing, Fault};

    use super::*;

    const START_NS: i64 = 1_000 * MILLISECOND_NS;
    const END_NS: i64 = 1_020 * MILLISECOND_NS;

    /// An outage of 20 ms in a machine that was never late.
    fn quiet() -> Sample {
        let crossing = Crossing {
            last_before_ns: Some(START_NS - 300_000),
            first_after_ns: Some(END_NS + 700_000),
            met: 40,
        };
        let sent: Vec<[i64; 3]> =
            (0..1200).map(|seq| [seq, seq * MILLISECOND_NS, seq * MILLISECOND_NS + 20_000]).collect();
        let seen = Seen { downtime_ms: Some(20.0), baseline_gap_ms: Some(0.3), sent };
        Sample {
            injection: Injection {
                fault: Fault::Drop,
                asked_start_ns: START_NS - 30_000,
                start_ns: START_NS,
                asked_end_ns: END_NS - 10_000,
                end_ns: END_NS,
                a_to_b: crossing,
                b_to_a: crossing,
            },
            interval_ns: MILLISECOND_NS,
            probes: [("icmp".to_owned(), seen.clone()), ("udp".to_owned(), seen)].into(),
        }
    }

    fn noise_after(change: impl FnOnce(&mut Sample)) -> Option<String> {
        let mut sample = quiet();
        change(&mut sample);
        noise(&sample)
    }

    fn icmp(sample: &mut Sample) -> &mut Seen {
        sample.probes.get_mut("icmp").unwrap()
    }

    #[test]
    fn what_was_measured_never_makes_noise() {
        for measured in [None, Some(0.0), Some(20.0), Some(500.0)] {
            assert_eq!(noise_after(|sample| icmp(sample).downtime_ms = measured), None);
        }
    }

    #[test]
    fn an_injector_that_was_held_up_is_noise() {
        let began = noise_after(|sample| sample.injection.asked_start_ns -= 2 * MILLISECOND_NS);
        assert_eq!(began.unwrap(), "the outage began 2.0 ms late");
        let ended = noise_after(|sample| sample.injection.asked_end_ns -= MILLISECOND_NS);
        assert_eq!(ended.unwrap(), "the outage ended 1.0 ms late");
    }

    #[test]
    fn a_path_that_was_silent_for_longer_than_the_relay_made_it_is_noise() {
        let silent =
            noise_after(|sample| sample.injection.a_to_b.last_before_ns = Some(START_NS - 3_000_000));
        assert_eq!(silent.unwrap(), "no answer crossed the relay for 3.0 ms before the outage");
        let silent = noise_after(|sample| sample.injection.b_to_a.first_after_ns = Some(END_NS + 1_600_000));
        assert_eq!(silent.unwrap(), "no request crossed the relay for 1.6 ms after the outage");
        let silent = noise_after(|sample| sample.injection.b_to_a.first_after_ns = None);
        assert_eq!(silent.unwrap(), "no request crossed the relay after the outage");
    }

    #[test]
    fn a_request_that_left_late_is_noise_only_near_an_edge() {
        let late = |seq: usize| {
            noise_after(|sample| {
                let row = &mut icmp(sample).sent[seq];
                row[2] = row[1] + MILLISECOND_NS;
            })
        };
        for (seq, is_noise) in
            [(900, false), (999, true), (1001, true), (1010, false), (1021, true), (1023, false)]
        {
            assert_eq!(late(seq).is_some(), is_noise, "request {seq}");
        }
        let unsent = noise_after(|sample| icmp(sample).sent[1000][2] = ABSENT);
        assert_eq!(unsent.unwrap(), "a request of icmp did not leave");
    }

    #[test]
    fn an_outage_no_longer_than_a_gap_before_it_cannot_be_told_from_it() {
        assert_eq!(noise_after(|sample| icmp(sample).baseline_gap_ms = Some(19.9)), None);
        assert!(noise_after(|sample| icmp(sample).baseline_gap_ms = Some(20.0)).is_some());
    }
}
