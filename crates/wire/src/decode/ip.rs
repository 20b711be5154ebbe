//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200), and what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::layer::Layer;
use super::{Bytes, IpFlow, Protocol, Stopped, Walk, announcement, tcp, tunnel, udp};

const IPV4_LEAST_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;

const ICMP: u8 = 1;
const IPV4_IN_IP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const MPLS_IN_IP: u8 = 137;
/// Tunnels that are not looked into.
const UNOPENED: [(u8, &str); 3] = [(50, "ESP"), (97, "EtherIP"), (115, "L2TP")];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
/// A packet has each of them once, but for the options (RFC 8200, section 4.1).
const MOST_EXTENSIONS: usize = 16;

pub(super) fn ip<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    walk.frame.protocol = Protocol::Ip;
    walk.frame.core = bytes.captured;
    match bytes.u8(0)? >> 4 {
        4 => v4(bytes, walk),
        6 => v6(bytes, walk),
        _ => Err(Stopped::Malformed("the IP version is neither 4 nor 6")),
    }
}

fn v4<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let header: [u8; IPV4_LEAST_BYTES] = bytes.first(0)?;
    let mut header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header_bytes < IPV4_LEAST_BYTES {
        return Err(Stopped::Malformed("the IPv4 header is shorter than it can be"));
    }
    let mut protocol = header[9];
    walk.frame.protocol = Protocol::OverIp(protocol);
    let total_bytes = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
        // Captured before the network card cut it into packets.
        0 => bytes.wire_bytes,
        total if total < header_bytes => {
            return Err(Stopped::Malformed("IPv4's total length is less than its header's"));
        }
        total if total > bytes.wire_bytes => {
            return Err(Stopped::Malformed("IPv4's total length exceeds the packet"));
        }
        total => total,
    };
    let bytes = bytes.up_to(total_bytes);
    walk.frame.core = bytes.captured;
    let address = |at: usize| -> IpAddr {
        Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
    };
    ends(address(12), address(16), walk);
    // More fragments, or not the first.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        walk.frame.is_fragment = true;
        return Ok(());
    }
    let mut payload = bytes.after(header_bytes)?;
    if protocol == AUTHENTICATION {
        walk.found(Layer::Passed(Protocol::OverIp(AUTHENTICATION)));
        let length = authentication_bytes(payload)?;
        protocol = payload.u8(0)?;
        walk.frame.protocol = Protocol::OverIp(protocol);
        payload = payload.after(length)?;
        header_bytes += length;
    }
    carried(protocol, payload, header_bytes, walk)
}

fn v6<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let header: [u8; IPV6_BYTES] = bytes.first(0)?;
    let mut next = header[6];
    walk.frame.protocol = Protocol::OverIp(next);
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = std::array::from_fn(|index| header[at + index]);
        Ipv6Addr::from(octets).into()
    };
    ends(address(8), address(24), walk);
    let mut payload = bytes.after(IPV6_BYTES)?;
    match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        // Captured before the network card cut it into packets, or a jumbogram (RFC 2675).
        0 => {}
        length if length > payload.wire_bytes => {
            return Err(Stopped::Malformed("IPv6's payload length exceeds the packet"));
        }
        length => {
            payload = payload.up_to(length);
            walk.frame.core = bytes.up_to(IPV6_BYTES + length).captured;
        }
    }
    let mut header_bytes = IPV6_BYTES;
    for _ in 0..MOST_EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => (usize::from(payload.u8(1)?) + 1) * 8,
            AUTHENTICATION => authentication_bytes(payload)?,
            FRAGMENT => {
                walk.frame.protocol = Protocol::OverIp(payload.u8(0)?);
                // Offset and "more"; a packet in a single fragment has neither (RFC 6946).
                if payload.u16(2)? & 0xfff9 != 0 {
                    walk.frame.is_fragment = true;
                    return Ok(());
                }
                8
            }
            _ => break,
        };
        walk.found(Layer::Passed(Protocol::OverIp(next)));
        next = payload.u8(0)?;
        walk.frame.protocol = Protocol::OverIp(next);
        payload = payload.after(length)?;
        header_bytes += length;
    }
    carried(next, payload, header_bytes, walk)
}

fn ends(source: IpAddr, destination: IpAddr, walk: &mut Walk<'_, '_>) {
    let Protocol::OverIp(protocol) = walk.frame.protocol else { return };
    walk.frame.flow = Some(IpFlow { source, destination, protocol, ports: None, is_request: false });
    walk.found(Layer::Addresses { source, destination });
}

/// The length of an authentication header (RFC 4302, section 2.2), in units of 32 bits less 2.
fn authentication_bytes(bytes: Bytes<'_>) -> Result<usize, Stopped> {
    Ok((usize::from(bytes.u8(1)?) + 2) * 4)
}

fn carried<'a>(
    protocol: u8,
    payload: Bytes<'a>,
    header_bytes: usize,
    walk: &mut Walk<'a, '_>,
) -> Result<(), Stopped> {
    if let Some(flow) = &mut walk.frame.flow {
        flow.protocol = protocol;
    }
    walk.found(Layer::Passed(Protocol::OverIp(protocol)));
    match protocol {
        TCP => tcp::segment(payload, header_bytes, walk),
        UDP => udp::datagram(payload, walk),
        ICMP => {
            echo(payload, [8, 0], walk);
            Ok(())
        }
        ICMPV6 => {
            echo(payload, [128, 129], walk);
            announcement::neighbor_advertisement(payload, walk);
            Ok(())
        }
        SCTP => {
            // RFC 9260, section 3.1; no more of it matters here.
            if let (Ok(source), Ok(destination)) = (payload.u16(0), payload.u16(2)) {
                walk.found(Layer::Ports { protocol, source, destination });
            }
            Ok(())
        }
        IPV4_IN_IP | IPV6_IN_IP => tunnel::ip_in_ip(payload, walk),
        GRE => tunnel::gre(payload, walk),
        MPLS_IN_IP => tunnel::mpls(payload, walk),
        _ => {
            if let Some((_, name)) = UNOPENED.iter().find(|(known, _)| *known == protocol) {
                walk.leave_unopened(name);
            }
            Ok(())
        }
    }
}

/// The identifier of an echo (RFC 792, RFC 4443), whose request and answer have these types.
fn echo(payload: Bytes<'_>, [request, answer]: [u8; 2], walk: &mut Walk<'_, '_>) {
    let (Ok(kind), Ok(identifier), Some(flow)) = (payload.u8(0), payload.u16(4), &mut walk.frame.flow) else {
        return;
    };
    if kind == request || kind == answer {
        flow.ports = Some((identifier, identifier));
        flow.is_request = kind == request;
    }
}
