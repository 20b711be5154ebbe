//! How an image travels over a byte stream: what of it is no hole, compressed in blocks on several threads while it is read and
//! sent, and likewise unpacked and written while it is received.
//!
//! All numbers are little-endian. The stream begins with a header of 20 bytes: `dunlinim`, the version (`u16`), how blocks are
//! compressed (`u8`: 0 not, 1 gzip, 2 zstd), 0 (`u8`), and the file's length (`u64`). Frames follow, each of a kind (`u8`):
//!
//! - 1, a block: its length (`u32`, at most 2 MiB), that of what follows (`u32`), and the block as one gzip member (RFC 1952)
//!   or zstd frame (RFC 8878), or as it is. It is made of extents: an offset (`u64`), a length (`u32`, not 0), and so many
//!   bytes, in the order of the file, none over another.
//! - 2, nothing: whoever sends is well, though there was nothing to send for a while.
//! - 0, the end: how many bytes all extents have (`u64`), and a BLAKE3 checksum (32 bytes) over the file's length and all blocks
//!   before they were compressed, one after the other: thereby over what the file holds, and where.
//!
//! What no extent tells of is a hole, and reads as zeros.

mod codec;
mod format;
mod in_order;
mod receive;
mod send;

use dunlin_record::FileCompression;

use crate::{ImageError, Result};
pub use receive::{Received, receive};
pub use send::{Sent, send};

/// How many threads may compress at most.
pub const THREADS_MAX: u32 = 64;

/// How an image is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// How blocks are compressed.
    pub compression: FileCompression,
    /// How hard that tries: 1 to 9 for gzip, 1 to 22 for zstd; the compressor's own default (6 and 3) if absent.
    pub level: Option<u32>,
    /// How many threads compress, from 1 to [`THREADS_MAX`]. Each takes some 4 MiB of memory at either end.
    pub threads: u32,
    /// Whether holes, and pages of zeros, are left out; else they are sent, and written as zeros.
    pub sparse: bool,
}

impl StreamSettings {
    /// Whether an image can be sent that way.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, because| Err(ImageError::Settings { what, because });
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return refuse(format!("{} threads", self.threads), "from 1 to 64 may compress");
        }
        let Some(level) = self.level else { return Ok(()) };
        match self.compression {
            FileCompression::None => {
                refuse(format!("a compression of level {level}"), "without compression there are no levels")
            }
            FileCompression::Gzip if !(1..=9).contains(&level) => {
                refuse(format!("gzip of level {level}"), "its levels are 1 to 9")
            }
            FileCompression::Zstd if !(1..=22).contains(&level) => {
                refuse(format!("zstd of level {level}"), "its levels are 1 to 22")
            }
            FileCompression::Gzip | FileCompression::Zstd => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
