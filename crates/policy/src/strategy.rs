//! When to switch to post-copy, when to stop the VM, and when to give up.

use dunlin_record::Strategy;

/// What is known of a running migration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Telemetry {
    /// Since the migrate command, in ms.
    pub elapsed_ms: f64,
    /// Where it is.
    pub stage: Stage,
    /// Passes over the memory that have ended.
    pub passes_ended: u32,
    /// Whether the switch to post-copy was asked for already.
    pub switch_asked: bool,
    /// Whether the VM was stopped already so that the rest can be copied.
    pub stop_asked: bool,
    /// For how long no byte has moved, in ms; absent where bytes are not counted, or none have to move.
    pub stalled_ms: Option<f64>,
}

/// Where a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The VM's disks are being copied, or the last of them are while it is stopped; it may run at the source alone.
    Storage,
    /// Being set up.
    Setup,
    /// The VM runs at the source.
    PreCopy,
    /// The VM is stopped, or about to run at the destination.
    SwitchOver,
    /// The VM runs at the destination, pages still come.
    PostCopy,
}

/// How long a migration may take, in ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of the whole migration.
    pub total_ms: f64,
    /// Without a byte moving.
    pub stall_ms: f64,
    /// Of waiting for ends that do not answer or stand still once the VM may run at the destination, when nothing can be
    /// taken back any more.
    pub patience_ms: f64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing yet.
    Wait,
    /// Ask for the switch to post-copy.
    SwitchToPostCopy {
        /// Why.
        reason: String,
    },
    /// Stop the VM: what is left is copied while nothing dirties it.
    StopVm {
        /// Why.
        reason: String,
    },
    /// Cancel: it does not converge.
    GiveUp {
        /// Why.
        reason: String,
    },
    /// End it as failed: nothing moves any more.
    Fail {
        /// Why.
        reason: String,
    },
}

/// What a strategy does next.
#[must_use]
pub fn decide(strategy: &Strategy, limits: Limits, now: &Telemetry) -> Action {
    if let Some(stalled_ms) = now.stalled_ms.filter(|stalled_ms| *stalled_ms >= limits.stall_ms) {
        return Action::Fail { reason: format!("no byte moved for {:.1} s", stalled_ms / 1e3) };
    }
    if now.elapsed_ms >= limits.total_ms {
        return past_limit(limits, now);
    }
    if now.stage != Stage::PreCopy || now.switch_asked || now.stop_asked {
        return Action::Wait;
    }
    match strategy {
        // What stands still is not watched while it moves: there are no passes.
        Strategy::PreCopy | Strategy::Offline(_) | Strategy::Cold(_) => Action::Wait,
        Strategy::PostCopy { .. } => Action::SwitchToPostCopy { reason: "post-copy: at once".into() },
        Strategy::Hybrid { after_passes, after_s, .. } => hybrid(*after_passes, *after_s, now),
        Strategy::Suspend { after_passes } => suspend(*after_passes, now),
    }
}

/// With no passes to wait for, the VM was stopped before the migration began.
fn suspend(after_passes: Option<u32>, now: &Telemetry) -> Action {
    match after_passes.filter(|passes| now.passes_ended >= *passes) {
        Some(passes) => Action::StopVm { reason: passes_ended(passes) },
        None => Action::Wait,
    }
}

fn passes_ended(passes: u32) -> String {
    if passes == 1 { "1 pass has ended".into() } else { format!("{passes} passes have ended") }
}

fn hybrid(after_passes: Option<u32>, after_s: Option<f64>, now: &Telemetry) -> Action {
    if let Some(passes) = after_passes.filter(|passes| now.passes_ended >= *passes) {
        return Action::SwitchToPostCopy { reason: passes_ended(passes) };
    }
    if let Some(seconds) = after_s.filter(|seconds| now.elapsed_ms >= seconds * 1e3) {
        return Action::SwitchToPostCopy { reason: format!("{seconds} s have passed") };
    }
    Action::Wait
}

/// Once the VM may run at the destination nothing can be cancelled: only a second helping of time, then failure.
fn past_limit(limits: Limits, now: &Telemetry) -> Action {
    match now.stage {
        Stage::Storage => Action::GiveUp {
            reason: format!("the disks were not copied within {:.1} s", limits.total_ms / 1e3),
        },
        Stage::Setup | Stage::PreCopy if !now.switch_asked => {
            Action::GiveUp { reason: format!("not converged within {:.1} s", limits.total_ms / 1e3) }
        }
        _ if now.elapsed_ms < 2.0 * limits.total_ms => Action::Wait,
        _ => Action::Fail { reason: format!("did not end within {:.1} s", now.elapsed_ms / 1e3) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total_ms: 10_000.0, stall_ms: 3_000.0, patience_ms: 60_000.0 };
    const EARLY: Telemetry = Telemetry {
        elapsed_ms: 500.0,
        stage: Stage::PreCopy,
        passes_ended: 0,
        switch_asked: false,
        stop_asked: false,
        stalled_ms: None,
    };

    const STAGES: [Stage; 5] =
        [Stage::Storage, Stage::Setup, Stage::PreCopy, Stage::SwitchOver, Stage::PostCopy];

    fn name(strategy: &Strategy, now: Telemetry) -> &'static str {
        match decide(strategy, LIMITS, &now) {
            Action::Wait => "wait",
            Action::SwitchToPostCopy { .. } => "switch",
            Action::StopVm { .. } => "stop",
            Action::GiveUp { .. } => "give up",
            Action::Fail { .. } => "fail",
        }
    }

    #[test]
    fn each_strategy_acts_when_it_says() {
        let hybrid = Strategy::Hybrid { after_passes: Some(1), after_s: None, preempt: true };
        let timed = Strategy::Hybrid { after_passes: None, after_s: Some(2.0), preempt: true };
        let post_copy = Strategy::PostCopy { preempt: true };
        let suspend = Strategy::Suspend { after_passes: Some(1) };
        let ended = Telemetry { passes_ended: 1, ..EARLY };
        let later = Telemetry { elapsed_ms: 2_000.0, ..EARLY };
        for (strategy, now, expected) in [
            (&Strategy::PreCopy, ended, "wait"),
            (&Strategy::Suspend { after_passes: None }, ended, "wait"),
            (&Strategy::Suspend { after_passes: Some(2) }, ended, "wait"),
            (&suspend, EARLY, "wait"),
            (&suspend, ended, "stop"),
            (&suspend, Telemetry { stop_asked: true, ..ended }, "wait"),
            (&suspend, Telemetry { stage: Stage::SwitchOver, ..ended }, "wait"),
            (&post_copy, EARLY, "switch"),
            (&post_copy, Telemetry { stage: Stage::Setup, ..EARLY }, "wait"),
            (&hybrid, EARLY, "wait"),
            (&hybrid, ended, "switch"),
            (&hybrid, Telemetry { switch_asked: true, ..ended }, "wait"),
            (&hybrid, Telemetry { stage: Stage::PostCopy, ..ended }, "wait"),
            (&timed, ended, "wait"),
            (&timed, later, "switch"),
        ] {
            assert_eq!(name(strategy, now), expected, "{strategy:?} {now:?}");
        }
    }

    #[test]
    fn past_the_limit_only_what_can_be_cancelled_is_cancelled() {
        let late = Telemetry { elapsed_ms: 10_000.0, ..EARLY };
        assert_eq!(name(&Strategy::PreCopy, late), "give up");
        assert_eq!(name(&Strategy::PreCopy, Telemetry { stage: Stage::SwitchOver, ..late }), "wait");
        let storage = Telemetry { stage: Stage::Storage, ..late };
        assert_eq!(name(&Strategy::PreCopy, storage), "give up");
        // The switch was asked for, but nothing runs at the destination before the disks are there.
        let asked = Telemetry { switch_asked: true, ..storage };
        assert_eq!(name(&Strategy::PostCopy { preempt: true }, asked), "give up");
        assert_eq!(
            name(&Strategy::PostCopy { preempt: true }, Telemetry { stage: Stage::Storage, ..EARLY }),
            "wait"
        );
        let post_copy = Telemetry { stage: Stage::PostCopy, switch_asked: true, ..late };
        assert_eq!(name(&Strategy::PostCopy { preempt: true }, post_copy), "wait");
        let far_too_late = Telemetry { elapsed_ms: 20_000.0, ..post_copy };
        assert_eq!(name(&Strategy::PostCopy { preempt: true }, far_too_late), "fail");
    }

    proptest::proptest! {
        #[test]
        fn every_migration_is_ended_in_the_end(stage in 0..5, elapsed_ms in 20_000.0..1e9, passes_ended in 0..9u32, switch_asked: bool) {
            let stage = STAGES[stage as usize];
            let now = Telemetry { elapsed_ms, stage, passes_ended, switch_asked, stop_asked: false, stalled_ms: None };
            proptest::prop_assert!(["give up", "fail"].contains(&name(&Strategy::PreCopy, now)));
        }

        #[test]
        fn a_stall_always_ends_as_a_failure(stage in 0..5, stalled_ms in 3_000.0..1e9) {
            let stage = STAGES[stage as usize];
            proptest::prop_assert_eq!(name(&Strategy::PreCopy, Telemetry { stage, stalled_ms: Some(stalled_ms), ..EARLY }), "fail");
        }
    }
}
