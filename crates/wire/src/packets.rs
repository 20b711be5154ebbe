//! Opens capture files of any known format, compressed or not, and hands out their packets one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use dunlin_record::WireInterface;

use crate::input::{BUFFER_BYTES, Input};
use crate::pcap::{self, PcapReader};
use crate::pcapng::{Comments, PcapngReader, block};
use crate::{ReadError, ReadResult};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A packet, or as much of it as was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When, in nanoseconds since the Unix epoch, which 64 bits hold until the year 2262 only; absent where the file does not
    /// say.
    pub at_ns: Option<i128>,
    /// On which of the file's interfaces, from 0 in the order of their descriptions.
    pub interface: u32,
    /// Of how many, as far as the file was read.
    pub interfaces: u32,
    /// How it begins: a number of <https://www.tcpdump.org/linktypes.html>.
    pub link: u32,
    /// Its length on the wire.
    pub original_bytes: u32,
    /// What was captured of it.
    pub data: &'a [u8],
    /// What somebody wrote about it.
    pub comments: Comments<'a>,
}

/// The packets of a capture file: pcap or pcapng, plain or compressed with gzip or Zstandard.
///
/// Holds one packet at a time. Where the file breaks off or is damaged, the packets before that are handed out first.
pub struct PacketReader {
    format: Format,
}

enum Format {
    Pcap(PcapReader),
    Pcapng(PcapngReader),
}

impl PacketReader {
    /// Opens a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is no capture.
    pub fn open(path: &Path) -> ReadResult<Self> {
        let file = File::open(path).map_err(|source| ReadError::Open { source })?;
        Self::new(file)
    }

    /// Reads from anything.
    ///
    /// # Errors
    /// Where its begin cannot be read, or is not that of a capture.
    pub fn new(from: impl Read + 'static) -> ReadResult<Self> {
        let mut input = Input::new(decompressed(BufReader::with_capacity(BUFFER_BYTES, from))?);
        if input.is_at_end()? {
            return Err(ReadError::NotACapture { why: "it is empty" });
        }
        let not_a_capture = |error| match error {
            ReadError::BreaksOff { .. } => ReadError::NotACapture { why: "it is too short to be one" },
            error => error,
        };
        let magic: [u8; 4] = input.array("the file's magic number").map_err(not_a_capture)?;
        let format = if let Some(order_and_unit) = pcap::recognize(magic) {
            Format::Pcap(PcapReader::new(input, order_and_unit)?)
        } else if magic == block::SECTION_HEADER.to_be_bytes() {
            Format::Pcapng(PcapngReader::new(input)?)
        } else {
            return Err(ReadError::NotACapture { why: "it begins neither as pcap nor as pcapng" });
        };
        Ok(Self { format })
    }

    /// The next packet; `None` at the file's end.
    ///
    /// # Errors
    /// Where the file breaks off, is damaged, or cannot be read. Nothing more can then be read from it.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows the reader's buffer")]
    pub fn next(&mut self) -> ReadResult<Option<Packet<'_>>> {
        match &mut self.format {
            Format::Pcap(reader) => reader.next(),
            Format::Pcapng(reader) => reader.next(),
        }
    }

    /// `pcap` or `pcapng`.
    #[must_use]
    pub fn format(&self) -> &'static str {
        match self.format {
            Format::Pcap(_) => "pcap",
            Format::Pcapng(_) => "pcapng",
        }
    }

    /// What was captured on, as far as the file was read.
    #[must_use]
    pub fn interfaces(&self) -> Vec<WireInterface> {
        match &self.format {
            Format::Pcap(reader) => vec![reader.interface()],
            Format::Pcapng(reader) => reader.interfaces().to_vec(),
        }
    }

    /// Packets that the capture missed, where the file says so as far as it was read.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        match &self.format {
            Format::Pcap(_) => None,
            Format::Pcapng(reader) => reader.dropped(),
        }
    }

    /// Comments on no packet, as far as the file was read, with their times in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn remarks(&self) -> &[(i128, String)] {
        match &self.format {
            Format::Pcap(_) => &[],
            Format::Pcapng(reader) => reader.remarks(),
        }
    }

    /// How many bytes were read (uncompressed).
    #[must_use]
    pub fn offset(&self) -> u64 {
        match &self.format {
            Format::Pcap(reader) => reader.offset(),
            Format::Pcapng(reader) => reader.offset(),
        }
    }
}

fn decompressed(mut from: impl BufRead + 'static) -> ReadResult<Box<dyn Read>> {
    let io = |source| ReadError::Io { offset: 0, source };
    let begin = from.fill_buf().map_err(io)?;
    Ok(if begin.starts_with(&GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(from))
    } else if begin.starts_with(&ZSTD) {
        Box::new(zstd::stream::read::Decoder::with_buffer(from).map_err(io)?)
    } else {
        // With nothing in its buffer it hands reads of this length on as they are.
        Box::new(from)
    })
}
