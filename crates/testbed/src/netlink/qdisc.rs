//! What limits and delays a link: the kernel's `tbf` and `netem`, in its own encoding (`linux/pkt_sched.h`).

use std::fmt;
use std::time::Duration;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_NETEM_LATENCY64: u16 = 10;
const TC_LINKLAYER_ETHERNET: u8 = 1;

/// A full frame with its Ethernet header.
const FRAME_BYTES: u64 = 1514;
/// How long the rate limit lets frames wait: a longer queue would shape the latency of page faults.
const QUEUE: Duration = Duration::from_millis(5);
/// How much may pass at once: what a timer that is this late owes.
const BURST: Duration = Duration::from_millis(1);
/// A link without a rate is taken to carry this, where a queue must be sized.
const UNLIMITED_MBIT: f64 = 10_000.0;

/// What a link does to the frames that leave through it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Shape {
    /// Rate in Mbit/s; not limited if absent.
    pub(crate) rate_mbit: Option<f64>,
    /// How much later each frame arrives.
    pub(crate) delay: Duration,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate_mbit {
            Some(rate) => write!(f, "{rate} Mbit/s")?,
            None => write!(f, "no limit")?,
        }
        if !self.delay.is_zero() {
            write!(f, " with a delay of {:?}", self.delay)?;
        }
        Ok(())
    }
}

impl Shape {
    /// How many frames may be on their way on such a link, with room to spare.
    pub(crate) fn frames_in_flight(&self) -> u32 {
        let bits = self.rate_mbit.unwrap_or(UNLIMITED_MBIT) * 1e6 * (self.delay + QUEUE).as_secs_f64();
        // Small frames fill a queue that is counted in frames sooner than full ones.
        let frames = 4.0 * bits / 8.0 / FRAME_BYTES as f64;
        frames.clamp(1000.0, 1e6) as u32
    }

    /// The messages that make it: delay at the root, the rate limit below it.
    pub(crate) fn messages(self, index: u32) -> Vec<TcMessage> {
        let mut messages = Vec::new();
        let (mut parent, mut handle) = (TcHandle::ROOT, TcHandle { major: 1, minor: 0 });
        if !self.delay.is_zero() {
            messages.push(message(index, parent, handle, "netem", self.netem_options()));
            (parent, handle) = (TcHandle { major: 1, minor: 1 }, TcHandle { major: 10, minor: 0 });
        }
        if let Some(rate_mbit) = self.rate_mbit {
            messages.push(message(index, parent, handle, "tbf", tbf_options(rate_mbit)));
        }
        messages
    }

    /// `struct tc_netem_qopt` and, behind it, the delay again in nanoseconds.
    fn netem_options(self) -> TcAttribute {
        let delay_ns = u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX);
        let ticks = u32::try_from(delay_ns / 64).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        // latency, limit, loss, gap, duplicate, jitter
        for word in [ticks, self.frames_in_flight(), 0, 0, 0, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(12_u16.to_ne_bytes());
        bytes.extend(TCA_NETEM_LATENCY64.to_ne_bytes());
        bytes.extend(delay_ns.to_ne_bytes());
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, bytes))
    }
}

/// `struct tc_tbf_qopt`, and the rate and burst in bytes, which the kernel prefers to its table.
fn tbf_options(rate_mbit: f64) -> TcAttribute {
    let rate = (rate_mbit * 1e6 / 8.0).max(1.0) as u64;
    let worth = |time: Duration| (rate as f64 * time.as_secs_f64()) as u64;
    let burst = worth(BURST).max(4 * FRAME_BYTES);
    let limit = burst + worth(QUEUE).max(10 * FRAME_BYTES);
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);

    let mut parameters = Vec::new();
    // rate: cell_log, linklayer, overhead, cell_align, mpu, rate
    parameters.extend([0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(narrow(rate).to_ne_bytes());
    // no peak rate
    parameters.extend([0; 12]);
    // limit, buffer (replaced by the burst below), mtu
    for word in [narrow(limit), 0, 0] {
        parameters.extend(word.to_ne_bytes());
    }
    let mut options =
        vec![option(TCA_TBF_PARMS, parameters), option(TCA_TBF_BURST, narrow(burst).to_ne_bytes())];
    if rate > u64::from(u32::MAX) {
        options.push(option(TCA_TBF_RATE64, rate.to_ne_bytes()));
    }
    TcAttribute::Options(options)
}

/// What names whatever shapes a device.
pub(super) fn root(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(index).unwrap_or(i32::MAX);
    message.header.parent = TcHandle::ROOT;
    message
}

fn option(kind: u16, value: impl Into<Vec<u8>>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value.into()))
}

fn message(index: u32, parent: TcHandle, handle: TcHandle, kind: &str, options: TcAttribute) -> TcMessage {
    let mut message = root(index);
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes = vec![TcAttribute::Kind(kind.to_owned()), options];
    message
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable, Nla};

    use super::*;

    fn kinds(shape: Shape) -> Vec<(TcHandle, TcHandle, String)> {
        let kind = |message: &TcMessage| match &message.attributes[0] {
            TcAttribute::Kind(kind) => kind.clone(),
            other => panic!("{other:?}"),
        };
        shape.messages(3).iter().map(|m| (m.header.parent, m.header.handle, kind(m))).collect()
    }

    #[test]
    fn a_link_with_both_delays_first_and_limits_below() {
        let delay = Duration::from_millis(10);
        let (one, below, ten) = (
            TcHandle { major: 1, minor: 0 },
            TcHandle { major: 1, minor: 1 },
            TcHandle { major: 10, minor: 0 },
        );
        assert_eq!(kinds(Shape::default()), []);
        assert_eq!(
            kinds(Shape { rate_mbit: Some(1000.0), delay: Duration::ZERO }),
            [(TcHandle::ROOT, one, "tbf".into())]
        );
        assert_eq!(
            kinds(Shape { rate_mbit: Some(1000.0), delay }),
            [(TcHandle::ROOT, one, "netem".into()), (below, ten, "tbf".into())]
        );
    }

    #[test]
    fn a_delay_is_written_in_ticks_and_in_nanoseconds() {
        let shape = Shape { rate_mbit: None, delay: Duration::from_millis(10) };
        let attribute = shape.netem_options();
        assert_eq!(attribute.kind(), TCA_OPTIONS);
        let mut bytes = vec![0; attribute.buffer_len()];
        attribute.emit(&mut bytes);
        assert_eq!(bytes.len(), 4 + 24 + 12);
        assert_eq!(bytes[4..8], (10_000_000_u32 / 64).to_ne_bytes());
        assert_eq!(bytes[32..], 10_000_000_u64.to_ne_bytes());
    }

    #[test]
    fn a_rate_beyond_32_bits_is_written_in_64() {
        let count = |rate_mbit| match tbf_options(rate_mbit) {
            TcAttribute::Options(options) => options.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(count(10_000.0), 2);
        assert_eq!(count(100_000.0), 3);
    }
}
