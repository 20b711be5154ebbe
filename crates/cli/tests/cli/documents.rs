//! The documents of the run folder are held to the code and to a real run.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use dunlin_record::{RunFolder, outcome_schema, shapes};
use dunlin_test_support::skip;
use serde_json::{Value, json};

use super::{fixture, repository};

const RUN_FOLDER: &str = "docs/run-folder.md";
const SCHEMA: &str = "docs/trials.schema.json";
const EVENT_SOURCE: &str = include_str!("../../../record/src/event.rs");

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Whether a document names this as code.
fn names(document: &str, name: &str) -> bool {
    document.contains(&format!("`{name}`"))
}

#[test]
fn the_schema_that_is_shipped_is_the_code_s() {
    let text = format!("{:#}\n", outcome_schema());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(repository().join(SCHEMA), &text).unwrap();
    }
    assert_eq!(read(SCHEMA), text, "make it anew with UPDATE_DOCS=1");
}

#[test]
fn every_outcome_of_a_real_run_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(&read(SCHEMA)).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let lines = fs::read_to_string(fixture().path().join("run/trials.jsonl")).unwrap();
    let outcomes: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(outcomes.len(), 4);
    for outcome in &outcomes {
        let errors: Vec<String> = validator.iter_errors(outcome).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let broken = [
        ("/status", json!("lost")),
        ("/total_time_ms", json!("628 ms")),
        ("/trial", json!(-1)),
        ("/flags", json!(["no-such-flag"])),
        ("/downtime_ms/icmp", json!(true)),
        ("/case", json!({})),
    ];
    for (place, value) in broken {
        let mut outcome = outcomes[0].clone();
        *outcome.pointer_mut(place).unwrap() = value;
        assert!(!validator.is_valid(&outcome), "{place}");
    }
}

#[test]
fn every_event_and_its_keys_are_described() {
    let document = read(RUN_FOLDER);
    let events = event_names();
    assert!(events.len() > 20 && events.contains("trial-started"), "{events:?}");
    for event in &events {
        assert!(names(&document, event), "{RUN_FOLDER} lacks the event {event}");
    }
    let folder = fixture();
    let run = RunFolder::open(&folder.path().join("run")).unwrap();
    for trial in run.trials().unwrap() {
        for event in run.read_trial(&trial).unwrap().events {
            let Value::Object(event) = json!(event) else { panic!("an event is an object") };
            for key in event.keys() {
                assert!(names(&document, key), "{RUN_FOLDER} lacks the key {key} of {}", event["event"]);
            }
        }
    }
}

/// The events' names on disk, by the variants in the source: `MigrateCommand` is `migrate-command`.
fn event_names() -> BTreeSet<String> {
    let body = EVENT_SOURCE.split("pub enum EventKind {").nth(1).unwrap().split("\n}").next().unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    variants.filter(|line| line.starts_with(char::is_uppercase)).map(kebab).collect()
}

fn kebab(line: &str) -> String {
    let mut name = String::new();
    for letter in line.chars().take_while(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[test]
fn every_series_and_its_columns_are_described() {
    let document = read(RUN_FOLDER);
    let series = shapes::ALL.iter().flat_map(|(shape, names)| names.iter().map(move |name| (name, *shape)));
    for (name, shape) in series {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{RUN_FOLDER} lacks the series {name}"));
        let mut rest = row;
        for (column, _) in shape {
            let place = rest.find(&format!("`{column}`"));
            rest =
                &rest[place.unwrap_or_else(|| panic!("{name} lacks {column}, or has it in another place"))..];
        }
    }
}

#[test]
fn the_series_of_a_real_run_have_the_names_that_are_described() {
    let document = read(RUN_FOLDER);
    let folder = fixture();
    let run = RunFolder::open(&folder.path().join("run")).unwrap();
    let record = run.read_trial(&run.trials().unwrap()[0]).unwrap();
    assert_eq!(record.series.len(), 10);
    for name in record.series.keys() {
        let mut general = name.replace("vm0", "<vm>").replace("migration", "<network>");
        for (one, any) in
            [("icmp", "<probe>"), ("udp", "<probe>"), ("host-a", "<host>"), ("host-b", "<host>")]
        {
            general = general.replace(one, any);
        }
        assert!(names(&document, &general), "{RUN_FOLDER} lacks {general}");
    }
}

#[test]
fn the_examples_read_a_real_run() {
    let missing = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
    if let Some(tool) = ["zstd", "jq", "python3"].into_iter().find(missing) {
        return skip(format!("{tool} is not installed"));
    }
    let folder = fixture();
    let document = read(RUN_FOLDER);
    let examples: Vec<&str> =
        document.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let outputs: Vec<String> = examples
        .into_iter()
        .map(|example| {
            let output =
                Command::new("sh").args(["-euc", example]).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{example}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().take(4).collect::<Vec<_>>().join("\n")
        })
        .collect();
    insta::assert_snapshot!(outputs.join("\n\n"));
}
