//! What holds of frames, filters and streams of payload, whatever bytes they are made of. The fuzz targets `frames`, `filter`
//! and `streams` assert the same.

use dunlin_record::WireAccount;
use dunlin_wire::{AccountOptions, PacketFilter, PacketReader, Selection, account_of, find_migrations};

use crate::invariants;

/// Link types that are looked into, and one that is not.
const LINKS: [u8; 10] = [1, 101, 113, 0, 108, 9, 50, 51, 228, 147];

/// A capture of frames: its link's index, then each frame's length in two bytes and itself.
fn capture(bytes: &[u8]) -> Option<Vec<u8>> {
    let (link, mut rest) = bytes.split_first()?;
    // SLL2's number takes two bytes.
    let link = LINKS.get(usize::from(*link)).copied().map_or(276, u32::from);
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link].map(u32::to_le_bytes).concat();
    let mut at_us = 0;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        packet(&mut file, at_us, &behind[..length]);
        at_us += 1000;
        rest = &behind[length..];
    }
    Some(file)
}

fn packet(file: &mut Vec<u8>, at_us: u32, frame: &[u8]) {
    let length = frame.len() as u32;
    file.extend([at_us / 1_000_000, at_us % 1_000_000, length, length].map(u32::to_le_bytes).concat());
    file.extend(frame);
}

fn account(file: &[u8], filter: Option<PacketFilter>) -> WireAccount {
    let reader = PacketReader::new(std::io::Cursor::new(file.to_vec()));
    let selection = Selection { filter, from: None, to: None };
    reader.map_or_else(
        |_| WireAccount::default(),
        |mut reader| account_of(&mut reader, AccountOptions { tick_ns: 10_000_000 }, &selection),
    )
}

/// Frames of any link, with whatever is in them: tunnels in tunnels.
pub(crate) fn frames(bytes: &[u8]) {
    let Some(file) = capture(bytes) else { return };
    if let Ok(account) = invariants::read(&file) {
        assert_eq!(account.broken_off, None);
        let _ = find_migrations(&[("one", &account), ("other", &account)]);
    }
}

/// A filter's text, a line feed, frames: each packet fits the filter or its negation, and its text means the same again.
pub(crate) fn filter(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let filter: PacketFilter = match text.parse() {
        Ok(filter) => filter,
        Err(error) => {
            let error: dunlin_wire::PacketFilterError = error;
            assert!((1..=text.chars().count() + 1).contains(&error.at) && !error.why.is_empty(), "{error}");
            return;
        }
    };
    assert_eq!(filter.to_string().parse().as_ref(), Ok(&filter));
    // It may have as many brackets as may be.
    let Ok(others) = format!("not ({text})").parse::<PacketFilter>() else { return };
    let Some(file) = bytes.get(end + 1..).and_then(capture) else { return };
    let all = account(&file, None);
    let (fit, other) = (account(&file, Some(filter)), account(&file, Some(others)));
    for part in [&fit, &other] {
        assert_eq!(
            part.total.packets + part.seen_again.packets + part.not_selected,
            all.total.packets + all.seen_again.packets
        );
    }
    assert_eq!(fit.not_selected + other.not_selected, all.total.packets + all.seen_again.packets);
}

/// Both ends' payloads, parted by a line feed, sent in parts as long as the first byte says: what streams begin like.
pub(crate) fn streams(bytes: &[u8]) {
    let Some((part, payload)) = bytes.split_first() else { return };
    let part = usize::from(*part).max(1);
    let mut sides = payload.splitn(2, |byte| *byte == b'\n');
    let sides = [sides.next().unwrap_or_default(), sides.next().unwrap_or_default()];
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
    let mut at_us = 0;
    let mut send = |is_from_a: bool, seq: usize, flags: u8, payload: &[u8]| {
        let (a, b) = (([10, 0, 0, 1], 40_000_u16), ([10, 0, 0, 2], 4444));
        let [source, destination] = if is_from_a { [a, b] } else { [b, a] };
        let length = (40 + payload.len()) as u16;
        let mut frame = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 0, 0x40, 0, 64, 6, 0, 0]].concat();
        frame.extend([source.0, destination.0].concat());
        frame.extend([source.1, destination.1].map(u16::to_be_bytes).concat());
        frame.extend([(seq as u32).to_be_bytes(), 1_u32.to_be_bytes()].concat());
        frame.extend([&[0x50, flags, 1, 0, 0, 0, 0, 0], payload].concat());
        packet(&mut file, at_us, &frame);
        at_us += 100;
    };
    send(true, 0, 0x02, &[]);
    send(false, 0, 0x12, &[]);
    for (is_from_a, side) in [(true, sides[0]), (false, sides[1])] {
        for (index, payload) in side.chunks(part).enumerate() {
            send(is_from_a, 1 + index * part, 0x10, payload);
        }
    }
    let account = invariants::read(&file).unwrap_or_default();
    let [one] = &account.conversations[..] else { panic!("{:?}", account.conversations) };
    assert_eq!([one.from_a.payload_bytes, one.from_b.payload_bytes], sides.map(|side| side.len() as u64));
    let is_known =
        [one.from_a.begins_as, one.from_b.begins_as].iter().flatten().any(|kind| kind.is_migration());
    let told = find_migrations(&[("file", &account)]);
    assert_eq!(told.concat().iter().any(|one| one.hosts.is_some()), is_known, "{told:?}");
}
