//! The streams that fuzzing begins with: whole, cut short, and with flipped bits.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use dunlin_image::{ImageError, Received, receive};

/// So many bytes tell which stream it is and how long the file is: a wrong length is only another hole.
const HEADER_BYTES: usize = 20;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn read(mut bytes: &[u8]) -> Result<Received, ImageError> {
    receive(&mut bytes, &tempfile::tempfile().unwrap(), 1, None)
}

#[test]
fn what_is_whole_is_received_and_what_is_wrong_is_refused() {
    let corpus = corpus();
    assert!(corpus.len() >= 12, "{}", corpus.len());
    for (name, bytes) in corpus {
        assert_eq!(read(&bytes).is_err(), name.starts_with("wrong-"), "{name}: {:?}", read(&bytes));
    }
}

#[test]
fn what_is_cut_or_changed_is_refused() {
    for (name, bytes) in corpus().into_iter().filter(|(name, _)| !name.starts_with("wrong-")) {
        let whole = read(&bytes).unwrap();
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
            assert!(matches!(read(&bytes[..cut]), Err(ImageError::CutShort)), "{name} cut at {cut}");
        }
        for at in (HEADER_BYTES..bytes.len()).step_by(1 + bytes.len() / 100) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            // A bit that means nothing to a compressor may pass; another content may not.
            if let Ok(received) = read(&flipped) {
                assert_eq!(received.checksum, whole.checksum, "{name} with a bit flipped at {at}");
            }
        }
    }
}
