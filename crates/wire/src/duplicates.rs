//! A packet that was seen on several interfaces of one file is one packet.
//!
//! It is known again by what nobody changes on its way: addresses, identification, ports, numbers, the begin of the payload;
//! not by what routers, VLANs and tunnels change. Of equal packets there are as many as the interface saw that saw most.

use std::collections::{HashMap, VecDeque};

use crate::decode::Frame;
use crate::link_type;
use crate::packets::Packet;

/// So many packets are remembered.
const MOST_PACKETS: usize = 1 << 17;
/// Equal packets that lie further apart are others.
const WITHIN_NS: i64 = 10_000_000_000;
/// Of the interfaces of a packet, so many are told apart.
const MOST_INTERFACES: usize = 4;
/// Of what an IP packet carries, so many bytes count.
const CARRIED_BYTES: usize = 32;
/// Of other packets.
const OTHER_BYTES: usize = 64;

/// What was seen of late.
#[derive(Default)]
pub(crate) struct Duplicates {
    sights: HashMap<u64, Sights>,
    /// In the order of their first sight.
    order: VecDeque<u64>,
}

/// Where a packet, and others like it, were seen, and how often.
#[derive(Debug, Clone, Copy, Default)]
struct Sights {
    last_ns: i64,
    most: u32,
    interfaces: [(u32, u32); MOST_INTERFACES],
    used: usize,
}

/// Which interface a packet is of; `None` where a file tells of one only, so that nothing was seen twice.
pub(crate) fn interface(packet: &Packet<'_>) -> Option<u32> {
    let field = |at: usize| packet.data.get(at..)?.first_chunk().copied();
    match packet.link {
        // A capture of all interfaces: version 2 says which, the first at least whether it came or went.
        link_type::LINUX_SLL2 => field(4).map(u32::from_be_bytes),
        link_type::LINUX_SLL => packet.data.first_chunk().map(|kind| u16::from_be_bytes(*kind).into()),
        _ => (packet.interfaces > 1).then_some(packet.interface),
    }
}

impl Duplicates {
    /// Takes a packet; tells whether it was seen on another interface already.
    pub(crate) fn is_seen_again(&mut self, interface: u32, frame: &Frame<'_>, at_ns: i64) -> bool {
        let digest = digest(frame);
        if self.sights.len() >= MOST_PACKETS
            && let Some(oldest) = self.order.pop_front()
        {
            self.sights.remove(&oldest);
        }
        let sights = self.sights.entry(digest).or_insert_with(|| {
            self.order.push_back(digest);
            Sights::default()
        });
        if at_ns.saturating_sub(sights.last_ns).saturating_abs() > WITHIN_NS {
            *sights = Sights::default();
        }
        sights.last_ns = at_ns;
        sights.is_seen_again(interface)
    }
}

impl Sights {
    fn is_seen_again(&mut self, interface: u32) -> bool {
        let known = self.interfaces[..self.used].iter().position(|(known, _)| *known == interface);
        let slot = known.unwrap_or_else(|| {
            let slot = self.used.min(MOST_INTERFACES - 1);
            self.used = slot + 1;
            self.interfaces[slot] = (interface, 0);
            slot
        });
        let (_, count) = &mut self.interfaces[slot];
        *count = count.saturating_add(1);
        let again = *count <= self.most;
        self.most = self.most.max(*count);
        again
    }
}

/// What stays the same of a packet on its way.
fn digest(frame: &Frame<'_>) -> u64 {
    let core = frame.core;
    let mut digest = Digest(0);
    let at = |from: usize, to: usize| core.get(from..to.min(core.len())).unwrap_or_default();
    let carried = match core.first().map(|first| first >> 4) {
        Some(4) if frame.flow.is_some() && core.len() >= 20 => {
            // Type of service, time to live and checksum change.
            [at(0, 1), at(2, 8), at(9, 10), at(12, 20)].into_iter().for_each(|part| digest.add(part));
            usize::from(core[0] & 0x0f) * 4
        }
        Some(6) if frame.flow.is_some() && core.len() >= 40 => {
            // As do the traffic class and the hop limit.
            digest.add(&[core[1] & 0x0f]);
            [at(2, 7), at(8, 40)].into_iter().for_each(|part| digest.add(part));
            40
        }
        _ => {
            digest.add(at(0, OTHER_BYTES));
            return digest.0;
        }
    };
    // Network cards write checksums when a packet was seen already.
    let checksum = match frame.flow.map(|flow| flow.protocol) {
        Some(6) => 16..18,
        Some(17) => 6..8,
        _ => 0..0,
    };
    digest.add(at(carried, carried + checksum.start));
    digest.add(at(carried + checksum.end, carried + CARRIED_BYTES));
    digest.0
}

/// A hash over parts, eight bytes at a time (as FxHash, with the last step of splitmix64).
struct Digest(u64);

impl Digest {
    fn add(&mut self, part: &[u8]) {
        let (words, rest) = part.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let end = u64::from_le_bytes(last) ^ (part.len() as u64) << 56;
        for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([end]) {
            let mut mixed = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.0 = mixed ^ (mixed >> 27);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sights(of: &[u32]) -> Vec<bool> {
        let mut sights = Sights::default();
        of.iter().map(|interface| sights.is_seen_again(*interface)).collect()
    }

    #[test]
    fn there_are_as_many_as_the_interface_saw_that_saw_most() {
        assert_eq!(sights(&[0, 1]), [false, true]);
        assert_eq!(sights(&[0, 0, 1, 1]), [false, false, true, true], "sent twice, seen at both");
        assert_eq!(sights(&[0, 1, 0, 1, 2]), [false, true, false, true, true]);
        assert_eq!(sights(&[0, 1, 1, 0]), [false, true, false, true], "lost before the first, then at both");
        assert_eq!(sights(&[0, 0, 0]), [false, false, false], "on one wire each is one");
    }

    #[test]
    fn more_interfaces_than_are_told_apart_never_panic() {
        assert_eq!(sights(&[0, 1, 2, 3, 4, 5, 6]), [false, true, true, true, true, true, true]);
    }
}
