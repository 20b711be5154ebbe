//! Capture files: whatever they hold, they are read to their end or to an offset, and all that is counted adds up.
#![no_main]

#[path = "../../crates/wire/tests/corpus/invariants.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = invariants::read(bytes);
});
