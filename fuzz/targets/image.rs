//! The stream by which an image travels, and where its holes are.
#![no_main]

use std::os::unix::fs::MetadataExt;

use dunlin_image::{data_bytes, receive};
use libfuzzer_sys::fuzz_target;

/// Up to here the stream tells what it is of, and last how long the file is.
const LENGTH_AT: usize = 12;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    // A longer file is only a larger hole.
    if let Some(length) = bytes.get_mut(LENGTH_AT + 3..LENGTH_AT + 8) {
        length.fill(0);
    }
    let announced = bytes
        .get(LENGTH_AT..LENGTH_AT + 8)
        .map(|length| u64::from_le_bytes(length.try_into().expect("eight")));
    let file = tempfile::tempfile().expect("a file");
    let received = receive(&mut &bytes[..], &file, 1, None);
    let metadata = file.metadata().expect("its metadata");
    assert!(
        metadata.len() == 0 || Some(metadata.len()) == announced,
        "nothing lies outside the announced length"
    );
    if let Ok(received) = received {
        assert_eq!(Some(received.file_bytes), announced);
        assert!(received.content_bytes <= received.file_bytes);
        // Whole pages of the file system around what came, of which no two extents share more than a page.
        assert!(data_bytes(&file).expect("its holes") >= received.content_bytes);
        assert!(metadata.blocks() * 512 <= received.content_bytes * 4096 + (1 << 20), "holes stay holes");
    }
});
