//! A small harness for test programs that run themselves again in a role: they enter a lab before they have threads, which the
//! usual harness makes first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// The argument that announces a role.
pub const ROLE: &str = "--role";
/// The exit code of a role that says that this machine does not permit what it takes, or lacks it; the reason is on its output.
pub const NOT_PERMITTED: i32 = 77;

/// Runs the tests that are asked for, each by its name and what it is played with. Understands what `cargo test` and
/// `cargo nextest` say to a harness.
pub fn run_tests<T>(args: &[String], tests: &[(&str, T)], play: impl Fn(&str, &T)) -> ExitCode {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "terse").collect();
    let fits = |name: &str, filter: &str| if has("--exact") { filter == name } else { name.contains(filter) };
    let is_wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| fits(name, filter));
    let wanted: Vec<_> = tests.iter().filter(|(name, _)| is_wanted(name) && !has("--ignored")).collect();
    if has("--list") {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in &wanted {
        println!("test {name} ...");
        if catch_unwind(AssertUnwindSafe(|| play(name, test))).is_err() {
            failed.push(name);
        }
    }
    println!("test result: {} passed; {} failed {failed:?}", wanted.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says why a role cannot be played here.
#[must_use]
pub fn not_permitted(why: &str) -> ExitCode {
    println!("{why}");
    ExitCode::from(NOT_PERMITTED as u8)
}
