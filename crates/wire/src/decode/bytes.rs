//! The rest of a packet: reads fields of it, or says why they are not there.

use super::Stopped;

/// The rest of a packet: what was captured of it, and how long it was on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) captured: &'a [u8],
    pub(super) wire_bytes: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn first<const N: usize>(self, at: usize) -> Result<[u8; N], Stopped> {
        match self.captured.get(at..).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => Ok(*bytes),
            None => Err(self.lacks(at + N)),
        }
    }

    pub(super) fn u8(self, at: usize) -> Result<u8, Stopped> {
        self.first::<1>(at).map(|[byte]| byte)
    }

    pub(super) fn u16(self, at: usize) -> Result<u16, Stopped> {
        self.first(at).map(u16::from_be_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Result<u32, Stopped> {
        self.first(at).map(u32::from_be_bytes)
    }

    /// What follows after `amount` bytes.
    pub(super) fn after(self, amount: usize) -> Result<Bytes<'a>, Stopped> {
        let captured = self.captured.get(amount..).ok_or_else(|| self.lacks(amount))?;
        Ok(Bytes { captured, wire_bytes: self.wire_bytes - amount })
    }

    /// No more than `amount` bytes; the rest is not part of this packet.
    pub(super) fn up_to(self, amount: usize) -> Bytes<'a> {
        Bytes {
            captured: &self.captured[..self.captured.len().min(amount)],
            wire_bytes: self.wire_bytes.min(amount),
        }
    }

    /// Why there are not `amount` bytes.
    fn lacks(self, amount: usize) -> Stopped {
        if self.wire_bytes < amount { Stopped::Malformed("a header is cut") } else { Stopped::Snapped }
    }
}
