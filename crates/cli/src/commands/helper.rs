//! `dunlin helper` and `dunlin node`: what our own binary does on a host.

use std::process::ExitCode;

pub(crate) fn run() -> ExitCode {
    ExitCode::from(u8::try_from(dunlin_testbed::serve_helper()).unwrap_or(1))
}

pub(crate) fn run_node() -> ExitCode {
    ExitCode::from(u8::try_from(dunlin_testbed::serve_node()).unwrap_or(1))
}
