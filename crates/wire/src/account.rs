//! What a capture file held, in one pass over its packets.

use std::collections::BTreeMap;

use dunlin_record::{
    Amount, BrokenOff, Conversation, Malformed, Overhead, ProtocolShare, WireAccount, WireGraph, WireMark,
    in_one_line,
};

use crate::ReadResult;
use crate::capture::read_comment;
use crate::decode::{Protocol, Stopped, decode};
use crate::packets::{Packet, PacketReader};
use crate::tcp::Conversations;
use crate::ticks::{Columns, Ticks};

/// At most so many ticks of a file are kept.
const MOST_TICKS: usize = 1 << 16;
/// At most so many comments are kept.
const MOST_MARKS: usize = 1000;

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
    let mut pass = Pass::new(options);
    let read = pass.read(reader);
    for (epoch_ns, text) in reader.remarks() {
        pass.mark(epoch_ns.saturating_sub(pass.start_ns.unwrap_or(*epoch_ns)), text);
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
struct Pass {
    /// The first packet's stamp.
    start_ns: Option<i64>,
    /// The last packet's time after the first's; those of packets without a stamp are taken to be the same.
    now_ns: i64,
    earliest_ns: i64,
    latest_ns: i64,
    total: Amount,
    captured_bytes: u64,
    protocols: BTreeMap<Protocol, Amount>,
    fragments: u64,
    snapped_headers: u64,
    malformed: BTreeMap<&'static str, Malformed>,
    conversations: Conversations,
    ticks: Ticks<2>,
    marks: Vec<WireMark>,
}

impl Pass {
    fn new(options: AccountOptions) -> Self {
        Self {
            start_ns: None,
            now_ns: 0,
            earliest_ns: 0,
            latest_ns: 0,
            total: Amount::default(),
            captured_bytes: 0,
            protocols: BTreeMap::new(),
            fragments: 0,
            snapped_headers: 0,
            malformed: BTreeMap::new(),
            conversations: Conversations::new(options.tick_ns),
            ticks: Ticks::new(options.tick_ns, MOST_TICKS),
            marks: Vec::new(),
        }
    }

    fn read(&mut self, reader: &mut PacketReader) -> ReadResult<()> {
        while let Some(packet) = reader.next()? {
            self.see(&packet);
        }
        Ok(())
    }

    fn see(&mut self, packet: &Packet<'_>) {
        if let Some(at_ns) = packet.at_ns {
            self.now_ns = at_ns.saturating_sub(*self.start_ns.get_or_insert(at_ns));
            self.earliest_ns = self.earliest_ns.min(self.now_ns);
            self.latest_ns = self.latest_ns.max(self.now_ns);
        }
        let wire_bytes = u64::from(packet.original_bytes);
        self.total.add(wire_bytes);
        self.captured_bytes += packet.data.len() as u64;
        self.ticks.add(self.now_ns, [1, wire_bytes]);
        for text in packet.comments {
            self.mark(self.now_ns, &text);
        }
        let frame = decode(packet);
        self.protocols.entry(frame.protocol).or_default().add(wire_bytes);
        self.fragments += u64::from(frame.is_fragment);
        match frame.stopped {
            Some(Stopped::Snapped) => self.snapped_headers += 1,
            Some(Stopped::Malformed(what)) => {
                let first_packet = self.total.packets;
                let entry =
                    self.malformed.entry(what).or_insert(Malformed { what, packets: 0, first_packet });
                entry.packets += 1;
            }
            None => {}
        }
        if let Some(segment) = frame.segment {
            self.conversations.see(&segment, self.now_ns, wire_bytes);
        }
    }

    fn mark(&mut self, at_ns: i64, comment: &str) {
        if self.marks.len() < MOST_MARKS {
            let (text, after_ns) = read_comment(comment);
            let at_ns = at_ns.saturating_add(after_ns);
            self.marks.push(WireMark { at_ms: at_ns as f64 / 1e6, text: text.to_owned() });
        }
    }

    fn finish(self) -> WireAccount {
        let mut protocols: Vec<ProtocolShare> = self
            .protocols
            .into_iter()
            .map(|(protocol, amount)| ProtocolShare { protocol: protocol.to_string(), amount })
            .collect();
        protocols.sort_by_key(|share| std::cmp::Reverse(share.amount.wire_bytes));
        let mut malformed: Vec<Malformed> = self.malformed.into_values().collect();
        malformed.sort_by_key(|one| one.first_packet);
        let not_followed = self.conversations.not_followed();
        let conversations = self.conversations.finish();
        let Columns { tick_ms, tick, values: [packets, wire_bytes] } = self.ticks.finish();
        WireAccount {
            start_epoch_ns: self.start_ns,
            duration_ms: self.start_ns.map(|_| self.latest_ns.saturating_sub(self.earliest_ns) as f64 / 1e6),
            total: self.total,
            captured_bytes: self.captured_bytes,
            protocols,
            fragments: self.fragments,
            snapped_headers: self.snapped_headers,
            malformed,
            overhead: overhead(&conversations),
            conversations,
            not_followed,
            graph: WireGraph { tick_ms, tick, packets, wire_bytes },
            marks: self.marks,
            ..WireAccount::default()
        }
    }
}

fn overhead(conversations: &[Conversation]) -> Overhead {
    let mut overhead = Overhead::default();
    conversations.iter().for_each(|one| overhead += one.overhead);
    overhead
}
