//! The command line as its users meet it: whole outputs and exit codes. Needs no QEMU and starts no VM.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

mod capture;
mod compare;
mod documents;
mod existing;
mod foreign;
mod guest;
mod help;
mod machine;
mod report;
mod scenario;
mod serve;
mod widths;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// The program, in a folder, with nothing of this environment: no QEMU to be found, lines of 100 columns.
fn dunlin(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("dunlin").unwrap();
    command.env_clear().env("COLUMNS", "100").current_dir(folder);
    command
}

/// All that a call told: its exit code and both its streams.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let code = output.status.code().expect("it was killed");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    format!(
        "exit code {code}\n---- standard output\n{}---- standard error\n{}",
        text(output.stdout),
        text(output.stderr)
    )
}

/// The repository's root.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A copy of the recorded run that may be broken: `run` in a folder of its own.
fn fixture() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run"), &folder.path().join("run"));
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
