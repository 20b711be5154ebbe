//! Sending an image: reading, compressing and sending go on at the same time.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread;

use dunlin_clock::now_ns;
use dunlin_record::FileCompression;

use super::StreamSettings;
use super::codec::Packer;
use super::format::{EXTENT_HEAD_BYTES, Frame, Header, checksum};
use super::in_order::{Giver, in_order};
use crate::{Extent, ImageError, Result, data_extents, is_zero};

/// How much of a file a block holds: the compressors' windows see no further.
const BLOCK_BYTES: usize = 1 << 20;
/// How much is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// What is left out where it holds only zeros.
const PAGE_BYTES: usize = 4096;
/// After so many bytes that hold only zeros, something is sent all the same.
const SILENT_BYTES: u64 = 64 << 20;

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The file's length.
    pub file_bytes: u64,
    /// What was sent of it, before it was compressed.
    pub content_bytes: u64,
    /// What that became: all that was written to the stream.
    pub sent_bytes: u64,
    /// For how long threads compressed, all together; absent without compression.
    pub compress_ns: Option<i64>,
    /// BLAKE3 over what the file holds and where.
    pub checksum: [u8; 32],
}

/// Sends a file over a stream. Told meanwhile is how many bytes of it were sent, or passed over as zeros: in the end, all that are
/// no holes ([`crate::data_bytes`]), or its length where holes are sent. Moves the file's position; it must not change meanwhile.
///
/// # Errors
/// Where the file cannot be read, the stream takes no more, or it cannot be sent that way.
pub fn send(
    file: &File,
    to: &mut impl Write,
    settings: StreamSettings,
    on_sent: &mut dyn FnMut(u64),
) -> Result<Sent> {
    settings.check()?;
    let length = file.metadata().map_err(ImageError::file("ask for the length of the image", 0))?.len();
    let header = Header { compression: settings.compression, length };
    let mut sent_bytes = header.write(to)?;
    let compress_ns = AtomicI64::new(0);
    let (content_bytes, checksum) = thread::scope(|scope| {
        let pack = || {
            let packer = Packer::new(settings.compression, settings.level);
            let (mut packer, compress_ns) = (packer, &compress_ns);
            move |Plain { bytes, passed_bytes }: Plain| {
                let packer =
                    packer.as_mut().map_err(|_| ImageError::Send(std::io::ErrorKind::OutOfMemory.into()))?;
                if bytes.is_empty() {
                    return Ok((Frame::Nothing, passed_bytes));
                }
                let began_ns = now_ns();
                let packed = packer.pack(bytes)?;
                compress_ns.fetch_add(now_ns() - began_ns, Relaxed);
                Ok((Frame::Block(packed), passed_bytes))
            }
        };
        let (giver, taker) = in_order(scope, settings.threads, pack);
        let reader = scope.spawn(move || Reader::new(file, length, giver).read(settings.sparse));
        let mut send_all = || {
            let mut done_bytes = 0;
            while let Some(packed) = taker.take() {
                let (frame, passed_bytes): (Frame, u64) =
                    packed.map_err(|_| ImageError::Send(std::io::Error::other("a compressor is gone")))??;
                sent_bytes += frame.write(to)?;
                done_bytes += passed_bytes;
                on_sent(done_bytes);
            }
            Ok(())
        };
        let sent: Result<()> = send_all();
        // Whoever reads learns that no more is taken.
        drop(taker);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(read)
    })?;
    sent_bytes += Frame::End { content_bytes, checksum }.write(to)?;
    to.flush().map_err(ImageError::Send)?;
    let compress_ns = (settings.compression != FileCompression::None).then(|| compress_ns.load(Relaxed));
    Ok(Sent { file_bytes: length, content_bytes, sent_bytes, compress_ns, checksum })
}

/// A block to be compressed.
struct Plain {
    /// Extents; none where all was zeros.
    bytes: Vec<u8>,
    /// How much of the file was passed over for it.
    passed_bytes: u64,
}

/// Reads a file and makes blocks of it.
struct Reader<'a, Out> {
    file: &'a File,
    length: u64,
    giver: Giver<Plain, Out>,
    hasher: blake3::Hasher,
    content_bytes: u64,
    block: Vec<u8>,
    /// Where the head of the block's last extent is, and the byte of the file after that extent.
    last: Option<(usize, u64)>,
    passed_bytes: u64,
}

/// That nobody takes blocks any more: whoever sent them knows why.
struct NotTaken;

impl<'a, Out> Reader<'a, Out> {
    fn new(file: &'a File, length: u64, giver: Giver<Plain, Out>) -> Self {
        let block = Vec::new();
        Self {
            file,
            length,
            giver,
            hasher: checksum(length),
            content_bytes: 0,
            block,
            last: None,
            passed_bytes: 0,
        }
    }

    /// Says how many bytes it read that were to be sent, and their checksum.
    fn read(mut self, sparse: bool) -> Result<(u64, [u8; 32])> {
        let all = Extent { begin: 0, end: self.length };
        let extents: &mut dyn Iterator<Item = Result<Extent>> =
            if sparse { &mut data_extents(self.file) } else { &mut [Ok(all)].into_iter() };
        let mut piece = vec![0; PIECE_BYTES];
        for extent in extents {
            let Extent { begin, end } = extent?;
            let (mut at, end) = (begin, end.min(self.length));
            while at < end {
                // Up to where pages begin, wherever the extent does.
                let now = (PIECE_BYTES as u64 - at % PIECE_BYTES as u64).min(end - at);
                let piece = &mut piece[..now as usize];
                self.read_at(at, piece)?;
                self.passed_bytes += now;
                // Whoever takes them has an error of its own then, which is told instead.
                if self.push_piece(at, piece, sparse).is_err() {
                    return Ok((0, [0; 32]));
                }
                at += now;
            }
        }
        let _ = self.flush();
        Ok((self.content_bytes, *self.hasher.finalize().as_bytes()))
    }

    fn read_at(&self, at: u64, piece: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(piece, at).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImageError::Shrunk { at, length: self.length },
            _ => ImageError::file("read the image", at)(error),
        })
    }

    /// Takes what of a piece is to be sent.
    fn push_piece(&mut self, at: u64, piece: &[u8], sparse: bool) -> Result<(), NotTaken> {
        if !sparse {
            return self.push(at, piece);
        }
        let mut run: Option<usize> = None;
        for begin in (0..piece.len()).step_by(PAGE_BYTES) {
            let page = &piece[begin..piece.len().min(begin + PAGE_BYTES)];
            match (is_zero(page), run) {
                (false, None) => run = Some(begin),
                (true, Some(from)) => {
                    self.push(at + from as u64, &piece[from..begin])?;
                    run = None;
                }
                _ => {}
            }
        }
        if let Some(from) = run {
            self.push(at + from as u64, &piece[from..])?;
        }
        if self.passed_bytes >= SILENT_BYTES { self.flush() } else { Ok(()) }
    }

    fn push(&mut self, at: u64, mut bytes: &[u8]) -> Result<(), NotTaken> {
        self.content_bytes += bytes.len() as u64;
        let mut at = at;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES.saturating_sub(self.block.len());
            if room < PAGE_BYTES {
                self.flush()?;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.append(at, now);
            at += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Adds to the block's last extent, or begins another.
    fn append(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let head = match self.last {
            Some((head, last_end)) if last_end == at => head,
            _ => {
                self.block.reserve(if self.block.is_empty() { BLOCK_BYTES + EXTENT_HEAD_BYTES } else { 0 });
                let head = self.block.len();
                self.block.extend(at.to_le_bytes());
                self.block.extend([0; 4]);
                head
            }
        };
        self.block.extend(bytes);
        let length = u32::try_from(self.block.len() - head - EXTENT_HEAD_BYTES).unwrap_or(u32::MAX);
        self.block[head + 8..head + EXTENT_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        self.last = Some((head, end));
    }

    fn flush(&mut self) -> Result<(), NotTaken> {
        let plain = Plain {
            bytes: std::mem::take(&mut self.block),
            passed_bytes: std::mem::take(&mut self.passed_bytes),
        };
        self.last = None;
        if plain.bytes.is_empty() && plain.passed_bytes == 0 {
            return Ok(());
        }
        self.hasher.update(&plain.bytes);
        self.giver.give(plain).map_err(|_| NotTaken)
    }
}
