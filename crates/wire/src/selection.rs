//! Which of a file's packets an account is of.

use crate::PacketFilter;
use crate::decode::Layer;

/// Which of a file's packets an account is of: those that fit all that is said; all, where nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Those that have this in them.
    pub filter: Option<PacketFilter>,
    /// Those from then on.
    pub from: Option<TimePoint>,
    /// Those before then.
    pub to: Option<TimePoint>,
}

/// A moment in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePoint {
    /// So many nanoseconds after its first packet.
    AfterFirst(i64),
    /// So many nanoseconds after the Unix epoch.
    Epoch(i128),
}

impl TimePoint {
    /// In nanoseconds after a file's first packet.
    fn after(self, start_ns: Option<i128>) -> i64 {
        match self {
            Self::AfterFirst(ns) => ns,
            Self::Epoch(epoch_ns) => clamped(epoch_ns - start_ns.unwrap_or(epoch_ns)),
        }
    }
}

impl Selection {
    /// Whether a packet is selected, that comes so long after the file's first and has these layers.
    pub(crate) fn has(&self, at_ns: i64, start_ns: Option<i128>, layers: &[Layer]) -> bool {
        self.from.is_none_or(|from| at_ns >= from.after(start_ns))
            && self.to.is_none_or(|to| at_ns < to.after(start_ns))
            && self.filter.as_ref().is_none_or(|filter| filter.fits(layers))
    }

    /// Whether packets' layers are asked for.
    pub(crate) fn needs_layers(&self) -> bool {
        self.filter.is_some()
    }
}

/// As near as 64 bits come.
pub(crate) fn clamped(ns: i128) -> i64 {
    ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
