//! What the tests of several rooms share: how one says that it cannot run here, so that none is left out unseen, how
//! tables are read back from what was printed, and a harness for programs that run themselves again in a role.
//!
//! A test that lacks something calls [`skip`] or [`skip_vms`] and returns. The reason goes to standard error, and where
//! [`SKIPPED_FILE`] names a file, there too: `script/test` prints them all at its end.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "only tests use it")]

mod harness;
mod read_back;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

pub use harness::{NOT_PERMITTED, ROLE, not_permitted, run_tests};
pub use read_back::{ReadBack, read_back, words};

/// The environment variable that names the file in which skipped tests are noted, a line each: `program::test: reason`.
pub const SKIPPED_FILE: &str = "DUNLIN_SKIPPED";

/// The environment variable that, as `1`, makes tests with VMs fail where they cannot run.
pub const REQUIRE_VMS: &str = "DUNLIN_REQUIRE_VMS";

/// Says that the test of this thread, or a part of it, cannot run here.
///
/// # Panics
/// Where it cannot be noted: the test would be left out unseen.
pub fn skip(reason: impl Display) {
    skip_test(&this_test().unwrap_or_default(), reason);
}

/// The same of a test by its name, for those without the usual harness.
///
/// # Panics
/// As [`skip`].
pub fn skip_test(test: &str, reason: impl Display) {
    let file = std::env::var_os(SKIPPED_FILE).filter(|file| !file.is_empty());
    let line = line(&this_program(), test, &reason.to_string());
    eprint!("skipped: {line}");
    if let Some(file) = file
        && let Err(error) = append(file.as_ref(), &line)
    {
        panic!("cannot note in {} that a test was skipped: {error}", file.display());
    }
}

/// Says that the test of this thread, one with VMs, cannot run here.
///
/// # Panics
/// Where [`REQUIRE_VMS`] says that it must; or as [`skip`].
pub fn skip_vms(reason: impl Display) {
    let required = is_required(std::env::var_os(REQUIRE_VMS).as_deref());
    assert!(!required, "{REQUIRE_VMS} is 1, and this test cannot run here: {reason}");
    skip(reason);
}

fn is_required(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| value == "1")
}

/// In one line, however many the reason had.
fn line(program: &str, test: &str, reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    format!("{program}::{test}: {}\n", words.join(" "))
}

/// In one write, as other tests append to the file at the same time.
fn append(file: &Path, line: &str) -> io::Result<()> {
    File::options().append(true).create(true).open(file)?.write_all(line.as_bytes())
}

/// Its name, which is that of its thread, unless the harness runs no more than this one.
fn this_test() -> Option<String> {
    let thread = thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    thread.or_else(|| std::env::args().skip_while(|word| word != "--exact").nth(1))
}

fn this_program() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_stem).unwrap_or_default().to_string_lossy();
    without_hash(&name).to_owned()
}

/// A test program's name, less what cargo appends to it.
fn without_hash(program: &str) -> &str {
    let is_hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    match program.rsplit_once('-') {
        Some((name, end)) if is_hash(end) => name,
        _ => program,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    const ROLE: &str = "DUNLIN_TEST_SUPPORT_ROLE";

    /// This program again, as one whose only test skips.
    fn skipping(role: &str, environment: &[(&str, &OsStr)]) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::what_is_played", "--nocapture"]);
        command.env(ROLE, role).env_remove(SKIPPED_FILE).env_remove(REQUIRE_VMS);
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// Nothing but for the tests below.
    #[test]
    fn what_is_played() {
        match std::env::var(ROLE).as_deref() {
            Ok("any") => skip("no\n  such tool"),
            Ok("vms") => skip_vms("no kernel"),
            _ => {}
        }
    }

    #[test]
    fn who_skips_is_noted_by_name_with_the_reason_in_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("skipped");
        for role in ["any", "vms"] {
            let output = skipping(role, &[(SKIPPED_FILE, file.as_os_str())]);
            assert!(output.status.success(), "{output:?}");
        }
        let name = "dunlin_test_support::tests::what_is_played";
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("{name}: no such tool\n{name}: no kernel\n")
        );
    }

    #[test]
    fn without_a_file_it_is_only_said() {
        let output = skipping("any", &[]);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("tests::what_is_played: no such tool"), "{said}");
    }

    #[test]
    fn a_test_with_vms_fails_where_these_are_required() {
        for (role, value, passes) in
            [("vms", "1", false), ("vms", "0", true), ("vms", "", true), ("any", "1", true)]
        {
            let output = skipping(role, &[(REQUIRE_VMS, OsStr::new(value))]);
            assert_eq!(output.status.success(), passes, "{role} {value}: {output:?}");
        }
    }

    #[test]
    fn a_test_that_cannot_be_noted_fails() {
        let folder = tempfile::tempdir().unwrap();
        let output = skipping("any", &[(SKIPPED_FILE, folder.path().as_os_str())]);
        assert!(!output.status.success(), "{output:?}");
    }

    #[test]
    fn only_a_hash_is_taken_off_a_programs_name() {
        assert_eq!(without_hash("vm_faults-0123456789abcdef"), "vm_faults");
        assert_eq!(without_hash("some-program"), "some-program");
    }
}
