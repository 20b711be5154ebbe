//! Builds the agent as a static program, so that every binary that can make a guest carries it.

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin_static_program::carry("dunlin-agent", "release", "DUNLIN_AGENT")
}
