//! What was asked, setting by setting, as the scenario's file names them: what differs between cases, and what all share.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_record::Case;
use serde_json::Value;

/// What follows from the rest of a case, or names it.
const FOLLOWS: [&str; 3] = ["dials", "limits", "name"];

/// The settings of a run's cases.
pub(crate) struct Asked {
    /// The settings in which cases differ, by their paths.
    pub(crate) differing: Vec<String>,
    /// Each case's values of those, absent where it has no such setting.
    pub(crate) cases: Vec<(String, Vec<Option<String>>)>,
    /// The settings of which all have the same value, with it.
    pub(crate) shared: Vec<(String, String)>,
}

impl Asked {
    /// Of cases, in their order.
    pub(crate) fn of(cases: &[Case]) -> Self {
        let mut settings: Vec<BTreeMap<String, String>> = cases.iter().map(settings_of).collect();
        // An empty table beside one with entries says no more than that these are absent.
        let tables: BTreeSet<String> =
            settings.iter().flat_map(BTreeMap::keys).flat_map(|path| parents(path)).collect();
        settings.iter_mut().for_each(|one| one.retain(|path, _| !tables.contains(path)));
        let paths: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
        let mut asked = Self { differing: Vec::new(), cases: Vec::new(), shared: Vec::new() };
        for path in paths {
            let values: BTreeSet<Option<&String>> = settings.iter().map(|one| one.get(path)).collect();
            match values.first() {
                Some(Some(value)) if values.len() == 1 => {
                    asked.shared.push((path.clone(), (*value).clone()));
                }
                _ => asked.differing.push(path.clone()),
            }
        }
        let values = |one: &BTreeMap<String, String>| {
            asked.differing.iter().map(|path| one.get(path).cloned()).collect()
        };
        asked.cases = cases.iter().zip(&settings).map(|(case, one)| (case.title(), values(one))).collect();
        asked
    }
}

/// The tables that a setting is in.
fn parents(path: &str) -> impl Iterator<Item = String> + '_ {
    path.match_indices('.').map(|(at, _)| path[..at].to_owned())
}

/// A case's settings by their paths; those that were left open are absent.
fn settings_of(case: &Case) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    // What could not be written as JSON would not have been recorded.
    if let Ok(Value::Object(whole)) = serde_json::to_value(case) {
        for (key, value) in whole.iter().filter(|(key, _)| !FOLLOWS.contains(&key.as_str())) {
            flatten(key, value, &mut settings);
        }
    }
    settings
}

fn flatten(path: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Null => return,
        Value::Object(inner) if !inner.is_empty() => {
            for (key, value) in inner {
                flatten(&format!("{path}.{key}"), value, settings);
            }
            return;
        }
        Value::Object(_) => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        // As arguments stand on a command line.
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Value::String(text) if text.is_empty() => return,
        Value::String(text) => text.clone(),
        // As whoever wrote the file wrote it, who need not have written the fraction.
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |value| value.to_string())
        }
        other => other.to_string(),
    };
    settings.insert(path.to_owned(), text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(name: &str, toy: &Value) -> Case {
        serde_json::from_value(json!({
            "name": name, "vm": { "kernel": "/boot/own" }, "toy": toy, "link": { "migration": { "rate_mbit": 100.0 } },
            "probes": {}, "workload": null, "strategy": { "kind": "pre-copy" }, "trials": {}
        }))
        .unwrap()
    }

    #[test]
    fn what_differs_stands_apart_from_what_all_share() {
        let plain = json!({ "binary": "old", "capabilities": {}, "extra_args": [] });
        let tuned = json!({
            "binary": "old", "destination_binary": "new", "capabilities": { "fast": true },
            "extra_args": ["-device", "balloon"]
        });
        let asked = Asked::of(&[case("a", &plain), case("b", &tuned)]);
        let differing = ["toy.capabilities.fast", "toy.destination_binary", "toy.extra_args"];
        assert_eq!(asked.differing, differing);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(asked.cases[0], ("a".into(), vec![None, None, some("none")]));
        assert_eq!(asked.cases[1].1, [some("true"), some("new"), some("-device balloon")]);
        for shared in [("toy.binary", "old"), ("vm.kernel", "/boot/own"), ("link.migration.rate_mbit", "100")]
        {
            assert!(asked.shared.contains(&(shared.0.into(), shared.1.into())), "{:?}", asked.shared);
        }
    }

    #[test]
    fn one_case_differs_from_none_and_no_case_is_nothing() {
        let asked = Asked::of(&[case("a", &json!({ "binary": "old" }))]);
        assert!(asked.differing.is_empty() && !asked.shared.is_empty());
        assert!(Asked::of(&[]).shared.is_empty());
    }
}
