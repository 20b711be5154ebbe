//! Filters by tables: what fits, what is refused and where.

use proptest::prelude::*;

use super::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

/// A TCP segment in VXLAN on a VLAN.
fn tunnelled() -> Vec<Layer> {
    let address = |last: u8| IpAddr::from([192, 168, 0, last]);
    let inner = |last: u8| IpAddr::from([10, 1, 0, last]);
    vec![
        Layer::Ether { destination: Mac([2; 6]), source: MAC },
        Layer::Vlan(7),
        Layer::Addresses { source: address(1), destination: address(2) },
        Layer::Passed(Protocol::OverIp(17)),
        Layer::Ports { protocol: 17, source: 50_000, destination: 4789 },
        Layer::Tunnel(Tunnel::Vxlan, 42),
        Layer::Ether { destination: Mac([4; 6]), source: Mac([6; 6]) },
        Layer::Addresses { source: inner(1), destination: inner(2) },
        Layer::Passed(Protocol::OverIp(6)),
        Layer::Ports { protocol: 6, source: 40_000, destination: 80 },
        Layer::Innermost(Protocol::OverIp(6)),
    ]
}

#[test]
fn every_layer_counts() {
    for (text, fits) in [
        ("host 10.1.0.1", true),
        ("host 192.168.0.2", true),
        ("src host 10.1.0.2", false),
        ("dst host 10.1.0.2 and src host 192.168.0.1", true),
        ("net 10.0.0.0/8", true),
        ("net 10.2.0.0/15", false),
        ("net 0.0.0.0/0 and not net ::/0", true),
        ("host ::1", false),
        ("port 80", true),
        ("port 79-81 and udp port 4789", true),
        ("tcp port 4789", false),
        ("tcp src port 40000", true),
        ("dst port 40000 || src port 80", false),
        ("vlan", true),
        ("vlan 7 and !vlan 8", true),
        ("vxlan 42", true),
        ("vxlan 43", false),
        ("geneve", false),
        ("tunnel and tcp and udp", true),
        ("proto 17 and proto tcp", true),
        ("icmp or arp or gre", false),
        ("ip and not ip6", true),
        ("ether host 52:54:0:0:0:1", true),
        ("ether dst host 6:6:6:6:6:6", false),
        ("not (port 80 or port 81)", false),
        ("not not port 80", true),
        ("icmp or udp and vlan 9 or tcp", true),
    ] {
        let filter: PacketFilter = text.parse().unwrap();
        assert_eq!(filter.fits(&tunnelled()), fits, "{text}");
    }
}

#[test]
fn what_arp_says_has_hosts_but_is_not_ip() {
    let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
    let layers = [Layer::Arp { source: one, destination: other }, Layer::Innermost(Protocol::Arp)];
    for (text, fits) in
        [("arp and host 10.0.0.2", true), ("ip", false), ("rarp", false), ("net 10.0.0.0/30", true)]
    {
        assert_eq!(text.parse::<PacketFilter>().unwrap().fits(&layers), fits, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_said_with_its_place() {
    for (text, why, at) in [
        ("", "it ends where a test should follow, as in \"tcp port 80\"", 1),
        ("tcp and", "it ends where a test should follow, as in \"tcp port 80\"", 8),
        ("host 10.0.0", "\"10.0.0\" is not an address, as in 10.0.0.1", 6),
        ("host", "it ends where an address, as in 10.0.0.1 should follow", 5),
        ("net 10.0.0.0/33", "\"10.0.0.0/33\" is not a network, as in 10.0.0.0/8", 5),
        ("port 65536", "\"65536\" is not a port or a range of ports, as in 80 or 49152-49215", 6),
        ("port 9-8", "\"9-8\" is not a port or a range of ports, as in 80 or 49152-49215", 6),
        ("tcp port 80 udp", "\"udp\" follows without \"and\" or \"or\"", 13),
        ("(tcp or udp", "this bracket is not closed", 1),
        ("tcp)", "this bracket closes nothing", 4),
        ("src 10.0.0.1", "\"host\", \"net\" or \"port\" should follow here", 5),
        ("tcp src host 1.2.3.4", "\"port\" should follow here", 9),
        ("vlan 4096", "\"4096\" is not a VLAN's number", 6),
        ("ether 1:2:3:4:5:6", "\"host\" should follow \"ether\"", 7),
        ("ether host 1:2:3:4:5", "\"1:2:3:4:5\" is not an Ethernet address, as in 52:54:00:12:34:56", 12),
        ("über and tcp", "\"über\" is no test, protocol or tunnel", 1),
        ("tcp and tpc", "\"tpc\" is no test, protocol or tunnel", 9),
        ("proto nonsense", "\"nonsense\" is not a protocol's name or number", 7),
    ] {
        let error = text.parse::<PacketFilter>().unwrap_err();
        assert_eq!((error.why.as_str(), error.at), (why, at), "{text}");
    }
    let deep = "(".repeat(100_000);
    assert!(deep.parse::<PacketFilter>().unwrap_err().why.starts_with("more than 64"));
    let many = "tcp or ".repeat(10_000) + "udp";
    assert!(many.parse::<PacketFilter>().unwrap().fits(&tunnelled()));
}

proptest! {
    #[test]
    fn foreign_text_never_panics(
        text in "(not|!|\\(|\\)|and|or|tcp|src|dst|host|net|port|vlan|vxlan|ether|proto|1.2.3.4|::/0|80|x|é| ){0,20}",
    ) {
        if let Ok(filter) = text.parse::<PacketFilter>() {
            prop_assert_eq!(filter.to_string(), text);
            filter.fits(&tunnelled());
        }
    }

    /// What is negated fits exactly where it does not.
    #[test]
    fn a_negation_is_the_contrary(
        test in "(tcp|udp|arp|vlan [0-9]|vxlan 42|(src |dst |)port (80|4789)|host 10\\.1\\.0\\.[0-3])",
    ) {
        let fits = |text: &str| text.parse::<PacketFilter>().unwrap().fits(&tunnelled());
        prop_assert_eq!(fits(&test), !fits(&format!("not ({test})")));
    }
}
