//! TCP's header (RFC 9293, section 3.1) and the options that matter here (RFC 7323: window scale; RFC 2018: selective
//! acknowledgements; RFC 8684: MPTCP).

use std::net::SocketAddr;

use super::layer::Layer;
use super::{Bytes, Flags, Segment, Stopped, Walk};

const TCP: u8 = 6;
const LEAST_BYTES: usize = 20;

const OPTIONS_END: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const SELECTIVE_ACK: u8 = 5;
/// RFC 8684.
const MPTCP: u8 = 30;

pub(super) fn segment<'a>(
    bytes: Bytes<'a>,
    ip_header_bytes: usize,
    walk: &mut Walk<'a, '_>,
) -> Result<(), Stopped> {
    let header: [u8; LEAST_BYTES] = bytes.first(0)?;
    let header_bytes = usize::from(header[12] >> 4) * 4;
    if header_bytes < LEAST_BYTES {
        return Err(Stopped::Malformed("the TCP header is shorter than it can be"));
    }
    if header_bytes > bytes.wire_bytes {
        return Err(Stopped::Malformed("the TCP header is longer than its segment"));
    }
    let (source, destination, ack) = (bytes.u16(0)?, bytes.u16(2)?, bytes.u32(8)?);
    walk.found(Layer::Ports { protocol: TCP, source, destination });
    let Some(flow) = &mut walk.frame.flow else { return Ok(()) };
    flow.ports = Some((source, destination));
    // Of a snapped header, the options that are there.
    let options = bytes.captured.get(LEAST_BYTES..header_bytes.min(bytes.captured.len())).unwrap_or_default();
    let options = Options::read(options, ack);
    walk.frame.segment = Some(Segment {
        source: SocketAddr::new(flow.source, source),
        destination: SocketAddr::new(flow.destination, destination),
        seq: bytes.u32(4)?,
        ack,
        flags: Flags(header[13]),
        window: bytes.u16(14)?,
        window_scale: options.window_scale,
        sack_end: options.sack_end,
        mptcp: options.mptcp,
        payload_bytes: (bytes.wire_bytes - header_bytes) as u32,
        payload: bytes.captured.get(header_bytes..).unwrap_or_default(),
        ip_header_bytes: ip_header_bytes as u32,
        tcp_header_bytes: header_bytes as u32,
    });
    Ok(())
}

#[derive(Default)]
struct Options {
    window_scale: Option<u8>,
    /// The end of the highest selectively acknowledged block above the acknowledgement.
    sack_end: Option<u32>,
    mptcp: u32,
}

impl Options {
    fn read(mut options: &[u8], ack: u32) -> Self {
        let mut all = Self::default();
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
                WINDOW_SCALE => all.window_scale = value.first().map(|shift| (*shift).min(14)),
                SELECTIVE_ACK => all.sack_end = highest_block(value, ack),
                MPTCP => all.mptcp = brief(value, all.mptcp),
                _ => {}
            }
            options = &options[usize::from(length)..];
        }
        all
    }
}

/// Fowler, Noll and Vo's hash (FNV-1a), which is never 0 here.
fn brief(bytes: &[u8], after: u32) -> u32 {
    let begin = if after == 0 { 0x811c_9dc5 } else { after };
    bytes.iter().fold(begin, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).max(1)
}

/// Blocks below `ack` tell of what came twice (RFC 2883), not of a hole.
fn highest_block(blocks: &[u8], ack: u32) -> Option<u32> {
    let ends = blocks.as_chunks::<8>().0.iter().map(|block| {
        let [_, _, _, _, end @ ..] = *block;
        u32::from_be_bytes(end).wrapping_sub(ack)
    });
    ends.filter(|above| (1..1 << 31).contains(above)).max().map(|above| ack.wrapping_add(above))
}
