//! `dunlin compare` on run folders made up for it, and on the recorded run.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{dunlin, fixture, told};

fn compare(folder: &Path, words: &[&str]) -> String {
    told(dunlin(folder).args(["compare", "before", "after"]).args(words))
}

/// Two runs of eight trials a case: `idle` stays as it is, the downtime of `dirty` grows by half, `heavy` no longer
/// completes, `light` was run before only, and once the user ended a trial.
pub(super) fn two_runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let wobble = |trial: u32| f64::from(trial * 5 % 8) / 8.0;
    let mut before = Vec::new();
    let mut after = Vec::new();
    for trial in 0..8 {
        before.push(outcome("idle", trial, "completed", 700.0 + wobble(trial), 100.0 + wobble(trial)));
        after.push(outcome("idle", trial, "completed", 701.0 + wobble(trial), 100.0 + wobble(7 - trial)));
        before.push(outcome(
            "dirty",
            trial,
            "completed",
            900.0 + 300.0 * wobble(trial),
            200.0 + wobble(trial),
        ));
        after.push(outcome(
            "dirty",
            trial,
            "completed",
            950.0 + 300.0 * wobble(trial),
            300.0 + wobble(trial),
        ));
        before.push(outcome("heavy", trial, "completed", 2000.0 + wobble(trial), 250.0 + wobble(trial)));
        after.push(outcome("heavy", trial, "not-converged", 0.0, 0.0));
    }
    before.push(outcome("light", 0, "completed", 500.0, 50.0));
    after.push(outcome("idle", 8, "cancelled", 0.0, 0.0));
    write_run(&folder.path().join("before"), &before);
    write_run(&folder.path().join("after"), &after);
    folder
}

/// An outcome, with its figures if it completed.
fn outcome(case: &str, trial: u32, status: &str, total_ms: f64, icmp_ms: f64) -> Value {
    let completed = |value: Value| if status == "completed" { value } else { Value::Null };
    json!({
        "format": 1, "scenario": "s", "case": { "name": case }, "trial": trial + 1,
        "id": format!("{case}-{}", trial + 1), "vm": "vm0", "hypervisor": null, "strategy": "pre-copy",
        "status": status, "flags": [], "total_time_ms": completed(total_ms.into()), "migration_time_ms": null,
        "floor_ms": null, "downtime_floor_ms": null, "downtime_ms": { "icmp": completed(icmp_ms.into()) },
        "downtime_error_ms": {}, "probes": {},
        "wire_bytes": completed(json!({ "source_tx": 84_000_000, "source_rx": 1 })),
        "ram_bytes": null, "iterations": [], "phases_ms": { "pre_copy": [] }, "memory_mib": {},
        "workload": null, "link": {}, "guest_start_ms": null
    })
}

/// Without the breaks and indents of lines that were wrapped.
fn in_one_line(text: &str) -> String {
    text.split([' ', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs of other names began at other times.
fn write_run(path: &Path, outcomes: &[Value]) {
    fs::create_dir(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let started = name.bytes().fold(0, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let info = json!({
        "format": 1, "dunlin_version": "0.1.0", "scenario": "s", "title": "S", "started_epoch_ms": started, "cases": [],
        "hosts": []
    });
    fs::write(path.join("run.json"), info.to_string()).unwrap();
    let lines: String = outcomes.iter().map(|outcome| format!("{outcome}\n")).collect();
    fs::write(path.join("trials.jsonl"), lines).unwrap();
}

#[test]
fn two_runs_are_a_table() {
    insta::assert_snapshot!(compare(two_runs().path(), &[]));
}

#[test]
fn the_cases_of_a_run_are_held_against_one_of_them() {
    let folder = two_runs();
    insta::assert_snapshot!(told(dunlin(folder.path()).args(["compare", "before", "--baseline", "idle"])));
    let told = told(dunlin(folder.path()).args(["compare", "before", "--baseline", "idel"]));
    assert!(told.starts_with("exit code 3\n"), "{told}");
    assert!(told.contains("hint: its cases: dirty, heavy, idle, light"), "{told}");
}

#[test]
fn two_runs_are_json() {
    insta::assert_snapshot!(compare(two_runs().path(), &["--json", "--fail-if", "downtime_ms.icmp > 60%"]));
}

/// Three runs a side, `a1` to `a3` and `b1` to `b3`, that drift by a percent: the downtime of `dirty` grows by half, `gone` is
/// skipped in all of B, `broken` never completes in `b1`.
fn six_runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (side, number) in
        ["a", "b"].into_iter().flat_map(|side| (1..=3_u32).map(move |number| (side, number)))
    {
        let drift = 1.0 + f64::from(number * 7 % 5) / 100.0;
        let mut all = Vec::new();
        for trial in 0..8 {
            let wobble = f64::from(trial * 5 % 8) / 8.0;
            let grown = if side == "b" { 1.5 } else { 1.0 };
            all.push(outcome("idle", trial, "completed", (700.0 + wobble) * drift, (100.0 + wobble) * drift));
            all.push(outcome("dirty", trial, "completed", 900.0 * drift, (200.0 + wobble) * drift * grown));
            let status = if (side, number) == ("b", 1) { "failed" } else { "completed" };
            all.push(outcome("broken", trial, status, 700.0 * drift, 100.0 * drift));
            if side == "a" {
                all.push(outcome("gone", trial, "completed", 700.0, 100.0));
            } else if trial == 0 {
                all[0]["flags"] = json!(["host-saturated"]);
            }
        }
        let path = folder.path().join(format!("{side}{number}"));
        write_run(&path, &all);
        if side == "b" {
            let mut info: Value =
                serde_json::from_str(&fs::read_to_string(path.join("run.json")).unwrap()).unwrap();
            info["skipped"] = json!([{ "title": "gone", "because": "needs <userfaultfd>" }]);
            fs::write(path.join("run.json"), info.to_string()).unwrap();
        }
    }
    folder
}

const SIX: [&str; 8] = ["compare", "a1", "a2", "a3", "--", "b1", "b2", "b3"];

/// Options stand before the runs of B.
fn compare_six(folder: &Path, options: &[&str]) -> String {
    let (a, b) = SIX.split_at(4);
    told(dunlin(folder).args(a).args(options).args(b))
}

#[test]
fn several_runs_a_side_are_a_table_with_their_drift() {
    insta::assert_snapshot!(compare_six(six_runs().path(), &[]));
}

#[test]
fn a_condition_that_is_violated_is_exit_code_8_and_a_failed_test_case() {
    let folder = six_runs();
    let words =
        ["--fail-if", "downtime_ms.icmp > 10%", "--fail-if", "total_time_ms>10%", "--junit", "junit.xml"];
    let told = compare_six(folder.path(), &words);
    assert!(told.starts_with("exit code 8\n"), "{told}");
    let told = told.lines().filter(|line| line.contains('>')).collect::<Vec<_>>().join("\n");
    let xml = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    insta::assert_snapshot!(format!("{told}\n\n{xml}"));
}

#[test]
fn what_one_run_a_side_shows_only_seems_so_and_is_exit_code_9() {
    let folder = two_runs();
    let words =
        ["--fail-if", "downtime_ms.icmp > 10%", "--fail-if", "total_time_ms>3%", "--junit", "junit.xml"];
    let told = compare(folder.path(), &words);
    assert!(told.starts_with("exit code 9\n"), "{told}");
    assert!(!told.contains(": VIOLATED"), "{told}");
    let told = told.lines().filter(|line| line.contains('>')).collect::<Vec<_>>().join("\n");
    let xml = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    insta::assert_snapshot!(format!("{told}\n\n{xml}"));
}

/// Another run by when it began.
pub(super) fn begun_at(run: &Path, epoch_ms: i64) {
    let mut info: Value = serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    info["started_epoch_ms"] = epoch_ms.into();
    fs::write(run.join("run.json"), info.to_string()).unwrap();
}

#[test]
fn the_same_run_given_twice_is_refused() {
    let folder = six_runs();
    super::copy(&folder.path().join("a1"), &folder.path().join("copy"));
    std::os::unix::fs::symlink("a2", folder.path().join("link")).unwrap();
    for (words, first, second) in [
        (&["a1", "a1", "a1", "--", "b1", "b1", "b1"][..], "a1", "a1"),
        (&["a1", "a2", "--", "b1", "./a2"], "a2", "./a2"),
        (&["a1", "a2", "--", "b1", "link"], "a2", "link"),
        (&["a1", "copy", "--", "b1", "b2"], "a1", "copy"),
        (&["a1", "copy"], "a1", "copy"),
        (&["a1", "a1"], "a1", "a1"),
        (&["--power", "a1", "a2", "copy"], "a1", "copy"),
    ] {
        let told = told(dunlin(folder.path()).arg("compare").args(words));
        let expected = format!("error: {first} and {second} are the same run, given twice");
        assert!(told.starts_with("exit code 3\n") && told.contains(&expected), "{words:?}: {told}");
    }
    let told = told(dunlin(folder.path()).args(["compare", "a1", "a2", "--", "b1", "b2"]));
    assert!(told.starts_with("exit code 0\n"), "{told}");
}

/// The same figures twice, of so many trials.
fn same_runs(trials: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let trials: Vec<Value> =
        (0..trials).map(|trial| outcome("idle", trial, "completed", 700.0, 100.0)).collect();
    write_run(&folder.path().join("before"), &trials);
    write_run(&folder.path().join("after"), &trials);
    folder
}

#[test]
fn a_condition_that_holds_is_exit_code_0() {
    let folder = same_runs(8);
    let told =
        compare(folder.path(), &["--fail-if", "completed > 40%", "--fail-if", "downtime_ms.icmp > 10%"]);
    assert!(told.starts_with("exit code 0\n"), "{told}");
    // Eight of eight may hide 32 points, which is no violation of 40.
    assert!(told.contains("completed > 40%: idle: holds"), "{told}");
    assert!(told.contains("downtime_ms.icmp > 10%: idle: holds"), "{told}");
}

#[test]
fn a_condition_that_nothing_decides_is_told_and_a_failure_where_a_decision_is_required() {
    let folder = same_runs(2);
    let condition = ["--fail-if", "downtime_ms.icmp > 10%"];
    let told = compare(folder.path(), &condition);
    assert!(told.starts_with("exit code 0\n"), "{told}");
    assert!(told.contains("warning: decided for no case: downtime_ms.icmp > 10%"), "{told}");
    let told = compare(folder.path(), &[condition.as_slice(), &["--require-decision"]].concat());
    assert!(told.starts_with("exit code 10\n"), "{told}");
    // Of one run a side it only seems to hold.
    let folder = same_runs(8);
    let told = compare(folder.path(), &condition);
    assert!(told.starts_with("exit code 0\n"), "{told}");
    assert!(in_one_line(&told).contains("idle: holds (seems so: drift between runs is not known)"), "{told}");
    let told = compare(folder.path(), &[condition.as_slice(), &["--require-decision"]].concat());
    assert!(told.starts_with("exit code 10\n"), "{told}");
    for (run, epoch_ms) in [("before", 1), ("after", 2)] {
        super::copy(&folder.path().join(run), &folder.path().join(format!("{run}-2")));
        begun_at(&folder.path().join(format!("{run}-2")), epoch_ms);
    }
    let several =
        ["before", "before-2", "--require-decision", condition[0], condition[1], "--", "after", "after-2"];
    let told = super::told(dunlin(folder.path()).arg("compare").args(several));
    assert!(told.starts_with("exit code 0\n") && !told.contains("warning"), "{told}");
}

#[test]
fn what_got_worse_by_less_than_the_limit_is_undecided_where_more_is_not_ruled_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, ms) in
        [("a1", 100.0), ("a2", 101.0), ("a3", 102.0), ("b1", 109.0), ("b2", 110.0), ("b3", 111.0)]
    {
        let trial = |trial: u32| outcome("idle", trial, "completed", 700.0, ms + f64::from(trial) / 10.0);
        write_run(&folder.path().join(name), &(0..8).map(trial).collect::<Vec<_>>());
    }
    let told =
        |limit: &str| compare_six(folder.path(), &["--fail-if", &format!("downtime_ms.icmp > {limit}")]);
    // +8.9 %, by a drift of 1 % between 6.5 and 11.3 %.
    let at_10 = told("10%");
    assert!(at_10.starts_with("exit code 0\n"), "{at_10}");
    assert!(in_one_line(&at_10).contains("10%: idle: undecided (+8.9 %, interval +6."), "{at_10}");
    assert!(told("12%").contains("12%: idle: holds\n"), "{}", told("12%"));
    assert!(told("8%").starts_with("exit code 8\n"), "{}", told("8%"));
}

#[test]
fn the_count_of_completed_trials_is_the_true_one_and_failures_are_told_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let failed = |trial| {
        let mut failed = outcome("idle", trial, "failed", 0.0, 0.0);
        failed["error"] = "the destination\nrefused".into();
        failed
    };
    let well = |trials: u32| (0..trials).map(|trial| outcome("idle", trial, "completed", 700.0, 100.0));
    let short: Vec<Value> = well(1).chain([failed(1), failed(2)]).collect();
    for (name, trials) in
        [("a1", &short), ("a2", &well(10).collect()), ("b1", &short), ("b2", &well(9).collect())]
    {
        write_run(&folder.path().join(name), trials);
    }
    let told = |words: &[&str]| {
        super::told(dunlin(folder.path()).args(["compare", "a1", "a2"]).args(words).args(["--", "b1", "b2"]))
    };
    let page = told(&[]);
    assert!(page.contains("11/13") && page.contains("10/12"), "{page}");
    let lacks =
        "figures lacking in A: idle-2 (failed): the destination refused (and 1 trial more of this case)";
    assert!(in_one_line(&page).contains(lacks), "{page}");
    // Nobody ships a scenario of that name, and there is no such file.
    assert!(!page.contains("  dunlin bench s\n"), "{page}");
    let json = told(&["--json"]);
    assert!(json.contains("\"completed\": 11,") && json.contains("\"to_decide\": []"), "{json}");
}

#[test]
fn another_run_is_a_command_only_where_the_scenario_has_a_file_or_is_shipped() {
    let folder = same_runs(8);
    let condition = ["--fail-if", "downtime_ms.icmp > 10%"];
    let told = compare(folder.path(), &condition);
    assert!(in_one_line(&told).contains("dunlin bench FILE, with the file of the scenario s"), "{told}");
    assert!(!told.contains("  dunlin bench s\n"), "{told}");
    fs::write(folder.path().join("s"), "").unwrap();
    let told = compare(folder.path(), &condition);
    assert!(told.contains("  dunlin bench s\n"), "{told}");
}

#[test]
fn the_power_of_few_trials_comes_with_a_warning() {
    for (trials, warned) in [(5, true), (6, false)] {
        let folder = same_runs(trials);
        let told = told(dunlin(folder.path()).args(["compare", "--power", "before"]));
        assert!(told.starts_with("exit code 0\n"), "{told}");
        let warning = format!("warning: a case with {trials} completed trials: fewer than 6 do not tell");
        assert_eq!(in_one_line(&told).contains(&warning), warned, "{told}");
    }
}

#[test]
fn the_command_that_adds_what_is_lacking_is_printed() {
    let told = compare(same_runs(2).path(), &[]);
    // Completion and three figures: 6 a side, 2 of 924 ways, are the first that are rare enough and rule anything out.
    for run in ["before", "after"] {
        assert!(told.contains(&format!("  dunlin bench --resume {run} --trials 6\n")), "{told}");
    }
    let told = compare(two_runs().path(), &[]);
    assert!(told.contains("  dunlin bench --resume before --trials "), "{told}");
    let json: Value = serde_json::from_slice(
        &dunlin(same_runs(2).path()).args(["compare", "before", "after", "--json"]).output().unwrap().stdout,
    )
    .unwrap();
    assert_eq!(json["to_decide"][0], "dunlin bench --resume before --trials 6");
}

#[test]
fn the_power_of_recorded_runs_is_a_table() {
    let told = |runs: &[&str]| told(dunlin(&super::repository()).args(["compare", "--power"]).args(runs));
    insta::assert_snapshot!(told(&["fixtures/unchanged/run-1"]));
}

#[test]
fn runs_that_are_not_parted_are_a_wrong_command_line() {
    let folder = six_runs();
    for words in [&["a1", "a2", "a3"][..], &["a1"], &["a1", "a2", "--baseline", "idle"]] {
        let told = told(dunlin(folder.path()).arg("compare").args(words));
        assert!(told.starts_with("exit code 2\n"), "{words:?}: {told}");
    }
}

#[test]
fn what_cannot_be_compared_is_exit_code_3() {
    let folder = two_runs();
    let cases: [(&[&str], &str); 3] = [
        (
            &["--fail-if", "downtime > 1%"],
            "error: --fail-if \"downtime > 1%\": there is no figure \"downtime\"",
        ),
        (&["--fail-if", "downtime_ms.http > 1%"], "no case of both sides has downtime_ms.http"),
        (&["--fail-if", "total_time_ms"], "expected FIGURE > N%, as in downtime_ms.icmp > 10%"),
    ];
    for (words, expected) in cases {
        let told = compare(folder.path(), words);
        assert!(told.starts_with("exit code 3\n") && told.contains(expected), "{words:?}: {told}");
    }
    fs::remove_dir_all(folder.path().join("after")).unwrap();
    write_run(&folder.path().join("after"), &[outcome("other", 0, "completed", 1.0, 1.0)]);
    let told = compare(folder.path(), &[]);
    assert!(told.starts_with("exit code 3\n"), "{told}");
    assert!(told.contains("error: before and after have no case in common"), "{told}");
}

#[test]
fn a_real_run_differs_in_nothing_from_one_of_the_same_figures() {
    let folder = fixture();
    let again = folder.path().join("again");
    super::copy(&folder.path().join("run"), &again);
    begun_at(&again, 1);
    let told = told(dunlin(folder.path()).args(["compare", "run", "again"]));
    assert!(told.starts_with("exit code 0\n") && told.contains("0 worse, 0 better"), "{told}");
}

#[test]
fn cases_that_only_share_their_name_are_told() {
    let folder = fixture();
    let (run, other) = (folder.path().join("run"), folder.path().join("other"));
    super::copy(&run, &other);
    let mut info: Value = serde_json::from_str(&fs::read_to_string(other.join("run.json")).unwrap()).unwrap();
    info["cases"][0]["vm"]["memory_mib"] = 4096.into();
    info["started_epoch_ms"] = 1.into();
    fs::write(other.join("run.json"), info.to_string()).unwrap();
    let compare = |words: &[&str]| {
        let output = dunlin(folder.path()).args(["compare", "run", "other"]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let page = compare(&[]);
    let warnings: Vec<_> = page.lines().filter(|line| line.contains("not the same")).collect();
    assert_eq!(warnings.len(), 1, "{page}");
    assert!(warnings[0].contains("vm.memory_mib") && warnings[0].contains("4096"), "{page}");
    let json: Value = serde_json::from_str(&compare(&["--json"])).unwrap();
    assert_eq!(json["changed_settings"][0]["setting"], "vm.memory_mib");
    assert_eq!(json["changed_settings"][0]["b"], 4096);
}

#[test]
fn bounds_are_told_as_such_and_decide_only_where_they_lie_apart() {
    let folder = tempfile::tempdir().unwrap();
    let bounded = |trial| {
        let mut outcome = outcome("idle", trial, "completed", 700.0, 0.0);
        outcome["downtime_ms"]["icmp"] = Value::Null;
        outcome["downtime_at_most_ms"] = json!({ "icmp": 40.0 });
        outcome
    };
    let bounds: Vec<Value> = (0..8).map(bounded).collect();
    let values: Vec<Value> =
        (0..8).map(|trial| outcome("idle", trial, "completed", 700.0, 100.0 + f64::from(trial))).collect();
    write_run(&folder.path().join("before"), &bounds);
    write_run(&folder.path().join("after"), &bounds);
    let told = compare(folder.path(), &["--fail-if", "downtime_ms.icmp > 10%"]);
    assert!(told.contains("≤\u{a0}40.0") && told.contains("cannot tell"), "{told}");
    let undecided = "downtime_ms.icmp > 10%: idle: undecided (cannot tell: A ≤\u{a0}40.0, B ≤\u{a0}40.0)";
    assert!(in_one_line(&told).contains(undecided), "{told}");

    fs::remove_dir_all(folder.path().join("after")).unwrap();
    write_run(&folder.path().join("after"), &values);
    // From 40 at most to 103.5.
    let words = ["--fail-if", "downtime_ms.icmp > 150%", "--junit", "junit.xml"];
    let told = compare(folder.path(), &words);
    assert!(told.starts_with("exit code 9\n"), "{told}");
    assert!(in_one_line(&told).contains("idle: SEEMS VIOLATED (at least +158.8 %)"), "{told}");
    let xml = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(xml.contains("message=\"suspected: at least +158.8 %\""), "{xml}");
    let told = compare(folder.path(), &["--fail-if", "downtime_ms.icmp > 160%"]);
    let undecided = "downtime_ms.icmp > 160%: idle: undecided (at least +158.8 %)";
    assert!(in_one_line(&told).contains(undecided), "{told}");
    let told = compare(folder.path(), &["--json"]);
    assert!(
        told.contains("\"median_at_most\": 40.0") && told.contains("\"change_at_least\": 1.5875"),
        "{told}"
    );
    // Made in turn, it is more than that it seems so.
    let all: Vec<Value> = bounds
        .into_iter()
        .chain((0..8).map(|trial| outcome("dirty", trial, "completed", 700.0, 100.0 + f64::from(trial))))
        .collect();
    write_run(&folder.path().join("both"), &all);
    let command = ["compare", "both", "--baseline", "idle", "--fail-if", "downtime_ms.icmp > 150%"];
    let told = super::told(dunlin(folder.path()).args(command));
    assert!(told.starts_with("exit code 8\n"), "{told}");
}

#[test]
fn why_a_side_lacks_figures_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let well: Vec<Value> = (0..3).map(|trial| outcome("idle", trial, "completed", 700.0, 100.0)).collect();
    let mut endless = outcome("idle", 0, "not-converged", 0.0, 0.0);
    endless["not_converged"] = json!({ "after_ms": 20_000.0, "passes": 3 });
    let mut dead = outcome("idle", 1, "completed", 700.0, 0.0);
    dead["downtime_ms"] = json!({});
    let unfit = "42.0 % of its 1000 requests before the migration had no answer within 1 s";
    dead["probes"] = json!({ "icmp": {
        "sent": 9, "lost": 9, "late": 0, "duplicated": 0, "interval_ms": 1.0, "error_ms": null, "outages": [],
        "unfit": unfit,
    } });
    write_run(&folder.path().join("before"), &well);
    write_run(&folder.path().join("after"), &[endless, dead]);
    let told = compare(folder.path(), &[]);
    let sentence = "lacking in B: idle-1 (not converged): no reason recorded. 20.0 s, 3 passes. What would end it: post-copy.";
    assert!(in_one_line(&told).contains(sentence), "{told}");
    assert!(in_one_line(&told).contains(&format!("lacking in B: idle-2 (icmp): {unfit}")), "{told}");
    let told = compare(folder.path(), &["--json"]);
    assert!(told.contains("\"lacks\": {") && told.contains(unfit), "{told}");
}
