//! Records and captures of a real veth pair between two network namespaces of a test. Needs root; skipped without.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

mod capture;
mod pair;
mod records;
