//! Compressing a block, and back. Each thread has its own.

use std::io::{Read, Write};

use dunlin_record::FileCompression;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::format::Packed;
use crate::{ImageError, Result};

/// What the compressors take where nobody says.
const GZIP_LEVEL: u32 = 6;

/// Compresses blocks.
pub(super) enum Packer {
    None,
    Gzip(Compression),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    pub(super) fn new(compression: FileCompression, level: Option<u32>) -> Result<Self> {
        Ok(match compression {
            FileCompression::None => Self::None,
            FileCompression::Gzip => Self::Gzip(Compression::new(level.unwrap_or(GZIP_LEVEL))),
            FileCompression::Zstd => {
                let level = level.and_then(|level| i32::try_from(level).ok());
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                Self::Zstd(zstd::bulk::Compressor::new(level).map_err(ImageError::Send)?)
            }
        })
    }

    pub(super) fn pack(&mut self, plain: Vec<u8>) -> Result<Packed> {
        let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let bytes = match self {
            Self::None => Ok(plain),
            Self::Gzip(level) => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), *level);
                encoder.write_all(&plain).and_then(|()| encoder.finish())
            }
            Self::Zstd(compressor) => compressor.compress(&plain),
        };
        Ok(Packed { plain_bytes, bytes: bytes.map_err(ImageError::Send)? })
    }
}

/// Decompresses blocks of foreign bytes.
pub(super) enum Unpacker {
    None,
    Gzip,
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Unpacker {
    pub(super) fn new(compression: FileCompression) -> Result<Self> {
        Ok(match compression {
            FileCompression::None => Self::None,
            FileCompression::Gzip => Self::Gzip,
            FileCompression::Zstd => {
                Self::Zstd(zstd::bulk::Decompressor::new().map_err(ImageError::Receive)?)
            }
        })
    }

    /// What a block was before, which must be exactly as long as it is said to be: no more room is made for it.
    pub(super) fn unpack(&mut self, Packed { plain_bytes, bytes }: Packed) -> Result<Vec<u8>> {
        let length = plain_bytes as usize;
        let wrong = || ImageError::Packed { announced: plain_bytes.into() };
        let plain = match self {
            Self::None => bytes,
            Self::Gzip => gunzip(&bytes, length).ok_or_else(wrong)?,
            Self::Zstd(decompressor) => decompressor.decompress(&bytes, length).map_err(|_| wrong())?,
        };
        if plain.len() == length { Ok(plain) } else { Err(wrong()) }
    }
}

/// One member, with nothing behind it.
fn gunzip(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut decoder = GzDecoder::new(bytes);
    let mut plain = Vec::with_capacity(length + 1);
    decoder.by_ref().take(length as u64 + 1).read_to_end(&mut plain).ok()?;
    decoder.into_inner().is_empty().then_some(plain)
}
