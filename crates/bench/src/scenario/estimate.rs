//! How long a scenario will take: an estimate for whoever starts it, never a limit.

use std::time::Duration;

use dunlin_record::{Case, Rate, Strategy, Workload};

use super::Scenario;

/// Restoring the template, starting probes and watchers, ending them.
const SETUP_S: f64 = 3.0;
/// A boot without KVM, where no template is used.
const BOOT_S: f64 = 6.0;
/// Non-zero memory of the guest itself: kernel, agent, page tables.
const GUEST_OWN_MIB: f64 = 120.0;
/// What TCP brings across of a link's rate.
const GOODPUT_SHARE: f64 = 0.94;
/// What two QEMUs on one machine reach where the link has no limit.
const UNLIMITED_MBIT: f64 = 8_000.0;
/// Negotiation and hand-over, whatever is copied.
const HAND_OVER_S: f64 = 0.5;
/// QEMU's default downtime limit: pre-copy ends once the rest can be sent in it.
const DOWNTIME_LIMIT_S: f64 = 0.3;
/// With a dirty rate just below the link's the passes shrink too slowly for any limit a trial has.
const PASSES_MAX: u32 = 1_000;
/// Fetching pages on demand slows the guest and the copy: measured, about twice the plain copy.
const POST_COPY_FACTOR: f64 = 2.0;

/// How long all trials of all cases will take, about.
#[must_use]
pub fn expected_duration(scenario: &Scenario) -> Duration {
    scenario.cases.iter().map(expected_case_duration).fold(Duration::ZERO, Duration::saturating_add)
}

/// How long all trials of a case will take, about; where their number is open, between the least and the most.
#[must_use]
pub fn expected_case_duration(case: &Case) -> Duration {
    let trials = case.trials.range();
    let trials = f64::from(trials.start() + trials.end()) / 2.0;
    Duration::try_from_secs_f64(expected_trial_duration(case).as_secs_f64() * trials).unwrap_or(Duration::MAX)
}

/// How long one trial of a case will take, about.
#[must_use]
pub(crate) fn expected_trial_duration(case: &Case) -> Duration {
    let trials = &case.trials;
    let boot_s = if case.vm.fresh { BOOT_S } else { 0.0 };
    let migration_s = migration_s(case).min(trials.limit_s);
    let trial_s = SETUP_S + boot_s + trials.baseline_s + migration_s + trials.settle_s;
    Duration::try_from_secs_f64(trial_s * f64::from(case.vm.count)).unwrap_or(Duration::MAX)
}

/// How long one migration takes; infinite where by law it never ends by itself.
fn migration_s(case: &Case) -> f64 {
    let link_mib_s =
        case.link.migration.rate_mbit.unwrap_or(UNLIMITED_MBIT) * GOODPUT_SHARE * 1e6 / 8.0 / MIB;
    let dirtier = Dirtier::of(case.workload.as_ref());
    let held_mib = case.workload.as_ref().and_then(Workload::allocated_mib).map_or(0.0, f64::from);
    let pass_s = (GUEST_OWN_MIB + held_mib) / link_mib_s;
    let copy_s = match case.strategy {
        Strategy::Suspend => pass_s,
        Strategy::PreCopy => pre_copy_s(pass_s, &dirtier, link_mib_s),
        Strategy::PostCopy { .. } => pass_s * POST_COPY_FACTOR,
        Strategy::Hybrid { after_passes, after_s, .. } => {
            let by_passes_s = after_passes.map(|passes| f64::from(passes) * pass_s);
            let switch_s = by_passes_s.into_iter().chain(after_s).fold(f64::INFINITY, f64::min);
            // It may converge before the switch.
            let switched_s = switch_s + dirtier.set_mib / link_mib_s * POST_COPY_FACTOR;
            pre_copy_s(pass_s, &dirtier, link_mib_s).min(switched_s)
        }
    };
    HAND_OVER_S + copy_s
}

const MIB: f64 = 1_048_576.0;

/// What a workload does to the passes of pre-copy.
struct Dirtier {
    set_mib: f64,
    rate_mib_s: f64,
}

impl Dirtier {
    fn of(workload: Option<&Workload>) -> Self {
        let parts = workload.map(Workload::parts).unwrap_or_default();
        let dirtying = parts.iter().filter_map(|part| Some((part.dirtied_mib()?, part.rate()?)));
        let mut all = Self { set_mib: 0.0, rate_mib_s: 0.0 };
        for (dirtied_mib, rate) in dirtying {
            all.set_mib += f64::from(dirtied_mib);
            all.rate_mib_s += match rate {
                Rate::MibPerSecond(rate) => rate,
                Rate::Full => f64::INFINITY,
            };
        }
        all
    }
}

/// The first pass, then passes over what the one before it left dirty, until the rest fits into the downtime limit.
///
/// With a dirty rate below the link's each pass is shorter than the one before by their ratio. With one above it each
/// pass finds the whole set dirty: either that fits, or it never ends.
fn pre_copy_s(pass_s: f64, dirtier: &Dirtier, link_mib_s: f64) -> f64 {
    let fits_mib = DOWNTIME_LIMIT_S * link_mib_s;
    let (mut total_s, mut last_s) = (pass_s, pass_s);
    for _ in 0..PASSES_MAX {
        let dirty_mib = (dirtier.rate_mib_s * last_s).min(dirtier.set_mib);
        let next_s = dirty_mib / link_mib_s;
        if dirty_mib <= fits_mib {
            return total_s + next_s;
        }
        if next_s >= last_s {
            return f64::INFINITY;
        }
        total_s += next_s;
        last_s = next_s;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case_s(settings: &str) -> f64 {
        let text = format!(
            "name = \"x\"\n[[case]]\nname = \"c\"\ntrials = {{ count = 1, limit_s = 50 }}\n{settings}"
        );
        let scenario = Scenario::parse(&text, "x.toml").unwrap();
        assert_eq!(expected_duration(&scenario), expected_case_duration(&scenario.cases[0]));
        expected_case_duration(&scenario.cases[0]).as_secs_f64()
    }

    fn dirty(working_set_mib: u32, rate: &str) -> String {
        format!(
            "workload = {{ kind = \"memory-write\", working_set_mib = {working_set_mib}, rate_mib_s = {rate} }}\n"
        )
    }

    /// Setup, baseline and settle time of one trial.
    const AROUND_S: f64 = 5.0;

    #[test]
    fn a_case_that_never_converges_costs_its_limit() {
        assert_eq!(case_s(&dirty(128, "\"full\"")), AROUND_S + 50.0);
        assert_eq!(case_s(&dirty(128, "200")), AROUND_S + 50.0);
    }

    #[test]
    fn a_working_set_within_the_downtime_limit_or_a_rate_below_the_links_converges() {
        assert!(case_s(&dirty(16, "\"full\"")) < AROUND_S + 5.0);
        assert!(case_s(&dirty(128, "20")) < AROUND_S + 5.0);
    }

    #[test]
    fn more_to_copy_and_slower_links_take_longer() {
        assert!(case_s("") < case_s(&dirty(16, "\"full\"")));
        assert!(case_s("") < case_s("link.migration.rate_mbit = 100\n"));
        assert!(case_s("link.migration.rate_mbit = \"none\"\n") < case_s(""));
    }

    #[test]
    fn a_switch_to_post_copy_ends_what_pre_copy_would_not() {
        let hybrid = "strategy = { kind = \"hybrid\", after_passes = 1 }\n";
        assert!(case_s(&(dirty(128, "\"full\"") + hybrid)) < AROUND_S + 10.0);
    }

    #[test]
    fn trials_vms_and_boots_add_up() {
        let one = case_s("");
        assert!((case_s("vm.count = 3\n") - 3.0 * one).abs() < 1e-6);
        assert!((case_s("vm.fresh = true\n") - one - BOOT_S).abs() < 1e-6);
    }
}
