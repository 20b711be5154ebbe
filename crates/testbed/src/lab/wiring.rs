//! The lab's cables: between the switch and each place, one for each network.

use std::net::Ipv4Addr;

use super::{PREFIX, SWITCH, address};
use crate::namespace::Namespace;
use crate::netlink::{End, Netlink, Shape};
use crate::relay::{RelayEnd, RelaySpec};
use crate::{MacAddress, Network, Relay, Result, device};

/// A host's port of the service network.
pub(super) const UPLINK: &str = "uplink";

/// Where a cable ends that begins at the switch.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) namespace: &'a Namespace,
    /// The last byte of its addresses.
    pub(super) last: u8,
    /// Whether VMs are to be joined to this network here: the cable then ends at a bridge.
    pub(super) has_taps: bool,
}

/// A cable to be laid between the switch and a place.
#[derive(Clone, Copy)]
pub(super) struct Cable<'a> {
    pub(super) network: Network,
    pub(super) switch: &'a Namespace,
    /// What it does to frames, each way.
    pub(super) shape: Shape,
    /// Whether a relay carries the frames (and delays them) instead of the kernel.
    pub(super) relayed: bool,
    pub(super) congestion_control: &'a str,
}

/// Makes the switch's bridges, one a network, and gives it its address.
pub(super) fn add_switch_bridges(
    switch: &Namespace,
    networks: &[Network],
    congestion_control: &str,
) -> Result<()> {
    let mut netlink = Netlink::open(switch)?;
    for &network in networks {
        netlink.add_bridge(network.as_str(), station(3, network, 0))?;
        netlink.set_up(network.as_str())?;
    }
    let service = Network::Service;
    netlink.add_address(service.as_str(), address(service, SWITCH), PREFIX, congestion_control)
}

impl Cable<'_> {
    /// Lays the cable, and gives the place its address.
    pub(super) fn connect(self, place: Place<'_>) -> Result<Option<Relay>> {
        let network = self.network.as_str();
        let port = port(self.network, place.last);
        let (far_device, far_mac) = if place.has_taps {
            (UPLINK, station(1, self.network, place.last))
        } else {
            (network, mac(self.network, place.last))
        };
        let near = End { namespace: self.switch, device: &port, mac: station(2, self.network, place.last) };
        let far = End { namespace: place.namespace, device: far_device, mac: far_mac };
        let relay = self.lay(near, far)?;

        let mut switch = Netlink::open(self.switch)?;
        switch.join_bridge(&port, network)?;
        switch.set_up(&port)?;

        let mut here = Netlink::open(place.namespace)?;
        if place.has_taps {
            here.add_bridge(network, mac(self.network, place.last))?;
            here.join_bridge(UPLINK, network)?;
            here.set_up(UPLINK)?;
        }
        here.set_up(network)?;
        here.add_address(network, address(self.network, place.last), PREFIX, self.congestion_control)?;
        Ok(relay)
    }

    pub(super) fn lay(&self, near: End<'_>, far: End<'_>) -> Result<Option<Relay>> {
        let mut relay = None;
        let mut shape = self.shape;
        if self.relayed {
            relay = Some(Relay::start(&RelaySpec {
                a: relay_end(near),
                b: relay_end(far),
                delay_ns: i64::try_from(shape.delay.as_nanos()).unwrap_or(i64::MAX),
                queue_frames: usize::try_from(shape.frames_in_flight()).unwrap_or(usize::MAX),
            })?);
            shape.delay = std::time::Duration::ZERO;
            for end in [near, far] {
                Netlink::open(end.namespace)?.set_mac(end.device, end.mac)?;
            }
        } else {
            Netlink::open(near.namespace)?.add_veth(near, far)?;
        }
        for end in [near, far] {
            end.namespace.run(|| device::switch_offloads_off(end.device))?;
            Netlink::open(end.namespace)?.shape(end.device, shape)?;
        }
        Ok(relay)
    }
}

/// The switch's port to a place.
pub(super) fn port(network: Network, last: u8) -> String {
    format!("{last}-{network}")
}

/// Tells all places on a network, each by its last byte, the hardware addresses of the others, so that nobody has to ask
/// during a measurement.
pub(super) fn introduce(network: Network, places: &[(&Namespace, u8)]) -> Result<()> {
    for &(namespace, own) in places {
        let mut netlink = Netlink::open(namespace)?;
        for (_, other) in places.iter().filter(|(_, other)| *other != own) {
            let neighbour: Ipv4Addr = address(network, *other);
            netlink.set_neighbour(network.as_str(), neighbour, mac(network, *other))?;
        }
    }
    Ok(())
}

/// The hardware address that goes with a place's address on a network.
pub(super) fn mac(network: Network, last: u8) -> MacAddress {
    station(0, network, last)
}

/// A locally administered address: `02:44:4e` (DN), the kind of device, the network, the place.
pub(super) fn station(kind: u8, network: Network, last: u8) -> MacAddress {
    let [_, network, ..] = address(network, 0).octets();
    MacAddress::new([0x02, 0x44, 0x4e, kind, network, last])
}

fn relay_end(end: End<'_>) -> RelayEnd {
    RelayEnd { netns: end.namespace.path(), device: end.device.to_owned() }
}
