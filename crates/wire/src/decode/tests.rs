//! Headers by tables: what is found, what is malformed, what was merely not captured.

mod tunnels;

use dunlin_record::AnnouncementKind;
use proptest::prelude::*;

use super::*;
use crate::link_type;
use crate::pcapng::Comments;

fn packet(link: u32, data: &[u8]) -> Packet<'_> {
    snapped(link, data, data.len())
}

fn snapped(link: u32, data: &[u8], original: usize) -> Packet<'_> {
    Packet {
        at_ns: Some(0),
        interface: 0,
        interfaces: 1,
        link,
        original_bytes: original as u32,
        data,
        comments: Comments::NONE,
    }
}

/// A segment with these options and `payload` bytes.
fn tcp(options: &[u8], payload: usize) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..4].copy_from_slice(&[0x10, 0x00, 0x00, 0x50]);
    header[4..8].copy_from_slice(&7_u32.to_be_bytes());
    header[8..12].copy_from_slice(&1000_u32.to_be_bytes());
    header[12] = (((20 + options.len()) / 4) << 4) as u8;
    header[13] = 0x10;
    header[14..16].copy_from_slice(&500_u16.to_be_bytes());
    [&header, options, &vec![0xaa; payload]].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    header[9] = protocol;
    header[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    [&header, payload].concat()
}

/// With extension headers before the payload; `next` is the first one's number.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = next;
    header[23] = 1;
    header[39] = 2;
    [&header, payload].concat()
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], &ethertype.to_be_bytes()[..], payload].concat()
}

/// What a packet's headers say.
fn of<'a>(packet: &Packet<'a>) -> Frame<'a> {
    decode(packet, None)
}

fn stopped(link: u32, data: &[u8]) -> Option<Stopped> {
    of(&packet(link, data)).stopped
}

#[test]
fn a_segment_is_found_behind_every_link_header() {
    let packet_of = ipv4(6, &tcp(&[], 100));
    let sll = |at: usize, length: usize| {
        let mut header = vec![0; length];
        header[at..at + 2].copy_from_slice(&[8, 0]);
        [&header, &packet_of[..]].concat()
    };
    let cases = [
        ("Ethernet", link_type::ETHERNET, ethernet(0x0800, &packet_of)),
        ("a VLAN", link_type::ETHERNET, ethernet(0x8100, &[&[0, 7, 8, 0], &packet_of[..]].concat())),
        (
            "a VLAN in a VLAN",
            link_type::ETHERNET,
            ethernet(0x88a8, &[&[0, 7, 0x81, 0, 0, 8, 8, 0], &packet_of[..]].concat()),
        ),
        ("padding", link_type::ETHERNET, [ethernet(0x0800, &packet_of), vec![0; 9]].concat()),
        ("Linux cooked", link_type::LINUX_SLL, sll(14, 16)),
        ("Linux cooked v2", link_type::LINUX_SLL2, sll(0, 20)),
        ("raw", link_type::RAW, packet_of.clone()),
        ("raw IPv4", link_type::IPV4, packet_of.clone()),
        ("raw of OpenBSD", link_type::RAW_OLD[1], packet_of.clone()),
        ("null", link_type::NULL, [&[2, 0, 0, 0], &packet_of[..]].concat()),
        ("null of the other byte order", link_type::NULL, [&[0, 0, 0, 2], &packet_of[..]].concat()),
        ("loopback", link_type::LOOP, [&[0, 0, 0, 2], &packet_of[..]].concat()),
    ];
    for (what, link, data) in cases {
        let frame = of(&packet(link, &data));
        assert_eq!((frame.protocol, frame.stopped), (Protocol::OverIp(6), None), "{what}");
        let segment = frame.segment.unwrap();
        assert_eq!(
            (segment.payload_bytes, segment.ip_header_bytes, segment.tcp_header_bytes),
            (100, 20, 20),
            "{what}"
        );
        assert_eq!(
            (segment.source.to_string(), segment.destination.to_string()),
            ("10.0.0.1:4096".into(), "10.0.0.2:80".into())
        );
        assert_eq!((segment.seq, segment.ack, segment.window), (7, 1000, 500), "{what}");
    }
}

#[test]
fn extension_headers_count_as_headers() {
    let segment = tcp(&[], 10);
    let hop_by_hop = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let whole_in_one_fragment = [6, 0, 0, 0, 0, 0, 0, 9];
    let authentication = [6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: [(u8, &[u8], u32); 4] =
        [(6, &[], 40), (0, &hop_by_hop, 56), (44, &whole_in_one_fragment, 48), (51, &authentication, 64)];
    for (next, extensions, header_bytes) in cases {
        let data = ipv6(next, &[extensions, &segment].concat());
        // Padding behind the packet is not its header.
        let data = [data, vec![0; 6]].concat();
        let segment = of(&packet(link_type::RAW, &data)).segment.unwrap();
        assert_eq!((segment.ip_header_bytes, segment.payload_bytes), (header_bytes, 10), "{next}");
        assert_eq!(segment.source.to_string(), "[::1]:4096");
    }
}

#[test]
fn an_authentication_header_of_ipv4_counts_as_header_too() {
    let authentication = [6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let data = ipv4(51, &[&authentication[..], &tcp(&[], 10)].concat());
    let frame = of(&packet(link_type::RAW, &data));
    assert_eq!((frame.protocol, frame.stopped), (Protocol::OverIp(6), None));
    let segment = frame.segment.unwrap();
    assert_eq!((segment.ip_header_bytes, segment.payload_bytes), (44, 10));
    assert_eq!(
        stopped(link_type::RAW, &ipv4(51, &[6, 9, 0, 0])),
        Some(Stopped::Malformed("a header is cut"))
    );
}

#[test]
fn fragments_are_said_to_be_fragments() {
    let mut first = ipv4(6, &tcp(&[], 100));
    first[6] = 0x20;
    let mut later = ipv4(17, &[0; 30]);
    later[7] = 1;
    let sixth = ipv6(44, &[17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4]);
    for (data, protocol) in [(first, 6), (later, 17), (sixth, 17)] {
        let frame = of(&packet(link_type::RAW, &data));
        assert_eq!((frame.is_fragment, frame.protocol), (true, Protocol::OverIp(protocol)));
        assert_eq!((frame.segment, frame.stopped), (None, None));
    }
}

#[test]
fn what_contradicts_itself_is_malformed() {
    let good = ipv4(6, &tcp(&[], 100));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cases = [
        (changed(0, 0x95), "the IP version is neither 4 nor 6"),
        (changed(0, 0x44), "the IPv4 header is shorter than it can be"),
        (changed(3, 10), "IPv4's total length is less than its header's"),
        (changed(2, 1), "IPv4's total length exceeds the packet"),
        (changed(32, 0x40), "the TCP header is shorter than it can be"),
        (
            ipv4(6, &{
                let mut segment = tcp(&[], 0);
                segment[12] = 0xf0;
                segment
            }),
            "the TCP header is longer than its segment",
        ),
        (ipv4(6, &[0; 12]), "a header is cut"),
        (ipv6(6, &[])[..30].to_vec(), "a header is cut"),
        (
            {
                let mut bytes = ipv6(6, &tcp(&[], 0));
                bytes[4] = 1;
                bytes
            },
            "IPv6's payload length exceeds the packet",
        ),
        (ipv6(0, &[6, 9, 0, 0, 0, 0, 0, 0]), "a header is cut"),
    ];
    for (data, why) in cases {
        assert_eq!(stopped(link_type::RAW, &data), Some(Stopped::Malformed(why)));
    }
    assert_eq!(stopped(link_type::RAW, &good), None);
}

#[test]
fn what_was_not_captured_is_not_malformed() {
    let whole = ethernet(0x0800, &ipv4(6, &tcp(&[1; 12], 1000)));
    for cut in 0..54 {
        let frame = of(&snapped(link_type::ETHERNET, &whole[..cut], whole.len()));
        assert_eq!((frame.segment, frame.stopped), (None, Some(Stopped::Snapped)), "{cut}");
    }
    for cut in 54..whole.len() {
        let segment = of(&snapped(link_type::ETHERNET, &whole[..cut], whole.len())).segment.unwrap();
        assert_eq!((segment.payload_bytes, segment.tcp_header_bytes), (1000, 32), "{cut}");
    }
}

#[test]
fn a_length_of_0_is_the_whole_packet() {
    let mut data = ipv4(6, &tcp(&[], 3000));
    data[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(of(&packet(link_type::RAW, &data)).segment.unwrap().payload_bytes, 3000);
}

#[test]
fn options_are_read_as_far_as_they_make_sense() {
    let sack = |blocks: &[[u32; 2]]| {
        let blocks: Vec<u8> = blocks.iter().flatten().flat_map(|edge| edge.to_be_bytes()).collect();
        [&[1, 1, 5, 2 + blocks.len() as u8], &blocks[..]].concat()
    };
    let cases = [
        ("none", vec![], None, None),
        ("window scale", vec![1, 3, 3, 7], Some(7), None),
        ("more than can be shifted", vec![1, 3, 3, 200], Some(14), None),
        ("behind the end", vec![0, 3, 3, 7], None, None),
        ("a length of 0", vec![9, 0, 3, 3, 7, 1, 1, 1], None, None),
        ("a length beyond", vec![3, 9, 7, 1], None, None),
        ("two blocks", sack(&[[2000, 3000], [4000, 5000]]), None, Some(5000)),
        // The first block tells of what came twice (RFC 2883): the acknowledgement is of 1000.
        ("a duplicate below", sack(&[[500, 900], [1500, 1600]]), None, Some(1600)),
    ];
    for (what, options, window_scale, sack_end) in cases {
        let data = ipv4(6, &tcp(&options, 1));
        let segment = of(&packet(link_type::RAW, &data)).segment.unwrap();
        assert_eq!((segment.window_scale, segment.sack_end), (window_scale, sack_end), "{what}");
    }
}

#[test]
fn other_protocols_have_names() {
    let cases = [
        (link_type::ETHERNET, ethernet(0x0806, &[0; 28]), "ARP"),
        (link_type::ETHERNET, ethernet(0x88cc, &[]), "LLDP"),
        (link_type::ETHERNET, ethernet(0x9999, &[]), "ethertype 0x9999"),
        (link_type::ETHERNET, ethernet(38, &[0; 38]), "LLC"),
        (link_type::RAW, ipv4(90, &[]), "IP protocol 90"),
        (link_type::RAW, ipv4(89, &[]), "OSPF"),
        (link_type::ETHERNET, ethernet(0x8035, &[0; 28]), "RARP"),
        // AppleTalk by a loopback of either byte order: not IP, and nothing is wrong with it.
        (link_type::NULL, [&[16, 0, 0, 0][..], &[0xff; 30]].concat(), "address family 16"),
        (link_type::NULL, [&[0, 0, 0, 16][..], &[0xff; 30]].concat(), "address family 16"),
        (link_type::LOOP, [&[0, 0, 0, 7][..], &[0xff; 30]].concat(), "address family 7"),
        (link_type::RAW, ipv6(58, &[]), "ICMPv6"),
        (105, vec![0; 20], "link type 105"),
    ];
    for (link, data, name) in cases {
        let frame = of(&packet(link, &data));
        assert_eq!((frame.protocol.to_string().as_str(), frame.stopped), (name, None));
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        link in prop_oneof![Just(0_u32), Just(1), Just(9), Just(51), Just(101), Just(113), Just(276), any::<u32>()],
        version in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        more in 0_usize..3000,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        let wrapped = ethernet(0x0800, &bytes);
        let tunnelled = [4, 17, 41, 47, 137].map(|protocol| ipv4(protocol, &bytes));
        let on_ethernet = [0x8847, 0x8864, 0x8035, 0x0806].map(|ethertype| ethernet(ethertype, &bytes));
        for data in [&bytes, &wrapped].into_iter().chain(&tunnelled).chain(&on_ethernet) {
            let original = data.len() + more;
            let frame = of(&snapped(link, data, original));
            prop_assert!(frame.depth <= MOST_TUNNELS);
            if let Some(segment) = frame.segment {
                let headers = segment.ip_header_bytes + segment.tcp_header_bytes;
                prop_assert!((segment.payload_bytes + headers) as usize <= original);
            }
        }
    }
}
