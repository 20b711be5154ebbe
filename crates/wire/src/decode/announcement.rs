//! Who says where it is: gratuitous ARP (RFC 5227, section 3), RARP as hypervisors send it for a VM that has moved, and
//! neighbor advertisements that nobody asked for (RFC 4861, section 7.2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_record::AnnouncementKind;

use super::layer::{Layer, Mac};
use super::{Bytes, Walk};

const RARP_REQUEST: u16 = 3;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Of a neighbor advertisement: it answers a question.
const SOLICITED: u8 = 0x40;
const TARGET_LINK_ADDRESS: u8 = 2;
/// More options than any advertisement has.
const MOST_OPTIONS: usize = 8;

/// Somebody says that it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) kind: AnnouncementKind,
    pub(crate) mac: Mac,
    /// RARP has none.
    pub(crate) address: Option<IpAddr>,
}

/// Reads ARP or RARP (RFC 826, RFC 903) for Ethernet and IPv4; other kinds say nothing here.
pub(super) fn arp(bytes: Bytes<'_>, walk: &mut Walk<'_, '_>) {
    let Ok(header) = bytes.first::<28>(0) else { return };
    if header[..6] != [0, 1, 8, 0, 6, 4] {
        return;
    }
    let operation = u16::from_be_bytes([header[6], header[7]]);
    let mac = |at: usize| Mac(std::array::from_fn(|index| header[at + index]));
    let address = |at: usize| Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|index| header[at + index]));
    let (source, destination) = (address(14), address(24));
    walk.found(Layer::Arp { source: source.into(), destination: destination.into() });
    let is_reverse = operation == RARP_REQUEST && mac(8) == mac(18);
    let is_gratuitous = operation < RARP_REQUEST && source == destination && !source.is_unspecified();
    let kind = match (is_reverse, is_gratuitous) {
        (true, _) => AnnouncementKind::Rarp,
        (_, true) => AnnouncementKind::GratuitousArp,
        _ => return,
    };
    let address = is_gratuitous.then_some(source.into());
    walk.frame.announcement = Some(Announcement { kind, mac: mac(8), address });
}

/// Reads a message of ICMPv6.
pub(super) fn neighbor_advertisement(bytes: Bytes<'_>, walk: &mut Walk<'_, '_>) {
    let Ok(header) = bytes.first::<24>(0) else { return };
    if header[0] != NEIGHBOR_ADVERTISEMENT || header[4] & SOLICITED != 0 {
        return;
    }
    let target = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|index| header[8 + index]));
    let mac = link_address(bytes.captured.get(24..).unwrap_or_default()).or(walk.frame.mac);
    let Some(mac) = mac else { return };
    walk.frame.announcement = Some(Announcement {
        kind: AnnouncementKind::NeighborAdvertisement,
        mac,
        address: Some(target.into()),
    });
}

fn link_address(mut options: &[u8]) -> Option<Mac> {
    for _ in 0..MOST_OPTIONS {
        let [kind, length, rest @ ..] = options else { return None };
        if *kind == TARGET_LINK_ADDRESS {
            return rest.first_chunk().copied().map(Mac);
        }
        // In units of 8 bytes; 0 cannot be.
        options = options.get(usize::from(*length) * 8..).filter(|_| *length > 0)?;
    }
    None
}
