//! Run folders of earlier versions (`fixtures/runs`): their outcomes, computed again, are what they were.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use dunlin_analysis::outcomes;
use dunlin_record::RunFolder;
use serde_json::Value;

fn folders() -> Vec<PathBuf> {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/runs");
    let mut folders: Vec<_> = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "there is no run folder to be read");
    folders
}

/// Every outcome of the folder as it is computed today, in the order of `trials.jsonl`.
fn computed(folder: &RunFolder) -> Vec<Value> {
    let mut all = Vec::new();
    for trial in folder.trials().unwrap() {
        let record = folder.read_trial(&trial).unwrap();
        all.extend(outcomes(&record).unwrap().iter().map(|outcome| serde_json::to_value(outcome).unwrap()));
    }
    all
}

#[test]
fn the_outcomes_of_an_earlier_version_are_computed_again_the_same_line_by_line() {
    for path in folders() {
        let folder = RunFolder::open(&path).unwrap();
        let written = fs::read_to_string(folder.outcomes_path()).unwrap();
        let computed = computed(&folder);
        assert_eq!(written.lines().count(), computed.len(), "{}", path.display());
        for (line, now) in written.lines().zip(&computed) {
            let then: Value = serde_json::from_str(line).unwrap();
            let changed = changed(&then, now, "");
            assert!(changed.is_empty(), "{}: {}:\n{}", path.display(), then["id"], changed.join("\n"));
        }
    }
}

/// What of a value that was is gone or another; what has come to it is none of that.
fn changed(then: &Value, now: &Value, at: &str) -> Vec<String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then
            .iter()
            .flat_map(|(key, value)| {
                changed(value, now.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"))
            })
            .collect(),
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => then
            .iter()
            .zip(now)
            .enumerate()
            .flat_map(|(index, (then, now))| changed(then, now, &format!("{at}[{index}]")))
            .collect(),
        // A figure that was not measured may be one day.
        (Value::Null, _) => Vec::new(),
        _ if then == now => Vec::new(),
        // It was over a time that went on after the probe.
        _ if at.ends_with(".after.answered_per_s") => Vec::new(),
        _ => vec![format!("{at} was {then}, is {now}")],
    }
}

#[test]
fn the_outcomes_of_earlier_versions_are_these() {
    for path in folders() {
        let mut text = String::new();
        for outcome in computed(&RunFolder::open(&path).unwrap()) {
            writeln!(text, "{} {}", outcome["id"], outcome["vm"]).unwrap();
            write_figures(&outcome, "", &mut text);
            text.push('\n');
        }
        insta::assert_snapshot!(path.file_name().unwrap().to_str().unwrap(), text);
    }
}

/// A line for each figure by its keys. A list of numbers stands in one; what is absent has none.
fn write_figures(of: &Value, at: &str, text: &mut String) {
    match of {
        Value::Null => {}
        Value::Object(members) => {
            for (key, value) in members {
                write_figures(value, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, text);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                write_figures(item, &format!("{at}[{index}]"), text);
            }
        }
        _ => writeln!(text, "  {at}: {of}").unwrap(),
    }
}
