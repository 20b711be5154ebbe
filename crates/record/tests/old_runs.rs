//! Run folders of earlier versions (`fixtures/runs`): each event and each series is read, and whole.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use dunlin_record::{EventKind, RunFolder, TrialId, read_events, read_series};
use serde_json::Value;

fn folders() -> Vec<PathBuf> {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/runs");
    let folders: Vec<_> = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!folders.is_empty(), "there is no run folder to be read");
    folders
}

fn trials() -> Vec<(RunFolder, TrialId)> {
    let mut trials = Vec::new();
    for path in folders() {
        let folder = RunFolder::open(&path).unwrap();
        let of_folder = folder.trials().unwrap();
        assert!(!of_folder.is_empty(), "{} has no trial", path.display());
        trials.extend(of_folder.into_iter().map(|trial| (folder.clone(), trial)));
    }
    trials
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(fs::File::open(path).unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_event_of_an_earlier_version_is_known() {
    for (folder, trial) in trials() {
        let path = folder.events_path(&trial);
        let text = String::from_utf8(unpacked(&path)).unwrap();
        let read = read_events(&path).unwrap();
        assert!(!read.truncated, "{}", path.display());
        assert_eq!(read.events.len(), text.lines().count(), "{}", path.display());
        for (line, event) in text.lines().zip(&read.events) {
            assert!(event.kind != EventKind::Unknown, "{}: {line}", path.display());
        }
    }
}

/// Wherever a value stands today: written again, the event still has each number and each text it had.
#[test]
fn no_value_of_an_event_of_an_earlier_version_is_lost() {
    for (folder, trial) in trials() {
        let path = folder.events_path(&trial);
        let text = String::from_utf8(unpacked(&path)).unwrap();
        for (line, event) in text.lines().zip(read_events(&path).unwrap().events) {
            let then = values(&serde_json::from_str(line).unwrap());
            let now = values(&serde_json::to_value(&event).unwrap());
            let lost: Vec<_> = then.iter().filter(|value| !now.contains(value)).collect();
            assert!(lost.is_empty(), "{}: {lost:?} of {line}", path.display());
        }
    }
}

/// The numbers and texts of a JSON value, without their keys.
fn values(of: &Value) -> Vec<Value> {
    match of {
        Value::Array(items) => items.iter().flat_map(values).collect(),
        Value::Object(members) => members.values().flat_map(values).collect(),
        Value::Number(_) | Value::String(_) => vec![of.clone()],
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}

#[test]
fn every_series_of_an_earlier_version_is_read_whole() {
    for (folder, trial) in trials() {
        let record = folder.read_trial(&trial).unwrap();
        assert!(!record.truncated, "{trial}");
        let mut files = 0;
        for entry in fs::read_dir(folder.path().join("series").join(trial.as_str())).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let series = read_series(&path).unwrap();
            assert_eq!(record.series.get(name), Some(&series), "{}", path.display());
            assert!(!series.truncated, "{}", path.display());
            let bytes = unpacked(&path);
            let header = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let values: Vec<i64> = series.rows().flatten().copied().collect();
            let written: Vec<i64> = bytes[header..]
                .chunks(8)
                .map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()))
                .collect();
            assert_eq!(values, written, "{}", path.display());
            files += 1;
        }
        assert_eq!(record.series.len(), files, "{trial}");
    }
}

#[test]
fn what_an_earlier_version_asked_and_what_came_out_is_read() {
    for path in folders() {
        let folder = RunFolder::open(&path).unwrap();
        assert!(!folder.info().unwrap().cases.is_empty(), "{}", path.display());
        let lines = fs::read_to_string(folder.outcomes_path()).unwrap().lines().count();
        assert_eq!(folder.outcomes().unwrap().len(), lines, "{}", path.display());
    }
}
