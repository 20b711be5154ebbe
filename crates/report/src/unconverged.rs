//! What a migration that did not converge came to, what kept it from its end, and what would end it.

use dunlin_record::{NotConverged, Outcome, PreCopyLimits, Workload};

use crate::Report;
use crate::format::{megabytes, number};

const MIB: f64 = 1_048_576.0;

/// The limits that the case of an outcome set, if `run.json` still says them.
pub(crate) fn limits_of(report: &Report, outcome: &Outcome) -> Option<PreCopyLimits> {
    let title = outcome.case.title();
    report.info.cases.iter().find(|case| case.title() == title)?.limits
}

/// It in sentences; nothing for a trial that ended otherwise. The limits are those that its case set, where that is known.
pub(crate) fn sentences(outcome: &Outcome, limits: Option<PreCopyLimits>) -> Option<String> {
    let kept = outcome.not_converged.as_ref()?;
    let parts = [Some(amounts(outcome, kept)), reason(outcome, kept), remedy(outcome, kept, limits)];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// What was sent and what was left.
fn amounts(outcome: &Outcome, kept: &NotConverged) -> String {
    let sent = outcome.wire_bytes.map(|wire| format!("{} MB sent", number(megabytes(wire.source_tx))));
    let left = kept.remaining_bytes.map(|bytes| format!("{} MB left", number(megabytes(bytes))));
    let goodput = outcome.link.goodput_mbit.map(|mbit| {
        format!("the link carries {} MiB/s ({} Mbit/s)", number(mbit * 1e6 / 8.0 / MIB), number(mbit))
    });
    let told: Vec<String> = [sent, left, goodput].into_iter().flatten().collect();
    let passes = if kept.passes == 1 { "1 pass".into() } else { format!("{} passes", kept.passes) };
    let told = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
    format!("{} s, {passes}{told}.", number(kept.after_ms / 1000.0))
}

/// What was dirty again each time, against what could be sent.
fn reason(outcome: &Outcome, kept: &NotConverged) -> Option<String> {
    if kept.passes < 2 {
        return Some("The first pass over the memory was not over.".into());
    }
    let again_mib = kept.dirty_again_bytes? as f64 / MIB;
    let by = match written_mib_s(outcome) {
        Some(rate) => format!("the guest wrote {} MiB/s", number(rate)),
        None => format!("dirtied at {} MiB/s at least, by the hypervisor", number(kept.dirty_rate_mib_s?)),
    };
    let sent_mib_s = kept.sent_mib_s?;
    let may_remain = kept.downtime_limit_ms.map(|limit_ms| {
        format!(
            ", which is {} MiB in the downtime limit of {} ms",
            number(sent_mib_s * limit_ms / 1000.0),
            number(limit_ms)
        )
    });
    Some(format!(
        "After each pass {} MiB were dirty again ({by}); {} MiB/s were sent{}.",
        number(again_mib),
        number(sent_mib_s),
        may_remain.unwrap_or_default()
    ))
}

fn remedy(outcome: &Outcome, kept: &NotConverged, limits: Option<PreCopyLimits>) -> Option<String> {
    let cap = cap_in_the_way(outcome, limits);
    if kept.passes < 2 {
        let faster = cap.unwrap_or_else(|| "a faster link".into());
        return Some(format!("What would end it: a longer limit_s, or {faster}."));
    }
    let mut ways: Vec<String> = cap.into_iter().collect();
    if outcome.strategy == "pre-copy" {
        ways.push("post-copy".to_owned());
    }
    if let Some(ms) =
        kept.downtime_limit_needed_ms.filter(|ms| kept.downtime_limit_ms.is_none_or(|set| set < *ms))
    {
        ways.push(format!("a downtime limit above {} ms", number(ms.ceil())));
    }
    if let Some((written, sent)) =
        written_mib_s(outcome).zip(kept.sent_mib_s).filter(|(written, sent)| written > sent)
    {
        ways.push(format!("vCPUs throttled by more than {:.0} %", ((1.0 - sent / written) * 100.0).floor()));
    }
    (!ways.is_empty()).then(|| format!("What would end it: {}.", ways.join(", or ")))
}

/// A bandwidth limit of the case's own that is less than what the link carries.
fn cap_in_the_way(outcome: &Outcome, limits: Option<PreCopyLimits>) -> Option<String> {
    let cap = limits?.bandwidth_bytes_s?;
    let is_in_the_way = outcome.link.goodput_mbit.is_none_or(|mbit| cap < mbit * 1e6 / 8.0);
    is_in_the_way
        .then(|| format!("a bandwidth limit above the {} MiB/s that the case sets", number(cap / MIB)))
}

/// What the workload wrote to memory a second, by its own count, a page as often as it came.
fn written_mib_s(outcome: &Outcome) -> Option<f64> {
    let done = outcome.workload.as_ref()?;
    let writers = done.asked.with_achieved(done.achieved.as_ref());
    let rates: Vec<f64> = writers
        .filter(|(asked, _)| matches!(asked, Workload::MemoryWrite(_)))
        .filter_map(|(_, achieved)| achieved?.rate_mib_s)
        .collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(change: impl FnOnce(&mut serde_json::Value)) -> Outcome {
        let mut json = serde_json::json!({
            "format": 1, "scenario": "s", "case": { "name": "dirty" }, "trial": 1, "id": "01-dirty-1", "vm": "vm0",
            "hypervisor": null, "strategy": "pre-copy", "status": "not-converged", "error": "the limit of 20 s passed",
            "flags": [], "total_time_ms": null, "migration_time_ms": null, "floor_ms": null,
            "downtime_floor_ms": null, "downtime_ms": {}, "downtime_error_ms": {}, "probes": {},
            "wire_bytes": { "source_tx": 2_300_000_000_i64, "source_rx": 1 }, "ram_bytes": null, "iterations": [],
            "phases_ms": { "pre_copy": [] }, "memory_mib": {},
            "workload": {
                "asked": { "kind": "memory-write", "working_set_mib": 128 },
                "achieved": { "rate_mib_s": 900.0 },
            },
            "link": { "rate_mbit": 1000.0, "goodput_mbit": 956.3 }, "guest_start_ms": null,
            "not_converged": {
                "after_ms": 20_000.0, "passes": 17, "remaining_bytes": 131_000_000, "dirty_again_bytes": 134_217_728,
                "dirty_rate_mib_s": 113.0, "sent_mib_s": 114.0, "downtime_limit_ms": 300.0,
                "downtime_limit_needed_ms": 1122.8,
            },
        });
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_kept_it_and_what_would_end_it_is_said() {
        let expected = "20.0 s, 17 passes: 2300 MB sent, 131 MB left, the link carries 114 MiB/s (956 Mbit/s). After \
                        each pass 128 MiB were dirty again (the guest wrote 900 MiB/s); 114 MiB/s were sent, which is \
                        34.2 MiB in the downtime limit of 300 ms. What would end it: post-copy, or a downtime limit \
                        above 1123 ms, or vCPUs throttled by more than 87 %.";
        assert_eq!(sentences(&outcome(|_| {}), None).unwrap(), expected);
    }

    #[test]
    fn a_first_pass_that_was_not_over_needs_time_and_not_another_way() {
        let slow = outcome(|json| json["not_converged"]["passes"] = 1.into());
        let told = sentences(&slow, None).unwrap();
        assert!(
            told.ends_with("was not over. What would end it: a longer limit_s, or a faster link."),
            "{told}"
        );
    }

    #[test]
    fn a_bandwidth_limit_of_the_case_is_in_the_way_where_the_link_carries_more() {
        let capped =
            |mib_s: f64| Some(PreCopyLimits { downtime_ms: None, bandwidth_bytes_s: Some(mib_s * MIB) });
        let slow = outcome(|json| json["not_converged"]["passes"] = 1.into());
        let told = sentences(&slow, capped(5.0)).unwrap();
        let limit = "a bandwidth limit above the 5.00 MiB/s that the case sets";
        assert!(told.ends_with(&format!("What would end it: a longer limit_s, or {limit}.")), "{told}");
        let told = sentences(&outcome(|_| {}), capped(5.0)).unwrap();
        assert!(told.contains(&format!("What would end it: {limit}, or post-copy")), "{told}");
        // The link carries less than that.
        let told = sentences(&slow, capped(500.0)).unwrap();
        assert!(told.ends_with("a longer limit_s, or a faster link."), "{told}");
    }

    #[test]
    fn the_hypervisors_rate_is_a_bound_and_what_is_not_known_is_left_out() {
        let told = sentences(&outcome(|json| json["workload"] = serde_json::Value::Null), None).unwrap();
        assert!(told.contains("(dirtied at 113 MiB/s at least, by the hypervisor)"), "{told}");
        assert!(!told.contains("throttled"), "{told}");
        let bare = outcome(|json| {
            json["not_converged"] = serde_json::json!({ "after_ms": 20_000.0, "passes": 3 });
            json["wire_bytes"] = serde_json::Value::Null;
            json["link"] = serde_json::json!({});
        });
        assert_eq!(sentences(&bare, None).unwrap(), "20.0 s, 3 passes. What would end it: post-copy.");
        assert_eq!(sentences(&outcome(|json| json["not_converged"] = serde_json::Value::Null), None), None);
    }
}
