//! The order in which the cases' trials are made.

use dunlin_record::Case;

/// The cases in groups of equal links, in the scenario's order: other links mean another lab, which takes seconds to
/// make, so the lab is changed once a group and not once a trial.
pub(crate) fn groups(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        match groups.iter_mut().find(|group| cases[group[0]].link == case.link) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// A group's cases in the order of one round, in which each gets its trial of that number. Where something drifts, as a
/// machine that warms up, rounds spread it over all cases; shuffling keeps a case from always following the same one.
///
/// The same seed and round give the same order: a run that is gone on with keeps its own.
pub(crate) fn round(group: &[usize], seed: Option<u32>, number: u32) -> Vec<usize> {
    let mut order = group.to_vec();
    if let Some(seed) = seed {
        let mut random = SplitMix64(u64::from(seed) << 32 | u64::from(number));
        // Fisher and Yates.
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
    }
    order
}

/// Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators (OOPSLA 2014), figure 5's constants as in
/// Java's `SplittableRandom`.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; its bias, below 2^-50, shows in no order.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Scenario;

    /// The generator's published output for seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = SplitMix64(1_234_567);
        let first = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], first);
    }

    #[test]
    fn every_round_has_every_case_once_in_an_order_of_its_own() {
        let group: Vec<usize> = (3..9).collect();
        let rounds: Vec<Vec<usize>> = (1..=50).map(|number| round(&group, Some(7), number)).collect();
        for order in &rounds {
            assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), group.iter().copied().collect());
        }
        assert!(rounds.iter().collect::<BTreeSet<_>>().len() > 40, "{rounds:?}");
        let firsts: BTreeSet<usize> = rounds.iter().map(|order| order[0]).collect();
        assert_eq!(firsts.len(), group.len(), "each comes first at some time");
        assert_eq!(round(&group, Some(7), 3), rounds[2], "the same seed gives the same order");
        assert_ne!(round(&group, Some(8), 3), rounds[2]);
        assert_eq!(round(&group, None, 3), group);
    }

    #[test]
    fn cases_with_the_same_links_are_a_group() {
        let text = "name = \"s\"\n[[case]]\nname = \"a\"\nlink.migration.rate_mbit = [100, 1000]\nvm.vcpus = [1, 2]\n";
        let cases = Scenario::parse(text, "s.toml").unwrap().cases;
        assert_eq!(groups(&cases), [[0, 1], [2, 3]]);
        let text = text.replace(
            "link.migration.rate_mbit = [100, 1000]\nvm.vcpus = [1, 2]",
            "vm.vcpus = [1, 2]\nlink.migration.rate_mbit = [100, 1000]",
        );
        let cases = Scenario::parse(&text, "s.toml").unwrap().cases;
        assert_eq!(groups(&cases), [[0, 2], [1, 3]]);
    }
}
