//! Captures of a real migration: nothing is dropped, they agree with the counters, and tshark reads them.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dunlin_record::{RunFolder, Series};
use harness::Run;

const SCHEMA: &str = include_str!("../../../docs/trials.schema.json");

const SCENARIO: &str = r#"
[vm]
memory_mib = 128
[capture]
migration = true
service = true
[trials]
count = 1
limit_s = 60
baseline_s = 0.6
settle_s = 0.6
[[case]]
name = "dirty"
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = 20 }
"#;

#[test]
fn vm_captures_hold_all_that_passed_with_the_phases_as_comments() {
    need_vms!();
    let finished = Run::start("capture", SCENARIO).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.story());
    let run = RunFolder::open(&finished.folder).unwrap();
    let [trial] = run.trials().unwrap().try_into().unwrap();
    let captures: BTreeMap<String, [u64; 4]> = finished
        .events(trial.as_str())
        .iter()
        .filter(|event| event["event"] == "capture-ended")
        .map(|event| {
            let figures = ["packets", "drops", "written", "bytes"].map(|key| event[key].as_u64().unwrap());
            (event["file"].as_str().unwrap().to_owned(), figures)
        })
        .collect();
    let files: Vec<&str> = captures.keys().map(String::as_str).collect();
    let expected = ["bench-service", "host-a-migration", "host-a-vm0", "host-b-migration", "host-b-vm0"];
    assert_eq!(files, expected.map(|name| format!("{name}.pcapng")));
    for (file, [packets, drops, written, _]) in &captures {
        assert!(*packets > 0 && *drops == 0 && written == packets, "{file}: {packets} {drops} {written}");
        let read = tshark(&run.captures_path(&trial).join(file), &["-T", "fields", "-e", "frame.number"]);
        assert_eq!(read.len() as u64, *written, "{file}");
    }

    // The counters are read while the capture goes on, so it may have seen a little more.
    let record = run.read_trial(&trial).unwrap();
    for host in ["host-a", "host-b"] {
        let counted = grown(&record.series[&format!("wire-{host}-migration")]);
        let [.., captured] = captures[&format!("{host}-migration.pcapng")];
        assert!((counted..=counted + counted / 100).contains(&captured), "{host}: {counted} {captured}");
    }

    let comments = tshark(
        &run.captures_path(&trial).join("host-a-migration.pcapng"),
        &["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"],
    );
    let comments = comments.join("\n");
    for phase in ["migrate command", "pass 1 begins", "stop-and-copy begins", "activate begins"] {
        assert!(comments.contains(&format!("vm0: {phase}")), "{phase}: {comments}");
    }

    let [_, _, written, bytes] = captures["host-a-migration.pcapng"];
    let account = wire(&run.captures_path(&trial).join("host-a-migration.pcapng"));
    assert_eq!(account["total"], serde_json::json!({ "packets": written, "wire_bytes": bytes }));
    assert_eq!(account["dropped"], 0);
    the_marks_agree_with_the_events(&finished, trial.as_str(), &account);
    let migration = &account["conversations"][0];
    let [total_ms, start_ms, end_ms] =
        [&finished.outcomes()[0]["total_time_ms"], &migration["start_ms"], &migration["end_ms"]]
            .map(|ms| ms.as_f64().unwrap());
    // It is opened before the migrate command is answered and closed before the end is noticed, or soon after.
    assert!((0.5..1.5).contains(&((end_ms - start_ms) / total_ms)), "{start_ms} to {end_ms} of {total_ms}");
    let page = std::fs::read_to_string(finished.folder.join("report.html")).unwrap();
    assert!(page.contains("<h2>On the wire</h2>"));
    the_outcome_tells_the_same(&finished, &account);
    captures_alone_tell_the_same(&finished, trial.as_str(), &run.captures_path(&trial));
}

/// Of the captures alone, `dunlin wire` finds the migration, and for how long the VM was gone. The bounds are wide for a noisy
/// machine; `script/check-wire` holds it to narrow ones.
fn captures_alone_tell_the_same(finished: &harness::Finished, trial: &str, folder: &Path) {
    let files = ["host-a-migration.pcapng", "bench-service.pcapng"].map(|file| folder.join(file));
    let output = harness::dunlin().args(["wire", "--json"]).args(files).output().unwrap();
    let files: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[1]["migrations"], serde_json::json!([]));
    let [migration] = &files[0]["migrations"].as_array().unwrap()[..] else { panic!("{files:#?}") };
    assert_eq!(migration["evidence"], "qemu-stream");
    assert_eq!(migration["moved"][0]["kinds"][1], "rarp", "{migration:#}");
    let events = finished.events(trial);
    let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    let ns = |value: &serde_json::Value| value.as_i64().unwrap();
    let start_ns = ns(&files[0]["start_epoch_ns"]) + ns(&event("capture-ended")["clock_offset_ns"]);
    for (told, name) in [("begin_ms", "migrate-command"), ("end_ms", "migration-completed")] {
        let told_ns = start_ns + (migration[told].as_f64().unwrap() * 1e6) as i64;
        let apart_ms = (told_ns - ns(&event(name)["t_ns"])) / 1_000_000;
        assert!(apart_ms.abs() < 200, "{told} is {apart_ms} ms off");
    }
    let outcome = &finished.outcomes()[0];
    for (probe, what) in [("icmp", "ICMP echo"), ("udp", "UDP port 7007")] {
        let Some(outage_ms) = outcome["downtime_ms"][probe].as_f64() else { continue };
        let outages = migration["outages"].as_array().unwrap();
        let told =
            outages.iter().find(|outage| outage["what"] == what).unwrap_or_else(|| panic!("{migration:#}"));
        let apart_ms = told["outage_ms"].as_f64().unwrap() - outage_ms;
        assert!(apart_ms.abs() < 20.0, "{probe} is {apart_ms} ms off {outage_ms}");
    }
}

/// Each mark is as long after the first as the record says, wherever packets were.
fn the_marks_agree_with_the_events(finished: &harness::Finished, trial: &str, account: &serde_json::Value) {
    let marks = account["marks"].as_array().unwrap();
    let at_ms = |text: &str| {
        let mark = marks.iter().find(|mark| mark["text"] == text);
        mark.unwrap_or_else(|| panic!("no {text}: {marks:#?}"))["at_ms"].as_f64().unwrap()
    };
    let events = finished.events(trial);
    let begun = events.iter().find(|event| event["event"] == "migrate-command").unwrap();
    let completed = events.iter().find(|event| event["event"] == "migration-completed").unwrap();
    let by_events_ms = (completed["t_ns"].as_i64().unwrap() - begun["t_ns"].as_i64().unwrap()) as f64 / 1e6;
    let by_marks_ms = at_ms("vm0: migration completed") - at_ms("vm0: migrate command");
    // Both are of the bench's clock.
    assert!((by_events_ms - by_marks_ms).abs() < 0.01, "{by_events_ms} {by_marks_ms}");
    assert!(at_ms("vm0: stop-and-copy begins") < at_ms("vm0: migration completed"));
    // The command comes before its connection is opened, from where the capture counts what it says of the conversation.
    let start_ms = account["conversations"][0]["start_ms"].as_f64().unwrap();
    assert!(at_ms("vm0: migrate command") < start_ms, "{marks:#?} {start_ms}");
}

/// What `dunlin wire` says of the file stands in the outcome, which comes back from the record byte for byte.
fn the_outcome_tells_the_same(finished: &harness::Finished, account: &serde_json::Value) {
    let told = &finished.outcomes()[0]["capture"];
    let migration = &account["conversations"][0];
    assert_eq!(told["overhead"], migration["overhead"], "{told:#}");
    assert_eq!(
        (&told["conversations"], &told["complete"], &told["dropped"]),
        (&1.into(), &true.into(), &0.into())
    );
    assert_eq!(told["file"], "host-a-migration.pcapng");
    let count = |name: &str| {
        ["from_a", "from_b"].map(|way| migration[way][name].as_u64().unwrap()).iter().sum::<u64>()
    };
    for name in ["out_of_order", "duplicate_acks", "zero_windows"] {
        assert_eq!(told[name], count(name), "{name}");
    }
    let overhead = told["overhead_percent"].as_f64().unwrap();
    assert!((3.0..30.0).contains(&overhead), "{overhead}");
    assert!(told["rtt_ms"]["samples"].as_u64().unwrap() > 10, "{told:#}");
    assert!(
        finished.stdout.contains("The migration's TCP conversations, as captured"),
        "{}",
        finished.stdout
    );

    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&finished.outcomes()[0]).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");

    let lines = finished.folder.join("trials.jsonl");
    let before = std::fs::read_to_string(&lines).unwrap();
    std::fs::remove_file(&lines).unwrap();
    let output = harness::dunlin().arg("report").arg(&finished.folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), before);
}

/// What `dunlin wire` says of a file.
fn wire(file: &Path) -> serde_json::Value {
    let output = harness::dunlin().args(["wire", "--json"]).arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut files: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    files.remove(0)
}

/// By how much the bytes of an interface grew, both ways together.
fn grown(counters: &Series) -> u64 {
    let bytes = |[_, sent, received, ..]: [i64; 5]| sent + received;
    let first = counters.rows_of().next().map(bytes).unwrap();
    let last = counters.rows_of().next_back().map(bytes).unwrap();
    u64::try_from(last - first).unwrap()
}

/// What tshark says of a file, line by line; fails the test if it complains.
fn tshark(file: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("tshark").args(["-n", "-r"]).arg(file).args(arguments).output();
    let output = output.expect("tshark is installed");
    let complaints = String::from_utf8(output.stderr).unwrap();
    // It guesses at protocols in the guest's memory, and some of its dissectors trip over that.
    let complaints = complaints
        .lines()
        .filter(|line| !line.starts_with("Running as user \"root\"") && !line.contains("Dissector bug"));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0], "{}", file.display());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
