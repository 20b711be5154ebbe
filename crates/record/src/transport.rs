//! How a migration's bytes travel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a migration's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transport {
    /// Over what.
    pub kind: TransportKind,
    /// Over so many connections for pages besides the main one (QEMU's multifd); one connection for all if absent.
    pub channels: Option<u32>,
    /// How those connections compress pages; not at all if absent.
    pub compression: Option<ChannelCompression>,
}

/// Over what a migration's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// TCP over the migration network.
    #[default]
    Tcp,
    /// The same within TLS, both ends known to each other by certificates made for this migration.
    Tls,
    /// Multipath TCP (RFC 8684) over the migration network and a second link between the hosts.
    Mptcp,
    /// A Unix socket: only between hosts that share a machine, as those of a lab do.
    Unix,
}

impl TransportKind {
    /// Its name in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Mptcp => "mptcp",
            Self::Unix => "unix",
        }
    }
}

/// How pages are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelCompression {
    /// By zlib.
    Zlib,
    /// By zstd.
    Zstd,
}

impl ChannelCompression {
    /// Its name in scenarios, which is also QEMU's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}
