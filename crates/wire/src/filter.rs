//! Which packets an account is of, in the words of libpcap's filter language, held against what was decoded: every layer
//! counts, in tunnels too.

mod parse;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::decode::{Layer, Mac, Protocol, Tunnel};

/// Which packets are wanted: hosts, networks, ports, protocols, VLANs and tunnels, joined by `and`, `or` and `not`.
///
/// Each test looks through all layers of a packet, from the outermost to the innermost, and fits if one of them does:
/// `host 10.0.0.1` is a packet that has this address anywhere in it, also in a tunnel. See `docs/wire.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketFilter {
    text: String,
    root: Node,
}

/// A filter that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} (at character {at})")]
pub struct PacketFilterError {
    /// What is wrong.
    pub why: String,
    /// Where, in characters from 1.
    pub at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Test(Test),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Net {
        side: Side,
        net: IpAddr,
        prefix: u8,
    },
    Ports {
        side: Side,
        protocol: Option<u8>,
        from: u16,
        to: u16,
    },
    Ether {
        side: Side,
        mac: Mac,
    },
    Vlan(Option<u16>),
    /// Of any of these kinds, with this number if one is said.
    Tunnel {
        kinds: Vec<Tunnel>,
        id: Option<u32>,
    },
    Protocols(Vec<Protocol>),
    Version(Version),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

impl Side {
    fn has<T>(self, source: T, destination: T, fits: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => fits(source),
            Self::Destination => fits(destination),
            Self::Either => fits(source) || fits(destination),
        }
    }
}

impl PacketFilter {
    /// Whether a packet with these layers is wanted.
    pub(crate) fn fits(&self, layers: &[Layer]) -> bool {
        self.root.fits(layers)
    }
}

impl Node {
    fn fits(&self, layers: &[Layer]) -> bool {
        match self {
            Self::Not(node) => !node.fits(layers),
            Self::All(nodes) => nodes.iter().all(|node| node.fits(layers)),
            Self::Any(nodes) => nodes.iter().any(|node| node.fits(layers)),
            Self::Test(test) => layers.iter().any(|layer| test.fits(layer)),
        }
    }
}

impl Test {
    fn fits(&self, layer: &Layer) -> bool {
        match (self, *layer) {
            (
                Self::Net { side, net, prefix },
                Layer::Addresses { source, destination } | Layer::Arp { source, destination },
            ) => side.has(source, destination, |address| is_in(address, *net, *prefix)),
            (
                Self::Ports { side, protocol, from, to },
                Layer::Ports { protocol: of, source, destination },
            ) => {
                protocol.is_none_or(|protocol| protocol == of)
                    && side.has(source, destination, |port| (*from..=*to).contains(&port))
            }
            (Self::Ether { side, mac }, Layer::Ether { source, destination }) => {
                side.has(source, destination, |of| of == *mac)
            }
            (Self::Vlan(wanted), Layer::Vlan(id)) => wanted.is_none_or(|wanted| wanted == id),
            (Self::Tunnel { kinds, id }, Layer::Tunnel(kind, of)) => {
                kinds.contains(&kind) && id.is_none_or(|id| id == of)
            }
            (Self::Protocols(wanted), Layer::Passed(of) | Layer::Innermost(of)) => wanted.contains(&of),
            (Self::Version(version), Layer::Addresses { source, .. }) => {
                source.is_ipv4() == (*version == Version::V4)
            }
            _ => false,
        }
    }
}

/// Whether an address begins with the first bits of a network's.
fn is_in(address: IpAddr, net: IpAddr, prefix: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (address.to_bits() ^ net.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (address.to_bits() ^ net.to_bits()) & mask == 0
        }
        _ => false,
    }
}

impl FromStr for PacketFilter {
    type Err = PacketFilterError;

    fn from_str(text: &str) -> Result<Self, PacketFilterError> {
        Ok(Self { text: text.to_owned(), root: parse::parse(text)? })
    }
}

impl fmt::Display for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
