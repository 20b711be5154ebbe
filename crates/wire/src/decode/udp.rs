//! UDP (RFC 768), and the tunnels that are told by its ports.

use super::layer::Layer;
use super::{Bytes, Stopped, Walk, tunnel};

const UDP: u8 = 17;
const HEADER_BYTES: usize = 8;

/// Destination ports: VXLAN's own (RFC 7348) and the one that Linux had before.
const VXLAN: [u16; 2] = [4789, 8472];
const VXLAN_GPE: u16 = 4790;
/// RFC 8926.
const GENEVE: u16 = 6081;
/// RFC 7510.
const MPLS: u16 = 6635;

/// Reads a datagram. One whose header was not captured says no more.
pub(super) fn datagram<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let (Ok(source), Ok(destination), Ok(length)) = (bytes.u16(0), bytes.u16(2), bytes.u16(4)) else {
        return Ok(());
    };
    if let Some(flow) = &mut walk.frame.flow {
        flow.ports = Some((source, destination));
    }
    walk.found(Layer::Ports { protocol: UDP, source, destination });
    // 0 is the length of what is too long for the field (RFC 2675), or was not cut into packets yet.
    let bytes = if length == 0 { bytes } else { bytes.up_to(length.into()) };
    let Ok(payload) = bytes.after(HEADER_BYTES) else { return Ok(()) };
    match destination {
        port if VXLAN.contains(&port) => tunnel::vxlan(payload, walk),
        VXLAN_GPE => tunnel::vxlan_gpe(payload, walk),
        GENEVE => tunnel::geneve(payload, walk),
        MPLS => tunnel::mpls(payload, walk),
        _ => {
            if let Some(name) = unopened(source, destination, payload.captured) {
                walk.leave_unopened(name);
            }
            Ok(())
        }
    }
}

/// The tunnels that are not looked into. A port alone says little: what is in it must look like it.
fn unopened(source: u16, destination: u16, payload: &[u8]) -> Option<&'static str> {
    let has_port = |port: u16| source == port || destination == port;
    let first = payload.first().copied()?;
    let word = payload.first_chunk().map(|word| u32::from_be_bytes(*word));
    match () {
        // Version 1 with a user's packet in it (3GPP TS 29.281, section 5.1).
        () if has_port(2152) && first >> 5 == 1 && payload.get(1) == Some(&0xff) => Some("GTP-U"),
        // Its first word is an SPI; 0 is IKE's mark, a single byte keeps the way open (RFC 3948).
        () if has_port(4500) && word.is_some_and(|spi| spi != 0) => Some("ESP in UDP"),
        () if has_port(51820) && (1..=4).contains(&first) && payload.get(1..4) == Some(&[0; 3]) => {
            Some("WireGuard")
        }
        // Version 2, no control message (RFC 2661, section 3.1).
        () if has_port(1701) && first & 0x80 == 0 && payload.get(1).is_some_and(|byte| byte & 0x0f == 2) => {
            Some("L2TP")
        }
        () if has_port(3544) && first >> 4 == 6 => Some("Teredo"),
        () if destination == 4341 => Some("LISP"),
        () if has_port(5247) && first == 0 => Some("CAPWAP"),
        () if has_port(1194) => Some("OpenVPN"),
        () => None,
    }
}
