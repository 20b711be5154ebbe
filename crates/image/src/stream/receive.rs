//! Receiving an image: what comes may be anything, and nothing is written but inside the file's announced length, once.

use std::fs::File;
use std::io::{Error, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread;

use dunlin_clock::now_ns;
use dunlin_record::FileCompression;

use super::THREADS_MAX;
use super::codec::Unpacker;
use super::format::{EXTENT_HEAD_BYTES, Frame, Header, Packed, checksum, number};
use super::in_order::in_order;
use crate::{ImageError, Result};

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The file's length.
    pub file_bytes: u64,
    /// What was written of it; the rest are holes.
    pub content_bytes: u64,
    /// For how long threads decompressed, all together; absent without compression.
    pub decompress_ns: Option<i64>,
    /// BLAKE3 over what the file holds and where, which is what the sender had.
    pub checksum: [u8; 32],
}

/// Receives a file that is empty of data from a stream, decompressing on so many threads. It gets the announced length, which must
/// be `expected` where that is known, and then nothing but the bytes that come: where none do a hole stays.
///
/// # Errors
/// Where the stream breaks off, is not what a sender would send, or tells another checksum than what came has; where the file
/// cannot be written. Part of it may be written then.
pub fn receive(
    from: &mut (impl Read + Send),
    file: &File,
    threads: u32,
    expected: Option<u64>,
) -> Result<Received> {
    let Header { compression, length } = Header::read(from)?;
    if let Some(expected) = expected.filter(|expected| *expected != length) {
        return Err(ImageError::Length { announced: length, expected });
    }
    file.set_len(length).map_err(ImageError::file("set the length of the image", length))?;
    let mut writer = Writer { file, length, below: 0, content_bytes: 0, hasher: checksum(length) };
    let decompress_ns = AtomicI64::new(0);
    let end = thread::scope(|scope| {
        let unpack = || {
            let (mut unpacker, decompress_ns) = (Unpacker::new(compression), &decompress_ns);
            move |packed: Packed| {
                let began_ns = now_ns();
                let unpacker = unpacker
                    .as_mut()
                    .map_err(|_| ImageError::Receive(Error::other("no memory for a decompressor")))?;
                let plain = unpacker.unpack(packed)?;
                decompress_ns.fetch_add(now_ns() - began_ns, Relaxed);
                Ok(plain)
            }
        };
        let (giver, taker) = in_order(scope, threads.clamp(1, THREADS_MAX), unpack);
        let reader = scope.spawn(move || {
            loop {
                match Frame::read(from)? {
                    Frame::Nothing => {}
                    Frame::End { content_bytes, checksum } => return Ok(Some((content_bytes, checksum))),
                    Frame::Block(packed) => {
                        // Whoever takes them has an error of its own then, which is told instead.
                        if giver.give(packed).is_err() {
                            return Ok(None);
                        }
                    }
                }
            }
        });
        let mut write_all = || {
            while let Some(plain) = taker.take() {
                let gone = |_| ImageError::Receive(Error::other("a decompressor is gone"));
                let plain: Result<Vec<u8>> = plain.map_err(gone)?;
                writer.write(&plain?)?;
            }
            Ok(())
        };
        let written: Result<()> = write_all();
        drop(taker);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(read)
    })?;
    let (content_bytes, checksum) = (writer.content_bytes, *writer.hasher.finalize().as_bytes());
    if end != Some((content_bytes, checksum)) {
        return Err(ImageError::Checksum);
    }
    let decompress_ns = (compression != FileCompression::None).then(|| decompress_ns.load(Relaxed));
    Ok(Received { file_bytes: length, content_bytes, decompress_ns, checksum })
}

/// Writes blocks to the file, and takes their checksum.
struct Writer<'a> {
    file: &'a File,
    length: u64,
    /// All below has come.
    below: u64,
    content_bytes: u64,
    hasher: blake3::Hasher,
}

impl Writer<'_> {
    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.hasher.update(block);
        let mut rest = block;
        while !rest.is_empty() {
            let cut = || ImageError::malformed("an extent ends beyond its block");
            let (head, behind) = rest.split_at_checked(EXTENT_HEAD_BYTES).ok_or_else(cut)?;
            let (offset, length) = (number(&head[..8]), number(&head[8..]));
            let (bytes, behind) = behind.split_at_checked(length as usize).ok_or_else(cut)?;
            self.write_extent(offset, bytes)?;
            rest = behind;
        }
        Ok(())
    }

    fn write_extent(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        if length == 0 {
            return Err(ImageError::malformed("an extent of no bytes"));
        }
        if offset < self.below {
            return Err(ImageError::Overlap { offset, below: self.below });
        }
        let end = offset.checked_add(length).filter(|end| *end <= self.length);
        let end = end.ok_or(ImageError::Beyond { offset, length, file: self.length })?;
        self.file.write_all_at(bytes, offset).map_err(ImageError::file("write the image", offset))?;
        self.below = end;
        self.content_bytes += length;
        Ok(())
    }
}
