//! `dunlin calibrate` for real: a lab, a relay, probes. Needs the right to make namespaces; skipped without.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use dunlin_test_support::skip;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Exit codes, as in `dunlin --help`.
const PASSED: i32 = 0;
const MACHINE_LACKS: i32 = 4;
const INCONCLUSIVE: i32 = 7;
const INTERRUPTED: i32 = 130;

fn calibrate(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.arg("calibrate").args(arguments.split(' '));
    command
}

/// Whether this machine lets nobody make a lab; says so.
fn is_skipped(output: &Output) -> bool {
    let skipped = output.status.code() == Some(MACHINE_LACKS);
    if skipped {
        skip(String::from_utf8_lossy(&output.stderr));
    }
    skipped
}

#[test]
fn known_outages_are_measured_within_the_bound_unless_the_machine_is_too_noisy_to_tell() {
    let output = calibrate("--sizes-ms 20 --repetitions 10 --json").output().unwrap();
    if is_skipped(&output) {
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let result: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let expected = match output.status.code().unwrap() {
        PASSED => "passed",
        INCONCLUSIVE => "inconclusive",
        code => panic!("exit code {code}: {result:#}{errors}"),
    };
    assert_eq!(result["verdict"], expected);
    let cells = result["cells"].as_array().unwrap();
    let made: Vec<_> =
        cells.iter().map(|cell| (cell["fault"].as_str().unwrap(), &cell["asked_ms"])).collect();
    assert_eq!(made, [("drop", &Value::from(20)), ("hold", &Value::from(20))]);
    for cell in cells {
        let injected = cell["injected_ms"].as_array().unwrap();
        for reading in cell["readings"].as_array().unwrap() {
            assert_eq!(reading["measured_ms"].as_array().unwrap().len(), injected.len(), "{cell:#}");
        }
    }
    for cost in result["cost"].as_array().unwrap() {
        assert!(cost["cpu_percent"].as_f64().unwrap() > 0.0, "{cost:#}");
    }
}

#[test]
fn an_interrupt_ends_it_with_a_code_of_its_own() {
    let mut child = calibrate("--sizes-ms 60000 --repetitions 1").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // The first line of progress: the lab is up and the first outage is about to be made.
    let first = lines.next().unwrap().unwrap();
    if !first.starts_with("0/2: drop 60000 ms") {
        skip(first);
        assert_eq!(child.wait().unwrap().code(), Some(MACHINE_LACKS));
        return;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(INTERRUPTED));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["error: ended by the user"]);
}
