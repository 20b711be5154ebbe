//! What can go wrong with an image, or with the stream by which it travels.

use std::io;

/// A result of working on an image.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// What can go wrong with an image, or with the stream by which it travels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The system refused something about the file.
    #[error("cannot {doing} at byte {at}")]
    File {
        /// What was being done, as in "read the image".
        doing: &'static str,
        /// At which byte of the file.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// Nothing more could be sent.
    #[error("cannot send the image's stream")]
    Send(#[source] io::Error),
    /// Nothing more could be received.
    #[error("cannot receive the image's stream")]
    Receive(#[source] io::Error),
    /// It is not sent that way.
    #[error("{what} cannot be: {because}")]
    Settings {
        /// What was asked for.
        what: String,
        /// Why it cannot be had.
        because: &'static str,
    },
    /// The file became shorter while it was read.
    #[error("the image ends at byte {at}, though it had {length} when it was opened")]
    Shrunk {
        /// Where it ends now.
        at: u64,
        /// Its length before.
        length: u64,
    },
    /// What comes is no stream of an image.
    #[error("what comes is no image's stream")]
    NoStream,
    /// It is of a version that is not known.
    #[error("the image's stream is of version {found}, and not {known}")]
    Version {
        /// Which one it says.
        found: u16,
        /// The one there is.
        known: u16,
    },
    /// Its header, or a frame, holds what means nothing.
    #[error("the image's stream is malformed: {what}")]
    Malformed {
        /// What means nothing, as in "a compression of number 7".
        what: String,
    },
    /// The file announced has another length than the one expected.
    #[error("an image of {announced} bytes comes, where one of {expected} was expected")]
    Length {
        /// What the stream says.
        announced: u64,
        /// What was to come.
        expected: u64,
    },
    /// A block is larger than any may be.
    #[error("a block of {bytes} bytes comes, and none may have more than {most}")]
    TooLarge {
        /// How large it says it is.
        bytes: u64,
        /// How large one may be.
        most: u64,
    },
    /// A block is not what it was compressed from.
    #[error("a block cannot be decompressed to the {announced} bytes that it is said to have")]
    Packed {
        /// What its frame says.
        announced: u64,
    },
    /// Bytes are for beyond the file's end.
    #[error("{length} bytes at {offset} come for a file of {file} bytes")]
    Beyond {
        /// Where they would lie.
        offset: u64,
        /// How many.
        length: u64,
        /// The file's length.
        file: u64,
    },
    /// Bytes are for where some were already, or for before those.
    #[error("bytes come for {offset}, after all below {below} had come")]
    Overlap {
        /// Where they would lie.
        offset: u64,
        /// Up to where all had come.
        below: u64,
    },
    /// The stream ends before its end mark.
    #[error("the image's stream ends before its end mark")]
    CutShort,
    /// What came is not what was read.
    #[error("what came is not what was sent: its checksum, or its amount, is another")]
    Checksum,
}

impl ImageError {
    /// Whether it is about the stream and not about the file or what was asked: the other end may know why.
    #[must_use]
    pub fn is_of_stream(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Settings { .. } | Self::Shrunk { .. })
    }

    pub(crate) fn file(doing: &'static str, at: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, at, source }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }
}
