//! What can go wrong on a link.

/// Why a link cannot do what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A message that does not fit into a frame.
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The other side has acknowledged nothing for so long that no more can be kept for it.
    #[error("the other side has left {bytes} bytes unacknowledged, the limit is {limit}")]
    Full {
        /// What waits.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A message was to be sent before the caller opened a session.
    #[error("no session is open to send a message in")]
    NoSession,
    /// A message whose type has no encoding.
    #[error("encode a message")]
    Encode {
        /// What the encoder said.
        #[source]
        source: postcard::Error,
    },
    /// A message arrived whole but is none this side knows.
    #[error("decode message {seq}, which arrived whole")]
    Undecodable {
        /// Its place in the session.
        seq: u64,
        /// What the decoder said.
        #[source]
        source: postcard::Error,
    },
    /// The two sides were built from different versions.
    #[error("the other side speaks version {theirs} of the agent's protocol, this side version {ours}")]
    Version {
        /// This side's.
        ours: u16,
        /// The other side's.
        theirs: u16,
    },
    /// The other side began anew in the middle of a session: messages may be lost.
    #[error("the other side has lost its memory of the session (was the guest restarted?)")]
    PeerForgot,
}

/// What a link's operations return.
pub type Result<T> = std::result::Result<T, LinkError>;
