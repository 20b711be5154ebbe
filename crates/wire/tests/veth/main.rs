//! Records and captures of a real veth pair between two network namespaces of a test. Needs root; skipped without.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail the test, or say why it is skipped"
)]

mod capture;
mod pair;
mod records;
