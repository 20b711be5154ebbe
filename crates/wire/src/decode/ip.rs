//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Bytes, Frame, Protocol, Stopped, tcp};

const IPV4_LEAST_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP: u8 = 6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
/// A packet has each of them once, but for the options (RFC 8200, section 4.1).
const MOST_EXTENSIONS: usize = 16;

/// A packet's ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

pub(super) fn ip(bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    frame.protocol = Protocol::Ip;
    match bytes.u8(0)? >> 4 {
        4 => v4(bytes, frame),
        6 => v6(bytes, frame),
        _ => Err(Stopped::Malformed("the IP version is neither 4 nor 6")),
    }
}

fn v4(bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    let header: [u8; IPV4_LEAST_BYTES] = bytes.first(0)?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header_bytes < IPV4_LEAST_BYTES {
        return Err(Stopped::Malformed("the IPv4 header is shorter than it can be"));
    }
    frame.protocol = Protocol::OverIp(header[9]);
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
    // More fragments, or not the first.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        frame.is_fragment = true;
        return Ok(());
    }
    let address = |at: usize| -> IpAddr {
        Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
    };
    let ends = Ends { source: address(12), destination: address(16) };
    let payload = bytes.up_to(total_bytes).after(header_bytes)?;
    if header[9] == TCP { tcp::segment(payload, ends, header_bytes, frame) } else { Ok(()) }
}

fn v6(bytes: Bytes<'_>, frame: &mut Frame) -> Result<(), Stopped> {
    let header: [u8; IPV6_BYTES] = bytes.first(0)?;
    let mut next = header[6];
    frame.protocol = Protocol::OverIp(next);
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = std::array::from_fn(|index| header[at + index]);
        Ipv6Addr::from(octets).into()
    };
    let ends = Ends { source: address(8), destination: address(24) };
    let mut payload = bytes.after(IPV6_BYTES)?;
    match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        // Captured before the network card cut it into packets, or a jumbogram (RFC 2675).
        0 => {}
        length if length > payload.wire_bytes => {
            return Err(Stopped::Malformed("IPv6's payload length exceeds the packet"));
        }
        length => payload = payload.up_to(length),
    }
    let mut header_bytes = IPV6_BYTES;
    for _ in 0..MOST_EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => (usize::from(payload.u8(1)?) + 1) * 8,
            AUTHENTICATION => (usize::from(payload.u8(1)?) + 2) * 4,
            FRAGMENT => {
                frame.protocol = Protocol::OverIp(payload.u8(0)?);
                // Offset and "more"; a packet in a single fragment has neither (RFC 6946).
                if payload.u16(2)? & 0xfff9 != 0 {
                    frame.is_fragment = true;
                    return Ok(());
                }
                8
            }
            _ => break,
        };
        next = payload.u8(0)?;
        frame.protocol = Protocol::OverIp(next);
        payload = payload.after(length)?;
        header_bytes += length;
    }
    if next == TCP { tcp::segment(payload, ends, header_bytes, frame) } else { Ok(()) }
}
