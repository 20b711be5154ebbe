//! Protocols and their names.

use std::fmt;

use crate::link_type;

/// A protocol above the link, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Arp,
    /// IP whose header could not be read.
    Ip,
    /// What an IP packet carries, by its number.
    OverIp(u8),
    Ether(u16),
    /// What PPP carries, by its number.
    Ppp(u16),
    /// IEEE 802.3 with a length instead of a type, as spanning tree has it.
    Llc,
    /// Of a loopback: neither IPv4 nor IPv6.
    Family(u32),
    /// Such families beyond a few: they are 32 bits of whatever is in the file.
    OtherFamilies,
    /// Found by its port or in a tunnel.
    Named(&'static str),
    /// A link whose packets are not understood, or whose header could not be read.
    Link(u32),
}

/// What an IP packet carries, by name; IANA's protocol numbers.
const OVER_IP: [(u8, &str); 18] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPv4 in IP"),
    (6, "TCP"),
    (17, "UDP"),
    (41, "IPv6 in IP"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (88, "EIGRP"),
    (89, "OSPF"),
    (97, "EtherIP"),
    (103, "PIM"),
    (112, "VRRP"),
    (115, "L2TP"),
    (132, "SCTP"),
];

/// IEEE's ethertypes.
const ETHER: [(u16, &str); 13] = [
    (0x8035, "RARP"),
    (0x809b, "AppleTalk"),
    (0x8137, "IPX"),
    (0x8809, "LACP"),
    (0x8847, "MPLS"),
    (0x8848, "MPLS"),
    (0x8863, "PPPoE discovery"),
    (0x8864, "PPPoE"),
    (0x888e, "EAPOL"),
    (0x88a2, "ATA over Ethernet"),
    (0x88cc, "LLDP"),
    (0x88f7, "PTP"),
    (0x8906, "FCoE"),
];

/// IANA's PPP protocol numbers.
const PPP: [(u16, &str); 6] = [
    (0x8021, "PPP IPCP"),
    (0x8057, "PPP IPV6CP"),
    (0xc021, "PPP LCP"),
    (0xc023, "PPP PAP"),
    (0xc223, "PPP CHAP"),
    (0x80fd, "PPP CCP"),
];

/// Those that have no number of their own.
const NAMED: [&str; 13] = [
    "CAPWAP",
    "ERSPAN",
    "ESP in UDP",
    "GTP-U",
    "LISP",
    "MACsec",
    "NSH",
    "OpenVPN",
    "PBB",
    "PPP compressed or encrypted",
    "Teredo",
    "TRILL",
    "WireGuard",
];

/// The protocols of a name, as filters have it: in small letters, with `-` for a space.
pub(crate) fn by_name(name: &str) -> Vec<Protocol> {
    let is_named = |known: &str| known.to_ascii_lowercase().replace(' ', "-") == name;
    let over_ip = OVER_IP.iter().map(|(number, known)| (*known, Protocol::OverIp(*number)));
    let ether = ETHER.iter().map(|(number, known)| (*known, Protocol::Ether(*number)));
    let ppp = PPP.iter().map(|(number, known)| (*known, Protocol::Ppp(*number)));
    let named = NAMED.iter().map(|known| (*known, Protocol::Named(known)));
    let others = [("ARP", Protocol::Arp), ("LLC", Protocol::Llc)];
    let all = over_ip.chain(ether).chain(ppp).chain(named).chain(others);
    all.filter(|(known, _)| is_named(known)).map(|(_, protocol)| protocol).collect()
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("ARP"),
            Self::Ip => f.write_str("IP"),
            Self::OverIp(number) => match OVER_IP.iter().find(|(known, _)| known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "IP protocol {number}"),
            },
            Self::Ether(number) => match ETHER.iter().find(|(known, _)| known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "ethertype {number:#06x}"),
            },
            Self::Ppp(number) => match PPP.iter().find(|(known, _)| known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "PPP protocol {number:#06x}"),
            },
            Self::Llc => f.write_str("LLC"),
            Self::Family(number) => write!(f, "address family {number}"),
            Self::OtherFamilies => f.write_str("other address families"),
            Self::Named(name) => f.write_str(name),
            Self::Link(number) => f.write_str(&link_type::name(*number)),
        }
    }
}
