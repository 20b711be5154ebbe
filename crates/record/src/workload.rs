//! What a guest is asked to do during a migration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Achieved;

/// What the guest's agent does during the migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// Writes to pages of its memory, over and over.
    MemoryWrite(MemoryWrite),
    /// Fills memory once, then reads its pages over and over.
    MemoryRead(MemoryRead),
    /// Writes a file on its disk page by page, over and over.
    DiskWrite(DiskFile),
    /// Creates a file on its disk, then reads it page by page, over and over.
    DiskRead(DiskFile),
    /// Computes FFTs in hardly any memory.
    Cpu(Cpu),
    /// Watches the guest's clocks for jumps and for gaps in its own running.
    Clock,
    /// Serves HTTP on port 8080.
    HttpServer(HttpServer),
    /// Sends numbered blocks to the bench over a connection.
    TcpSend(TcpStream),
    /// Receives them from the bench over a connection.
    TcpReceive(TcpStream),
    /// Sends numbered datagrams to the bench.
    UdpSend(UdpStream),
    /// Receives them from the bench.
    UdpReceive(UdpStream),
    /// Does all of these at once.
    Several {
        /// What; none of them several again.
        each: Vec<Workload>,
    },
}

impl Workload {
    /// What is done at once, in order: itself, unless it is several.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Several { each } => each,
            one => std::slice::from_ref(one),
        }
    }

    /// Each part with what was achieved of it.
    pub fn with_achieved<'a>(
        &'a self,
        achieved: Option<&'a Achieved>,
    ) -> impl Iterator<Item = (&'a Self, Option<&'a Achieved>)> {
        let done = achieved.map(Achieved::parts).unwrap_or_default();
        self.parts().iter().enumerate().map(|(index, asked)| (asked, done.get(index)))
    }

    /// Memory it allocates, fills and keeps, in MiB; absent where that is trivial.
    #[must_use]
    pub fn allocated_mib(&self) -> Option<u32> {
        match self {
            Self::Several { each } => sum(each, Self::allocated_mib),
            Self::MemoryWrite(asked) => Some(asked.allocated_mib.unwrap_or(asked.working_set_mib)),
            Self::MemoryRead(asked) => Some(asked.allocated_mib.unwrap_or(asked.working_set_mib)),
            Self::HttpServer(asked) => Some(asked.increase_calls.saturating_mul(10)).filter(|mib| *mib > 0),
            _ => None,
        }
    }

    /// Memory it works on over and over, in MiB; absent where that is trivial.
    #[must_use]
    pub fn working_set_mib(&self) -> Option<u32> {
        match self {
            Self::Several { each } => sum(each, Self::working_set_mib),
            Self::MemoryWrite(asked) => Some(asked.working_set_mib),
            Self::MemoryRead(asked) => Some(asked.working_set_mib),
            _ => None,
        }
    }

    /// Memory it rewrites over and over, in MiB; absent where it rewrites none on purpose.
    #[must_use]
    pub fn dirtied_mib(&self) -> Option<u32> {
        match self {
            Self::Several { each } => sum(each, Self::dirtied_mib),
            Self::MemoryWrite(asked) => Some(asked.working_set_mib),
            _ => None,
        }
    }

    /// The size of its file on the disk, in MiB, where it has one.
    #[must_use]
    pub fn file_mib(&self) -> Option<u32> {
        match self {
            Self::Several { each } => sum(each, Self::file_mib),
            Self::DiskWrite(asked) | Self::DiskRead(asked) => Some(asked.file_mib),
            _ => None,
        }
    }

    /// The word for its kind, as in `tcp-send`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MemoryWrite(_) => "memory-write",
            Self::MemoryRead(_) => "memory-read",
            Self::DiskWrite(_) => "disk-write",
            Self::DiskRead(_) => "disk-read",
            Self::Cpu(_) => "cpu",
            Self::Clock => "clock",
            Self::HttpServer(_) => "http-server",
            Self::TcpSend(_) => "tcp-send",
            Self::TcpReceive(_) => "tcp-receive",
            Self::UdpSend(_) => "udp-send",
            Self::UdpReceive(_) => "udp-receive",
            Self::Several { .. } => "several",
        }
    }

    /// The rate it is to keep, where it has one. Several have one each.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::MemoryWrite(asked) => Some(asked.rate_mib_s),
            Self::MemoryRead(asked) => Some(asked.rate_mib_s),
            Self::DiskWrite(asked) | Self::DiskRead(asked) => Some(asked.rate_mib_s),
            Self::TcpSend(asked) | Self::TcpReceive(asked) => Some(asked.rate_mib_s),
            Self::UdpSend(asked) | Self::UdpReceive(asked) => Some(asked.rate_mib_s),
            Self::HttpServer(_) | Self::Cpu(_) | Self::Clock | Self::Several { .. } => None,
        }
    }
}

/// The sum over those to which it applies; absent where that is none.
fn sum(each: &[Workload], of: fn(&Workload) -> Option<u32>) -> Option<u32> {
    each.iter().filter_map(of).reduce(u32::saturating_add)
}

/// How memory is written (Hu et al., section 3.2, with the dials they did not have).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryWrite {
    /// The part that is rewritten, in MiB.
    pub working_set_mib: u32,
    /// All that is allocated and filled once, in MiB; the working set if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_mib: Option<u32>,
    /// Pages written a second, times 4 KiB.
    #[serde(default)]
    pub rate_mib_s: Rate,
    /// Bytes changed by a write to a page, from its begin: 8 to 4096, a multiple of 8.
    #[serde(default = "one_word", skip_serializing_if = "is_one_word")]
    pub bytes_per_page: u32,
    /// Which page comes next.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pattern: Pattern,
    /// Share of what is written that a compressor can do away with, in percent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compressibility_percent: u32,
}

impl MemoryWrite {
    /// Every dial but these two at its default.
    #[must_use]
    pub fn new(working_set_mib: u32, rate_mib_s: Rate) -> Self {
        Self {
            working_set_mib,
            allocated_mib: None,
            rate_mib_s,
            bytes_per_page: one_word(),
            pattern: Pattern::default(),
            compressibility_percent: 0,
        }
    }
}

/// How memory is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryRead {
    /// The part that is read, in MiB.
    pub working_set_mib: u32,
    /// All that is allocated and filled once, in MiB; the working set if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_mib: Option<u32>,
    /// Pages read a second, times 4 KiB.
    #[serde(default)]
    pub rate_mib_s: Rate,
    /// Which page comes next.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pattern: Pattern,
    /// Share of what it is filled with that a compressor can do away with, in percent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compressibility_percent: u32,
}

/// How a file is written or read (Hu et al., section 3.2, with the dials they did not have).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFile {
    /// The file's size in MiB.
    pub file_mib: u32,
    /// Pages written or read a second, times 4 KiB.
    #[serde(default)]
    pub rate_mib_s: Rate,
    /// Whether past the guest's cache (`O_DIRECT`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub direct: bool,
}

/// How much is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// From 1 (75 % of one vCPU) to 10 (all of it), as in Hu et al., section 3.2.
    pub priority: u32,
}

/// What is served: `/` (a short page), `/increase_mem` and `/decrease_mem` (10 MiB a call, allocated and written), and
/// `/matrix?order=N` (multiplies two square matrices), as in the Xen paper, section V.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpServer {
    /// Calls of `/increase_mem` that are made before the observation begins.
    pub increase_calls: u32,
}

/// A stream over TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpStream {
    /// Payload sent a second.
    #[serde(default)]
    pub rate_mib_s: Rate,
}

/// A stream over UDP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UdpStream {
    /// Payload of each datagram, in bytes: 16 to 1472, which fills an Ethernet frame.
    #[serde(default = "full_frame")]
    pub datagram_bytes: u32,
    /// Payload sent a second.
    #[serde(default)]
    pub rate_mib_s: Rate,
}

fn full_frame() -> u32 {
    1472
}

/// Which page comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Each in turn.
    #[default]
    Sequential,
    /// Any, all equally often.
    Uniform,
    /// Any, the n-th page in proportion to 1/n.
    Zipf,
}

fn one_word() -> u32 {
    8
}

fn is_one_word(bytes: &u32) -> bool {
    *bytes == one_word()
}

/// Dials that were not turned are not written: what was recorded before there were so many is the same as ever.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A rate of work.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(into = "RateText", try_from = "RateText")]
#[schemars(with = "RateText")]
pub enum Rate {
    /// As fast as the guest can: `"full"`.
    #[default]
    Full,
    /// MiB a second.
    MibPerSecond(f64),
}

/// How a rate is written: a number or `"full"`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum RateText {
    Number(f64),
    Word(String),
}

impl From<Rate> for RateText {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::Full => Self::Word("full".into()),
            Rate::MibPerSecond(rate) => Self::Number(rate),
        }
    }
}

impl TryFrom<RateText> for Rate {
    type Error = &'static str;

    fn try_from(text: RateText) -> Result<Self, Self::Error> {
        match text {
            RateText::Number(rate) if rate > 0.0 && rate.is_finite() => Ok(Self::MibPerSecond(rate)),
            RateText::Word(word) if word == "full" => Ok(Self::Full),
            _ => Err("expected \"full\" or a rate above 0 in MiB/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number_or_the_word_full() {
        let rate = |text: &str| serde_json::from_str::<Rate>(text);
        assert_eq!(rate("\"full\"").unwrap(), Rate::Full);
        assert_eq!(rate("12.5").unwrap(), Rate::MibPerSecond(12.5));
        for wrong in ["0", "-1", "\"fast\"", "null"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_recorded_before_there_were_more_dials_is_read_as_it_was_meant() {
        let asked = r#"{"kind":"memory-write","working_set_mib":16,"rate_mib_s":"full"}"#;
        let asked: Workload = serde_json::from_str(asked).unwrap();
        assert_eq!(asked, Workload::MemoryWrite(MemoryWrite::new(16, Rate::Full)));
    }

    #[test]
    fn a_key_of_no_dial_is_refused() {
        let wrong = r#"{"kind":"cpu","priority":3,"working_set_mib":16}"#;
        assert!(serde_json::from_str::<Workload>(wrong).is_err());
    }
}
