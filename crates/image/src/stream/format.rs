//! The parts of an image's stream as bytes: see [`crate::stream`].

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use dunlin_record::FileCompression;

use crate::{ImageError, Result};

const MAGIC: &[u8; 8] = b"dunlinim";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;
/// Offset and length of an extent.
pub(super) const EXTENT_HEAD_BYTES: usize = 12;
/// The longest block, with the heads of its extents.
pub(super) const BLOCK_MAX: u32 = 2 << 20;
/// The longest block when compressed: what cannot be compressed grows a little.
const PACKED_MAX: u32 = BLOCK_MAX + BLOCK_MAX / 8;

const END: u8 = 0;
const BLOCK: u8 = 1;
const NOTHING: u8 = 2;

/// What the stream says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) compression: FileCompression,
    /// The file's length.
    pub(super) length: u64,
}

/// A block as it travels.
#[derive(Debug)]
pub(super) struct Packed {
    /// Its length before it was compressed.
    pub(super) plain_bytes: u32,
    pub(super) bytes: Vec<u8>,
}

/// What the stream says after its header.
#[derive(Debug)]
pub(super) enum Frame {
    Block(Packed),
    Nothing,
    End { content_bytes: u64, checksum: [u8; 32] },
}

/// Begins the checksum over an image's stream.
pub(super) fn checksum(length: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher
}

impl Header {
    /// Writes it; says how many bytes that were.
    pub(super) fn write(self, to: &mut impl Write) -> Result<u64> {
        let compression = match self.compression {
            FileCompression::None => 0,
            FileCompression::Gzip => 1,
            FileCompression::Zstd => 2,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([compression, 0]);
        bytes.extend(self.length.to_le_bytes());
        to.write_all(&bytes).map_err(ImageError::Send)?;
        Ok(bytes.len() as u64)
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self> {
        let bytes: [u8; HEADER_BYTES] = read_array(from)?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ImageError::NoStream);
        }
        let version = u16::from_le_bytes([rest[0], rest[1]]);
        if version != VERSION {
            return Err(ImageError::Version { found: version, known: VERSION });
        }
        let compression = match rest[2] {
            0 => FileCompression::None,
            1 => FileCompression::Gzip,
            2 => FileCompression::Zstd,
            other => return Err(ImageError::malformed(format!("a compression of number {other}"))),
        };
        if rest[3] != 0 {
            return Err(ImageError::malformed("flags, of which none are known"));
        }
        Ok(Self { compression, length: number(&rest[4..]) })
    }
}

impl Frame {
    /// Writes it; says how many bytes that were.
    pub(super) fn write(&self, to: &mut impl Write) -> Result<u64> {
        let written = match self {
            Self::Nothing => write_both(to, &[NOTHING], &[]),
            Self::End { content_bytes, checksum } => {
                let mut bytes = vec![END];
                bytes.extend(content_bytes.to_le_bytes());
                bytes.extend(checksum);
                write_both(to, &bytes, &[])
            }
            Self::Block(Packed { plain_bytes, bytes }) => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let mut head = vec![BLOCK];
                head.extend(plain_bytes.to_le_bytes());
                head.extend(length.to_le_bytes());
                write_both(to, &head, bytes)
            }
        };
        written.map_err(ImageError::Send)
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self> {
        let [kind] = read_array(from)?;
        match kind {
            NOTHING => Ok(Self::Nothing),
            END => {
                let content_bytes = u64::from_le_bytes(read_array(from)?);
                Ok(Self::End { content_bytes, checksum: read_array(from)? })
            }
            BLOCK => {
                let plain_bytes = u32::from_le_bytes(read_array(from)?);
                let length = u32::from_le_bytes(read_array(from)?);
                for (bytes, most) in [(plain_bytes, BLOCK_MAX), (length, PACKED_MAX)] {
                    if bytes > most {
                        return Err(ImageError::TooLarge { bytes: bytes.into(), most: most.into() });
                    }
                }
                let mut bytes = Vec::with_capacity(length as usize);
                from.take(length.into()).read_to_end(&mut bytes).map_err(ImageError::Receive)?;
                if bytes.len() < length as usize {
                    return Err(ImageError::CutShort);
                }
                Ok(Self::Block(Packed { plain_bytes, bytes }))
            }
            other => Err(ImageError::malformed(format!("a frame of kind {other}"))),
        }
    }
}

/// The number that eight bytes are.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// In one system call where that takes both, so that no packet goes for the few bytes of a head alone.
fn write_both(to: &mut impl Write, head: &[u8], bytes: &[u8]) -> io::Result<u64> {
    let written = loop {
        match to.write_vectored(&[IoSlice::new(head), IoSlice::new(bytes)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => break written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    to.write_all(head.get(written..).unwrap_or_default())?;
    to.write_all(bytes.get(written.saturating_sub(head.len())..).unwrap_or_default())?;
    Ok((head.len() + bytes.len()) as u64)
}

fn read_array<const LENGTH: usize>(from: &mut impl Read) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(ImageError::CutShort),
        Err(error) => Err(ImageError::Receive(error)),
    }
}
