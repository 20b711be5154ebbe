//! Runs that someone else's disk may hold: whatever numbers and words are in them, they are rendered.

use dunlin_record::samples::{self, Choices, distort};
use dunlin_record::{TrialCapture, TrialId, WireAccount, WireGraph};
use dunlin_report::{csv, html, json, table};
use proptest::collection::vec;
use proptest::prelude::*;

use super::wire::account;
use super::{fixture, report};

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

/// A capture whose ticks are any, in order.
fn capture(trial: TrialId, choices: &mut Choices) -> TrialCapture {
    let mut tick: Vec<i64> = (0..choices.below(20)).map(|_| choices.number()).collect();
    tick.sort_unstable();
    let wire_bytes = tick.iter().map(|_| choices.number().cast_unsigned()).collect();
    let graph = WireGraph { tick_ms: 10.0, packets: vec![1; tick.len()], wire_bytes, tick };
    let account = WireAccount { graph, ..account() };
    TrialCapture { trial, file: "host-a-migration.pcapng".into(), probed: vec![], disks: vec![], account }
}
