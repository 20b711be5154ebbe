//! `dunlin scenario`: good files, bad files, new files.

use std::fs;

use serde_json::Value;

use super::{dunlin, repository, told};

#[test]
fn the_demo_is_shown_case_by_case() {
    insta::assert_snapshot!(told(dunlin(&repository()).args(["scenario", "check", "scenarios/demo.toml"])));
}

#[test]
fn every_scenario_that_is_shipped_is_good() {
    let mut checked = 0;
    for entry in fs::read_dir(repository().join("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        dunlin(&repository()).args(["scenario", "check"]).arg(path).assert().success();
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn the_shipped_scenarios_are_listed_and_printed_wherever_the_binary_is() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(told(dunlin(folder.path()).arg("scenarios")));
    let demo = fs::read_to_string(repository().join("scenarios/demo.toml")).unwrap();
    dunlin(folder.path()).args(["scenarios", "demo"]).assert().success().stdout(demo);
    dunlin(folder.path()).args(["scenario", "check", "demo"]).assert().success();
    let unknown = told(dunlin(folder.path()).args(["scenarios", "dmeo"]));
    assert!(unknown.starts_with("exit code 3\n") && unknown.contains("dmeo"), "{unknown}");
}

#[test]
fn a_scenario_as_json_holds_its_cases_with_every_default() {
    let output =
        dunlin(&repository()).args(["scenario", "check", "--json", "scenarios/demo.toml"]).output().unwrap();
    let scenario: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = scenario["cases"].as_array().unwrap();
    let titles: Vec<&Value> = cases.iter().map(|case| &case["title"]).collect();
    assert_eq!(titles, ["idle", "dirty", "never-converges", "hybrid"]);
    let expected_s = |value: &Value| value["expected_s"].as_u64().unwrap();
    assert!(cases.iter().all(|case| expected_s(case) > 0 && expected_s(case) < expected_s(&scenario)));
    // What the file leaves to the defaults is there too, and reads back as a case.
    assert_eq!(cases[0]["vm"]["machine"], "q35");
    let case: dunlin_record::Case = serde_json::from_value(cases[3].clone()).unwrap();
    assert_eq!(case.strategy.name(), "hybrid");
}

#[test]
fn all_mistakes_of_a_file_are_told_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\
name = \"bad\"
titel = \"A slip\"

[vm]
memory_mib = \"512\"

[[case]]
name = \"c\"
strategy = { kind = \"teleport\" }
workload = { kind = \"memory-write\", working_set_mib = 4096 }
";
    fs::write(folder.path().join("bad.toml"), text).unwrap();
    insta::assert_snapshot!(told(dunlin(folder.path()).args(["scenario", "check", "bad.toml"])));
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("half.toml"), "name = \"half").unwrap();
    let check = |file| told(dunlin(folder.path()).args(["scenario", "check", file]));
    insta::assert_snapshot!([check("half.toml"), check("absent.toml")].join("\n\n"));
}

#[test]
fn a_bad_scenario_is_told_before_a_bench_starts_anything() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.toml"), "name = \"bad\"\n").unwrap();
    let told = told(dunlin(folder.path()).args(["bench", "bad.toml"]));
    assert!(told.starts_with("exit code 3\n") && told.contains("bad.toml:1"), "{told}");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_new_scenario_is_good_and_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let dunlin = |words: &[&str]| told(dunlin(folder.path()).args(words));
    let first = dunlin(&["scenario", "new", "mine.toml"]);
    let written = fs::read_to_string(folder.path().join("mine.toml")).unwrap();
    let second = dunlin(&["scenario", "new", "mine.toml"]);
    assert_eq!(fs::read_to_string(folder.path().join("mine.toml")).unwrap(), written);
    let checked = dunlin(&["scenario", "check", "mine.toml"]);
    insta::assert_snapshot!([first, second, checked].join("\n\n"));
}

#[test]
fn what_this_machine_cannot_hold_is_not_promised() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"big\"\nvm.memory_mib = 1048576\nvm.vcpus = 255\n[[case]]\nname = \"c\"\n";
    fs::write(folder.path().join("big.toml"), text).unwrap();
    let checked = told(dunlin(folder.path()).args(["scenario", "check", "big.toml"]));
    assert!(checked.starts_with("exit code 4\n"), "{checked}");
    assert!(
        checked.contains("cannot run here: c: vm.memory_mib = 1048576, and this machine has "),
        "{checked}"
    );
    assert!(checked.contains("warning: c: 255 vCPUs share "), "{checked}");
    let output = dunlin(folder.path()).args(["scenario", "check", "--json", "big.toml"]).output().unwrap();
    let scenario: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scenario["beyond_machine"][0]["cannot_run"], true);
}

#[test]
fn the_round_trip_that_delays_make_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"far\"\nlink.migration.delay_ms = 5\nlink.service.delay_ms = 2\n[[case]]\nname = \"c\"\ntrials.count = 1\n";
    fs::write(folder.path().join("far.toml"), text).unwrap();
    let checked = told(dunlin(folder.path()).args(["scenario", "check", "far.toml"]));
    assert!(checked.contains("delay_ms = 5 adds 20 ms to the round trip host to host\n"), "{checked}");
    assert!(checked.contains("delay_ms = 2 adds 4 ms to the round trip bench to guest\n"), "{checked}");
    assert!(checked.contains("1 case, 1 trial, about "), "{checked}");
}

#[test]
fn a_name_that_is_no_scenario_points_to_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["bench", "nonexist"][..], &["scenario", "check", "nonexist"], &["lab", "up", "nonexist"]]
    {
        let told = told(dunlin(folder.path()).args(words));
        assert!(told.starts_with("exit code 3\n") && told.contains("`dunlin scenarios` lists"), "{told}");
    }
}
