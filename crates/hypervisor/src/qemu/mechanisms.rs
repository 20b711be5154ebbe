//! Which mechanisms QEMU was asked for, and what it tells of their use.

use dunlin_record::{Mechanism, MechanismSeen};
use serde_json::Value;

use super::transport::MigrationSettings;

/// What was noticed of a migration while it ran that its last answer does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Noticed {
    /// The most by which vCPUs were slowed.
    pub(super) throttle_percent: i64,
    /// Of disks whose writes were asked to wait for both hosts: whether all of them did when they were even.
    pub(super) in_step: Option<bool>,
}

/// What was seen of each mechanism that was asked for: by the source's last `query-migrate` and its parameters then
/// (`qapi/migration.json`), and by what was noticed before.
pub(super) fn mechanisms_seen(
    asked: &MigrationSettings,
    answer: &Value,
    parameters: &Value,
    noticed: Noticed,
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
    if let Some(in_step) = noticed.in_step {
        add(Mechanism::DisksInStep, Some(in_step), format!("actively-synced: {in_step}"));
    }
    all
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

    fn seen(asked: &MigrationSettings, answer: &Value, noticed: Noticed) -> Vec<(Mechanism, Option<bool>)> {
        let parameters = json!({ "tls-creds": "tls-1" });
        let all = mechanisms_seen(asked, answer, &parameters, noticed);
        all.into_iter().map(|seen| (seen.mechanism, seen.used)).collect()
    }

    #[test]
    fn what_was_asked_for_is_told_of_and_nothing_else() {
        let plain = asked(&["events"], &json!({ "multifd-compression": "none" }));
        assert_eq!(seen(&plain, &json!({}), Noticed::default()), []);
        let all = asked(
            &["multifd", "xbzrle", "auto-converge", "postcopy-preempt"],
            &json!({ "multifd-compression": "zstd", "tls-creds": "tls-1" }),
        );
        let answer = json!({
            "ram": { "multifd-bytes": 400, "normal-bytes": 1000 },
            "xbzrle-cache": { "pages": 3 },
        });
        let noticed = Noticed { throttle_percent: 20, in_step: Some(true) };
        let expected = [
            (Mechanism::Channels, Some(true)),
            (Mechanism::Compression, Some(true)),
            (Mechanism::Compression, Some(true)),
            (Mechanism::Tls, Some(true)),
            (Mechanism::Preempt, None),
            (Mechanism::Throttle, Some(true)),
            (Mechanism::DisksInStep, Some(true)),
        ];
        assert_eq!(seen(&all, &answer, noticed), expected);
    }

    #[test]
    fn what_was_not_used_and_what_is_not_told_are_two_things() {
        let both = asked(&["multifd", "auto-converge"], &json!({ "multifd-compression": "zlib" }));
        let unused = json!({ "ram": { "multifd-bytes": 0, "normal-bytes": 0 } });
        let not = |used| {
            [(Mechanism::Channels, used), (Mechanism::Compression, used), (Mechanism::Throttle, Some(false))]
        };
        assert_eq!(seen(&both, &unused, Noticed::default()), not(Some(false)));
        assert_eq!(seen(&both, &json!({}), Noticed::default()), not(None));
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
