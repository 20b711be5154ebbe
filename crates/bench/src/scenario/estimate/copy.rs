//! How long a guest's memory is copied: the passes, played through with round figures.

use dunlin_hypervisor::{CopyFacts, Registry, ThrottleFacts};
use dunlin_record::{Case, Rate, Strategy, Workload};

use super::files::{disks_s, standstill_s};

/// Non-zero memory of the guest itself: kernel, agent, page tables.
pub(super) const GUEST_OWN_MIB: f64 = 120.0;
/// What TCP brings across of a link's rate.
const GOODPUT_SHARE: f64 = 0.94;
/// What two hypervisors on one machine reach where the link has no limit.
const UNLIMITED_MBIT: f64 = 8_000.0;
/// What a workload at full speed dirties: measured on one emulated vCPU that changes a word of each page …
const FULL_RATE_MIB_S: f64 = 1_000.0;
/// … and by how much longer a page takes that is changed whole.
const WHOLE_PAGE_FACTOR: f64 = 4.0;
/// Fetching pages on demand slows the guest and the copy: measured, about twice the plain copy.
const POST_COPY_FACTOR: f64 = 2.0;
/// The downtime limit where a driver tells none: a usual one.
const DOWNTIME_LIMIT_S: f64 = 0.3;
/// vCPUs are slowed no oftener than this, in seconds …
const LOOK_S: f64 = 1.0;
/// … and each time only if the one before did not help.
const LOOKS: u32 = 2;
/// With a dirty rate just below the link's the passes shrink too slowly for any limit a trial has.
const PASSES_MAX: u32 = 10_000;
const MIB: f64 = 1_048_576.0;

/// How long a migration copies, in seconds; infinite where by law it never ends by itself.
pub(super) fn copy_s(case: &Case) -> f64 {
    let model = Model::of(case);
    match case.strategy.standstill() {
        Some(transfer) => standstill_s(case, transfer, model.held_mib),
        None => disks_s(case) + memory_s(&model, case),
    }
}

/// What the migration link carries.
pub(super) fn link_mib_s(case: &Case) -> f64 {
    case.link.migration.rate_mbit.unwrap_or(UNLIMITED_MBIT) * GOODPUT_SHARE * 1e6 / 8.0 / MIB
}

fn memory_s(model: &Model, case: &Case) -> f64 {
    match case.strategy {
        Strategy::PreCopy => model.play(|_, _| false).ended_s(|_| f64::INFINITY),
        Strategy::PostCopy { .. } => model.post_copied_s(model.held_mib),
        Strategy::Hybrid { after_passes, after_s, .. } => {
            let switches = |passes, elapsed_s| {
                after_passes.is_some_and(|limit| passes >= limit)
                    || after_s.is_some_and(|limit| elapsed_s >= limit)
            };
            model.play(switches).ended_s(|left_mib| model.post_copied_s(left_mib))
        }
        Strategy::Suspend { after_passes: None } => model.copied_s(model.held_mib),
        // No memory is copied from one hypervisor to the other.
        Strategy::Offline(_) | Strategy::Cold(_) => 0.0,
        Strategy::Suspend { after_passes: Some(after_passes) } => {
            model.play(|passes, _| passes >= after_passes).ended_s(|left_mib| model.copied_s(left_mib))
        }
    }
}

/// What decides how long the passes take.
struct Model {
    /// Non-zero memory.
    held_mib: f64,
    dirtiers: Vec<Dirtier>,
    link_mib_s: f64,
    post_copy_mib_s: f64,
    downtime_limit_s: f64,
    throttle: Option<Throttle>,
}

/// How pre-copy ended, after so many seconds.
enum Played {
    /// What was left could be sent within the downtime limit, which took its share.
    Converged(f64),
    /// The strategy cut it off, with so many MiB left.
    Cut(f64, f64),
    Never,
}

impl Played {
    /// All seconds, with those that what was left takes where pre-copy was cut off.
    fn ended_s(self, rest_s: impl FnOnce(f64) -> f64) -> f64 {
        match self {
            Self::Converged(total_s) => total_s,
            Self::Cut(total_s, left_mib) => total_s + rest_s(left_mib),
            Self::Never => f64::INFINITY,
        }
    }
}

impl Model {
    fn of(case: &Case) -> Self {
        let facts = facts_of(case);
        let parts = case.workload.as_ref().map(Workload::parts).unwrap_or_default();
        let link_mib_s = link_mib_s(case);
        let allocated_mib = case.workload.as_ref().and_then(Workload::allocated_mib);
        Self {
            held_mib: GUEST_OWN_MIB + allocated_mib.map_or(0.0, f64::from),
            dirtiers: parts.iter().filter_map(|part| Dirtier::of(part, facts.dirty_limit_mib_s)).collect(),
            link_mib_s: compressed(&facts, link_mib_s, parts).min(facts.bandwidth_mib_s),
            post_copy_mib_s: link_mib_s.min(facts.post_copy_bandwidth_mib_s),
            downtime_limit_s: facts.downtime_limit_s,
            throttle: facts.throttle.map(Throttle::of),
        }
    }

    fn copied_s(&self, mib: f64) -> f64 {
        mib / self.link_mib_s
    }

    fn post_copied_s(&self, mib: f64) -> f64 {
        mib / self.post_copy_mib_s * POST_COPY_FACTOR
    }

    /// The first pass, then passes over what the one before it left dirty, until the rest fits into the downtime limit
    /// or `is_cut`, which is asked with the passes that have ended and the seconds until then, says so.
    ///
    /// With a dirty rate below the link's each pass is shorter than the one before by their ratio. With one above it
    /// each pass finds the whole set dirty: either that fits, or it never ends by itself.
    fn play(&self, is_cut: impl Fn(u32, f64) -> bool) -> Played {
        let mut throttle = self.throttle;
        let mut total_s = 0.0;
        let mut pass_s = self.copied_s(self.held_mib);
        for passes in 1..=PASSES_MAX {
            total_s += pass_s;
            let running_share = 1.0 - throttle.map_or(0.0, |throttle| throttle.percent / 100.0);
            let running_s = running_share * pass_s;
            let dirty_mib: f64 = self.dirtiers.iter().map(|dirtier| dirtier.dirtied_mib(running_s)).sum();
            let next_s = self.copied_s(dirty_mib);
            if next_s <= self.downtime_limit_s {
                return Played::Converged(total_s + next_s);
            }
            if is_cut(passes, total_s) {
                return Played::Cut(total_s, dirty_mib);
            }
            if let Some(throttle) = &mut throttle {
                throttle.pass(pass_s);
            }
            pass_s = next_s;
        }
        Played::Never
    }
}

/// One of the guest's workloads that rewrite memory.
struct Dirtier {
    set_mib: f64,
    rate_mib_s: f64,
}

impl Dirtier {
    fn of(workload: &Workload, limit_mib_s: Option<f64>) -> Option<Self> {
        let Workload::MemoryWrite(asked) = workload else { return None };
        let changed_share = f64::from(asked.bytes_per_page) / 4096.0;
        let rate_mib_s = match asked.rate_mib_s {
            Rate::MibPerSecond(rate) => rate,
            Rate::Full => FULL_RATE_MIB_S / (1.0 + (WHOLE_PAGE_FACTOR - 1.0) * changed_share),
        };
        let rate_mib_s = rate_mib_s.min(limit_mib_s.unwrap_or(f64::INFINITY));
        Some(Self { set_mib: f64::from(asked.working_set_mib), rate_mib_s })
    }

    /// What it dirties in a time.
    fn dirtied_mib(&self, seconds: f64) -> f64 {
        (self.rate_mib_s * seconds).min(self.set_mib)
    }
}

/// How vCPUs are slowed: no oftener than once a second, at the end of a pass, the hypervisor looks whether much was
/// dirtied; each second time it slows them down, or more.
#[derive(Debug, Clone, Copy)]
struct Throttle {
    facts: ThrottleFacts,
    percent: f64,
    since_look_s: f64,
    looks: u32,
}

impl Throttle {
    fn of(facts: ThrottleFacts) -> Self {
        Self { facts, percent: 0.0, since_look_s: 0.0, looks: 0 }
    }

    fn pass(&mut self, took_s: f64) {
        self.since_look_s += took_s;
        if self.since_look_s < LOOK_S {
            return;
        }
        self.since_look_s = 0.0;
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS) {
            let ThrottleFacts { initial, increment, max } = self.facts;
            let next = if self.looks == LOOKS { initial } else { self.percent + increment };
            self.percent = next.min(max);
        }
    }
}

/// What a case's driver makes of its settings; of a driver that is not built in no more is known than the case's limits.
fn facts_of(case: &Case) -> CopyFacts {
    let drivers = Registry::builtin();
    if let Some(driver) = drivers.get(&case.hypervisor.driver) {
        return driver.copy_facts(&case.hypervisor.settings);
    }
    let limits = case.limits.unwrap_or_default();
    CopyFacts {
        bandwidth_mib_s: limits.bandwidth_bytes_s.map_or(f64::INFINITY, |bytes_s| bytes_s / MIB),
        post_copy_bandwidth_mib_s: f64::INFINITY,
        downtime_limit_s: limits.downtime_ms.map_or(DOWNTIME_LIMIT_S, |ms| ms / 1e3),
        dirty_limit_mib_s: None,
        throttle: None,
        compressed_mib_s: None,
    }
}

/// Guest memory that crosses a link in a second: more of it where it is compressed, up to what the CPUs can.
fn compressed(facts: &CopyFacts, link_mib_s: f64, parts: &[Workload]) -> f64 {
    let Some(compressed_mib_s) = facts.compressed_mib_s else { return link_mib_s };
    let compressible = parts.iter().filter_map(|part| match part {
        Workload::MemoryWrite(asked) => Some(asked.compressibility_percent),
        Workload::MemoryRead(asked) => Some(asked.compressibility_percent),
        _ => None,
    });
    let left_share = 1.0 - f64::from(compressible.min().unwrap_or(0)) / 100.0;
    compressed_mib_s.min(link_mib_s / left_share.max(0.01))
}
