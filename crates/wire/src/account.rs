//! What a capture file held, in one pass over its packets.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_record::{
    Amount, Announcement, BrokenOff, Malformed, ProtocolShare, WireAccount, WireGraph, WireMark, in_one_line,
};

use crate::ReadResult;
use crate::capture::read_comment;
use crate::decode::{self, Frame, Layer, Protocol, Stopped, Tunnel, decode};
use crate::duplicates::{self, Duplicates};
use crate::packets::{Packet, PacketReader};
use crate::selection::{Selection, clamped};
use crate::services::Services;
use crate::tcp::{self, Conversations};
use crate::ticks::{Columns, Ticks};

/// At most so many ticks of a file are kept.
const MOST_TICKS: usize = 1 << 16;
/// At most so many comments are kept.
const MOST_MARKS: usize = 1000;
/// As many announcements. More are kept meanwhile: twice as many.
const MOST_ANNOUNCEMENTS: usize = 4096;
/// So many address families of loopbacks are told apart.
const MOST_FAMILIES: usize = 16;

/// What is wanted of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountOptions {
    /// The length of the graphs' ticks in nanoseconds.
    pub tick_ns: i64,
}

/// Reads a capture to its end, or to where it breaks off: then the account is of what came before and says so.
///
/// Its memory is bounded whatever the file holds.
#[must_use]
pub fn account(reader: &mut PacketReader, options: AccountOptions) -> WireAccount {
    account_of(reader, options, &Selection::default())
}

/// The same of some of its packets only, as if the others were not there. Times count from the file's first packet all the same.
#[must_use]
pub fn account_of(reader: &mut PacketReader, options: AccountOptions, selection: &Selection) -> WireAccount {
    let mut pass = Pass::new(options, selection);
    let read = pass.read(reader);
    for (epoch_ns, text) in reader.remarks() {
        pass.mark(clamped(epoch_ns - pass.start_ns.unwrap_or(*epoch_ns)), text);
    }
    let broken_off = read.err().map(|error| BrokenOff {
        offset: error.offset().unwrap_or(reader.offset()),
        why: in_one_line(&error),
    });
    WireAccount {
        format: reader.format(),
        interfaces: reader.interfaces(),
        dropped: reader.dropped(),
        broken_off,
        ..pass.finish()
    }
}

/// What was counted so far.
struct Pass<'a> {
    selection: &'a Selection,
    /// The first packet's stamp.
    start_ns: Option<i128>,
    /// The last packet's time after the first's; those of packets without a stamp are taken to be the same.
    now_ns: i64,
    /// The earliest and the latest of those that are selected.
    range_ns: Option<(i64, i64)>,
    /// Packets of the file, selected or not.
    number: u64,
    not_selected: u64,
    total: Amount,
    captured_bytes: u64,
    duplicates: Duplicates,
    seen_again: Amount,
    protocols: BTreeMap<Protocol, Amount>,
    /// What is not yet in there: most packets are of the same protocol as the one before.
    last_protocol: Option<(Protocol, Amount)>,
    tunnels: [Amount; Tunnel::ALL.len()],
    unopened: BTreeMap<&'static str, Amount>,
    too_deep: u64,
    fragments: u64,
    snapped_headers: u64,
    malformed: BTreeMap<&'static str, Malformed>,
    conversations: Conversations,
    services: Services,
    announcements: Vec<Announcement>,
    ticks: Ticks<2>,
    marks: Vec<WireMark>,
    /// The current packet's.
    layers: Vec<Layer>,
}

impl<'a> Pass<'a> {
    fn new(options: AccountOptions, selection: &'a Selection) -> Self {
        Self {
            selection,
            start_ns: None,
            now_ns: 0,
            range_ns: None,
            number: 0,
            not_selected: 0,
            total: Amount::default(),
            captured_bytes: 0,
            duplicates: Duplicates::default(),
            seen_again: Amount::default(),
            protocols: BTreeMap::new(),
            last_protocol: None,
            tunnels: Default::default(),
            unopened: BTreeMap::new(),
            too_deep: 0,
            fragments: 0,
            snapped_headers: 0,
            malformed: BTreeMap::new(),
            conversations: Conversations::new(options.tick_ns),
            services: Services::default(),
            announcements: Vec::new(),
            ticks: Ticks::new(options.tick_ns, MOST_TICKS),
            marks: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn read(&mut self, reader: &mut PacketReader) -> ReadResult<()> {
        while let Some(packet) = reader.next()? {
            self.take(&packet);
        }
        Ok(())
    }

    fn take(&mut self, packet: &Packet<'_>) {
        self.number += 1;
        if let Some(at_ns) = packet.at_ns {
            self.now_ns = clamped(at_ns - *self.start_ns.get_or_insert(at_ns));
        }
        self.layers.clear();
        let layers = self.selection.needs_layers().then_some(&mut self.layers);
        let frame = decode(packet, layers);
        if !self.selection.has(self.now_ns, self.start_ns, &self.layers) {
            self.not_selected += 1;
            return;
        }
        for text in packet.comments {
            self.mark(self.now_ns, &text);
        }
        let again = duplicates::interface(packet)
            .is_some_and(|interface| self.duplicates.is_seen_again(interface, &frame, self.now_ns));
        if again {
            self.seen_again.add(packet.original_bytes.into());
        } else {
            self.count(packet, &frame);
        }
    }

    fn count(&mut self, packet: &Packet<'_>, frame: &Frame<'_>) {
        let (earliest_ns, latest_ns) = self.range_ns.unwrap_or((self.now_ns, self.now_ns));
        self.range_ns = Some((earliest_ns.min(self.now_ns), latest_ns.max(self.now_ns)));
        let wire_bytes = u64::from(packet.original_bytes);
        self.total.add(wire_bytes);
        self.captured_bytes += packet.data.len() as u64;
        self.ticks.add(self.now_ns, [1, wire_bytes]);
        match &mut self.last_protocol {
            Some((last, amount)) if *last == frame.protocol => amount.add(wire_bytes),
            _ => {
                self.put_protocol_away();
                self.last_protocol = Some((frame.protocol, Amount { packets: 1, wire_bytes }));
            }
        }
        self.fragments += u64::from(frame.is_fragment);
        if frame.depth > 0 {
            let amounts = self.tunnels.iter_mut().enumerate();
            amounts.filter(|(bit, _)| frame.tunnels & 1 << bit != 0).for_each(|(_, sum)| sum.add(wire_bytes));
        }
        if let Some(name) = frame.unopened {
            self.unopened.entry(name).or_default().add(wire_bytes);
        }
        match frame.stopped {
            Some(Stopped::Snapped) => self.snapped_headers += 1,
            Some(Stopped::TooDeep) => self.too_deep += 1,
            Some(Stopped::Malformed(what)) => {
                let first = Malformed { what, packets: 0, first_packet: self.number };
                self.malformed.entry(what).or_insert(first).packets += 1;
            }
            None => {}
        }
        if let Some(segment) = &frame.segment {
            self.conversations.see(segment, self.now_ns, wire_bytes);
        }
        if let Some(flow) = &frame.flow {
            // Acknowledgements want no answer.
            let wants_answer =
                frame.segment.as_ref().is_none_or(|segment| segment.payload_bytes > 0 || segment.flags.syn());
            self.services.see(flow, frame.mac, wants_answer, self.now_ns);
        }
        if let Some(announcement) = &frame.announcement {
            self.announced(announcement);
        }
    }

    fn put_protocol_away(&mut self) {
        if let Some((protocol, amount)) = self.last_protocol.take() {
            let is_new_family =
                matches!(protocol, Protocol::Family(_)) && !self.protocols.contains_key(&protocol);
            let families = Protocol::Family(0)..=Protocol::Family(u32::MAX);
            let is_beyond = is_new_family && self.protocols.range(families).count() >= MOST_FAMILIES;
            let protocol = if is_beyond { Protocol::OtherFamilies } else { protocol };
            *self.protocols.entry(protocol).or_default() += amount;
        }
    }

    fn announced(&mut self, one: &decode::Announcement) {
        if self.announcements.len() >= 2 * MOST_ANNOUNCEMENTS {
            self.forget_announcements();
        }
        self.announcements.push(Announcement {
            at_ns: self.now_ns,
            kind: one.kind,
            mac: one.mac.to_string(),
            address: one.address.map(|address| address.to_string()),
        });
    }

    /// Keeps the last of every Ethernet address, and the latest of the others: who speaks often pushes nobody out.
    fn forget_announcements(&mut self) {
        if self.announcements.len() <= MOST_ANNOUNCEMENTS {
            return;
        }
        let mut seen = BTreeSet::new();
        // In the order of the file; from the end of it.
        let is_last: Vec<bool> = self.announcements.iter().rev().map(|one| seen.insert(&one.mac)).collect();
        let mut places: Vec<usize> = (0..is_last.len()).collect();
        places.sort_by_key(|place| !is_last[*place]);
        let mut is_kept = vec![false; is_last.len()];
        places.iter().take(MOST_ANNOUNCEMENTS).for_each(|place| is_kept[*place] = true);
        let mut is_kept = is_kept.into_iter().rev();
        self.announcements.retain(|_| is_kept.next().unwrap_or(false));
    }

    fn mark(&mut self, at_ns: i64, comment: &str) {
        if self.marks.len() < MOST_MARKS {
            let (text, after_ns) = read_comment(comment);
            let at_ns = at_ns.saturating_add(after_ns);
            self.marks.push(WireMark { at_ms: at_ns as f64 / 1e6, text: text.to_owned() });
        }
    }

    fn finish(mut self) -> WireAccount {
        self.put_protocol_away();
        self.forget_announcements();
        let mut malformed: Vec<Malformed> = self.malformed.into_values().collect();
        malformed.sort_by_key(|one| one.first_packet);
        let tunnels = Tunnel::ALL.into_iter().zip(self.tunnels);
        let tcp::Account { conversations, unlisted, overhead, unseen_bytes } = self.conversations.finish();
        let Columns { tick_ms, tick, values: [packets, wire_bytes] } = self.ticks.finish();
        WireAccount {
            start_epoch_ns: self.start_ns.and_then(|start_ns| start_ns.try_into().ok()),
            start_ms: self.range_ns.map(|(earliest_ns, _)| earliest_ns as f64 / 1e6),
            duration_ms: self
                .start_ns
                .and(self.range_ns)
                .map(|(earliest_ns, latest_ns)| latest_ns.saturating_sub(earliest_ns) as f64 / 1e6),
            total: self.total,
            not_selected: self.not_selected,
            captured_bytes: self.captured_bytes,
            seen_again: self.seen_again,
            protocols: shares(self.protocols.into_iter().map(|(one, amount)| (one.to_string(), amount))),
            tunnels: shares(tunnels.map(|(tunnel, amount)| (tunnel.name().into(), amount))),
            unopened: shares(self.unopened.into_iter().map(|(name, amount)| (name.into(), amount))),
            too_deep: self.too_deep,
            fragments: self.fragments,
            snapped_headers: self.snapped_headers,
            malformed,
            overhead,
            conversations,
            unlisted,
            unseen_bytes,
            announcements: self.announcements,
            services: self.services.finish(),
            graph: WireGraph { tick_ms, tick, packets, wire_bytes },
            marks: self.marks,
            ..WireAccount::default()
        }
    }
}

/// Most bytes first; what there is nothing of is left out.
fn shares(all: impl Iterator<Item = (String, Amount)>) -> Vec<ProtocolShare> {
    let shares = all.map(|(protocol, amount)| ProtocolShare { protocol, amount });
    let mut shares: Vec<ProtocolShare> = shares.filter(|share| share.amount.packets > 0).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.amount.wire_bytes));
    shares
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn account_of_packets(link: u32, packets: impl Iterator<Item = Vec<u8>>) -> WireAccount {
        let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link].map(u32::to_le_bytes).concat();
        for (at_us, packet) in (0_u32..).zip(packets) {
            let length = packet.len() as u32;
            file.extend([1, at_us, length, length].map(u32::to_le_bytes).concat());
            file.extend(packet);
        }
        let mut reader = PacketReader::new(Cursor::new(file)).unwrap();
        account(&mut reader, AccountOptions { tick_ns: 10_000_000 })
    }

    fn rarp(number: u32) -> Vec<u8> {
        let [a, b, c, d] = number.to_be_bytes();
        let mac = [2, 0, a, b, c, d];
        let head = [&[0xff; 6][..], &mac, &[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]].concat();
        [&head[..], &mac, &[0; 4], &mac, &[0; 4]].concat()
    }

    #[test]
    fn address_families_beyond_a_few_are_one() {
        let packets = (0..100_000_u32).map(|number| (0x0100_0100 + number * 3).to_be_bytes().to_vec());
        let account = account_of_packets(crate::link_type::LOOP, packets);
        let [others, known @ ..] = &account.protocols[..] else { panic!("{:?}", account.protocols) };
        assert_eq!((known.len(), known[0].amount.packets), (16, 1));
        assert_eq!(
            (others.protocol.as_str(), others.amount.packets),
            ("other address families", 100_000 - 16)
        );
    }

    #[test]
    fn who_announces_itself_after_many_others_or_before_a_chatty_one_is_heard() {
        let last_of = |packets: Vec<u32>, number: u32| {
            let account = account_of_packets(crate::link_type::ETHERNET, packets.into_iter().map(rarp));
            let mac = format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 0xff);
            let all = account.announcements.iter();
            let last = all.filter(|one| one.mac == mac).map(|one| one.at_ns).max();
            assert!(account.announcements.is_sorted_by_key(|one| one.at_ns));
            (account.announcements.len(), last)
        };
        assert_eq!(last_of((0..10_000).collect(), 9999), (4096, Some(9_999_000)));
        let chatty = [7, 8].into_iter().chain(std::iter::repeat_n(9, 20_000)).collect();
        assert_eq!(last_of(chatty, 7), (4096, Some(0)));
        assert_eq!(last_of(vec![1, 2, 1], 1), (3, Some(2000)));
    }
}
