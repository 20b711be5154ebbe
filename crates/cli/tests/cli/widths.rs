//! Tables at every width: no figure stands beside another's name, no word and no number is broken.

use std::path::Path;

use dunlin_test_support::{ReadBack, read_back};

use super::{compare::two_runs, dunlin, fixture, repository};

/// What is printed into a pipe where `COLUMNS` says so much, or nothing.
fn printed(folder: &Path, words: &[&str], columns: Option<usize>) -> String {
    let mut command = dunlin(folder);
    match columns {
        Some(columns) => command.env("COLUMNS", columns.to_string()),
        None => command.env_remove("COLUMNS"),
    };
    String::from_utf8(command.args(words).output().unwrap().stdout).unwrap()
}

fn figures(page: &str, keys: usize) -> Vec<ReadBack> {
    let mut figures = read_back(page, keys);
    figures.sort();
    figures
}

/// Holds what is printed at every width against what is where there is room for all.
fn check(folder: &Path, words: &[&str], keys: usize, least_figures: usize) {
    let whole = figures(&printed(folder, words, None), keys);
    assert!(whole.len() >= least_figures, "{words:?}: {whole:?}");
    for columns in 40..=125 {
        let page = printed(folder, words, Some(columns));
        assert_eq!(figures(&page, keys), whole, "{words:?} at {columns} columns:\n{page}");
        // Commands are there to be copied.
        let is_text = |line: &&str| line.chars().count() > columns && !line.starts_with("  dunlin ");
        for line in page.lines().filter(is_text) {
            let words = line.split_whitespace().count();
            assert_eq!(words, 1, "{line:?} could have been wrapped at {columns} columns");
        }
    }
}

#[test]
fn figures_of_a_report_stand_beside_their_names() {
    check(fixture().path(), &["report", "run"], 1, 20);
}

#[test]
fn figures_of_a_comparison_stand_beside_their_names() {
    let folder = two_runs();
    check(folder.path(), &["compare", "before", "after"], 1, 50);
    let page = printed(folder.path(), &["compare", "before", "after"], Some(40));
    let icmp = ReadBack::new("dirty", "downtime_ms.icmp", "B", "300");
    assert!(figures(&page, 1).contains(&icmp), "{page}");
}

#[test]
fn figures_of_lists_of_scenarios_stand_beside_their_names() {
    check(&repository(), &["scenarios"], 1, 36);
    check(&repository(), &["scenario", "check", "demo"], 1, 16);
}

#[test]
fn figures_of_a_capture_stand_beside_their_names() {
    let folder = repository().join("crates/wire/tests/fixtures");
    check(&folder, &["wire", "lossy.pcap.gz"], 1, 20);
    check(&folder, &["wire", "lossy.pcap.gz", "--conversation", "1"], 1, 40);
}
