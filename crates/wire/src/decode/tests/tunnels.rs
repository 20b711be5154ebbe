//! Tunnels: what is in them is found, whatever they are in; what is not looked into is named.

use super::*;

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    [&[0xc0, 0][..], &port.to_be_bytes(), &length, &[0, 0], payload].concat()
}

fn vxlan(id: u32, frame: &[u8]) -> Vec<u8> {
    udp(4789, &[&[8, 0, 0, 0][..], &(id << 8).to_be_bytes(), frame].concat())
}

fn geneve(ethertype: u16, options: &[u8], inner: &[u8]) -> Vec<u8> {
    let head = [(options.len() / 4) as u8, 0];
    udp(6081, &[&head[..], &ethertype.to_be_bytes(), &[0, 0, 9, 0], options, inner].concat())
}

fn gre(flags: u16, ethertype: u16, fields: &[u8], inner: &[u8]) -> Vec<u8> {
    [&flags.to_be_bytes()[..], &ethertype.to_be_bytes(), fields, inner].concat()
}

/// A segment of 10 bytes from 10.0.0.1 to 10.0.0.2.
fn inner() -> Vec<u8> {
    ipv4(6, &tcp(&[], 10))
}

fn frame() -> Vec<u8> {
    ethernet(0x0800, &inner())
}

fn names(frame: &Frame<'_>) -> Vec<&'static str> {
    Tunnel::ALL.into_iter().filter(|one| frame.tunnels & 1 << *one as u16 != 0).map(Tunnel::name).collect()
}

#[test]
fn a_segment_is_found_in_every_tunnel() {
    let mpls = |labels: &[u32], inner: &[u8]| {
        let entries = labels.iter().enumerate().flat_map(|(at, label)| {
            let last = u32::from(at + 1 == labels.len()) << 8;
            (label << 12 | last | 64).to_be_bytes()
        });
        [entries.collect(), inner.to_vec()].concat()
    };
    let pppoe = |inner: &[u8]| {
        let length = (2 + inner.len() as u16).to_be_bytes();
        [&[0x11, 0, 0, 7][..], &length, &[0x00, 0x21], inner].concat()
    };
    let cases = [
        ("VXLAN", link_type::RAW, ipv4(17, &vxlan(42, &frame())), vec!["VXLAN"]),
        ("VXLAN over IPv6", link_type::RAW, ipv6(17, &vxlan(42, &frame())), vec!["VXLAN"]),
        (
            "VXLAN with a VLAN in it",
            link_type::RAW,
            ipv4(17, &vxlan(1, &ethernet(0x8100, &[&[0, 7, 8, 0], &inner()[..]].concat()))),
            vec!["VXLAN"],
        ),
        ("Geneve", link_type::RAW, ipv4(17, &geneve(0x6558, &[], &frame())), vec!["Geneve"]),
        (
            "Geneve with options and IP",
            link_type::RAW,
            ipv4(17, &geneve(0x0800, &[1; 8], &inner())),
            vec!["Geneve"],
        ),
        ("GRE", link_type::RAW, ipv4(47, &gre(0, 0x0800, &[], &inner())), vec!["GRE"]),
        (
            "GRE of Ethernet with checksum, key and number",
            link_type::RAW,
            ipv4(47, &gre(0xb000, 0x6558, &[0; 12], &frame())),
            vec!["GRE"],
        ),
        (
            "PPTP",
            link_type::RAW,
            ipv4(47, &gre(0x3081, 0x880b, &[0; 12], &[&[0xff, 3, 0, 0x21], &inner()[..]].concat())),
            vec!["GRE", "PPP"],
        ),
        ("IP in IP", link_type::RAW, ipv4(4, &inner()), vec!["IP in IP"]),
        ("IPv4 in IPv6", link_type::RAW, ipv6(4, &inner()), vec!["IP in IP"]),
        ("6in4", link_type::RAW, ipv4(41, &ipv6(6, &tcp(&[], 10))), vec!["IP in IP"]),
        ("MPLS", link_type::ETHERNET, ethernet(0x8847, &mpls(&[17], &inner())), vec!["MPLS"]),
        (
            "MPLS of several labels",
            link_type::ETHERNET,
            ethernet(0x8848, &mpls(&[1, 2, 3], &inner())),
            vec!["MPLS"],
        ),
        (
            "MPLS of Ethernet with a control word",
            link_type::ETHERNET,
            ethernet(0x8847, &mpls(&[17], &[&[0; 4], &frame()[..]].concat())),
            vec!["MPLS"],
        ),
        (
            "MPLS of Ethernet that begins like IPv4",
            link_type::ETHERNET,
            ethernet(0x8847, &mpls(&[17], &[&[0x45; 12], &frame()[12..]].concat())),
            vec!["MPLS"],
        ),
        ("MPLS in IP", link_type::RAW, ipv4(137, &mpls(&[17], &inner())), vec!["MPLS"]),
        ("MPLS in UDP", link_type::RAW, ipv4(17, &udp(6635, &mpls(&[17], &inner()))), vec!["MPLS"]),
        ("PPPoE", link_type::ETHERNET, ethernet(0x8864, &pppoe(&inner())), vec!["PPPoE"]),
        ("PPP", link_type::PPP, [&[0xff, 3, 0, 0x21], &inner()[..]].concat(), vec!["PPP"]),
        ("PPP in brief", link_type::PPP, [&[0x21], &inner()[..]].concat(), vec!["PPP"]),
        (
            "all in each other",
            link_type::ETHERNET,
            ethernet(
                0x8847,
                &mpls(
                    &[5],
                    &ipv4(
                        17,
                        &vxlan(1, &ethernet(0x86dd, &ipv6(47, &gre(0, 0x0800, &[], &ipv4(4, &inner()))))),
                    ),
                ),
            ),
            vec!["VXLAN", "GRE", "IP in IP", "MPLS"],
        ),
    ];
    for (what, link, data, tunnels) in cases {
        let frame = of(&packet(link, &data));
        assert_eq!((frame.protocol, frame.stopped), (Protocol::OverIp(6), None), "{what}");
        assert_eq!((names(&frame), frame.depth as usize), (tunnels.clone(), tunnels.len()), "{what}");
        let segment = frame.segment.unwrap();
        assert_eq!((segment.payload_bytes, segment.payload.len(), segment.seq), (10, 10, 7), "{what}");
        // Cut anywhere, it was only not captured.
        for cut in 0..data.len() {
            let frame = of(&snapped(link, &data[..cut], data.len()));
            let is_told = frame.segment.is_some() || frame.stopped == Some(Stopped::Snapped);
            assert!(
                is_told || frame.unopened.is_some() || frame.protocol == Protocol::OverIp(17),
                "{what} at {cut}: {frame:?}"
            );
        }
    }
}

#[test]
fn layers_are_told_from_the_outside_in() {
    let data = ethernet(0x8100, &[&[0, 7, 8, 0], &ipv4(17, &vxlan(42, &frame()))[..]].concat());
    let mut layers = Vec::new();
    decode(&packet(link_type::ETHERNET, &data), Some(&mut layers));
    let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
    let two = Mac([2; 6]);
    let ether = Layer::Ether { destination: two, source: two };
    let addresses = Layer::Addresses { source: one, destination: other };
    let expected = [
        ether,
        Layer::Vlan(7),
        addresses,
        Layer::Passed(Protocol::OverIp(17)),
        Layer::Ports { protocol: 17, source: 0xc000, destination: 4789 },
        Layer::Tunnel(Tunnel::Vxlan, 42),
        ether,
        addresses,
        Layer::Passed(Protocol::OverIp(6)),
        Layer::Ports { protocol: 6, source: 0x1000, destination: 80 },
        Layer::Innermost(Protocol::OverIp(6)),
    ];
    assert_eq!(layers, expected);
}

#[test]
fn more_tunnels_in_each_other_than_are_looked_into_are_said_to_be() {
    let nested = |depth: usize| (0..depth).fold(inner(), |inside, _| ipv4(4, &inside));
    let frame_of = |data: &[u8]| {
        let frame = of(&packet(link_type::RAW, data));
        (frame.depth, frame.segment.is_some(), frame.stopped)
    };
    assert_eq!(frame_of(&nested(8)), (8, true, None));
    assert_eq!(frame_of(&nested(9)), (8, false, Some(Stopped::TooDeep)));
}

/// Without a tunnel around them, too: 600,000 of them in one packet overflowed the stack.
#[test]
fn more_frames_in_each_other_than_are_looked_into_are_said_to_be() {
    let nested = |depth: usize| [&ethernet(0x6558, &[]).repeat(depth)[..], &frame()].concat();
    let frame_of = |data: &[u8]| {
        let frame = of(&packet(link_type::ETHERNET, data));
        (frame.segment.is_some(), frame.stopped)
    };
    assert_eq!(frame_of(&nested(8)), (true, None));
    assert_eq!(frame_of(&nested(9)), (false, Some(Stopped::TooDeep)));
    assert_eq!(frame_of(&nested(600_000)), (false, Some(Stopped::TooDeep)));
    let tunnels =
        (0..8).fold(frame(), |inside, _| ethernet(0x0800, &ipv4(17, &geneve(0x6558, &[], &inside))));
    assert_eq!(frame_of(&tunnels), (true, None));
}

#[test]
fn sctp_has_ports() {
    let data = ipv4(132, &[0x0b, 0x59, 0x0b, 0x5a, 0, 0, 0, 1, 0, 0, 0, 0]);
    let mut layers = Vec::new();
    decode(&packet(link_type::RAW, &data), Some(&mut layers));
    assert!(layers.contains(&Layer::Ports { protocol: 132, source: 2905, destination: 2906 }), "{layers:?}");
}

#[test]
fn an_echo_s_identifier_may_be_0_and_a_fragment_has_no_ports() {
    let ports = |data: &[u8]| of(&packet(link_type::RAW, data)).flow.and_then(|flow| flow.ports);
    assert_eq!(ports(&ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 1])), Some((0, 0)));
    assert_eq!(ports(&ipv4(1, &[3, 0, 0, 0, 0, 0, 0, 1])), None);
    let mut datagram = ipv4(17, &udp(53, &[0; 8]));
    assert_eq!(ports(&datagram), Some((0xc000, 53)));
    datagram[6] = 0x20;
    assert_eq!(ports(&datagram), None);
}

#[test]
fn tunnels_that_are_not_looked_into_are_named() {
    let gtp = |kind: u8| udp(2152, &[&[0x30, kind, 0, 40, 0, 0, 0, 1][..], &inner()].concat());
    let cases = [
        (ipv4(17, &gtp(0xff)), Some("GTP-U")),
        (ipv4(17, &gtp(1)), None),
        (ipv4(50, &[0; 40]), Some("ESP")),
        (ipv4(17, &udp(4500, &[0, 0, 0, 1, 9])), Some("ESP in UDP")),
        (ipv4(17, &udp(4500, &[0, 0, 0, 0, 9])), None),
        (ipv4(17, &udp(51820, &[4, 0, 0, 0, 1, 2, 3, 4])), Some("WireGuard")),
        (ipv4(47, &gre(0, 0x88be, &[], &[0; 20])), Some("ERSPAN")),
        (ipv4(47, &gre(0x4000, 0x0800, &[0; 4], &inner())), Some("GRE")),
        (ethernet(0x88e5, &[0; 40]), Some("MACsec")),
        (ethernet(0x8847, &[&[0, 1, 0x11, 64][..], &[0x99; 30]].concat()), Some("MPLS")),
        // Ports that others use too.
        (ipv4(17, &udp(4789, &[0; 30])), None),
        (ipv4(17, &udp(6081, &[0xff; 30])), None),
        (ipv4(17, &udp(53, &[0; 30])), None),
    ];
    for (data, name) in cases {
        let link = if data[0] == 0x45 { link_type::RAW } else { link_type::ETHERNET };
        let frame = of(&packet(link, &data));
        assert_eq!((frame.unopened, frame.stopped), (name, None), "{data:?}");
        assert!(name.is_none_or(|name| frame.protocol == Protocol::Named(name)));
    }
}

#[test]
fn who_says_where_it_is_is_heard() {
    let arp = |operation: u16, sender: [u8; 4], target: [u8; 4], target_mac: [u8; 6]| {
        let head = [&[0, 1, 8, 0, 6, 4][..], &operation.to_be_bytes()].concat();
        [&head[..], &[4; 6], &sender, &target_mac, &target].concat()
    };
    let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let advertisement = |flags: u8| {
        let mut message = vec![0; 32];
        message[0] = 136;
        message[4] = flags;
        message[8..24].copy_from_slice(&[9; 16]);
        message[24..].copy_from_slice(&[2, 1, 4, 4, 4, 4, 4, 4]);
        ethernet(0x86dd, &ipv6(58, &message))
    };
    let cases = [
        (ethernet(0x0806, &arp(1, one, one, [0; 6])), Some((AnnouncementKind::GratuitousArp, true))),
        (ethernet(0x0806, &arp(2, one, one, [0xff; 6])), Some((AnnouncementKind::GratuitousArp, true))),
        (ethernet(0x0806, &arp(1, one, other, [0; 6])), None),
        (ethernet(0x0806, &arp(1, [0; 4], [0; 4], [0; 6])), None),
        (ethernet(0x8035, &arp(3, [0; 4], [0; 4], [4; 6])), Some((AnnouncementKind::Rarp, false))),
        (ethernet(0x8035, &arp(3, [0; 4], [0; 4], [5; 6])), None),
        (advertisement(0x20), Some((AnnouncementKind::NeighborAdvertisement, true))),
        (advertisement(0x60), None),
    ];
    for (data, expected) in cases {
        let announcement = of(&packet(link_type::ETHERNET, &data)).announcement;
        let told = announcement.map(|one| (one.kind, one.address.is_some()));
        assert_eq!(told, expected, "{data:?}");
        assert!(announcement.is_none_or(|one| one.mac == Mac([4; 6])));
    }
}
