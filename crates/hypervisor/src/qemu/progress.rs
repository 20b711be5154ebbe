//! `query-migrate`'s answer as progress and as the final report (QEMU `qapi/migration.json`, `MigrationInfo`).

use dunlin_record::HypervisorReport;
use serde_json::Value;

use super::events::state_of;
use crate::Progress;

/// The counters in an answer; what is not there is absent.
pub(super) fn progress(answer: &Value) -> Progress {
    let ram = |name: &str| answer.get("ram").and_then(|ram| ram.get(name)).and_then(Value::as_i64);
    Progress {
        state: answer.get("status").and_then(Value::as_str).and_then(state_of),
        transferred_bytes: ram("transferred"),
        remaining_bytes: ram("remaining"),
        total_bytes: ram("total"),
        normal_pages: ram("normal"),
        zero_pages: ram("duplicate"),
        dirty_rate_pages_s: ram("dirty-pages-rate"),
        pass: ram("dirty-sync-count"),
        throttle_percent: answer.get("cpu-throttle-percentage").and_then(Value::as_i64),
        postcopy_requests: ram("postcopy-requests"),
    }
}

/// QEMU's own account of a migration that ended.
pub(super) fn report(answer: &Value) -> HypervisorReport {
    let ms = |name: &str| answer.get(name).and_then(Value::as_f64);
    HypervisorReport {
        total_time_ms: ms("total-time"),
        downtime_ms: ms("downtime"),
        setup_time_ms: ms("setup-time"),
        ram_bytes: progress(answer).transferred_bytes,
        // Always there from QEMU 7.0 on; 0 where it did not count (as in post-copy).
        downtime_bytes: answer["ram"]["downtime-bytes"].as_i64().filter(|bytes| *bytes > 0),
        error: answer.get("error-desc").and_then(Value::as_str).map(str::to_owned),
        raw: answer
            .as_object()
            .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_qemu_does_not_say_is_absent() {
        assert_eq!(progress(&json!({})), Progress::default());
        let said = progress(&json!({ "ram": { "transferred": 5, "dirty-sync-count": 2, "normal": "?" } }));
        assert_eq!((said.transferred_bytes, said.pass, said.normal_pages), (Some(5), Some(2), None));
        let report = report(&json!({ "downtime": 44, "ram": { "transferred": 9 } }));
        assert_eq!((report.downtime_ms, report.total_time_ms, report.ram_bytes), (Some(44.0), None, Some(9)));
    }
}
