//! Whether cases of the same name were the same: what was asked of each.

use dunlin_record::Case;
use serde::Serialize;
use serde_json::Value;

/// A setting in which two cases of the same title differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedSetting {
    /// The cases' title.
    pub case: String,
    /// The setting's path, as in `vm.memory_mib`.
    pub setting: String,
    /// What it was in A; absent where A has no such setting.
    pub a: Option<Value>,
    /// What it was in B; absent where B has no such setting.
    pub b: Option<Value>,
}

/// How often a case is run, which changes none of its figures.
const AMOUNTS: [&str; 4] = ["trials.count", "trials.min", "trials.max", "trials.until"];

/// The settings in which cases of the same title differ, in A's order. How often a case is run is none.
#[must_use]
pub fn changed_settings(a: &[Case], b: &[Case]) -> Vec<ChangedSetting> {
    let mut changed = changed_settings_and_amounts(a, b);
    changed.retain(|one| !AMOUNTS.contains(&one.setting.as_str()));
    changed
}

/// The same, with how often a case is run.
#[must_use]
pub fn changed_settings_and_amounts(a: &[Case], b: &[Case]) -> Vec<ChangedSetting> {
    let mut changed = Vec::new();
    for before in a {
        let title = before.title();
        let Some(after) = b.iter().find(|case| case.title() == title) else { continue };
        // What could not be written as JSON would not have been recorded.
        let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
            continue;
        };
        differences(&title, "", Some(&before), Some(&after), &mut changed);
    }
    changed
}

fn differences(
    case: &str,
    path: &str,
    a: Option<&Value>,
    b: Option<&Value>,
    changed: &mut Vec<ChangedSetting>,
) {
    if a == b {
        return;
    }
    if let (Some(Value::Object(before)), Some(Value::Object(after))) = (a, b) {
        let added = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(added) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            differences(case, &path, before.get(key), after.get(key), changed);
        }
        return;
    }
    changed.push(ChangedSetting {
        case: case.to_owned(),
        setting: path.to_owned(),
        a: a.cloned(),
        b: b.cloned(),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_asked_otherwise_is_named_and_how_often_is_not() {
        let same = crate::fixture::case();
        let mut other = same.clone();
        other.vm.memory_mib = 1024;
        other.trials.count = 99;
        other.qemu.parameters.insert("downtime-limit".into(), json!(500));
        let mut elsewhere = other.clone();
        elsewhere.name = "elsewhere".into();
        let a = [same.clone()];
        assert_eq!(changed_settings(&a, &[elsewhere, same]), []);
        let changed = changed_settings(&a, std::slice::from_ref(&other));
        let rows: Vec<_> =
            changed.iter().map(|one| (one.setting.as_str(), one.a.clone(), one.b.clone())).collect();
        assert_eq!(
            rows,
            [
                ("qemu.parameters.downtime-limit", None, Some(json!(500))),
                ("vm.memory_mib", Some(json!(512)), Some(json!(1024))),
            ]
        );
        assert_eq!(changed[0].case, "idle");
        let amounts = changed_settings_and_amounts(&a, &[other]);
        assert!(
            amounts.iter().any(|one| one.setting == "trials.count" && one.b == Some(json!(99))),
            "{amounts:?}"
        );
    }
}
