//! Watches how well the kernel's wall-clock stamps can be mapped to the bench's clock.

use dunlin_clock::Mapping;

/// The mapping as read last, and the worst error of any so far.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last_offset_ns: Option<i64>,
    worst_error_ns: Option<i64>,
}

impl ClockWatch {
    /// Takes note of a mapping that is about to be used for stamps taken since the one before. If the wall clock was
    /// slewed or stepped in between, those stamps are wrong by up to that much.
    pub(crate) fn observe(&mut self, mapping: Mapping) {
        let moved_ns =
            self.last_offset_ns.map_or(0, |last| mapping.offset_ns.saturating_sub(last).saturating_abs());
        let error_ns = mapping.error_ns.saturating_add(moved_ns);
        self.worst_error_ns = self.worst_error_ns.max(Some(error_ns));
        self.last_offset_ns = Some(mapping.offset_ns);
    }

    /// The worst error so far; absent before the first mapping.
    pub(crate) fn worst_error_ns(&self) -> Option<i64> {
        self.worst_error_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_counts_as_an_error_of_its_size() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.worst_error_ns(), None);
        watch.observe(Mapping { offset_ns: 1_000, error_ns: 30 });
        watch.observe(Mapping { offset_ns: 1_004, error_ns: 20 });
        assert_eq!(watch.worst_error_ns(), Some(30));
        watch.observe(Mapping { offset_ns: -5_000, error_ns: 20 });
        watch.observe(Mapping { offset_ns: -5_000, error_ns: 20 });
        assert_eq!(watch.worst_error_ns(), Some(6_024));
    }
}
