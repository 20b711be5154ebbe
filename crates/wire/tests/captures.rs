//! Real captures, whole, cut anywhere and damaged anywhere: read as far as possible, and never a panic.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use dunlin_record::WireAccount;
use dunlin_wire::{AccountOptions, PacketReader, ReadError, account};
use proptest::prelude::*;

const OPTIONS: AccountOptions = AccountOptions { tick_ns: 10_000_000 };

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<WireAccount, ReadError> {
    Ok(account(&mut PacketReader::new(Cursor::new(bytes))?, OPTIONS))
}

fn shares(account: &WireAccount) -> Vec<(&str, u64)> {
    account.protocols.iter().map(|share| (share.protocol.as_str(), share.amount.packets)).collect()
}

#[test]
fn protocols_fragments_and_interfaces_of_a_mixed_capture() {
    let account = read(fixture("mixed.pcapng")).unwrap();
    // As `tshark -z io,phs` has them, but that fragments count as their protocol's.
    let expected = [("ICMP", 16), ("ICMPv6", 22), ("TCP", 22), ("UDP", 2), ("ARP", 2)];
    let mut shares = shares(&account);
    shares.sort_by_key(|(protocol, _)| expected.iter().position(|(name, _)| name == protocol));
    assert_eq!(shares, expected);
    assert_eq!((account.total.packets, account.total.wire_bytes, account.fragments), (64, 42_266, 24));
    let names: Vec<_> =
        account.interfaces.iter().map(|one| (one.name.as_deref(), one.link.as_str())).collect();
    assert_eq!(names, [(Some("v0"), "Ethernet"), (Some("lo"), "Ethernet")]);
    assert_eq!((account.dropped, account.snapped_headers, account.malformed.len()), (Some(0), 0, 0));
}

#[test]
fn what_was_captured_with_other_link_headers_is_the_same_traffic() {
    for (name, link) in [("cooked.pcap", "Linux cooked"), ("cooked-v2.pcap", "Linux cooked v2")] {
        let account = read(fixture(name)).unwrap();
        assert_eq!(account.interfaces[0].link, link);
        assert_eq!((account.total.packets, account.fragments), (66, 24), "{name}");
        let payload = |flow: &dunlin_record::Flow| flow.payload_bytes;
        let sent: Vec<_> =
            account.conversations.iter().map(|one| (payload(&one.from_a), payload(&one.from_b))).collect();
        assert_eq!(sent, [(5000, 2), (5000, 2), (0, 0)], "{name}");
    }
}

#[test]
fn the_classes_of_overhead_add_up_to_all_bytes() {
    for name in [
        "migration.pcapng.zst",
        "lossy.pcap.gz",
        "lossy-receiver.pcap.zst",
        "stalled.pcap.gz",
        "mixed.pcapng",
    ] {
        let account = read(fixture(name)).unwrap();
        let all = account.overhead;
        let classes = all.goodput_bytes
            + all.link_header_bytes
            + all.ip_header_bytes
            + all.tcp_header_bytes
            + all.pure_acks.wire_bytes
            + all.handshakes.wire_bytes
            + all.retransmissions.wire_bytes;
        assert_eq!(classes, all.total.wire_bytes, "{name}");
        let packets = all.goodput_packets
            + all.pure_acks.packets
            + all.handshakes.packets
            + all.retransmissions.packets;
        assert_eq!(packets, all.total.packets, "{name}");
        let tcp = account.protocols.iter().find(|share| share.protocol == "TCP").unwrap();
        assert!(tcp.amount.packets == packets && packets > 0, "{name}");
        assert_eq!(account.graph.wire_bytes.iter().sum::<u64>(), account.total.wire_bytes, "{name}");
    }
}

/// The lossy transfer sent 1,200,000 bytes: its goodput is neither more nor less, whatever was lost on the way, seen from
/// either end.
#[test]
fn goodput_is_what_the_program_sent() {
    for name in ["lossy.pcap.gz", "lossy-receiver.pcap.zst"] {
        let account = read(fixture(name)).unwrap();
        let conversation = &account.conversations[0];
        let from_a = &conversation.from_a;
        assert!(from_a.retransmissions.total() > 5 && from_a.out_of_order > 0, "{name}");
        assert_eq!((from_a.overhead.goodput_bytes, from_a.unseen_bytes), (1_200_000, 0), "{name}");
    }
}

#[test]
fn what_is_no_capture_is_said_to_be_none() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "it is empty"),
        (b"abc", "it is too short to be one"),
        (b"#!/bin/sh\necho hello\n", "it begins neither as pcap nor as pcapng"),
        // What an old patched libpcap wrote, whose packets have other headers.
        (&[0x34, 0xcd, 0xb2, 0xa1, 2, 0, 4, 0], "it begins neither as pcap nor as pcapng"),
    ];
    for (bytes, expected) in cases {
        match read(bytes.to_vec()) {
            Err(ReadError::NotACapture { why }) => assert_eq!(why, expected),
            other => panic!("{bytes:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_file_that_breaks_off_is_read_up_to_there() {
    for name in ["mixed.pcapng", "cooked.pcap"] {
        let bytes = fixture(name);
        let whole = read(bytes.clone()).unwrap();
        let mut last_packets = 0;
        let mut whole_cuts = 0;
        for cut in (bytes.len() - 2000..bytes.len()).step_by(7) {
            let account = read(bytes[..cut].to_vec()).unwrap();
            assert!((last_packets..=whole.total.packets).contains(&account.total.packets), "{name} at {cut}");
            last_packets = account.total.packets;
            match &account.broken_off {
                Some(broken_off) => {
                    assert!(broken_off.offset <= cut as u64, "{name} at {cut}: {broken_off:?}");
                    assert!(broken_off.why.starts_with("breaks off in "), "{name} at {cut}: {broken_off:?}");
                }
                None => whole_cuts += 1,
            }
        }
        // Only a cut between two packets or blocks cannot be told from the end.
        assert!(last_packets > 50 && whole_cuts < 10, "{name}: {last_packets} packets, {whole_cuts} whole");
    }
}

#[test]
fn a_compressed_file_that_breaks_off_is_read_up_to_there() {
    for name in ["lossy.pcap.gz", "migration.pcapng.zst"] {
        let bytes = fixture(name);
        let whole = read(bytes.clone()).unwrap();
        let account = read(bytes[..bytes.len() / 2].to_vec()).unwrap();
        assert!((100..whole.total.packets).contains(&account.total.packets), "{name}");
        assert!(account.broken_off.is_some(), "{name}");
    }
}

#[test]
fn a_length_that_cannot_be_is_damage_at_its_offset() {
    let mut bytes = fixture("cooked.pcap");
    bytes[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let account = read(bytes).unwrap();
    let broken_off = account.broken_off.unwrap();
    assert_eq!((account.total.packets, broken_off.offset), (0, 24));
    assert_eq!(
        broken_off.why,
        "is damaged at offset 24: a packet of 4294967295 captured bytes is more than any writer keeps"
    );
}

/// Small enough to be read thousands of times.
fn corpus() -> Vec<Vec<u8>> {
    let unpacked = |name: &str, bytes: Vec<u8>| {
        let mut all = Vec::new();
        let mut plain = &bytes[..];
        match name.rsplit_once('.').unwrap().1 {
            "gz" => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut all).map(drop),
            "zst" => zstd::stream::copy_decode(&bytes[..], &mut all),
            _ => plain.read_to_end(&mut all).map(drop),
        }
        .unwrap();
        all.truncate(12_000);
        all
    };
    ["mixed.pcapng", "cooked.pcap", "cooked-v2.pcap", "stalled.pcap.gz", "migration.pcapng.zst"]
        .map(|name| unpacked(name, fixture(name)))
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_anywhere_never_panics(
        which in 0_usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = corpus()[which].clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(account) = read(bytes) {
            prop_assert_eq!(account.graph.packets.iter().sum::<u64>(), account.total.packets);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(magic in 0_usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let magics: [&[u8]; 6] = [
            &[],
            &[0xd4, 0xc3, 0xb2, 0xa1],
            &[0xa1, 0xb2, 0x3c, 0x4d],
            &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
            &[0x1f, 0x8b],
            &[0x28, 0xb5, 0x2f, 0xfd],
        ];
        let _ = read([magics[magic], &bytes].concat());
    }
}
