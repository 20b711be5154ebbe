//! Tunnels: what carries packets in packets. Each reads its own header and goes on with what is behind it.

use super::layer::Layer;
use super::{Bytes, Protocol, Stopped, Walk, ip, link};

/// Kinds of tunnels that are looked into; the number is its bit in [`super::Frame::tunnels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tunnel {
    Vxlan,
    Geneve,
    Gre,
    IpInIp,
    Mpls,
    PppOe,
    Ppp,
}

impl Tunnel {
    pub(crate) const ALL: [Self; 7] =
        [Self::Vxlan, Self::Geneve, Self::Gre, Self::IpInIp, Self::Mpls, Self::PppOe, Self::Ppp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::Gre => "GRE",
            Self::IpInIp => "IP in IP",
            Self::Mpls => "MPLS",
            Self::PppOe => "PPPoE",
            Self::Ppp => "PPP",
        }
    }
}

/// RFC 7348, section 5: flags, of which one says that there is a network's number, that number, and zeros.
pub(super) fn vxlan<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let [flags, .., reserved] = bytes.first::<8>(0)?;
    if flags & 0x08 == 0 || reserved != 0 {
        return Ok(());
    }
    walk.enter(Tunnel::Vxlan, bytes.u32(4)? >> 8)?;
    link::ethernet(bytes.after(8)?, walk)
}

/// Draft-ietf-nvo3-vxlan-gpe, section 3: the same with a protocol's number.
pub(super) fn vxlan_gpe<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let [flags, _, _, next, .., reserved] = bytes.first::<8>(0)?;
    if flags & 0x0c != 0x0c || reserved != 0 {
        return Ok(());
    }
    walk.enter(Tunnel::Vxlan, bytes.u32(4)? >> 8)?;
    let inner = bytes.after(8)?;
    match next {
        1 | 2 => ip::ip(inner, walk),
        3 => link::ethernet(inner, walk),
        5 => mpls(inner, walk),
        _ => {
            walk.leave_unopened("VXLAN-GPE");
            Ok(())
        }
    }
}

/// RFC 8926, section 3.4.
pub(super) fn geneve<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let [first, _, type_high, type_low, .., reserved] = bytes.first::<8>(0)?;
    if first >> 6 != 0 || reserved != 0 {
        return Ok(());
    }
    walk.enter(Tunnel::Geneve, bytes.u32(4)? >> 8)?;
    let options_bytes = usize::from(first & 0x3f) * 4;
    link::typed(u16::from_be_bytes([type_high, type_low]), bytes.after(8 + options_bytes)?, walk)
}

/// RFC 2784 with RFC 2890; version 1 is PPTP's (RFC 2637, section 4.1).
pub(super) fn gre<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    let (flags, ethertype) = (bytes.u16(0)?, bytes.u16(2)?);
    let has = |flag| flags & flag != 0;
    let version = flags & 0x0007;
    if version > 1 || has(ROUTING) {
        walk.leave_unopened("GRE");
        return Ok(());
    }
    let mut header_bytes = 4;
    if has(CHECKSUM) {
        header_bytes += 4;
    }
    let mut key = 0;
    if has(KEY) {
        key = bytes.u32(header_bytes)?;
        header_bytes += 4;
    }
    if has(SEQUENCE) {
        header_bytes += 4;
    }
    if version == 1 && has(ACKNOWLEDGEMENT) {
        header_bytes += 4;
    }
    let inner = bytes.after(header_bytes)?;
    // PPTP's acknowledgements carry nothing; nor do the keep-alives of some routers.
    if inner.wire_bytes == 0 || ethertype == 0 {
        return Ok(());
    }
    walk.enter(Tunnel::Gre, key)?;
    link::typed(ethertype, inner, walk)
}

/// RFC 2003, RFC 2473, RFC 4213.
pub(super) fn ip_in_ip<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    walk.enter(Tunnel::IpInIp, 0)?;
    ip::ip(bytes, walk)
}

/// RFC 3032: labels down to the last. What is behind it is not told, but can be seen: IP by its version, or Ethernet, with
/// or without a control word (RFC 4448).
pub(super) fn mpls<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    const LAST: u32 = 0x100;
    /// More labels than any network stacks.
    const MOST_LABELS: usize = 16;
    let mut at = 0;
    let mut label = 0;
    for _ in 0..MOST_LABELS {
        let entry = bytes.u32(at)?;
        label = entry >> 12;
        at += 4;
        if entry & LAST != 0 {
            break;
        }
    }
    walk.enter(Tunnel::Mpls, label)?;
    let inner = bytes.after(at)?;
    let is_ethernet = |at: usize| inner.u16(at + 12).is_ok_and(link::is_known);
    match inner.u8(0)? >> 4 {
        4 | 6 if is_ip(inner) => ip::ip(inner, walk),
        0 if is_ethernet(4) => link::ethernet(inner.after(4)?, walk),
        _ if is_ethernet(0) => link::ethernet(inner, walk),
        _ => {
            walk.leave_unopened("MPLS");
            Ok(())
        }
    }
}

/// Whether what begins like an IP header is as long as it says.
fn is_ip(bytes: Bytes<'_>) -> bool {
    let Ok(first) = bytes.u8(0) else { return false };
    let (header_bytes, length) = if first >> 4 == 4 {
        (usize::from(first & 0x0f) * 4, bytes.u16(2).map(usize::from))
    } else {
        (40, bytes.u16(4).map(|length| usize::from(length) + 40))
    };
    header_bytes >= 20 && length.is_ok_and(|length| (header_bytes..=bytes.wire_bytes).contains(&length))
}

/// RFC 2516, section 4: version and type, code, session, length; then PPP.
pub(super) fn pppoe<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    const HEADER_BYTES: usize = 6;
    if bytes.u16(0)? != 0x1100 {
        walk.leave_unopened("PPPoE");
        return Ok(());
    }
    let length = usize::from(bytes.u16(4)?);
    walk.enter(Tunnel::PppOe, bytes.u16(2)?.into())?;
    carried_by_ppp(bytes.after(HEADER_BYTES)?.up_to(length), walk)
}

/// RFC 1662, section 3.1: an address and a control field, which may be left out.
pub(super) fn ppp<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    walk.enter(Tunnel::Ppp, 0)?;
    let has_address = bytes.u16(0)? == 0xff03;
    carried_by_ppp(if has_address { bytes.after(2)? } else { bytes }, walk)
}

/// RFC 1661, section 2: the protocol, whose first byte may be left out where it is 0.
fn carried_by_ppp<'a>(bytes: Bytes<'a>, walk: &mut Walk<'a, '_>) -> Result<(), Stopped> {
    let first = bytes.u8(0)?;
    let (protocol, header_bytes) = if first & 1 == 1 { (first.into(), 1) } else { (bytes.u16(0)?, 2) };
    let inner = bytes.after(header_bytes)?;
    walk.frame.protocol = Protocol::Ppp(protocol);
    walk.frame.core = inner.captured;
    match protocol {
        0x0021 | 0x0057 => ip::ip(inner, walk),
        0x0031 => {
            // Flags and kind, then a frame (RFC 3518, section 4.2).
            walk.found(Layer::Passed(Protocol::Named("PPP BCP")));
            link::ethernet(inner.after(2)?, walk)
        }
        0x0281 | 0x0283 => mpls(inner, walk),
        0x0053 | 0x0055 | 0x00fb | 0x00fd => {
            walk.leave_unopened("PPP compressed or encrypted");
            Ok(())
        }
        _ => Ok(()),
    }
}
