//! Captures that are made of known conversations with known faults: lost, sent again, reordered, missed, seen on two
//! interfaces, in tunnels, cut. All of it is told exactly.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

mod file;
mod frames;
mod talk;

use std::collections::BTreeMap;
use std::io::Cursor;

use dunlin_record::{Conversation, WireAccount};
use dunlin_wire::{AccountOptions, PacketReader, Selection, account_of};
use file::File;
use frames::{Around, frame};
use proptest::prelude::*;
use talk::{Fault, Sent, Talk, Truth};

fn read(bytes: &[u8], selection: &Selection) -> WireAccount {
    let mut reader = PacketReader::new(Cursor::new(bytes.to_vec())).unwrap();
    account_of(&mut reader, AccountOptions { tick_ns: 10_000_000 }, selection)
}

fn told(one: &Conversation) -> Truth {
    let (a, b) = (&one.from_a, &one.from_b);
    let repeated = a.payload_bytes - a.overhead.goodput_bytes;
    let again = a.retransmissions;
    assert_eq!(b.retransmissions.total() + b.out_of_order + b.gaps + b.unseen_bytes + b.payload_bytes, 0);
    Truth {
        packets: a.total.packets + b.total.packets,
        goodput_bytes: one.overhead.goodput_bytes,
        repeated_bytes: repeated,
        unseen_bytes: a.unseen_bytes,
        fast: again.fast,
        later: again.timeout + again.recovery,
        spurious: again.spurious,
        out_of_order: a.out_of_order,
        gaps: a.gaps,
        duplicate_acks: b.duplicate_acks,
        acks_of_unseen: b.acks_of_unseen,
    }
}

/// By the client's port, which is the end of what `a` is.
fn told_by_port(account: &WireAccount) -> BTreeMap<u16, Truth> {
    let port = |one: &Conversation| one.a.rsplit_once(':').unwrap().1.parse().unwrap();
    account.conversations.iter().map(|one| (port(one), told(one))).collect()
}

#[derive(Debug, Clone)]
struct Plan {
    conversations: Vec<(u64, [u32; 2], u32, Vec<Fault>)>,
    around: Vec<Around>,
    /// How each packet is seen: by the first interface, by the second, by both.
    sights: Vec<u8>,
    /// What is around a packet at the second interface only.
    around_second: Vec<Around>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let number = prop_oneof![Just(0_u32), Just(u32::MAX - 3000), any::<u32>()];
    let faults = proptest::collection::vec(prop::sample::select(&Fault::ALL[..]), 0..12);
    let conversation = (0_u64..50_000_000, [number.clone(), number], 2_u32..1400, faults);
    let around = || proptest::collection::vec(prop::sample::select(&Around::ALL[..]), 0..4);
    (
        proptest::collection::vec(conversation, 1..5),
        around(),
        proptest::collection::vec(0_u8..3, 1..40),
        around(),
    )
        .prop_map(|(conversations, around, sights, around_second)| Plan {
            conversations,
            around,
            sights,
            around_second,
        })
}

/// All packets in the order of time.
fn packets(plan: &Plan) -> Vec<(u16, Sent)> {
    let mut all: Vec<(u16, Sent)> = Vec::new();
    for (port, (start_ns, starts, part_bytes, faults)) in (40_000..).zip(&plan.conversations) {
        let talk = Talk::new(port, 1_000_000_000 + start_ns, *starts, *part_bytes, faults);
        all.extend(talk.sent.into_iter().map(|sent| (port, sent)));
    }
    all.sort_by_key(|(_, sent)| sent.at_ns);
    all
}

/// What is to be told after the first of these.
fn truth(packets: &[(u16, Sent)]) -> BTreeMap<u16, Truth> {
    packets.iter().map(|(port, sent)| (*port, sent.truth)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn faults_are_told_exactly_in_any_tunnel_and_wherever_the_file_ends(plan in plan(), cut in any::<prop::sample::Index>()) {
        let packets = packets(&plan);
        let mut file = File::new();
        for (_, sent) in &packets {
            file.packet(0, sent.at_ns, &frame(&sent.segment, &plan.around));
        }
        let account = read(&file.bytes, &Selection::default());
        prop_assert_eq!(told_by_port(&account), truth(&packets));
        prop_assert_eq!((account.malformed.len(), account.snapped_headers, account.seen_again.packets), (0, 0, 0));
        let tunnels = account.tunnels.iter().map(|share| share.protocol.clone());
        let names: Vec<&str> = plan.around.iter().filter_map(|around| around.name()).collect();
        for tunnel in tunnels {
            prop_assert!(names.contains(&tunnel.as_str()), "{tunnel} in {:?}", plan.around);
        }
        let expected: u64 = packets.last().map_or(0, |_| account.conversations.iter().map(|one| one.from_a.unseen_bytes).sum());
        prop_assert_eq!(account.unseen_bytes, expected);

        let cut = cut.index(file.bytes.len() - file.head_bytes) + file.head_bytes;
        let whole = file.ends.iter().filter(|end| **end <= cut).count();
        let account = read(&file.bytes[..cut], &Selection::default());
        prop_assert_eq!(account.total.packets, whole as u64);
        prop_assert_eq!(told_by_port(&account), truth(&packets[..whole]));
        prop_assert_eq!(account.broken_off.is_some(), !file.ends.contains(&cut) && cut != file.head_bytes);
    }

    #[test]
    fn what_two_interfaces_saw_is_told_once(plan in plan()) {
        let packets = packets(&plan);
        let mut file = File::new();
        let mut again = 0;
        for ((_, sent), sight) in packets.iter().zip(plan.sights.iter().cycle()) {
            if *sight != 1 {
                file.packet(0, sent.at_ns, &frame(&sent.segment, &plan.around));
            }
            if *sight != 0 {
                let around = [&plan.around[..], &plan.around_second].concat();
                file.packet(1, sent.at_ns + 5000, &frame(&sent.segment, &around));
            }
            again += u64::from(*sight == 2);
        }
        let account = read(&file.bytes, &Selection::default());
        prop_assert_eq!(account.too_deep, 0);
        prop_assert_eq!(told_by_port(&account), truth(&packets));
        prop_assert_eq!((account.total.packets, account.seen_again.packets), (packets.len() as u64, again));
    }

    /// As if the others were not in the file, inside tunnels too.
    #[test]
    fn what_is_selected_is_told_as_if_it_were_alone(plan in plan(), which in 0_u16..5, to_ms in 0_u64..1000) {
        let packets = packets(&plan);
        let mut file = File::new();
        for (_, sent) in &packets {
            file.packet(0, sent.at_ns, &frame(&sent.segment, &plan.around));
        }
        let port = 40_000 + which;
        let filter = Some(format!("tcp port {port} and host 10.0.0.1").parse().unwrap());
        let to_ns = (to_ms * 1_000_000) as i64;
        let to = Some(dunlin_wire::TimePoint::AfterFirst(to_ns));
        let account = read(&file.bytes, &Selection { filter, from: None, to });
        let first_ns = packets[0].1.at_ns;
        let wanted: Vec<(u16, Sent)> = packets
            .iter()
            .filter(|(of, sent)| *of == port && sent.at_ns < first_ns + to_ms * 1_000_000)
            .copied()
            .collect();
        prop_assert_eq!(told_by_port(&account), truth(&wanted));
        prop_assert_eq!(account.not_selected, (packets.len() - wanted.len()) as u64);
    }
}

/// A capture of all interfaces: what came in at one and went out at another is one packet, what only came or went too. The
/// first version of the cooked header tells no interface, but whether a packet came or went.
#[test]
fn what_a_cooked_capture_saw_come_and_go_is_told_once() {
    const CAME: u16 = 0;
    const WENT: u16 = 4;
    let plan = Plan {
        conversations: vec![(0, [7, 9], 500, vec![Fault::LostBehind, Fault::None])],
        around: vec![Around::Vlan],
        sights: Vec::new(),
        around_second: Vec::new(),
    };
    let packets = packets(&plan);
    for link in [113_u32, 276] {
        let mut bytes = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, link].map(u32::to_le_bytes).concat();
        let mut again = 0;
        for (number, (_, sent)) in packets.iter().enumerate() {
            let both = number % 3 != 0;
            again += u64::from(both);
            for (kind, interface) in [(CAME, 2_u32), (WENT, 3)].into_iter().take(1 + usize::from(both)) {
                // The way in has the tag of its VLAN.
                let around: &[Around] = if kind == CAME { &plan.around } else { &[] };
                let frame = frame(&sent.segment, around);
                let (ethertype, payload) = (&frame[12..14], &frame[14..]);
                let [kind_high, kind_low] = kind.to_be_bytes();
                let header = if link == 113 {
                    [&[kind_high, kind_low, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0][..], ethertype].concat()
                } else {
                    let interface = interface.to_be_bytes();
                    let address = [0, 1, kind_low, 6, 2, 2, 2, 2, 2, 2, 0, 0];
                    [ethertype, &[0, 0], &interface, &address].concat()
                };
                let length = (header.len() + payload.len()) as u32;
                let (seconds, ns) = (sent.at_ns / 1_000_000_000, sent.at_ns % 1_000_000_000);
                bytes.extend([seconds as u32, ns as u32, length, length].map(u32::to_le_bytes).concat());
                bytes.extend([&header, payload].concat());
            }
        }
        let account = read(&bytes, &Selection::default());
        assert_eq!(told_by_port(&account), truth(&packets), "link type {link}");
        assert_eq!((account.total.packets, account.seen_again.packets), (packets.len() as u64, again));
        assert!(again > 0);
    }
}
