//! Builds the helper as a static program, so that `dunlin` carries it to hosts that have other libraries than this machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin_static_program::carry("dunlin-helper", "helper", "DUNLIN_HELPER")
}
