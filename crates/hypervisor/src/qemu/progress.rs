//! `query-migrate`'s answer as progress and as the final report (QEMU `qapi/migration.json`, `MigrationInfo`).

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_record::HypervisorReport;
use serde_json::Value;

use super::events::state_of;
use crate::{Progress, Result};

/// How often an account that is not complete yet is asked for.
const ASK_EVERY_NS: i64 = 5 * MILLISECOND_NS;

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

/// QEMU's own account of a migration that ended, as it is when all of it has been filled in. It says that a migration has
/// completed before it counts how long that took (`migration_calculate_complete`): until then that is absent, not 0.
pub(super) fn final_report(
    mut ask: impl FnMut() -> Result<Value>,
    deadline: Deadline,
) -> Result<HypervisorReport> {
    let mut answer = ask()?;
    while !is_final(&answer) && !deadline.passed() {
        sleep_until(now_ns() + ASK_EVERY_NS);
        answer = ask()?;
    }
    if is_final(&answer) {
        // What is filled in one after the other may have been read in between.
        answer = ask()?;
    }
    Ok(report(&answer))
}

fn is_final(answer: &Value) -> bool {
    answer["status"] != "completed" || answer["total-time"].as_i64().is_some_and(|ms| ms > 0)
}

fn report(answer: &Value) -> HypervisorReport {
    let is_final = is_final(answer);
    let ms = |name: &str| answer.get(name).and_then(Value::as_f64).filter(|_| is_final);
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
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// The report of a QEMU that answers so, one after the other, the last again and again; and how often it was asked.
    fn told(answers: &[Value], limit_ms: u64) -> (HypervisorReport, usize) {
        let mut asked = 0;
        let ask = || {
            asked += 1;
            Ok(answers[(asked - 1).min(answers.len() - 1)].clone())
        };
        let report = final_report(ask, Deadline::after(Duration::from_millis(limit_ms))).unwrap();
        (report, asked)
    }

    /// Seen of QEMU 7.2, 0.4 ms after its event.
    #[test]
    fn an_account_is_taken_when_it_is_filled_in() {
        let early = json!({ "status": "completed", "downtime": 0, "total-time": 0 });
        let half = json!({ "status": "completed", "downtime": 0, "total-time": 745 });
        let whole = json!({ "status": "completed", "downtime": 44, "total-time": 745 });
        let times = |report: &HypervisorReport| (report.downtime_ms, report.total_time_ms);
        let (report, asked) = told(&[early.clone(), early.clone(), half, whole], 60_000);
        assert_eq!((times(&report), asked), ((Some(44.0), Some(745.0)), 4));
        let (report, asked) = told(&[early], 20);
        assert_eq!(times(&report), (None, None));
        assert!(asked > 1);
        let (report, _) = told(&[json!({ "status": "failed", "error-desc": "why" })], 60_000);
        assert_eq!((times(&report), report.error), ((None, None), Some("why".into())));
    }

    #[test]
    fn what_qemu_does_not_say_is_absent() {
        assert_eq!(progress(&json!({})), Progress::default());
        let said = progress(&json!({ "ram": { "transferred": 5, "dirty-sync-count": 2, "normal": "?" } }));
        assert_eq!((said.transferred_bytes, said.pass, said.normal_pages), (Some(5), Some(2), None));
        let report = report(&json!({ "downtime": 44, "ram": { "transferred": 9 } }));
        assert_eq!((report.downtime_ms, report.total_time_ms, report.ram_bytes), (Some(44.0), None, Some(9)));
    }
}
