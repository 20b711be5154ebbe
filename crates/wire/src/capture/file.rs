//! A capture's file: grows as long as the disk has room to spare.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use dunlin_clock::epoch_ns;
use nix::sys::statvfs::fstatvfs;

use crate::packet_socket::Statistics;
use crate::pcapng::{self, Interface, Packet};
use crate::{Result, WireError};

/// What a capture leaves of the disk's free space: captures are large, and what else is recorded matters more.
const SPARE_BYTES: u64 = 256 << 20;
/// How much is written until the free space is looked at again.
const LOOK_AFTER_BYTES: u64 = 16 << 20;
/// How much waits before it is written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that packets are appended to. Where one cannot be, none is from there on.
pub(super) struct CaptureFile {
    file: File,
    /// How long it is: ends with a whole block.
    bytes: u64,
    look_at_bytes: u64,
    /// Blocks that wait to be written, and what they hold.
    buffer: Vec<u8>,
    waiting: Contents,
    written: Contents,
    cut_short: Option<String>,
}

/// The packets in a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contents {
    pub(super) packets: u64,
    pub(super) original_bytes: u64,
}

impl CaptureFile {
    pub(super) fn create(path: &Path, interface: &Interface<'_>) -> Result<Self> {
        let name = path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(WireError::io("create the folder of", &name))?;
        }
        let file = File::create(path).map_err(WireError::io("create", &name))?;
        let mut capture = Self {
            file,
            bytes: 0,
            look_at_bytes: 0,
            buffer: Vec::new(),
            waiting: Contents::default(),
            written: Contents::default(),
            cut_short: None,
        };
        pcapng::append_head(&mut capture.buffer, interface);
        capture.append().map_err(WireError::io("write", &name))?;
        Ok(capture)
    }

    /// Appends a packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        if self.cut_short.is_some() {
            return;
        }
        pcapng::append_packet(&mut self.buffer, packet);
        self.waiting.packets += 1;
        self.waiting.original_bytes += u64::from(packet.original_bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        match self.look_for_room().and_then(|()| self.append()) {
            Ok(()) => {
                self.written.packets += waiting.packets;
                self.written.original_bytes += waiting.original_bytes;
            }
            Err(error) => {
                self.buffer.clear();
                self.cut_short = Some(error.to_string());
            }
        }
    }

    /// Ends the file with what became of the packets; says what is in it, and why not all of them are.
    pub(super) fn finish(mut self, counts: Statistics) -> (Contents, Option<String>) {
        self.flush();
        let comment = self.cut_short.as_deref().map(|why| format!("later packets were not written: {why}"));
        let statistics = pcapng::Statistics {
            epoch_ns: epoch_ns(),
            accepted: counts.accepted,
            dropped: counts.dropped,
            written: self.written.packets,
            comment: comment.as_deref().unwrap_or_default(),
        };
        pcapng::append_statistics(&mut self.buffer, &statistics);
        // For these few bytes there is the room that was spared.
        if let Err(error) = self.append() {
            self.cut_short.get_or_insert_with(|| error.to_string());
        }
        (self.written, self.cut_short)
    }

    fn look_for_room(&mut self) -> io::Result<()> {
        if self.bytes < self.look_at_bytes {
            return Ok(());
        }
        self.look_at_bytes = self.bytes + LOOK_AFTER_BYTES;
        check_room(&self.file, 0)
    }

    /// Writes all of what waits, or nothing.
    fn append(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        if written.is_ok() {
            self.bytes += self.buffer.len() as u64;
        } else {
            // Half a block would be all that readers find to complain of; where it cannot be cut off, they will.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        }
        self.buffer.clear();
        written
    }
}

/// Whether a file's disk has room for so many bytes more, and then to spare.
pub(super) fn check_room(file: &File, bytes: u64) -> io::Result<()> {
    let disk = fstatvfs(file)?;
    if disk.blocks_available() * disk.fragment_size() < SPARE_BYTES + bytes {
        let why = format!("the disk has less than {} MiB left", (SPARE_BYTES + bytes) >> 20);
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    Ok(())
}
