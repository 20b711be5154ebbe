//! Finds our probes' requests and answers among foreign frames.
//!
//! The probes' payload, fixed: `b"DNLN"`, kind (0 ICMP, 1 UDP), three bytes that tag the run, the sequence number as
//! a big-endian `u64`. It follows the ICMP header, or is the UDP datagram.

/// The first four bytes of a probe's payload.
pub const PROBE_MAGIC: [u8; 4] = *b"DNLN";
/// The UDP port on which the probed guest answers.
pub const UDP_PROBE_PORT: u16 = 7007;

const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_ECHO_REQUEST: u8 = 8;
/// ICMP's and UDP's headers are equally long, so the payload follows at the same place.
const TRANSPORT_BYTES: usize = 8;

/// A probe's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeFrame {
    /// 0 ICMP, 1 UDP.
    pub probe: u8,
    /// The request's number in the probe.
    pub seq: u64,
    /// Whether it is an answer; else a request.
    pub is_answer: bool,
}

/// Reads an Ethernet frame, or as much of its beginning as holds the payload's first 16 bytes; `None` if it is not one
/// of our probes'.
#[must_use]
pub fn parse_probe_frame(frame: &[u8]) -> Option<ProbeFrame> {
    if be_u16(frame, 12)? != ETHERTYPE_IPV4 {
        return None;
    }
    let packet = frame.get(ETHERNET_BYTES..)?;
    let header_bytes = usize::from(*packet.first()? & 0x0f) * 4;
    let is_fragment = be_u16(packet, 6)? & 0x3fff != 0;
    if packet[0] >> 4 != 4 || header_bytes < 20 || is_fragment {
        return None;
    }
    let segment = packet.get(header_bytes..)?;
    let (probe, is_answer) = match *packet.get(9)? {
        ICMP => match *segment.first()? {
            ICMP_ECHO_REQUEST => (0, false),
            ICMP_ECHO_REPLY => (0, true),
            _ => return None,
        },
        UDP if be_u16(segment, 2)? == UDP_PROBE_PORT => (1, false),
        UDP if be_u16(segment, 0)? == UDP_PROBE_PORT => (1, true),
        _ => return None,
    };
    let payload = segment.get(TRANSPORT_BYTES..)?;
    if payload.get(..4)? != PROBE_MAGIC || *payload.get(4)? != probe {
        return None;
    }
    let seq = u64::from_be_bytes(payload.get(8..16)?.try_into().ok()?);
    Some(ProbeFrame { probe, seq, is_answer })
}

fn be_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(kind: u8, seq: u64) -> Vec<u8> {
        [&PROBE_MAGIC[..], &[kind, 9, 9, 9], &seq.to_be_bytes()].concat()
    }

    fn frame(protocol: u8, ip_options: usize, transport: [u8; 8], payload: &[u8]) -> Vec<u8> {
        let mut ip = vec![0; 20 + ip_options];
        ip[0] = 0x40 | u8::try_from(ip.len() / 4).unwrap();
        ip[6] = 0x40; // do not fragment
        ip[9] = protocol;
        [&[0xff; 12][..], &[8, 0], &ip, &transport, payload].concat()
    }

    fn udp(source: u16, destination: u16) -> [u8; 8] {
        let mut header = [0; 8];
        header[..2].copy_from_slice(&source.to_be_bytes());
        header[2..4].copy_from_slice(&destination.to_be_bytes());
        header
    }

    #[test]
    fn requests_and_answers_of_both_probes_are_found() {
        let cases = [
            (frame(ICMP, 0, [8, 0, 0, 0, 0, 0, 0, 0], &payload(0, 7)), 0, 7, false),
            (frame(ICMP, 40, [0; 8], &payload(0, u64::MAX)), 0, u64::MAX, true),
            (frame(UDP, 0, udp(40_000, UDP_PROBE_PORT), &payload(1, 0)), 1, 0, false),
            (frame(UDP, 4, udp(UDP_PROBE_PORT, 40_000), &payload(1, 1 << 40)), 1, 1 << 40, true),
        ];
        for (bytes, probe, seq, is_answer) in cases {
            assert_eq!(parse_probe_frame(&bytes), Some(ProbeFrame { probe, seq, is_answer }));
        }
    }

    #[test]
    fn foreign_frames_are_not_ours() {
        let request = [8, 0, 0, 0, 0, 0, 0, 0];
        let ours = frame(ICMP, 0, request, &payload(0, 7));
        let changed = |at: usize, to: u8| {
            let mut bytes = ours.clone();
            bytes[at] = to;
            bytes
        };
        let cases = [
            ("IPv6", changed(12, 0x86)),
            ("IP version 6 in an IPv4 frame", changed(14, 0x65)),
            ("a header too short to be one", changed(14, 0x44)),
            ("a first fragment", changed(20, 0x20)),
            ("a later fragment", changed(21, 1)),
            ("TCP", changed(23, 6)),
            ("another ICMP type", changed(34, 3)),
            ("another magic", changed(42, b'X')),
            ("the UDP probe's kind in ICMP", changed(46, 1)),
            ("UDP between other ports", frame(UDP, 0, udp(1, 2), &payload(1, 7))),
        ];
        for (what, bytes) in cases {
            assert_eq!(parse_probe_frame(&bytes), None, "{what}");
        }
        assert!(parse_probe_frame(&ours).is_some());
        for cut in 0..ours.len() {
            assert_eq!(parse_probe_frame(&ours[..cut]), None, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..140),
            protocol in prop_oneof![Just(ICMP), Just(UDP), any::<u8>()],
            likely in any::<bool>(),
        ) {
            let mut bytes = bytes;
            // Random bytes hardly ever get past the first checks, so help half of them.
            if likely && bytes.len() > 24 {
                bytes[12..14].copy_from_slice(&[8, 0]);
                bytes[14] = 0x40 | (bytes[14] & 0x0f);
                bytes[23] = protocol;
            }
            let _ = parse_probe_frame(&bytes);
        }
    }
}
