//! Frames on a tap, which anyone may have sent: none of them makes the search for the probes' own fail.
#![no_main]

use dunlin_wire::parse_probe_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Some(found) = parse_probe_frame(frame) {
        assert!(found.probe <= 1);
        assert!(frame.len() >= 14 + 20 + 8 + 16);
    }
});
