//! A distribution of round-trip times in bounded memory: counts in buckets whose width grows with the value.

use std::collections::BTreeMap;

use dunlin_record::RttMs;

/// Buckets in each doubling of the value: what is read from one is at most 0.4 % off.
const SUB_BITS: u32 = 7;
/// By as much packets of several queues of a network card are out of order.
const MOST_DISORDER_NS: i64 = 3_000_000;
/// About what a bucket takes of a tree.
const BUCKET_BYTES: usize = 20;

#[derive(Debug, Clone, Default)]
pub(super) struct RoundTrips {
    /// By the value's highest bits, which keep its order.
    buckets: BTreeMap<u32, u64>,
    samples: u64,
    min_ns: u64,
    max_ns: u64,
}

impl RoundTrips {
    /// Counts one. A slightly negative one, of a capture whose packets are not quite in the order of time, counts as 0; one of
    /// before a clock was set says nothing.
    pub(super) fn add(&mut self, ns: i64) {
        if ns < -MOST_DISORDER_NS {
            return;
        }
        let ns = ns.max(0).cast_unsigned();
        *self.buckets.entry(bucket(ns)).or_default() += 1;
        self.min_ns = if self.samples == 0 { ns } else { self.min_ns.min(ns) };
        self.samples += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// What it takes of the memory, in bytes.
    pub(super) fn room(&self) -> usize {
        self.buckets.len() * BUCKET_BYTES
    }

    pub(super) fn summary(&self) -> Option<RttMs> {
        let quantile = |share: f64| {
            let wanted = (share * self.samples as f64).ceil() as u64;
            let mut seen = 0;
            let reached = self.buckets.iter().find(|(_, count)| {
                seen += **count;
                seen >= wanted
            });
            reached.map(|(bucket, _)| middle_ns(*bucket).clamp(self.min_ns, self.max_ns) as f64 / 1e6)
        };
        Some(RttMs {
            samples: self.samples,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            max: self.max_ns as f64 / 1e6,
        })
    }
}

/// Values below the number of buckets of a doubling have one each.
fn bucket(ns: u64) -> u32 {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(SUB_BITS + 1);
    (shift << SUB_BITS) + (ns >> shift) as u32
}

fn middle_ns(bucket: u32) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let top = u64::from(bucket - (shift << SUB_BITS));
    (top << shift) + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut all = RoundTrips::default();
        assert_eq!(all.summary(), None);
        (1..=1000).for_each(|us| all.add(us * 1000));
        let summary = all.summary().unwrap();
        assert_eq!((summary.samples, summary.max), (1000, 1.0));
        for (value, exact) in [(summary.p50, 0.5), (summary.p90, 0.9), (summary.p99, 0.99)] {
            assert!((value / exact - 1.0).abs() < 0.004, "{value} is not {exact}");
        }
    }

    #[test]
    fn a_quantile_is_between_the_least_and_the_greatest() {
        // The middle of its bucket is below it.
        let value = (1_000_000_u64..).find(|ns| middle_ns(bucket(*ns)) < *ns).unwrap();
        let mut all = RoundTrips::default();
        (0..3).for_each(|_| all.add(value.cast_signed()));
        let summary = all.summary().unwrap();
        assert_eq!([summary.p50, summary.p90, summary.p99, summary.max], [value as f64 / 1e6; 4]);
    }

    #[test]
    fn what_a_set_clock_makes_negative_does_not_count() {
        let mut all = RoundTrips::default();
        [-3_600_000_000_000, -5, 1000].into_iter().for_each(|ns| all.add(ns));
        assert_eq!(all.summary().map(|summary| (summary.samples, summary.p50)), Some((2, 0.0)));
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow_and_keeps_the_order(one in any::<u64>(), other in any::<u64>()) {
            prop_assert!(middle_ns(bucket(one)).abs_diff(one) <= one / 250);
            prop_assert!(bucket(one.min(other)) <= bucket(one.max(other)));
        }
    }
}
