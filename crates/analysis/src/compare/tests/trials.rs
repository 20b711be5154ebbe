//! Outcomes to compare: of a real run, and made up.

use dunlin_record::{Outcome, Status};
use serde_json::json;

use crate::statistics::SplitMix64;

/// An outcome with a case and nothing measured.
pub(super) fn outcome(case: &str, trial: usize, status: Status) -> Outcome {
    serde_json::from_value(json!({
        "format": 1, "scenario": "s", "case": { "name": case }, "trial": trial, "id": format!("{case}-{trial}"),
        "vm": "vm0", "hypervisor": null, "strategy": "pre-copy", "status": status, "flags": [],
        "total_time_ms": null, "migration_time_ms": null, "floor_ms": null, "downtime_floor_ms": null,
        "downtime_ms": {}, "downtime_error_ms": {}, "probes": {}, "wire_bytes": null, "ram_bytes": null,
        "iterations": [], "phases_ms": { "pre_copy": [] }, "memory_mib": {}, "workload": null, "link": {},
        "guest_start_ms": null
    }))
    .unwrap()
}

/// What was measured of one completed trial: total time, the four downtimes, bytes sent.
fn measured(case: &str, trial: usize, figures: [f64; 6]) -> Outcome {
    let [total, reported, paused, icmp, udp, sent] = figures;
    let mut outcome = outcome(case, trial, Status::Completed);
    outcome.total_time_ms = Some(total);
    outcome.downtime_ms.reported = Some(reported);
    outcome.downtime_ms.paused = Some(paused);
    outcome.downtime_ms.icmp = Some(icmp);
    outcome.downtime_ms.udp = Some(udp);
    outcome.wire_bytes = Some(dunlin_record::WireBytes { source_tx: sent as i64, source_rx: 0 });
    outcome
}

/// The trials of a real run, by case.
pub(super) fn real_run() -> Vec<Vec<Outcome>> {
    let mut cases: Vec<Vec<Outcome>> = Vec::new();
    for line in include_str!("real_run.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let figures: Vec<f64> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
        if cases.last().is_none_or(|case| case[0].case.name != words[0]) {
            cases.push(Vec::new());
        }
        let case = cases.last_mut().unwrap();
        case.push(measured(words[0], case.len() + 1, figures.try_into().unwrap()));
    }
    cases
}

/// Four cases of 60 trials whose figures vary by about 12 %, mostly together.
pub(super) fn lognormal_run() -> Vec<Vec<Outcome>> {
    made_up(|random| (0.1 * normal(random)).exp())
}

/// The same, but a third of the trials take half as long again.
pub(super) fn bimodal_run() -> Vec<Vec<Outcome>> {
    made_up(|random| {
        let hump = if random.below(3) == 0 { 1.5 } else { 1.0 };
        hump * (0.05 * normal(random)).exp()
    })
}

/// Cases in which `common` scales all downtimes of a trial; every figure varies a little by itself as well. Those of the
/// last case complete two times out of three.
fn made_up(mut common: impl FnMut(&mut SplitMix64) -> f64) -> Vec<Vec<Outcome>> {
    let mut random = SplitMix64::new(7);
    let mut case = |name: &str| -> Vec<Outcome> {
        (0..60)
            .map(|trial| {
                let scale = common(&mut random);
                let own =
                    [0.02, 0.05, 0.05, 0.07, 0.07, 0.002].map(|spread| (spread * normal(&mut random)).exp());
                let middle = [900.0, 100.0 * scale, 101.0 * scale, 150.0 * scale, 190.0 * scale, 84e6];
                let mut outcome =
                    measured(name, trial, std::array::from_fn(|index| middle[index] * own[index]));
                if name == "sometimes" && random.below(3) == 0 {
                    outcome.status = Status::NotConverged;
                }
                outcome
            })
            .collect()
    };
    ["idle", "dirty", "hybrid", "sometimes"].into_iter().map(&mut case).collect()
}

/// About normal, of mean 0 and deviation 1: a sum of twelve uniform ones.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
}
