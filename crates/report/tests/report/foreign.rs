//! Runs that someone else's disk may hold: whatever numbers and words are in them, they are rendered.

use dunlin_record::samples::{self, Choices, distort};
use dunlin_record::{Difference, Resumption, SkippedCase, TrialCapture, TrialId, WireAccount, WireGraph};
use dunlin_report::{csv, html, json, table};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fixture::{self, HOSTILE};
use super::report;
use super::wire::account;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_run_makes_a_rendering_panic(seed in vec(any::<u8>(), 0..6000)) {
        let choices = &mut Choices::new(&seed);
        let mut run = fixture::run();
        run.outcomes.truncate(4);
        run.timelines.clear();
        let ids: Vec<_> = run.outcomes.iter().map(|outcome| outcome.id.clone()).collect();
        run.info = distort(&run.info, choices);
        run.outcomes = run.outcomes.iter().map(|outcome| distort(outcome, choices)).collect();
        for id in ids {
            let mut record = samples::record(choices);
            run.outcomes.extend(dunlin_analysis::outcomes(&record).unwrap_or_default());
            record.id = id.clone();
            run.timelines.extend(dunlin_analysis::timeline(&record));
            run.captures.push(capture(id, choices));
        }
        let report = report(&run);
        let _ = (table(&report, Some(100)), table(&report, None), csv(&report), json(&report), html(&report));
    }
}

#[test]
fn no_word_of_a_run_ends_an_element_of_the_page() {
    let mut run = fixture::run();
    run.info.skipped.push(SkippedCase { title: String::new(), because: String::new() });
    run.info.resumed.push(Resumption {
        at_epoch_ms: 0,
        kept: Vec::new(),
        differences: vec![Difference { what: String::new(), before: Some(String::new()), now: None }],
    });
    run.info = hostile(&run.info);
    run.outcomes = run.outcomes.iter().map(hostile).collect();
    for timeline in &mut run.timelines {
        timeline.marks.iter_mut().for_each(|mark| mark.label = HOSTILE.into());
        timeline.spans.iter_mut().for_each(|span| span.name = HOSTILE.into());
        timeline.probes.iter_mut().for_each(|probe| probe.name = HOSTILE.into());
    }
    let mut account = account();
    account.conversations[0].a = HOSTILE.into();
    account.marks[0].text = HOSTILE.into();
    let trial = run.timelines[0].trial.clone();
    let of_trial = TrialCapture { trial, file: HOSTILE.into(), probed: vec![], disks: vec![], account };
    run.captures.push(of_trial);
    let page = html(&report(&run));
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script>alert"),
        "a word stands in it as it is"
    );
}

/// The value with a hostile text for every word that may be any.
fn hostile<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let mut json = serde_json::to_value(value).expect("a sample can be written");
    let places = places(&json);
    for place in places {
        let leaf = json.pointer_mut(&place).expect("it is there");
        let before = std::mem::replace(leaf, HOSTILE.into());
        if T::deserialize(&json).is_err() {
            *json.pointer_mut(&place).expect("it is there") = before;
        }
    }
    serde_json::from_value(json).expect("what did not fit was put back")
}

/// The JSON pointers to all words.
fn places(value: &Value) -> Vec<String> {
    let below = |name: &str, value: &Value| -> Vec<String> {
        let name = name.replace('~', "~0").replace('/', "~1");
        places(value).into_iter().map(|place| format!("/{name}{place}")).collect()
    };
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| below(name, value)).collect(),
        Value::Array(values) => {
            (0..).zip(values).flat_map(|(index, value)| below(&i32::to_string(&index), value)).collect()
        }
        Value::String(_) => vec![String::new()],
        _ => Vec::new(),
    }
}

/// A capture whose ticks are any, in order.
fn capture(trial: TrialId, choices: &mut Choices) -> TrialCapture {
    let mut tick: Vec<i64> = (0..choices.below(20)).map(|_| choices.number()).collect();
    tick.sort_unstable();
    let wire_bytes = tick.iter().map(|_| choices.number().cast_unsigned()).collect();
    let graph = WireGraph { tick_ms: 10.0, packets: vec![1; tick.len()], wire_bytes, tick };
    let account = WireAccount { graph, ..account() };
    TrialCapture { trial, file: "host-a-migration.pcapng".into(), probed: vec![], disks: vec![], account }
}
