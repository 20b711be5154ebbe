//! Records of trials, as someone else's run may hold them: lines of events, and behind a line of zeros a series. They are
//! read or refused, and what was read has outcomes that can be written and read again.
#![no_main]

use std::collections::BTreeMap;

use dunlin_record::{Outcome, Series, TrialId, TrialRecord, read_events, read_series};
use libfuzzer_sys::fuzz_target;

/// Parts the events from the series.
const BREAK: &[u8] = b"\n\0\n";

fuzz_target!(|bytes: &[u8]| {
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
    let Ok(read) = read_events(&write("events", events)) else { return };
    let mut events = read.events;
    events.sort_by_key(|event| event.t_ns);
    let record = TrialRecord {
        id: TrialId::new("01-fuzz-1"),
        events,
        series: names().zip(series.into_iter().cycle()).collect::<BTreeMap<String, Series>>(),
        capture: None,
        truncated: read.truncated,
    };
    let Ok(outcomes) = dunlin_analysis::outcomes(&record) else { return };
    let _ = dunlin_analysis::timeline(&record);
    let _ = dunlin_analysis::boundaries(&record);
    let _ = dunlin_analysis::time_shares(&record);
    for outcome in outcomes {
        let line = serde_json::to_string(&outcome).expect("an outcome can be written");
        let again: Outcome = serde_json::from_str(&line).expect("an outcome can be read");
        assert_eq!(again, outcome);
    }
});

/// Every place in which the analysis looks for a series.
fn names() -> impl Iterator<Item = String> {
    [
        "wire-host-a-migration",
        "wire-host-a-migration-2",
        "switch-host-a-migration",
        "vm0-progress",
        "vm0-probe-icmp-sent",
        "vm0-probe-icmp-answers",
        "vm0-passages-host-a",
        "vm0-passages-host-b",
        "vm0-cpu-host-a",
        "vm0-stream-0",
        "vm0-disorder-0",
        "cpu-host-a",
    ]
    .into_iter()
    .map(str::to_owned)
}
