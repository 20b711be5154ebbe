//! Frames byte by byte: TCP in IPv4 in Ethernet, and tunnels around it.

/// A segment to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Whether `a`, the client, sends it.
    pub(crate) is_from_a: bool,
    pub(crate) client_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) bytes: u32,
    /// The end of what the sender has beyond a hole.
    pub(crate) sack: Option<[u32; 2]>,
    /// Of the IP packet.
    pub(crate) id: u16,
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x01;

/// What a packet may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    Vlan,
    Vxlan,
    Geneve,
    Gre,
    GreOfEthernet,
    IpInIp,
    Mpls,
    PppOe,
}

impl Around {
    pub(crate) const ALL: [Self; 8] = [
        Self::Vlan,
        Self::Vxlan,
        Self::Geneve,
        Self::Gre,
        Self::GreOfEthernet,
        Self::IpInIp,
        Self::Mpls,
        Self::PppOe,
    ];

    /// As `dunlin wire` calls it; a VLAN is no tunnel.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Vlan => None,
            Self::Vxlan => Some("VXLAN"),
            Self::Geneve => Some("Geneve"),
            Self::Gre | Self::GreOfEthernet => Some("GRE"),
            Self::IpInIp => Some("IP in IP"),
            Self::Mpls => Some("MPLS"),
            Self::PppOe => Some("PPPoE"),
        }
    }
}

/// A packet, as an ethertype and what follows it.
pub(crate) type Typed = (u16, Vec<u8>);

/// An Ethernet frame of a segment in all of these, the last the outermost.
pub(crate) fn frame(segment: &Segment, around: &[Around]) -> Vec<u8> {
    let packet = (0x0800, ipv4(segment.is_from_a, 6, segment.id, &tcp(segment)));
    ethernet(around.iter().fold(packet, |inside, around| wrapped(inside, *around)))
}

fn tcp(segment: &Segment) -> Vec<u8> {
    let mut options = Vec::new();
    if segment.flags & SYN != 0 {
        options.extend([3, 3, 7, 1]);
    }
    if let Some([from, to]) = segment.sack {
        options.extend([1, 1, 5, 10]);
        options.extend(from.to_be_bytes());
        options.extend(to.to_be_bytes());
    }
    let [source, destination] =
        if segment.is_from_a { [segment.client_port, 80] } else { [80, segment.client_port] };
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend(segment.seq.to_be_bytes());
    bytes.extend(segment.ack.to_be_bytes());
    bytes.extend([((20 + options.len()) / 4 * 16) as u8, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(vec![0xaa; segment.bytes as usize]);
    bytes
}

fn ipv4(is_forth: bool, protocol: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let [source, destination] = if is_forth { [one, other] } else { [other, one] };
    let mut header = vec![0x45, 0];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend([0x40, 0, 64, protocol, 0, 0]);
    header.extend([source, destination].concat());
    [header, payload.to_vec()].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    [&[0xc0, 0][..], &port.to_be_bytes(), &length, &[0, 0], payload].concat()
}

fn ethernet((ethertype, payload): Typed) -> Vec<u8> {
    [&[2; 12], &ethertype.to_be_bytes()[..], &payload].concat()
}

fn is_ip(ethertype: u16) -> bool {
    ethertype == 0x0800
}

/// In a tunnel. Those that carry IP alone carry Ethernet where something else is inside, in GRE.
fn wrapped(inside: Typed, around: Around) -> Typed {
    let in_ip = |protocol: u8, payload: &[u8]| (0x0800, ipv4(true, protocol, 1, payload));
    match around {
        Around::Vlan => (0x8100, [&[0, 7], &inside.0.to_be_bytes()[..], &inside.1].concat()),
        Around::Vxlan => in_ip(17, &udp(4789, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], &ethernet(inside)].concat())),
        Around::Geneve => {
            in_ip(17, &udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 42, 0][..], &ethernet(inside)].concat()))
        }
        Around::Gre if is_ip(inside.0) => in_ip(47, &[&[0, 0, 8, 0][..], &inside.1].concat()),
        Around::Gre | Around::GreOfEthernet => {
            in_ip(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 9][..], &ethernet(inside)].concat())
        }
        Around::IpInIp if is_ip(inside.0) => in_ip(4, &inside.1),
        Around::Mpls if is_ip(inside.0) => (0x8847, [&[0, 1, 0x11, 64][..], &inside.1].concat()),
        Around::PppOe if is_ip(inside.0) => {
            let length = (2 + inside.1.len() as u16).to_be_bytes();
            (0x8864, [&[0x11, 0, 0, 7][..], &length, &[0, 0x21], &inside.1].concat())
        }
        Around::IpInIp | Around::Mpls | Around::PppOe => inside,
    }
}
