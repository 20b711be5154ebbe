//! What a packet has in it, from the outside in: what filters are held against.

use std::fmt;
use std::net::IpAddr;

use super::{Protocol, Tunnel};

/// One thing that a packet has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Whose it is on Ethernet: destination and source.
    Ether { destination: Mac, source: Mac },
    /// A VLAN's tag.
    Vlan(u16),
    /// From an IP address to another.
    Addresses { source: IpAddr, destination: IpAddr },
    /// Who asks or answers, and for whom, by ARP or RARP.
    Arp { source: IpAddr, destination: IpAddr },
    /// A protocol that was passed on the way.
    Passed(Protocol),
    /// From a port to another.
    Ports { protocol: u8, source: u16, destination: u16 },
    /// A tunnel that was looked into, and the number of its network, if it has one.
    Tunnel(Tunnel, u32),
    /// The innermost protocol that was found.
    Innermost(Protocol),
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
