//! What an end of a stream saw, added up.

use super::{Disorder, StreamEvent};

/// Sums over an end's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Bytes handed to the kernel, or come.
    pub bytes: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Blocks that never came.
    pub missing: u64,
    /// Blocks that came after later ones.
    pub late: u64,
    /// Blocks that came again.
    pub repeated: u64,
    /// Blocks whose content is not that of any number.
    pub corrupted: u64,
    /// The longest time between two that moved, in nanoseconds.
    pub longest_gap_ns: i64,
    /// Which never came, the first and how many in a row: at most 1000 entries, and only over UDP.
    pub lost: Vec<(u64, u64)>,
    last_ns: Option<i64>,
}

impl Account {
    /// Adds what happened.
    pub fn add(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Connected { .. } => self.connections += 1,
            StreamEvent::Broken { .. } => self.broken += 1,
            StreamEvent::Moved { at_ns, bytes, .. } => {
                self.bytes += bytes;
                if let Some(last_ns) = self.last_ns.replace(*at_ns) {
                    self.longest_gap_ns = self.longest_gap_ns.max(at_ns - last_ns);
                }
            }
            StreamEvent::Disorder { disorder, .. } => match disorder {
                Disorder::Missing { count, .. } => self.missing += count,
                Disorder::Late { .. } => {
                    self.late += 1;
                    self.missing = self.missing.saturating_sub(1);
                }
                Disorder::Repeated { .. } => self.repeated += 1,
                Disorder::Corrupted => self.corrupted += 1,
            },
            StreamEvent::Lost { first, count } => self.lost.push((*first, *count)),
        }
    }
}
