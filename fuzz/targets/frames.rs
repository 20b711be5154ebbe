//! Frames of any link: tunnels in tunnels, announcements, echoes.
#![no_main]

#[expect(dead_code, reason = "each target has its own of them")]
#[path = "../../crates/wire/tests/corpus/frames.rs"]
mod frames;
#[path = "../../crates/wire/tests/corpus/invariants.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| frames::frames(bytes));
