//! How long a scenario will take: an estimate for whoever starts it, never a limit.

mod copy;
mod files;

use std::time::Duration;

use dunlin_record::Case;

use super::Scenario;
use copy::copy_s;

/// Restoring the template, starting probes and watchers, ending them.
const SETUP_S: f64 = 3.0;
/// A boot without KVM, where no template is used.
const BOOT_S: f64 = 6.0;
/// Filling a new disk with what it is to begin with.
const FILLED_MIB_S: f64 = 300.0;
/// Negotiation and hand-over, whatever is copied.
const HAND_OVER_S: f64 = 0.5;

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
    let migration_s = (HAND_OVER_S + copy_s(case)).min(trials.limit_s);
    let filled_mib = case.vm.disk.as_ref().and_then(|disk| disk.used_mib).map_or(0.0, f64::from);
    let boot_s = boot_s + filled_mib / FILLED_MIB_S;
    let trial_s = SETUP_S + boot_s + trials.baseline_s + migration_s + trials.settle_s;
    Duration::try_from_secs_f64(trial_s * f64::from(case.vm.count)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case_s(settings: &str) -> f64 {
        within_s(50, settings)
    }

    /// The same with another limit of the migration.
    fn within_s(limit_s: u32, settings: &str) -> f64 {
        let text = format!(
            "name = \"x\"\n[[case]]\nname = \"c\"\ntrials = {{ count = 1, limit_s = {limit_s} }}\n{settings}"
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
    fn disks_that_move_are_copied_first() {
        let disk = "vm.disk.size_mib = 1024\nworkload = { kind = \"disk-read\", file_mib = 500 }\n";
        let alone = case_s(&format!("{disk}vm.shared_storage = false\n"));
        assert!((3.0..6.0).contains(&(alone - case_s(disk))), "{alone}");
    }

    #[test]
    fn what_is_asked_of_a_disks_copy_counts() {
        let moved = |more: &str| {
            case_s(&format!(
                "vm = {{ shared_storage = false, disk = {{ size_mib = 2048, used_mib = 300 }} }}\n{more}"
            ))
        };
        let allocated = moved("");
        // 1000 Mbit/s carry some 112 MiB/s.
        assert!((14.0..18.0).contains(&(moved("storage.blocks = \"all\"\n") - allocated)));
        assert!((27.0..28.5).contains(&(moved("storage.rate_mib_s = 10\n") - allocated)));
        assert_eq!(moved("storage.rate_mib_s = 1000\n"), allocated);
        let over = |blocks: &str| {
            case_s(&format!(
                "vm = {{ shared_storage = false, disk = {{ size_mib = 2048, used_mib = 300, format = \"qcow2\", \
                 backing = true }} }}\nstorage.blocks = \"{blocks}\"\n"
            ))
        };
        assert_eq!(over("allocated"), allocated);
        assert!((2.0..3.5).contains(&(allocated - over("overlay"))));
    }

    #[test]
    fn a_vm_that_stands_still_takes_its_rest_its_files_and_its_boot() {
        let cold = |format: &str, strategy: &str| {
            let settings = format!(
                "vm = {{ shared_storage = false, disk = {{ size_mib = 4096, used_mib = 400, compressibility_percent = 75, \
                 format = \"{format}\" }} }}\nlink.migration.rate_mbit = 100\n\
                 strategy = {{ kind = \"cold\", {strategy} }}\n"
            );
            within_s(500, &settings) - AROUND_S
        };
        // 100 Mbit/s carry some 11 MiB/s: 402 MiB, or all 4096.
        assert!(
            (40.0..50.0).contains(&cold("raw", "way = \"stream\"")),
            "{}",
            cold("raw", "way = \"stream\"")
        );
        assert!((350.0..400.0).contains(&cold("raw", "way = \"scp\"")));
        assert_eq!(cold("qcow2", "way = \"scp\""), cold("raw", "way = \"stream\""));
        let packed = |strategy: &str| cold("raw", &format!("way = \"scp\", compression = {strategy}"));
        // A quarter is left, and each of packing and unpacking is added.
        assert!((30.0..60.0).contains(&packed("\"gzip\"")), "{}", packed("\"gzip\""));
        assert!(packed("\"zstd\"") < packed("\"gzip\""));
        assert!(packed("\"zstd\", level = 19") > packed("\"zstd\""));
        assert!(packed("\"zstd\", level = 19, threads = 2") < packed("\"zstd\", level = 19"));
        let streamed = cold("raw", "compression = \"gzip\"");
        assert!(streamed < packed("\"gzip\"") && streamed < cold("raw", "way = \"stream\""));
    }

    #[test]
    fn an_offline_move_brings_memory_and_a_limit_bounds_it() {
        let offline = |more: &str| case_s(&format!("strategy = {{ kind = \"offline\" }}\n{more}"));
        let idle = offline("");
        assert!((1.0..4.0).contains(&(idle - AROUND_S)), "{idle}");
        let held = "workload = { kind = \"memory-read\", working_set_mib = 300 }\n";
        assert!(offline(held) > idle + 2.0);
        assert_eq!(offline(&format!("{held}link.migration.rate_mbit = 1\n")), AROUND_S + 50.0);
    }

    #[test]
    fn what_ends_a_migration_that_pre_copy_would_not_costs_a_part_of_the_limit() {
        let busy = dirty(128, "\"full\"");
        let seconds = |settings: &str| case_s(&(busy.clone() + settings)) - AROUND_S;
        let cut = |kind: &str, key: &str| format!("strategy = {{ kind = \"{kind}\", {key} }}\n");
        for (settings, range) in [
            ("", 50.0..50.1),
            (cut("hybrid", "after_passes = 1").as_str(), 4.0..8.0),
            (&cut("hybrid", "after_passes = 5"), 8.0..13.0),
            (&cut("hybrid", "after_s = 10"), 11.0..15.0),
            ("strategy.kind = \"suspend\"", 2.0..4.0),
            (&cut("suspend", "after_passes = 1"), 3.0..5.0),
            (&cut("suspend", "after_passes = 20"), 20.0..30.0),
            // Seen on such a link: 29 s.
            ("qemu.capabilities.auto-converge = true", 15.0..35.0),
            (
                "qemu.capabilities.auto-converge = true\nqemu.parameters.cpu-throttle-increment = 40",
                5.0..15.0,
            ),
            // An increment counts for nothing where nothing is throttled.
            ("qemu.parameters.cpu-throttle-increment = 40", 50.0..50.1),
            // 128 MiB take a little more than a second.
            ("qemu.parameters.downtime-limit = 2000", 3.0..6.0),
            ("qemu.capabilities.dirty-limit = true\nqemu.parameters.vcpu-dirty-limit = 10", 2.0..6.0),
        ] {
            assert!(range.contains(&seconds(settings)), "{settings}: {}", seconds(settings));
        }
    }

    #[test]
    fn what_slows_the_copy_down_counts() {
        let multifd = |method: &str| {
            format!(
                "qemu = {{ capabilities.multifd = true, parameters.multifd-compression = \"{method}\" }}\n"
            )
        };
        let idle = case_s("");
        for (slower, by_at_least_s) in [
            ("qemu.parameters.max-bandwidth = 12582912\n", 8.0),
            (multifd("zlib").as_str(), 0.3),
            ("qemu.parameters.max-bandwidth = 12582912\nstrategy.kind = \"suspend\"\n", 8.0),
        ] {
            assert!(case_s(slower) >= idle + by_at_least_s, "{slower}: {} after {idle}", case_s(slower));
        }
        // Neither a cap above the link's rate, nor one of the other phase, nor a method that is not in use.
        for same in [
            "qemu.parameters.max-bandwidth = 12582912000\n",
            "qemu.parameters.max-postcopy-bandwidth = 12582912\n",
            "qemu.parameters.max-bandwidth = 0\n",
            "qemu.parameters.multifd-compression = \"zlib\"\n",
        ] {
            assert!((case_s(same) - idle).abs() < 1e-9, "{same}");
        }
        let post_copy = "strategy.kind = \"post-copy\"\n";
        let slow = format!("{post_copy}qemu.parameters.max-postcopy-bandwidth = 12582912\n");
        assert!(case_s(&slow) > case_s(post_copy) + 10.0);
        let half = dirty(128, "10") + &multifd("zstd");
        let compressible = half.replace("rate_mib_s = 10", "rate_mib_s = 10, compressibility_percent = 50");
        assert!(case_s(&compressible) < case_s(&half));
        // A guest that changes whole pages dirties fewer of them.
        let words = "link.migration.rate_mbit = 4000\n".to_owned() + &dirty(400, "\"full\"");
        let pages = words.replace("rate_mib_s", "bytes_per_page = 4096, rate_mib_s");
        assert!(case_s(&pages) < case_s(&words));
    }

    #[test]
    fn trials_vms_and_boots_add_up() {
        let one = case_s("");
        assert!((case_s("vm.count = 3\n") - 3.0 * one).abs() < 1e-6);
        assert!((case_s("vm.fresh = true\n") - one - BOOT_S).abs() < 1e-6);
    }
}
