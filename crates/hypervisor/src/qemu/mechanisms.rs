//! Which mechanisms QEMU was asked for, and what it tells of their use.

use dunlin_record::{Blocks, Mechanism, MechanismSeen, StorageSettings};
use serde_json::Value;

use super::transport::MigrationSettings;

/// What was noticed of a migration while it ran that its last answer does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Noticed {
    /// The most by which vCPUs were slowed.
    pub(super) throttle_percent: i64,
    /// Of disks whose writes were asked to wait for both hosts: what came of it.
    pub(super) in_step: Option<InStep>,
    /// What else was seen of the copies of disks.
    pub(super) copies: Vec<MechanismSeen>,
}

/// Whether writes waited for both hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InStep {
    /// Whether all of them did when the disks were even; absent where QEMU does not tell (before 8.2).
    pub(super) seen: Option<bool>,
    /// Whether that was asked for before anything was copied.
    pub(super) from_begin: bool,
}

/// What was seen of each mechanism that was asked for: by the source's last `query-migrate` and its parameters then
/// (`qapi/migration.json`), and by what was noticed before.
pub(super) fn mechanisms_seen(
    asked: &MigrationSettings,
    answer: &Value,
    parameters: &Value,
    noticed: &Noticed,
) -> Vec<MechanismSeen> {
    let has = |capability: &str| asked.capabilities.get(capability) == Some(&true);
    let asks = |parameter: &str| asked.parameters.get(parameter).and_then(Value::as_str);
    let ram = |counter: &str| answer["ram"][counter].as_i64();
    let mut all = Vec::new();
    let mut add = |mechanism, used, evidence| all.push(MechanismSeen { mechanism, used, evidence });
    let multifd_bytes = ram("multifd-bytes");
    if has("multifd") {
        add(Mechanism::Channels, multifd_bytes.map(|bytes| bytes > 0), told("multifd-bytes", multifd_bytes));
    }
    if asks("multifd-compression").is_some_and(|codec| codec != "none") {
        let pages_bytes = ram("normal-bytes");
        let used = multifd_bytes.zip(pages_bytes).map(|(sent, pages)| sent < pages / 100 * 98);
        let evidence =
            format!("{} for {}", told("multifd-bytes", multifd_bytes), told("normal-bytes", pages_bytes));
        add(Mechanism::Compression, used, evidence);
    }
    for (capability, stats, counter) in
        [("xbzrle", "xbzrle-cache", "pages"), ("compress", "compression", "pages")]
    {
        if has(capability) {
            let pages = answer[stats][counter].as_i64();
            add(
                Mechanism::Compression,
                pages.map(|pages| pages > 0),
                told(&format!("{stats}.{counter}"), pages),
            );
        }
    }
    if asked.parameters.contains_key("tls-creds") {
        // A destination that wants TLS takes nothing else.
        let creds = parameters["tls-creds"].as_str();
        add(
            Mechanism::Tls,
            creds.map(|creds| !creds.is_empty()),
            format!("tls-creds: {}", creds.unwrap_or("not told")),
        );
    }
    if has("postcopy-preempt") {
        add(Mechanism::Preempt, None, "QEMU does not tell".into());
    }
    if has("auto-converge") {
        let percent = noticed.throttle_percent;
        add(Mechanism::Throttle, Some(percent > 0), told("cpu-throttle-percentage", Some(percent)));
    }
    if let Some(InStep { seen, from_begin }) = noticed.in_step {
        let told = seen.map_or_else(|| "not told".to_owned(), |seen| seen.to_string());
        let since = if from_begin { " (copy-mode: write-blocking from the begin)" } else { "" };
        add(Mechanism::DisksInStep, seen, format!("actively-synced: {told}{since}"));
    }
    all.extend(noticed.copies.iter().cloned());
    all
}

/// What was seen of what was asked of copies of disks: by their jobs, just before they are to end, how long they had taken by
/// then, and how much had been sent for them, where that is known.
pub(super) fn copies_seen(
    how: &StorageSettings,
    jobs: &Value,
    took_ms: f64,
    sent_bytes: Option<i64>,
) -> Vec<MechanismSeen> {
    const MIB: f64 = 1_048_576.0;
    let jobs: Vec<&Value> =
        jobs.as_array().into_iter().flatten().filter(|job| job["type"] == "mirror").collect();
    let sum = |counter: &str| {
        jobs.iter()
            .map(|job| job[counter].as_i64())
            .try_fold(0_i64, |all, one| Some(all.saturating_add(one?)))
    };
    let mut all = Vec::new();
    if how.blocks == Blocks::All {
        let used = sum("len").zip(sent_bytes).map(|(len, sent)| sent >= len / 100 * 98);
        let evidence = format!("{} for {}", told("bytes_sent", sent_bytes), told("len", sum("len")));
        all.push(MechanismSeen { mechanism: Mechanism::AllBlocks, used, evidence });
    }
    if let Some(rate_mib_s) = how.rate_mib_s {
        let is_set =
            !jobs.is_empty() && jobs.iter().all(|job| job["speed"].as_u64().is_some_and(|speed| speed > 0));
        // Holes are counted as copied, but not held back: what was sent tells. A job may be ahead by the slice that it is in.
        let (took_s, slice_s) = (took_ms / 1e3, 0.1);
        let most_bytes = rate_mib_s * MIB * (took_s + slice_s) * 1.1;
        let used = Some(is_set && sent_bytes.is_none_or(|sent| sent as f64 <= most_bytes));
        let mean = sent_bytes.map_or_else(
            || "mean not told".to_owned(),
            |sent| format!("{:.1} MiB/s of {rate_mib_s} on average", sent as f64 / MIB / took_s),
        );
        let evidence = format!("speed: {}, {mean}", told_of("speed", &jobs));
        all.push(MechanismSeen { mechanism: Mechanism::DisksRate, used, evidence });
    }
    all
}

fn told_of(counter: &str, jobs: &[&Value]) -> String {
    jobs.iter().map(|job| job[counter].to_string()).collect::<Vec<_>>().join(" + ")
}

/// Of jobs that mirror disks: whether all of them have their writes wait for both hosts; absent where QEMU does not tell.
pub(super) fn all_in_step(jobs: &Value) -> Option<bool> {
    let jobs = jobs.as_array()?.iter().filter(|job| job["type"] == "mirror");
    let told: Option<Vec<bool>> = jobs.map(|job| job["actively-synced"].as_bool()).collect();
    told.filter(|told| !told.is_empty()).map(|told| told.into_iter().all(|in_step| in_step))
}

fn told(name: &str, value: Option<i64>) -> String {
    value.map_or_else(|| format!("{name}: not told"), |value| format!("{name}: {value}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(capabilities: &[&str], parameters: &Value) -> MigrationSettings {
        let mut asked = MigrationSettings::default();
        asked.capabilities.extend(capabilities.iter().map(|name| ((*name).to_owned(), true)));
        let named = parameters.as_object().unwrap().clone();
        asked.parameters.extend(named);
        asked
    }

    fn seen(asked: &MigrationSettings, answer: &Value, noticed: &Noticed) -> Vec<(Mechanism, Option<bool>)> {
        let parameters = json!({ "tls-creds": "tls-1" });
        let all = mechanisms_seen(asked, answer, &parameters, noticed);
        all.into_iter().map(|seen| (seen.mechanism, seen.used)).collect()
    }

    #[test]
    fn what_was_asked_for_is_told_of_and_nothing_else() {
        let plain = asked(&["events"], &json!({ "multifd-compression": "none" }));
        assert_eq!(seen(&plain, &json!({}), &Noticed::default()), []);
        let all = asked(
            &["multifd", "xbzrle", "auto-converge", "postcopy-preempt"],
            &json!({ "multifd-compression": "zstd", "tls-creds": "tls-1" }),
        );
        let answer = json!({
            "ram": { "multifd-bytes": 400, "normal-bytes": 1000 },
            "xbzrle-cache": { "pages": 3 },
        });
        let in_step = Some(InStep { seen: Some(true), from_begin: false });
        let noticed = Noticed { throttle_percent: 20, in_step, ..Noticed::default() };
        let expected = [
            (Mechanism::Channels, Some(true)),
            (Mechanism::Compression, Some(true)),
            (Mechanism::Compression, Some(true)),
            (Mechanism::Tls, Some(true)),
            (Mechanism::Preempt, None),
            (Mechanism::Throttle, Some(true)),
            (Mechanism::DisksInStep, Some(true)),
        ];
        assert_eq!(seen(&all, &answer, &noticed), expected);
    }

    #[test]
    fn what_was_not_used_and_what_is_not_told_are_two_things() {
        let both = asked(&["multifd", "auto-converge"], &json!({ "multifd-compression": "zlib" }));
        let unused = json!({ "ram": { "multifd-bytes": 0, "normal-bytes": 0 } });
        let not = |used| {
            [(Mechanism::Channels, used), (Mechanism::Compression, used), (Mechanism::Throttle, Some(false))]
        };
        assert_eq!(seen(&both, &unused, &Noticed::default()), not(Some(false)));
        assert_eq!(seen(&both, &json!({}), &Noticed::default()), not(None));
    }

    #[test]
    fn what_was_asked_of_copies_is_held_against_what_they_did() {
        let job = json!({ "type": "mirror", "len": 100 << 20, "offset": 50 << 20, "speed": 10 << 20 });
        let jobs = json!([job]);
        let used = |how: &StorageSettings, took_ms, sent| {
            let seen = copies_seen(how, &jobs, took_ms, sent);
            seen.into_iter().map(|one| (one.mechanism, one.used)).collect::<Vec<_>>()
        };
        assert_eq!(used(&StorageSettings::default(), 5e3, None), []);
        let rate = StorageSettings { rate_mib_s: Some(10.0), ..StorageSettings::default() };
        let sent = Some(50 << 20);
        assert_eq!(used(&rate, 5e3, sent), [(Mechanism::DisksRate, Some(true))]);
        assert_eq!(used(&rate, 1e3, sent), [(Mechanism::DisksRate, Some(false))], "50 MiB in a second");
        assert_eq!(used(&rate, 1e3, None), [(Mechanism::DisksRate, Some(true))], "as far as is known");
        let all = StorageSettings { blocks: Blocks::All, ..StorageSettings::default() };
        for (sent, expected) in [(Some(100 << 20), Some(true)), (Some(60 << 20), Some(false)), (None, None)] {
            assert_eq!(used(&all, 5e3, sent), [(Mechanism::AllBlocks, expected)]);
        }
    }

    #[test]
    fn disks_are_in_step_when_all_of_them_are() {
        let job = |in_step: Value| json!({ "type": "mirror", "actively-synced": in_step });
        assert_eq!(all_in_step(&json!([job(true.into()), job(true.into())])), Some(true));
        assert_eq!(all_in_step(&json!([job(true.into()), job(false.into())])), Some(false));
        assert_eq!(all_in_step(&json!([job(true.into()), json!({ "type": "mirror" })])), None);
        assert_eq!(all_in_step(&json!([])), None);
    }
}
