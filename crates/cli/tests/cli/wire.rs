//! `dunlin wire` on real captures.

use std::fs;
use std::path::PathBuf;

use super::{dunlin, repository, told};

/// Where the captures are.
fn captures() -> PathBuf {
    repository().join("crates/wire/tests/fixtures")
}

#[test]
fn a_capture_of_a_migration_is_tables_and_a_graph() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "migration.pcapng.zst"])));
}

#[test]
fn a_mixed_capture_has_protocols_and_cautions() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "mixed.pcapng", "--tick", "1s"])));
}

#[test]
fn one_conversation_is_shown_with_all_its_figures() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "1"])));
    let by_end = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "10.9.0.2:5001"]));
    let by_number = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "1"]));
    assert_eq!(by_end, by_number);
    let none = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "7"]));
    assert!(none.starts_with("exit code 3\n") && none.contains("there is no TCP conversation 7\n"), "{none}");
}

#[test]
fn a_capture_is_json() {
    let output =
        dunlin(&captures()).args(["wire", "--json", "cooked.pcap", "stalled.pcap.gz"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[1]["conversations"][0]["from_b"]["zero_windows"], 68);
    insta::assert_snapshot!(format!("{:#}", files[0]));
}

#[test]
fn files_that_are_cut_or_no_captures_are_exit_code_3_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(captures().join("cooked.pcap")).unwrap();
    fs::write(folder.path().join("cut.pcap"), &whole[..3000]).unwrap();
    fs::write(folder.path().join("notes.txt"), "not a capture\n").unwrap();
    insta::assert_snapshot!(told(dunlin(folder.path()).args([
        "wire",
        "cut.pcap",
        "notes.txt",
        "absent.pcap"
    ])));
}
