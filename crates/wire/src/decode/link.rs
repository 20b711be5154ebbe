//! How packets begin: Ethernet with VLAN tags, what Linux and the BSDs put there, PPP.

use super::layer::{Layer, Mac};
use super::{Bytes, Protocol, Stopped, Walk, announcement, ip, tunnel};
use crate::link_type;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_RARP: u16 = 0x8035;
const ETHERTYPES_MPLS: [u16; 2] = [0x8847, 0x8848];
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
/// Transparent Ethernet bridging, as GRE and Geneve have it.
const ETHERTYPE_ETHERNET: u16 = 0x6558;
const ETHERTYPE_PPP: u16 = 0x880b;
/// IEEE 802.1Q, 802.1ad, and what older bridges use for the outer tag.
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// More tags than any network stacks.
const MOST_TAGS: usize = 8;
/// Tunnels that are not looked into.
const UNOPENED: [(u16, &str); 6] = [
    (0x22f3, "TRILL"),
    (0x88be, "ERSPAN"),
    (0x22eb, "ERSPAN"),
    (0x88e5, "MACsec"),
    (0x88e7, "PBB"),
    (0x894f, "NSH"),
];

/// The address families of IP: 2 everywhere; that of IPv6 differs between systems.
const FAMILY_IPV4: u32 = 2;
const FAMILIES_IPV6: [u32; 5] = [10, 23, 24, 28, 30];

pub(super) fn link<'a>(link: u32, bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    match link {
        link_type::ETHERNET => ethernet(bytes, walk),
        link_type::LINUX_SLL => {
            cooked_source(bytes.u16(4), bytes.first(6), walk);
            // The type is where Ethernet has it, behind other things.
            typed(bytes.u16(14)?, bytes.after(16)?, walk)
        }
        link_type::LINUX_SLL2 => {
            cooked_source(bytes.u8(11).map(u16::from), bytes.first(12), walk);
            typed(bytes.u16(0)?, bytes.after(20)?, walk)
        }
        link_type::NULL | link_type::LOOP => {
            let big = bytes.u32(0)?;
            // In the byte order of the machine that captured, which is not told.
            let family = if link == link_type::LOOP { big } else { big.min(big.swap_bytes()) };
            loopback(family, bytes.after(4)?, walk)
        }
        link_type::PPP | link_type::PPP_HDLC => tunnel::ppp(bytes, walk),
        link_type::PPP_ETHER => tunnel::pppoe(bytes, walk),
        link_type::RAW | link_type::IPV4 | link_type::IPV6 => ip::ip(bytes, walk),
        link if link_type::RAW_OLD.contains(&link) => ip::ip(bytes, walk),
        _ => Ok(()),
    }
}

/// A cooked header has the source's address, and how long that is.
fn cooked_source(length: Result<u16, Stopped>, address: Result<[u8; 6], Stopped>, walk: &mut Walk<'_, '_>) {
    if let (Ok(6), Ok(mac)) = (length, address) {
        walk.frame.mac = Some(Mac(mac));
    }
}

fn loopback<'a>(family: u32, bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let is_version = |version| bytes.u8(0).map(|first| first >> 4 == version);
    if family == FAMILY_IPV4 || FAMILIES_IPV6.contains(&family) && is_version(6)? {
        return ip::ip(bytes, walk);
    }
    walk.frame.protocol = Protocol::Family(family);
    Ok(())
}

pub(super) fn ethernet<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    if let Ok(header) = bytes.first::<14>(0) {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
        let (destination, source) = (Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5]));
        walk.frame.mac = Some(source);
        walk.found(Layer::Ether { destination, source });
        return typed(u16::from_be_bytes([t0, t1]), bytes.after(14)?, walk);
    }
    typed(bytes.u16(12)?, bytes.after(14)?, walk)
}

/// What an ethertype announces, on Ethernet or in a tunnel.
pub(super) fn typed<'a>(
    mut ethertype: u16,
    mut bytes: Bytes<'a>,
    walk: &mut Walk<'a, '_>,
) -> Result<(), Stopped> {
    for _ in 0..MOST_TAGS {
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            break;
        }
        walk.found(Layer::Vlan(bytes.u16(0)? & 0x0fff));
        ethertype = bytes.u16(2)?;
        bytes = bytes.after(4)?;
    }
    walk.frame.core = bytes.captured;
    match ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => ip::ip(bytes, walk),
        ETHERTYPE_ARP | ETHERTYPE_RARP => {
            let is_arp = ethertype == ETHERTYPE_ARP;
            walk.frame.protocol = if is_arp { Protocol::Arp } else { Protocol::Ether(ethertype) };
            announcement::arp(bytes, walk);
            Ok(())
        }
        // Up to 1500 it is a length (IEEE 802.3).
        0..=1500 => {
            walk.frame.protocol = Protocol::Llc;
            Ok(())
        }
        other => {
            walk.frame.protocol = Protocol::Ether(other);
            if ETHERTYPES_MPLS.contains(&other) {
                return tunnel::mpls(bytes, walk);
            }
            match other {
                ETHERTYPE_PPPOE_SESSION => tunnel::pppoe(bytes, walk),
                ETHERTYPE_ETHERNET => {
                    walk.bridge()?;
                    ethernet(bytes, walk)
                }
                ETHERTYPE_PPP => tunnel::ppp(bytes, walk),
                _ => {
                    if let Some((_, name)) = UNOPENED.iter().find(|(known, _)| *known == other) {
                        walk.leave_unopened(name);
                    }
                    Ok(())
                }
            }
        }
    }
}

/// Whether an ethertype is one of those that are understood, so that what precedes it looks like Ethernet's header.
pub(super) fn is_known(ethertype: u16) -> bool {
    [ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP, ETHERTYPE_RARP, ETHERTYPE_PPPOE_SESSION]
        .contains(&ethertype)
        || ETHERTYPES_VLAN.contains(&ethertype)
        || ETHERTYPES_MPLS.contains(&ethertype)
}
