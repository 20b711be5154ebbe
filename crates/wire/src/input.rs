//! A file's bytes from its begin to its end, with the offset at which something is wrong.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use crate::{ReadError, ReadResult};

/// The greatest record or block that is believed. Libpcap believes as much (`pcapng.c`, block lengths).
pub(crate) const MOST_BLOCK_BYTES: usize = 16 << 20;
/// So many bytes are read at once.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;

/// Buffered here, for a call to whatever reads costs more than most fields of most packets.
pub(crate) struct Input {
    from: Box<dyn Read>,
    buffer: Box<[u8]>,
    /// Of the buffer, what was read and not yet handed out.
    ready: Range<usize>,
    offset: u64,
}

impl Input {
    pub(crate) fn new(from: Box<dyn Read>) -> Self {
        Self { from, buffer: vec![0; BUFFER_BYTES].into(), ready: 0..0, offset: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn is_at_end(&mut self) -> ReadResult<bool> {
        if self.ready.is_empty() {
            self.refill().map_err(|source| ReadError::Io { offset: self.offset, source })?;
        }
        Ok(self.ready.is_empty())
    }

    /// Reads all of `bytes`; `what` they are is said where the file ends before.
    pub(crate) fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> ReadResult<()> {
        if let Some(ready) = self.buffer[self.ready.clone()].get(..bytes.len()) {
            bytes.copy_from_slice(ready);
            self.ready.start += bytes.len();
        } else {
            self.fill_in_parts(bytes).map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => ReadError::BreaksOff { what, offset: self.offset },
                _ => ReadError::Io { offset: self.offset, source },
            })?;
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    #[cold]
    fn fill_in_parts(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.ready.is_empty() {
                self.refill()?;
            }
            if self.ready.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let amount = bytes.len().min(self.ready.len());
            let (now, later) = bytes.split_at_mut(amount);
            now.copy_from_slice(&self.buffer[self.ready.start..self.ready.start + amount]);
            self.ready.start += amount;
            bytes = later;
        }
        Ok(())
    }

    /// Reads on; at the end nothing is ready.
    #[cold]
    fn refill(&mut self) -> io::Result<()> {
        loop {
            match self.from.read(&mut self.buffer) {
                Ok(amount) => {
                    self.ready = 0..amount;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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
