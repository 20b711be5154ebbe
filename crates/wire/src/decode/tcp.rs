//! TCP's header (RFC 9293, section 3.1) and the options that matter here (RFC 7323: window scale; RFC 2018: selective
//! acknowledgements).

use std::net::SocketAddr;

use super::ip::Ends;
use super::{Bytes, Flags, Frame, Segment, Stopped};

const LEAST_BYTES: usize = 20;

const OPTIONS_END: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const SELECTIVE_ACK: u8 = 5;

pub(super) fn segment(
    bytes: Bytes<'_>,
    ends: Ends,
    ip_header_bytes: usize,
    frame: &mut Frame,
) -> Result<(), Stopped> {
    let header: [u8; LEAST_BYTES] = bytes.first(0)?;
    let header_bytes = usize::from(header[12] >> 4) * 4;
    if header_bytes < LEAST_BYTES {
        return Err(Stopped::Malformed("the TCP header is shorter than it can be"));
    }
    if header_bytes > bytes.wire_bytes {
        return Err(Stopped::Malformed("the TCP header is longer than its segment"));
    }
    let ack = bytes.u32(8)?;
    // Of a snapped header, the options that are there.
    let options = bytes.captured.get(LEAST_BYTES..header_bytes.min(bytes.captured.len())).unwrap_or_default();
    let (window_scale, sack_end) = read_options(options, ack);
    frame.segment = Some(Segment {
        source: SocketAddr::new(ends.source, bytes.u16(0)?),
        destination: SocketAddr::new(ends.destination, bytes.u16(2)?),
        seq: bytes.u32(4)?,
        ack,
        flags: Flags(header[13]),
        window: bytes.u16(14)?,
        window_scale,
        sack_end,
        payload_bytes: (bytes.wire_bytes - header_bytes) as u32,
        ip_header_bytes: ip_header_bytes as u32,
        tcp_header_bytes: header_bytes as u32,
    });
    Ok(())
}

/// Window scale, and the end of the highest selectively acknowledged block above `ack`.
fn read_options(mut options: &[u8], ack: u32) -> (Option<u8>, Option<u32>) {
    let (mut window_scale, mut sack_end) = (None, None);
    while let Some(&kind) = options.first() {
        if kind == OPTIONS_END {
            break;
        }
        if kind == NO_OPERATION {
            options = &options[1..];
            continue;
        }
        let Some(&length) = options.get(1) else { break };
        let Some(value) = options.get(2..usize::from(length)) else { break };
        match kind {
            // Greater shifts count as 14 (RFC 7323, section 2.3).
            WINDOW_SCALE => window_scale = value.first().map(|shift| (*shift).min(14)),
            SELECTIVE_ACK => sack_end = highest_block(value, ack),
            _ => {}
        }
        options = &options[usize::from(length)..];
    }
    (window_scale, sack_end)
}

/// Blocks below `ack` tell of what came twice (RFC 2883), not of a hole.
fn highest_block(blocks: &[u8], ack: u32) -> Option<u32> {
    let ends = blocks.as_chunks::<8>().0.iter().map(|block| {
        let [_, _, _, _, end @ ..] = *block;
        u32::from_be_bytes(end).wrapping_sub(ack)
    });
    ends.filter(|above| (1..1 << 31).contains(above)).max().map(|above| ack.wrapping_add(above))
}
