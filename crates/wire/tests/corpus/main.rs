//! The fuzzer's corpus of captures, whole, cut and with flipped bits: read to an offset, never a panic, nothing counted
//! that is not there, no time without end.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

mod frames;
mod invariants;

use std::fs;
use std::path::Path;

use dunlin_clock::now_ns;
use dunlin_record::WireAccount;
use dunlin_wire::ReadError;

/// Far above what any of these takes; what takes longer does not end.
const LIMIT_NS: i64 = 10_000_000_000;
/// Each file is cut at so many places, and has so many bits flipped, one copy each.
const CUTS: usize = 300;
const FLIPS: usize = 150;

/// The seeds by name.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/capture");
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() >= 30, "{} seeds", all.len());
    all
}

fn seed(name: &str) -> WireAccount {
    let (_, bytes) = corpus().into_iter().find(|(of, _)| of == name).unwrap_or_else(|| panic!("no {name}"));
    read(name, &bytes).unwrap()
}

fn read(name: &str, bytes: &[u8]) -> Result<WireAccount, ReadError> {
    let began_ns = now_ns();
    let read = invariants::read(bytes);
    assert!(now_ns() - began_ns < LIMIT_NS, "{name} takes too long");
    read
}

fn is_compressed(name: &str) -> bool {
    name.ends_with(".gz") || name.ends_with(".zst")
}

#[test]
fn whole_files_are_read_to_their_end_and_damaged_ones_to_an_offset() {
    for (name, bytes) in corpus() {
        let is_damaged = ["cut-", "cut.", "damaged", "length-that", "block-length"]
            .iter()
            .any(|begin| name.starts_with(begin));
        let offset = match read(&name, &bytes) {
            Ok(account) => account.broken_off.map(|broken_off| broken_off.offset),
            Err(error) => error.offset(),
        };
        assert_eq!(offset.is_some(), is_damaged, "{name}: {offset:?}");
        assert!(is_compressed(&name) || offset.is_none_or(|offset| offset <= bytes.len() as u64), "{name}");
    }
}

#[test]
fn the_order_of_bytes_the_unit_of_time_and_the_compression_change_nothing() {
    let same = [
        ("tcp-udp-v4.pcapng", "tcp-udp-v4-big-endian.pcapng"),
        ("tcp-udp-v6.pcapng", "tcp-udp-v6-big-endian.pcapng"),
        ("tcp-udp.pcap", "tcp-udp-big-endian.pcap"),
        ("tcp-udp.pcap", "nanoseconds.pcap"),
        ("tcp-udp.pcap", "nanoseconds-big-endian.pcap"),
        ("lossy.pcap", "lossy.pcap.gz"),
        ("stalled.pcap", "stalled.pcap.zst"),
    ];
    for (one, other) in same {
        assert_eq!(seed(one), seed(other), "{one} and {other}");
    }
}

#[test]
fn what_is_around_the_ip_packets_does_not_change_the_conversations() {
    let sent = |name: &str| -> Vec<[u64; 2]> {
        let payload =
            |one: &dunlin_record::Conversation| [one.from_a.payload_bytes, one.from_b.payload_bytes];
        seed(name).conversations.iter().map(payload).collect()
    };
    let bare = sent("raw-ip.pcap");
    assert_eq!(bare.len(), 2);
    for name in ["vlan.pcap", "ip-options.pcap"] {
        assert_eq!(sent(name), bare, "{name}");
    }
    let [only] = sent("vlan-in-vlan.pcap").try_into().unwrap();
    assert_eq!(only, bare[0]);
}

#[test]
fn a_file_cut_anywhere_holds_no_more_than_the_whole_and_no_less_than_a_shorter_one() {
    for (name, bytes) in corpus().into_iter().filter(|(name, _)| !is_compressed(name)) {
        let whole = read(&name, &bytes).unwrap();
        let mut last = WireAccount::default();
        for cut in (0..bytes.len()).step_by((bytes.len() / CUTS).max(1)) {
            let account = match read(&name, &bytes[..cut]) {
                Ok(account) => account,
                Err(ReadError::NotACapture { .. }) => continue,
                Err(error) => {
                    assert!(
                        error.offset().is_some_and(|offset| offset <= cut as u64),
                        "{name} at {cut}: {error}"
                    );
                    continue;
                }
            };
            grown(&last, &account).unwrap_or_else(|what| panic!("{name} at {cut}: less {what} than before"));
            grown(&account, &whole)
                .unwrap_or_else(|what| panic!("{name} at {cut}: more {what} than the whole"));
            if let Some(broken_off) = &account.broken_off {
                assert!(broken_off.offset <= cut as u64, "{name} at {cut}: {broken_off:?}");
            }
            last = account;
        }
    }
}

/// What is less in the second; nothing if it goes on where the first ended.
fn grown(one: &WireAccount, other: &WireAccount) -> Result<(), &'static str> {
    let counts = |account: &WireAccount| {
        [
            ("packets", account.total.packets),
            ("bytes", account.total.wire_bytes),
            ("captured bytes", account.captured_bytes),
            ("fragments", account.fragments),
            ("snapped headers", account.snapped_headers),
            ("malformed", account.malformed.iter().map(|one| one.packets).sum()),
            ("conversations", account.conversations.len() as u64),
            ("goodput", account.overhead.goodput_bytes),
            ("acknowledgements", account.overhead.pure_acks.packets),
            ("opening and closing", account.overhead.handshakes.packets),
            ("retransmissions", account.overhead.retransmissions.packets),
            ("comments", account.marks.len() as u64),
        ]
    };
    let less = counts(one).into_iter().zip(counts(other)).find(|((_, before), (_, after))| after < before);
    less.map_or(Ok(()), |((what, _), _)| Err(what))
}

#[test]
fn a_flipped_bit_costs_what_it_is_in_and_never_a_panic() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for (name, bytes) in corpus() {
        for _ in 0..FLIPS {
            let bit = noise.below(bytes.len() * 8);
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match read(&name, &flipped) {
                Ok(_) | Err(ReadError::NotACapture { .. }) => {}
                Err(error) => assert!(error.offset().is_some(), "{name}, bit {bit}: {error}"),
            }
        }
    }
}

/// Files made of parts of others: what follows makes no sense any more.
#[test]
fn the_begin_of_one_file_and_the_end_of_another_are_read_as_far_as_they_fit() {
    let mut noise = Noise(7);
    let all = corpus();
    for _ in 0..2000 {
        let [(name, begin), (_, end)] =
            [noise.below(all.len()), noise.below(all.len())].map(|index| &all[index]);
        let (to, from) = (noise.below(begin.len()), noise.below(end.len()));
        let _ = read(name, &[&begin[..to], &end[from..]].concat());
    }
}

/// As the fuzzer has them, and with flipped bits.
#[test]
fn frames_filters_and_streams_hold_what_holds_of_all() {
    let mut noise = Noise(11);
    type Hold = fn(&[u8]);
    let holds: [Hold; 3] = [frames::frames, frames::filter, frames::streams];
    for (folder, hold) in ["frames", "filter", "streams"].into_iter().zip(holds) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(folder);
        let seeds: Vec<Vec<u8>> =
            fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(seeds.len() >= 10, "{} seeds in {}", seeds.len(), folder.display());
        for bytes in seeds {
            hold(&bytes);
            for _ in 0..FLIPS {
                let mut flipped = bytes.clone();
                for _ in 0..=noise.below(3) {
                    let bit = noise.below(bytes.len() * 8);
                    flipped[bit / 8] ^= 1 << (bit % 8);
                }
                hold(&flipped);
            }
        }
    }
}

/// Stamps that fall, so that each packet's place in the graph is before all others.
#[test]
fn a_file_that_runs_backwards_ends_in_time() {
    let packets = 100_000_u32;
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    let records = (0..packets).flat_map(|number| [packets - number, 0, 0, 60]);
    let bytes: Vec<u8> = header.into_iter().chain(records).flat_map(u32::to_le_bytes).collect();
    assert_eq!(read("backwards", &bytes).unwrap().total.packets, u64::from(packets));
}

/// As much in flight as is remembered, then segments that each repeat all of it.
#[test]
fn retransmissions_of_a_whole_window_over_and_over_end_in_time() {
    let segment = |at_s: u32, seq: u32, wire_bytes: u32| -> Vec<u8> {
        let ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp =
            [&[0x9c, 0x40, 0x11, 0x5c][..], &seq.to_be_bytes(), &[0; 4], &[0x50, 0x10, 1, 0, 0, 0, 0, 0]]
                .concat();
        let data = [&ip[..], &tcp].concat();
        let record = [at_s, 0, data.len() as u32, wire_bytes].map(u32::to_le_bytes).concat();
        [record, data].concat()
    };
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
    let window = (0..1 << 16).flat_map(|number: u32| segment(1, number * 1000, 40 + 1000));
    let again = (0..20_000).flat_map(|_| segment(2, 0, 40 + 65_536_000));
    let bytes: Vec<u8> = header.into_iter().chain(window).chain(again).collect();
    let account = read("again", &bytes).unwrap();
    assert_eq!(account.conversations[0].from_a.retransmissions.total(), 20_000);
}

/// Steele and Vigna's splitmix64: the same numbers in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
