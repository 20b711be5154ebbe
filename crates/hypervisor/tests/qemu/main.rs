//! The QEMU driver with real QEMUs, between the hosts of a lab, with a guest of 512 bytes. Each test runs this program again in a
//! role.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod guest;
mod standstill;
mod world;

use std::process::{Command, ExitCode};

use dunlin_test_support::{NOT_PERMITTED, ROLE, run_tests, skip_test};

use world::World;

/// A test: its name, and what it does with each QEMU.
type Test = (&'static str, fn(&World));

const TESTS: [Test; 4] = [
    ("a_state_is_stored_in_a_file_and_woken_at_the_other_host", standstill::stored_and_woken),
    ("a_state_that_cannot_be_stored_leaves_the_vm_as_it_was", standstill::not_stored),
    ("a_file_that_is_no_state_wakes_nothing", standstill::not_woken),
    ("a_guest_that_shuts_itself_down_is_told_from_one_that_does_not", standstill::shut_down),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, role, ..] = &args[..]
        && first == ROLE
    {
        let test = TESTS.iter().find(|(name, _)| name == role).unwrap();
        return world::play(test.1);
    }
    run_tests(&args, &TESTS, |name, _| {
        let output = Command::new(std::env::current_exe().unwrap()).args([ROLE, name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(NOT_PERMITTED) {
            return skip_test(name, said.trim());
        }
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        for line in said.lines().filter_map(|line| line.strip_prefix(world::LEFT_OUT)) {
            skip_test(name, line);
        }
        assert!(output.status.success(), "{name}: {}", output.status);
    })
}
