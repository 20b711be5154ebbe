//! Reads the headers of a packet: link, VLAN, IP, TCP, and those of tunnels until nothing is in another any more. Tells what
//! contradicts itself from what was merely not captured.

mod announcement;
mod bytes;
mod ip;
mod layer;
mod link;
mod protocol;
mod tcp;
mod tunnel;
mod udp;

use std::net::{IpAddr, SocketAddr};

use crate::packets::Packet;

pub(crate) use announcement::Announcement;
use bytes::Bytes;
pub(crate) use layer::{Layer, Mac};
pub(crate) use protocol::{Protocol, by_name};
pub(crate) use tunnel::Tunnel;

/// So many tunnels in each other are looked into.
pub(crate) const MOST_TUNNELS: u8 = 8;

/// What a packet's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The innermost protocol that was found.
    pub(crate) protocol: Protocol,
    /// The kinds of tunnels that were looked into, a bit for each, and how many in each other.
    pub(crate) tunnels: u16,
    pub(crate) depth: u8,
    /// A tunnel that is not looked into.
    pub(crate) unopened: Option<&'static str>,
    /// Whether it is a part of a fragmented packet.
    pub(crate) is_fragment: bool,
    /// The innermost Ethernet source.
    pub(crate) mac: Option<Mac>,
    /// The innermost IP packet's ends.
    pub(crate) flow: Option<IpFlow>,
    /// The innermost IP packet as it was captured; of others, what is behind the link header.
    pub(crate) core: &'a [u8],
    pub(crate) segment: Option<Segment<'a>>,
    /// Who says where it is now.
    pub(crate) announcement: Option<Announcement>,
    /// Why there is no more.
    pub(crate) stopped: Option<Stopped>,
}

/// The ends of an IP packet and what tells its conversation from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpFlow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Of an echo, twice its identifier; `None` where there are none, or another fragment has them.
    pub(crate) ports: Option<(u16, u16)>,
    /// Whether it asks for an answer: an echo's request.
    pub(crate) is_request: bool,
}

/// Why headers were not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The capture kept too little.
    Snapped,
    /// There are more tunnels in each other than are looked into.
    TooDeep,
    /// This is wrong with the packet.
    Malformed(&'static str),
}

/// A TCP segment's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    /// As in the header: not scaled.
    pub(crate) window: u16,
    pub(crate) window_scale: Option<u8>,
    /// The end of the highest block beyond a hole that the sender says it has.
    pub(crate) sack_end: Option<u32>,
    /// What its options of MPTCP say, in brief: the same where they are the same; 0 where there are none.
    pub(crate) mptcp: u32,
    pub(crate) payload_bytes: u32,
    /// What was captured of the payload.
    pub(crate) payload: &'a [u8],
    pub(crate) ip_header_bytes: u32,
    pub(crate) tcp_header_bytes: u32,
}

/// A TCP segment's flags (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }

    pub(crate) fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    pub(crate) fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }

    pub(crate) fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// Reads a packet's headers. All layers that were found, from the outside in, go to `layers`, where they are wanted.
pub(crate) fn decode<'a>(packet: &Packet<'a>, layers: Option<&mut Vec<Layer>>) -> Frame<'a> {
    let mut walk = Walk {
        frame: Frame {
            protocol: Protocol::Link(packet.link),
            tunnels: 0,
            depth: 0,
            unopened: None,
            is_fragment: false,
            mac: None,
            flow: None,
            core: packet.data,
            segment: None,
            announcement: None,
            stopped: None,
        },
        layers,
        bridged: 0,
    };
    let bytes = Bytes { captured: packet.data, wire_bytes: packet.original_bytes as usize };
    walk.frame.stopped = link::link(packet.link, bytes, &mut walk).err();
    let Walk { frame, layers, .. } = walk;
    if let Some(layers) = layers {
        layers.push(Layer::Innermost(frame.protocol));
    }
    frame
}

/// A packet that is being read.
struct Walk<'a, 'l> {
    frame: Frame<'a>,
    layers: Option<&'l mut Vec<Layer>>,
    /// How many Ethernet frames there were so far that an ethertype announced.
    bridged: u8,
}

impl Walk<'_, '_> {
    fn found(&mut self, layer: Layer) {
        if let Some(layers) = &mut self.layers {
            layers.push(layer);
        }
    }

    /// Goes into a tunnel.
    fn enter(&mut self, tunnel: Tunnel, id: u32) -> Result<(), Stopped> {
        if self.frame.depth == MOST_TUNNELS {
            return Err(Stopped::TooDeep);
        }
        self.frame.depth += 1;
        self.frame.tunnels |= 1 << tunnel as u16;
        self.found(Layer::Tunnel(tunnel, id));
        Ok(())
    }

    /// Goes into an Ethernet frame that an ethertype announced. Tunnels have one each; without a tunnel, nothing else bounds them.
    fn bridge(&mut self) -> Result<(), Stopped> {
        if self.bridged == MOST_TUNNELS {
            return Err(Stopped::TooDeep);
        }
        self.bridged += 1;
        Ok(())
    }

    /// Names a tunnel that is not looked into.
    fn leave_unopened(&mut self, name: &'static str) {
        self.frame.protocol = Protocol::Named(name);
        self.frame.unopened = Some(name);
    }
}

#[cfg(test)]
mod tests;
