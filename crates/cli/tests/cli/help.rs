//! What the program says of itself.

use std::path::Path;

use super::{dunlin, told};

#[test]
fn every_subcommand_has_a_help_that_fits_100_columns() {
    let mut help = String::new();
    append_help(&[], &mut help);
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    insta::assert_snapshot!(help);
}

/// The help of a subcommand, followed by that of each of its own.
fn append_help(words: &[String], help: &mut String) {
    let output = dunlin(Path::new("/")).args(words).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    help.push_str(&format!("$ dunlin {}\n{text}\n", [words, &["--help".into()]].concat().join(" ")));
    for name in subcommands(&text) {
        append_help(&[words, &[name]].concat(), help);
    }
}

/// The names below `Commands:`, but for clap's own `help`.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        // Lines that go on with a description are indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_version_is_the_package_s() {
    let version = told(dunlin(Path::new("/")).arg("--version"));
    let expected = concat!("dunlin ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version, format!("exit code 0\n---- standard output\n{expected}---- standard error\n"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let wrong: [&[&str]; 5] = [
        &[],
        &["migrat"],
        &["bench"],
        &["report", "run", "--json", "--csv"],
        &["bench", "x.toml", "--trials", "0"],
    ];
    for words in wrong {
        let told = told(dunlin(Path::new("/")).args(words));
        assert!(
            told.starts_with("exit code 2\n---- standard output\n---- standard error\n"),
            "{words:?}: {told}"
        );
        assert!(told.contains("--help"), "{words:?}: {told}");
    }
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(assert_cmd::cargo::cargo_bin!("dunlin"))
        .args(["scenario", "check", "scenarios/demo.toml"])
        .current_dir(super::repository())
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
