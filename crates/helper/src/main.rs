//! The helper by itself: what a host is given where `dunlin` itself cannot be run again.
//!
//! It is built as a static program, so that it runs on any Linux of the architecture, whatever libraries that has.

fn main() {
    std::process::exit(dunlin_testbed::serve_helper());
}
