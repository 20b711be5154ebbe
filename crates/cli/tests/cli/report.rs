//! `dunlin report` on a real run, whole and broken. See `tests/fixtures/README.md` for how the run was made.

use std::fs::{self, OpenOptions};
use std::path::Path;

use serde_json::Value;

use super::{dunlin, fixture, told};

fn report(folder: &Path, words: &[&str]) -> String {
    told(dunlin(folder).args(["report", "run"]).args(words))
}

#[test]
fn a_run_is_a_table() {
    insta::assert_snapshot!(report(fixture().path(), &[]));
}

#[test]
fn a_run_is_csv() {
    insta::assert_snapshot!(report(fixture().path(), &["--csv"]).replace("\r\n", "\n"));
}

#[test]
fn a_run_is_json() {
    insta::assert_snapshot!(report(fixture().path(), &["--json"]));
}

#[test]
fn a_page_shows_every_trial_and_needs_no_network() {
    let folder = fixture();
    assert_eq!(
        report(folder.path(), &["--html", "page.html"]),
        "exit code 0\n---- standard output\n---- standard error\n"
    );
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..100]);
    for trial in ["01-idle-1", "01-idle-2", "02-hybrid-8-1", "03-hybrid-32-1"] {
        assert!(page.contains(trial), "{trial}");
    }
    for reference in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn outcomes_that_were_deleted_come_back_the_same() {
    let folder = fixture();
    let lines = folder.path().join("run/trials.jsonl");
    let (before, told_before) = (fs::read_to_string(&lines).unwrap(), report(folder.path(), &["--json"]));
    fs::remove_file(&lines).unwrap();
    assert_same(&report(folder.path(), &["--json"]), &told_before);
    assert_same(&fs::read_to_string(&lines).unwrap(), &before);
}

/// As by a version that told a bound as a value: its record says better, and is not written over.
#[test]
fn outcomes_of_an_older_analysis_are_computed_again() {
    let folder = fixture();
    let path = folder.path().join("run/trials.jsonl");
    let told_before = report(folder.path(), &["--json"]);
    let text = fs::read_to_string(&path).unwrap();
    let old: String = text
        .lines()
        .map(|line| {
            let mut outcome: Value = serde_json::from_str(line).unwrap();
            outcome.as_object_mut().unwrap().remove("analysis");
            outcome["downtime_ms"]["icmp"] = 20000.435.into();
            outcome["flags"] = serde_json::json!([]);
            format!("{outcome}\n")
        })
        .collect();
    fs::write(&path, &old).unwrap();
    assert_same(&report(folder.path(), &["--json"]), &told_before);
    assert_same(&fs::read_to_string(&path).unwrap(), &old);
    // Where the record is gone, what was told is all there is.
    fs::remove_dir_all(folder.path().join("run/events")).unwrap();
    let outcomes = trials(&report(folder.path(), &["--json"]));
    assert_eq!((outcomes.len(), &outcomes[0]["downtime_ms"]["icmp"]), (4, &20000.435.into()));
    // An empty list of outcomes says nothing of a record that is there.
    let folder = fixture();
    fs::write(folder.path().join("run/trials.jsonl"), "").unwrap();
    assert_same(&report(folder.path(), &["--json"]), &told_before);
}

#[test]
fn outcomes_are_told_in_the_scenario_s_order_whatever_the_order_of_their_lines() {
    let folder = fixture();
    let path = folder.path().join("run/trials.jsonl");
    let told_before = report(folder.path(), &["--json"]);
    let text = fs::read_to_string(&path).unwrap();
    let backwards: Vec<&str> = text.lines().rev().collect();
    fs::write(&path, backwards.join("\n") + "\n").unwrap();
    assert_same(&report(folder.path(), &["--json"]), &told_before);
}

#[test]
fn a_trial_whose_events_break_off_is_told_as_far_as_it_goes() {
    let folder = fixture();
    fs::remove_file(folder.path().join("run/trials.jsonl")).unwrap();
    let events = folder.path().join("run/events/03-hybrid-32-1.jsonl.zst");
    let length = fs::metadata(&events).unwrap().len();
    OpenOptions::new().write(true).open(&events).unwrap().set_len(length / 2).unwrap();
    let outcomes = trials(&report(folder.path(), &["--json"]));
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[3]["status"], "failed");
    assert_eq!(outcomes[3]["error"], "the record breaks off before the trial's end");
    assert!(outcomes[3]["flags"].as_array().unwrap().contains(&"record-truncated".into()), "{}", outcomes[3]);
    assert!(outcomes[..3].iter().all(|outcome| outcome["status"] == "completed"));
}

#[test]
fn a_series_that_is_garbage_costs_its_own_figures_only() {
    let folder = fixture();
    let whole = trials(&report(folder.path(), &["--json"]));
    fs::remove_file(folder.path().join("run/trials.jsonl")).unwrap();
    fs::write(folder.path().join("run/series/01-idle-2/vm0-probe-icmp-answers.zst"), "garbage").unwrap();
    let outcomes = trials(&report(folder.path(), &["--json"]));
    assert_eq!((&outcomes[0], &outcomes[2..]), (&whole[0], &whole[2..]));
    assert!(outcomes[1]["flags"].as_array().unwrap().contains(&"record-truncated".into()), "{}", outcomes[1]);
    assert!(outcomes[1]["downtime_ms"]["icmp"].is_null());
    assert_eq!(outcomes[1]["downtime_ms"]["udp"], whole[1]["downtime_ms"]["udp"]);
}

#[test]
fn a_trial_that_cannot_be_read_is_told_and_the_others_shown() {
    let folder = fixture();
    let lines = folder.path().join("run/trials.jsonl");
    fs::remove_file(&lines).unwrap();
    put_no_series(folder.path());
    for _ in 0..2 {
        let told = report(folder.path(), &["--json"]);
        let warning =
            "warning: trial 01-idle-2 cannot be read: run/series/01-idle-2/cpu-host-a.zst: its header";
        assert!(told.contains(warning) && told.starts_with("exit code 0"), "{told}");
        let outcomes = trials(&told);
        let ids: Vec<&Value> = outcomes.iter().map(|outcome| &outcome["id"]).collect();
        assert_eq!(ids, ["01-idle-1", "02-hybrid-8-1", "03-hybrid-32-1"]);
        // Written back, the trial would be gone without a word the next time.
        assert!(!lines.exists());
    }
}

#[test]
fn a_page_of_a_run_with_a_broken_series_lacks_that_time_line_only() {
    let folder = fixture();
    put_no_series(folder.path());
    let told = report(folder.path(), &["--html", "page.html"]);
    assert!(told.starts_with("exit code 0"), "{told}");
    assert_eq!(told.matches("warning: trial 01-idle-2 cannot be read").count(), 1, "{told}");
    assert!(fs::read_to_string(folder.path().join("page.html")).unwrap().contains("03-hybrid-32-1"));
}

#[test]
fn a_run_of_a_newer_format_is_refused() {
    let folder = fixture();
    let path = folder.path().join("run/run.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1,", "\"format\": 2,")).unwrap();
    insta::assert_snapshot!(report(folder.path(), &[]), @r"
    exit code 3
    ---- standard output
    ---- standard error
    error: run/run.json has format 2, this dunlin reads up to 1
     hint: a newer dunlin wrote it, and reads it
    ");
}

#[test]
fn a_folder_that_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    insta::assert_snapshot!(report(folder.path(), &[]), @r"
    exit code 3
    ---- standard output
    ---- standard error
    error: run is not a run folder: it has no run.json
    ");
}

#[test]
fn broken_outcomes_are_told_with_what_brings_them_back() {
    let folder = fixture();
    let lines = folder.path().join("run/trials.jsonl");
    let good = fs::read_to_string(&lines).unwrap();
    fs::write(&lines, &good[..good.len() - 40]).unwrap();
    let told = report(folder.path(), &[]);
    assert!(told.contains("run/trials.jsonl:4: not a valid outcome"), "{told}");
    assert!(told.contains("hint: delete run/trials.jsonl: it is then computed again"), "{told}");
}

/// Puts a file that is whole but no series in a series' place.
fn put_no_series(folder: &Path) {
    let run = folder.join("run");
    fs::copy(run.join("events/01-idle-1.jsonl.zst"), run.join("series/01-idle-2/cpu-host-a.zst")).unwrap();
}

/// Says in which line two long texts part.
fn assert_same(text: &str, expected: &str) {
    let parting = text.lines().zip(expected.lines()).find(|(line, other)| line != other);
    assert_eq!(parting, None);
    assert_eq!(text.len(), expected.len());
}

/// The trials of what `--json` told.
fn trials(told: &str) -> Vec<Value> {
    let json = told.split("---- standard output\n").nth(1).unwrap();
    let json = json.split("---- standard error\n").next().unwrap();
    let document: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {told}"));
    document["trials"].as_array().unwrap().clone()
}

#[test]
fn a_line_of_a_newer_format_is_refused() {
    let folder = fixture();
    let file = folder.path().join("run/trials.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    // The last line: none may be passed over.
    let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
    let newer = last.replacen("\"format\":1", "\"format\":9", 1);
    assert_ne!(newer, last);
    fs::write(&file, format!("{before}\n{newer}\n")).unwrap();
    let line = before.lines().count() + 1;
    for words in [&["report", "run"][..], &["compare", "run", "run"]] {
        let told = told(dunlin(folder.path()).args(words));
        assert!(told.starts_with("exit code 3\n"), "{told}");
        let expected =
            format!("error: run/trials.jsonl, line {line} has format 9, this dunlin reads up to 1\n");
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn a_page_goes_to_standard_output_where_asked_to() {
    let folder = fixture();
    let output = dunlin(folder.path()).args(["report", "run", "--html", "-"]).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"),
        "{page}"
    );
    assert!(!folder.path().join("-").exists());
}
