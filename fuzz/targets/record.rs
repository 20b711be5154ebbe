//! Records of trials, as someone else's run may hold them: lines of events, and behind a line of zeros a series. They are
//! read or refused, and what was read has outcomes that can be written and read again.
//!
//! The same bytes are also taken for choices: what to put for the numbers and words of every kind of event and every shape
//! of series.
#![no_main]

use std::collections::BTreeMap;

use dunlin_record::samples::{self, Choices, series_names};
use dunlin_record::{Outcome, Series, TrialId, TrialRecord, read_events, read_series};
use libfuzzer_sys::fuzz_target;

/// Parts the events from the series.
const BREAK: &[u8] = b"\n\0\n";

fuzz_target!(|bytes: &[u8]| {
    if let Some(record) = as_files(bytes) {
        read(&record);
    }
    read(&samples::record(&mut Choices::new(bytes)));
});

/// The record that these bytes are as files; the one series is there under every name.
fn as_files(bytes: &[u8]) -> Option<TrialRecord> {
    let parting = bytes.windows(BREAK.len()).position(|window| window == BREAK);
    let (events, series) = match parting {
        Some(at) => (&bytes[..=at], Some(&bytes[at + BREAK.len()..])),
        None => (bytes, None),
    };
    let dir = tempfile::tempdir().expect("a folder for the files");
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        let packed = zstd::encode_all(bytes, 1).expect("bytes can be compressed");
        std::fs::write(&path, packed).expect("the files fit on the disk");
        path
    };
    let series = series.and_then(|bytes| read_series(&write("series", bytes)).ok());
    let read = read_events(&write("events", events)).ok()?;
    let mut events = read.events;
    events.sort_by_key(|event| event.t_ns);
    let names = series_names().map(|(_, name)| name);
    Some(TrialRecord {
        id: TrialId::new("01-fuzz-1"),
        events,
        series: names.zip(series.into_iter().cycle()).collect::<BTreeMap<String, Series>>(),
        capture: None,
        truncated: read.truncated,
    })
}

/// Has all that reads records read it.
fn read(record: &TrialRecord) {
    let outcomes = dunlin_analysis::outcomes(record);
    let _ = dunlin_analysis::timeline(record);
    let _ = dunlin_analysis::boundaries(record);
    let _ = dunlin_analysis::time_shares(record);
    for outcome in outcomes.unwrap_or_default() {
        let line = serde_json::to_string(&outcome).expect("an outcome can be written");
        let again: Outcome = serde_json::from_str(&line).expect("an outcome can be read");
        assert_eq!(again, outcome);
    }
}
