//! A file's bytes from its begin to its end, with the offset at which something is wrong.

use std::io::{BufRead, ErrorKind};

use crate::{ReadError, ReadResult};

/// The greatest record or block that is believed. Libpcap believes as much (`pcapng.c`, block lengths).
pub(crate) const MOST_BLOCK_BYTES: usize = 16 << 20;

pub(crate) struct Input {
    from: Box<dyn BufRead>,
    offset: u64,
}

impl Input {
    pub(crate) fn new(from: Box<dyn BufRead>) -> Self {
        Self { from, offset: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn is_at_end(&mut self) -> ReadResult<bool> {
        loop {
            match self.from.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { offset: self.offset, source }),
            }
        }
    }

    /// Reads all of `bytes`; `what` they are is said where the file ends before.
    pub(crate) fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> ReadResult<()> {
        self.from.read_exact(bytes).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => ReadError::BreaksOff { what, offset: self.offset },
            _ => ReadError::Io { offset: self.offset, source },
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> ReadResult<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Reads `amount` bytes to the begin of `buffer`, which grows as needed and never shrinks, so that it is not cleared for
    /// each packet. The caller has bounded the amount by [`MOST_BLOCK_BYTES`].
    pub(crate) fn fill_front(
        &mut self,
        buffer: &mut Vec<u8>,
        amount: usize,
        what: &'static str,
    ) -> ReadResult<()> {
        if buffer.len() < amount {
            buffer.resize(amount, 0);
        }
        self.fill(&mut buffer[..amount], what)
    }
}

/// The order of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
}

impl Endian {
    pub(crate) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(crate) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(crate) fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// The 16 bits at `at`, if they are there.
    pub(crate) fn u16_at(self, bytes: &[u8], at: usize) -> Option<u16> {
        Some(self.u16(*bytes.get(at..)?.first_chunk()?))
    }

    /// The 32 bits at `at`, if they are there.
    pub(crate) fn u32_at(self, bytes: &[u8], at: usize) -> Option<u32> {
        Some(self.u32(*bytes.get(at..)?.first_chunk()?))
    }
}
