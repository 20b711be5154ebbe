//! A small rtnetlink client: makes, joins, addresses and shapes the lab's links.
//!
//! A netlink socket stays in the network namespace in which it was opened, whichever thread then uses it.

mod qdisc;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::namespace::Namespace;
use crate::{MacAddress, Result, TestbedError};

pub(crate) use qdisc::Shape;

/// The kernel answers at once; only a broken one takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One end of a link to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) device: &'a str,
    pub(crate) mac: MacAddress,
}

/// A connection to the kernel's network configuration of one namespace.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    /// The namespace's name, for errors.
    place: String,
}

impl Netlink {
    /// Connects to a namespace.
    pub(crate) fn open(namespace: &Namespace) -> Result<Self> {
        namespace.run(|| Self::open_here(namespace.name()))
    }

    /// Connects to the namespace of the calling thread, called `place` in errors.
    pub(crate) fn open_here(place: &str) -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket2::SockRef::from(&socket).set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(socket)
        };
        let socket = open().map_err(TestbedError::netlink(format!("open a netlink socket in {place}")))?;
        Ok(Self { socket, sequence: 0, place: place.to_owned() })
    }

    /// Makes a bridge that forwards at once, without spanning tree or multicast snooping.
    pub(crate) fn add_bridge(&mut self, name: &str, mac: MacAddress) -> Result<()> {
        let data = InfoData::Bridge(vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ]);
        let mut message = link(name);
        // A bridge without an address of its own changes it with its ports.
        message.attributes.push(LinkAttribute::Address(mac.octets().to_vec()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)]));
        self.create(&format!("create the bridge {name}"), RouteNetlinkMessage::NewLink(message))
    }

    /// Makes a pair of linked devices: the first end in this namespace, the other where it says.
    pub(crate) fn add_veth(&mut self, end: End<'_>, peer: End<'_>) -> Result<()> {
        let mut peer_message = link(peer.device);
        peer_message.attributes.push(LinkAttribute::Address(peer.mac.octets().to_vec()));
        peer_message.attributes.push(LinkAttribute::NetNsFd(peer.namespace.as_fd().as_raw_fd()));
        let mut message = link(end.device);
        message.attributes.push(LinkAttribute::Address(end.mac.octets().to_vec()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer_message))),
        ]));
        let doing = format!("link {} to {} in {}", end.device, peer.device, peer.namespace.name());
        self.create(&doing, RouteNetlinkMessage::NewLink(message))
    }

    /// Gives a device its hardware address.
    pub(crate) fn set_mac(&mut self, device: &str, mac: MacAddress) -> Result<()> {
        let address = LinkAttribute::Address(mac.octets().to_vec());
        self.set(&format!("set the address of {device} to {mac}"), device, address)
    }

    /// Sets how many frames may wait in a device's queue.
    pub(crate) fn set_queue(&mut self, device: &str, frames: u32) -> Result<()> {
        self.set(&format!("set the queue of {device}"), device, LinkAttribute::TxQueueLen(frames))
    }

    /// Makes a device a port of a bridge.
    pub(crate) fn join_bridge(&mut self, device: &str, bridge: &str) -> Result<()> {
        let index = self.index(bridge)?;
        self.set(&format!("make {device} a port of {bridge}"), device, LinkAttribute::Controller(index))
    }

    /// Sets a device up.
    pub(crate) fn set_up(&mut self, device: &str) -> Result<()> {
        let mut message = link(device);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(&format!("set {device} up"), RouteNetlinkMessage::SetLink(message), 0).map(drop)
    }

    /// Removes a device.
    pub(crate) fn delete(&mut self, device: &str) -> Result<()> {
        self.request(&format!("remove {device}"), RouteNetlinkMessage::DelLink(link(device)), 0).map(drop)
    }

    /// Gives a device an address and the route to its network, on which TCP uses this congestion control.
    ///
    /// The route carries the congestion control because a namespace's default may only be one that the whole machine
    /// allows to everybody, and changing that would outlive the lab.
    pub(crate) fn add_address(
        &mut self,
        device: &str,
        address: Ipv4Addr,
        prefix: u8,
        congestion_control: &str,
    ) -> Result<()> {
        let index = self.index(device)?;
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address)),
            AddressAttribute::Address(IpAddr::V4(address)),
            AddressAttribute::Flags(AddressFlags::Noprefixroute),
        ];
        self.create(
            &format!("give {device} the address {address}"),
            RouteNetlinkMessage::NewAddress(message),
        )?;

        let network = Ipv4Addr::from_bits(address.to_bits() & u32::MAX << (32 - u32::from(prefix)));
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = prefix;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Kernel;
        message.header.scope = RouteScope::Link;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet(network)),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)),
            RouteAttribute::Oif(index),
            RouteAttribute::Metrics(vec![RouteMetric::CcAlgo(congestion_control.to_owned())]),
        ];
        self.create(&format!("route {network}/{prefix} to {device}"), RouteNetlinkMessage::NewRoute(message))
    }

    /// Fixes which hardware address an IP address has, so that no resolution disturbs a measurement.
    pub(crate) fn set_neighbour(&mut self, device: &str, address: Ipv4Addr, mac: MacAddress) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = self.index(device)?;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()),
        ];
        let message = RouteNetlinkMessage::NewNeighbour(message);
        let doing = format!("fix the neighbour {address} of {device}");
        self.request(&doing, message, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Limits and delays what leaves through a device.
    pub(crate) fn shape(&mut self, device: &str, shape: Shape) -> Result<()> {
        let index = self.index(device)?;
        for message in shape.messages(index) {
            self.create(
                &format!("shape {device} to {shape}"),
                RouteNetlinkMessage::NewQueueDiscipline(message),
            )?;
        }
        Ok(())
    }

    /// Whether this kernel can delay frames itself, tried for a moment on the loopback device.
    pub(crate) fn has_netem(&mut self) -> Result<bool> {
        match self.shape("lo", Shape { rate_mbit: None, delay: Duration::from_nanos(1) }) {
            Ok(()) => self.unshape("lo").map(|()| true),
            Err(TestbedError::Netlink { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn unshape(&mut self, device: &str) -> Result<()> {
        let message = RouteNetlinkMessage::DelQueueDiscipline(qdisc::root(self.index(device)?));
        self.request(&format!("lift the limits of {device}"), message, 0).map(drop)
    }

    fn index(&mut self, device: &str) -> Result<u32> {
        let doing = format!("find {device}");
        let answers = self.request(&doing, RouteNetlinkMessage::GetLink(link(device)), 0)?;
        let index = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(message.header.index),
            _ => None,
        });
        index.ok_or_else(|| self.error(&doing)(std::io::ErrorKind::NotFound.into()))
    }

    fn set(&mut self, doing: &str, device: &str, attribute: LinkAttribute) -> Result<()> {
        let mut message = link(device);
        message.attributes.push(attribute);
        self.request(doing, RouteNetlinkMessage::SetLink(message), 0).map(drop)
    }

    fn create(&mut self, doing: &str, message: RouteNetlinkMessage) -> Result<()> {
        self.request(doing, message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Sends one message and gathers what the kernel says until it acknowledges.
    fn request(
        &mut self,
        doing: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(self.error(doing))?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(self.error(doing))?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| self.error(doing)(std::io::Error::other(error)))?;
                // Messages are aligned to 4 bytes; a length of 0 cannot pass `deserialize`.
                let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(self.error(doing)(error.to_io()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    _ => {}
                }
            }
        }
    }

    fn error(&self, doing: &str) -> impl FnOnce(std::io::Error) -> TestbedError + use<> {
        TestbedError::netlink(format!("{doing} in {}", self.place))
    }
}

fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}
