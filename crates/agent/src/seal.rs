//! A seal on a disk that is shut down: written last and read first, it shows after a boot elsewhere that the disk there is the
//! one that was left, with all that was written to it by then.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Its file's name, beside what workloads write.
const NAME: &str = ".sealed";
/// How many numbers it is made of: a MiB of them.
const WORDS: u64 = (1 << 20) / 8;
/// The odd number nearest to 2^64 over the golden ratio: its multiples differ in all their bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes a seal of this number to the disk mounted in a folder, and waits until it is there.
pub(crate) fn write(folder: &Path, number: u64) -> Result<(), String> {
    let path = folder.join(NAME);
    let put = || {
        // Not over an old one: what is half new is none.
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let mut file = File::create(&path)?;
        file.write_all(&content(number))?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    put().map_err(|error: io::Error| format!("seal the disk in {}: {error}", folder.display()))
}

/// Reads it back.
pub(crate) fn check(folder: &Path, number: u64) -> Result<(), String> {
    let path = folder.join(NAME);
    let mut found = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(WORDS * 8 + 1).read_to_end(&mut found));
    let wrong = match read {
        Ok(_) if found == content(number) => return Ok(()),
        Ok(_) => "it holds something else".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "find what was written to the disk last, before the guest was shut down: {}: {wrong}",
        path.display()
    ))
}

fn content(number: u64) -> Vec<u8> {
    (1..=WORDS).flat_map(|word| number.wrapping_add(word).wrapping_mul(GOLDEN).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_known_again_and_no_other_is_taken_for_it() {
        let folder = std::env::temp_dir().join(format!("dunlin-seal-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(check(&folder, 7).unwrap_err().contains("No such file"));
        write(&folder, 7).unwrap();
        check(&folder, 7).unwrap();
        assert!(check(&folder, 8).unwrap_err().contains("something else"), "one of an earlier time");
        write(&folder, 8).unwrap();
        check(&folder, 8).unwrap();
        // A block that did not come along, and one too many.
        let path = folder.join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[500_000] ^= 1;
        fs::write(&path, &bytes).unwrap();
        check(&folder, 8).unwrap_err();
        bytes[500_000] ^= 1;
        bytes.push(0);
        fs::write(&path, &bytes).unwrap();
        check(&folder, 8).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
    }
}
