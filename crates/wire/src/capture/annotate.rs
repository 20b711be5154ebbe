//! Puts comments into a capture once it is known what happened when.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::CaptureMark;
use super::file::check_room;
use crate::pcapng::{
    BLOCK_FRAME_BYTES, PACKET_FIXED_BYTES, STATISTICS_FIXED_BYTES, append_text, block, option,
};
use crate::{Result, WireError};

/// Larger than any block of ours; what is longer is none.
const BLOCK_MAX_BYTES: usize = 1 << 20;

/// Comments the first packet at or after each mark in a file that [`crate::capture`] wrote; those after the last
/// packet become comments of the interface's statistics at the end. Each says how far its moment is from that. The file is
/// replaced in one step.
///
/// # Errors
/// Where the file cannot be read or its replacement cannot be written; it then stays as it was.
pub fn annotate(path: &Path, marks: &[CaptureMark]) -> Result<()> {
    if marks.is_empty() {
        return Ok(());
    }
    let next = path.with_extension("new");
    let name = path.display().to_string();
    let mut marks: Vec<&CaptureMark> = marks.iter().collect();
    marks.sort_by_key(|mark| mark.epoch_ns);
    let replace = || {
        let from = File::open(path)?;
        check_room(&from, from.metadata()?.len())?;
        copy(BufReader::with_capacity(1 << 20, from), File::create(&next)?, &marks)?;
        fs::rename(&next, path)
    };
    replace().map_err(|error| {
        let _ = fs::remove_file(&next);
        WireError::io("put comments into", &name)(error)
    })
}

fn copy(mut from: impl Read, to: File, mut marks: &[&CaptureMark]) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(1 << 20, to);
    let mut bytes = Vec::new();
    while !marks.is_empty() && read_block(&mut from, &mut bytes)? {
        let due = place(&bytes).map_or(0, |place| {
            let due = if place.is_last {
                marks.len()
            } else {
                marks.partition_point(|mark| mark.epoch_ns <= place.at_ns)
            };
            insert(&mut bytes, &place, &marks[..due]);
            due
        });
        marks = &marks[due..];
        to.write_all(&bytes)?;
        bytes.clear();
    }
    // Of a file that breaks off, the rest of its last block.
    to.write_all(&bytes)?;
    io::copy(&mut from, &mut to)?;
    to.flush()
}

/// Reads the next block whole; where there is no more, or no more that makes sense, what there is of it.
fn read_block(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    from.by_ref().take(8).read_to_end(bytes)?;
    let Some(length) = u32_at(bytes, 4) else { return Ok(false) };
    let length = length as usize;
    if !(BLOCK_FRAME_BYTES..=BLOCK_MAX_BYTES).contains(&length) || !length.is_multiple_of(4) {
        return Ok(false);
    }
    from.by_ref().take(length as u64 - 8).read_to_end(bytes)?;
    Ok(bytes.len() == length)
}

/// Where a block takes comments.
struct Place {
    options_at: usize,
    /// What they are on is of that time, and so are marks until then.
    at_ns: i64,
    /// The rest of the marks, whenever they are.
    is_last: bool,
}

fn place(bytes: &[u8]) -> Option<Place> {
    const BODY_AT: usize = 8;
    let half = |at| Some(i64::from(u32_at(bytes, BODY_AT + at)?));
    // In the nanoseconds that our files count.
    let at_ns = half(4)? << 32 | half(8)?;
    match u32_at(bytes, 0)? {
        block::ENHANCED_PACKET => {
            let captured = u32_at(bytes, BODY_AT + 12)? as usize;
            let options_at = BODY_AT + PACKET_FIXED_BYTES + captured.next_multiple_of(4);
            (options_at + 4 < bytes.len()).then_some(Place { options_at, at_ns, is_last: false })
        }
        block::INTERFACE_STATISTICS => {
            Some(Place { options_at: BODY_AT + STATISTICS_FIXED_BYTES, at_ns, is_last: true })
        }
        _ => None,
    }
}

/// Puts comments before the options of a block, which has some.
fn insert(bytes: &mut Vec<u8>, place: &Place, marks: &[&CaptureMark]) {
    if marks.is_empty() {
        return;
    }
    let mut comments = Vec::new();
    for mark in marks {
        append_text(&mut comments, option::COMMENT, &mark.comment(place.at_ns));
    }
    bytes.splice(place.options_at..place.options_at, comments);
    let length = bytes.len();
    let told = (length as u32).to_le_bytes();
    bytes[4..8].copy_from_slice(&told);
    bytes[length - 4..].copy_from_slice(&told);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
