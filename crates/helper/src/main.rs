//! The helper by itself: what a host is given where `dunlin` itself cannot be run again.
//!
//! It is built as a static program, so that it runs on any Linux of the architecture, whatever libraries that has.

use dunlin_testbed::{serve_helper, serve_remote_helper};

fn main() {
    // A host is given a mode; without one it only serves whoever started it.
    let code = match std::env::args().nth(1) {
        Some(mode) => serve_remote_helper(&mode),
        None => serve_helper(),
    };
    std::process::exit(code);
}
