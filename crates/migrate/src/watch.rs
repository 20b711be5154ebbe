//! What a running migration's events and counters say about it.

use dunlin_hypervisor::Progress;
use dunlin_policy::{SourceJob, Stage, Telemetry};
use dunlin_record::{Event, EventKind, HostId, MigrationState, VmId};

/// What is known of a running migration; fed with events, counters and what was asked of it, asked for telemetry.
///
/// What may have come true counts as true where that is the safe side: an act counts as done until it is refused.
#[derive(Debug)]
pub(crate) struct Watch {
    vm: VmId,
    source: HostId,
    started_ns: i64,
    stage: Stage,
    pass: u32,
    /// Whether the VM is to run in the end: it did when the migration began.
    pub(crate) should_run: bool,
    /// The command was given, and not refused.
    pub(crate) begun: bool,
    pub(crate) switch_asked: bool,
    pub(crate) stop_asked: bool,
    /// The source was told to go on with the switch-over for which it waited.
    pub(crate) continued: bool,
    /// The VM was stopped at the source before its switch-over.
    pub(crate) stopped_before: bool,
    /// The destination has acknowledged that it does not run the VM by itself.
    pub(crate) held: bool,
    /// The destination was told to run it.
    pub(crate) resume_asked_there: bool,
    pub(crate) source_completed_ns: Option<i64>,
    pub(crate) destination_completed_ns: Option<i64>,
    /// The source waits for a word before its switch-over.
    pub(crate) waits_for_switchover: bool,
    /// It waits for one, or did: without it the VM does not go over.
    waits_to_be_told: bool,
    /// Why it has failed, if it has.
    pub(crate) failure: Option<String>,
    /// The source has left the migration without handing over.
    left: bool,
    /// The VM is stopped at the source for its switch-over, or may be.
    pub(crate) switch_over_begun: bool,
    post_copy_began: bool,
    post_copy_began_unheld: bool,
    /// Post-copy stands still for want of a connection: each end has a part of the memory.
    pub(crate) post_copy_paused: bool,
    ran_there: bool,
    memory_bytes: Option<i64>,
    storage_bytes: Option<i64>,
    /// When bytes were last seen to move; absent where none are counted.
    moved_ns: Option<i64>,
    /// When the source last told how many had moved.
    counted_ns: Option<i64>,
}

/// How long a source may not tell whether bytes move before that counts as a stall: where only the way to its host is cut for a
/// few seconds, the migration goes on.
const SILENT_NS: i64 = 9_000_000_000;

impl Watch {
    pub(crate) fn new(vm: VmId, source: HostId, should_run: bool, now_ns: i64) -> Self {
        Self {
            vm,
            source,
            started_ns: now_ns,
            stage: Stage::Setup,
            pass: 0,
            should_run,
            begun: false,
            switch_asked: false,
            stop_asked: false,
            continued: false,
            stopped_before: !should_run,
            held: false,
            resume_asked_there: false,
            source_completed_ns: None,
            destination_completed_ns: None,
            waits_for_switchover: false,
            waits_to_be_told: false,
            failure: None,
            left: false,
            switch_over_begun: false,
            post_copy_began: false,
            post_copy_began_unheld: false,
            post_copy_paused: false,
            ran_there: false,
            memory_bytes: None,
            storage_bytes: None,
            moved_ns: None,
            counted_ns: None,
        }
    }

    /// Takes note of an event of either side; those of other VMs are passed over.
    pub(crate) fn see(&mut self, event: &Event) {
        if event.vm.as_ref() != Some(&self.vm) {
            return;
        }
        let at_source = event.host.as_ref() == Some(&self.source);
        match &event.kind {
            EventKind::MigrationStatus { state: Some(state), status } if at_source => {
                self.waits_for_switchover = *state == MigrationState::AwaitingSwitchOver;
                self.source_is(*state, status, event.t_ns);
            }
            EventKind::MigrationStatus { state: Some(state), status } => {
                self.destination_is(*state, status, event.t_ns);
            }
            EventKind::MigrationPass { pass } if at_source => self.pass = self.pass.max(*pass),
            EventKind::VcpusRunning if !at_source => self.ran_there = true,
            // Not by us: for the switch-over.
            EventKind::VcpusStopped if at_source && !self.stopped_before && !self.stop_asked => {
                self.switch_over_begun = true;
            }
            _ => {}
        }
    }

    /// Takes note of the source's counters, and of the state they tell: an event of it may have been lost.
    pub(crate) fn count(&mut self, progress: &Progress, now_ns: i64) {
        self.counted_ns = Some(now_ns);
        if let Some(bytes) = progress.transferred_bytes
            && self.memory_bytes.replace(bytes) != Some(bytes)
        {
            self.moved_ns = Some(now_ns);
        }
        if let Some(state) = progress.state
            && self.begun
            // An end that was heard of before has its own time.
            && !(state == MigrationState::Completed && self.source_completed_ns.is_some())
        {
            self.source_is(state, "when asked", now_ns);
        }
    }

    /// Takes note of how much of the disks has been copied: that is progress too.
    pub(crate) fn count_storage(&mut self, copied_bytes: Option<i64>, now_ns: i64) {
        if copied_bytes.is_some() && copied_bytes != self.storage_bytes {
            self.storage_bytes = copied_bytes;
            self.moved_ns = Some(now_ns);
        }
    }

    pub(crate) fn storage_bytes(&self) -> Option<i64> {
        self.storage_bytes
    }

    /// Takes note of a stage that no event of the hypervisor tells. Its stall is counted from here.
    pub(crate) fn enter(&mut self, stage: Stage, now_ns: i64) {
        self.stage = stage;
        self.still_moves(now_ns);
    }

    pub(crate) fn telemetry(&self, now_ns: i64) -> Telemetry {
        // While the destination loads device state nothing moves, and that is no stall; nor is the set-up.
        let may_stall = matches!(self.stage, Stage::Storage | Stage::PreCopy | Stage::PostCopy);
        // Nobody knows of bytes that nobody has told of.
        let known_ns = self.counted_ns.filter(|counted_ns| now_ns - counted_ns < SILENT_NS).unwrap_or(now_ns);
        let stalled_ms = self.moved_ns.map(|moved_ns| (known_ns.max(moved_ns) - moved_ns) as f64 / 1e6);
        Telemetry {
            elapsed_ms: (now_ns - self.started_ns) as f64 / 1e6,
            stage: self.stage,
            passes_ended: self.pass.saturating_sub(1),
            switch_asked: self.switch_asked,
            stop_asked: self.stop_asked,
            stalled_ms: stalled_ms.filter(|_| may_stall),
        }
    }

    /// When bytes were last seen to move.
    pub(crate) fn moved_ns(&self) -> Option<i64> {
        self.moved_ns
    }

    pub(crate) fn fail(&mut self, why: &str) {
        self.failure.get_or_insert_with(|| why.to_owned());
    }

    /// Whether the VM may be the destination's by now, whatever is done: nothing is cancelled or broken off any more.
    pub(crate) fn is_committed(&self) -> bool {
        self.switch_asked || self.has_gone_over()
    }

    /// Whether the VM arrives stopped, as it was before its switch-over. Post-copy lets it run whatever it was.
    pub(crate) fn arrives_stopped(&self) -> bool {
        self.stopped_before && !self.switch_asked && !self.post_copy_began
    }

    /// Whether the VM has become the destination's.
    pub(crate) fn has_gone_over(&self) -> bool {
        self.post_copy_began || self.source_completed_ns.is_some() || self.ran_there
    }

    /// Whether the VM is on its way over: only where the destination is held, or the VM arrives stopped, may it be taken
    /// back.
    pub(crate) fn is_switching_over(&self) -> bool {
        if self.waits_to_be_told { self.continued } else { self.switch_over_begun }
    }

    /// Whether the VM cannot go over before it is told to.
    pub(crate) fn stands_before_switch_over(&self) -> bool {
        self.waits_to_be_told && !self.continued
    }

    /// Whether the destination has run the VM, or could have without our knowing.
    pub(crate) fn may_have_run_there(&self) -> bool {
        let by_itself = self.begun && !self.held && !self.arrives_stopped();
        let was_given = self.source_completed_ns.is_some() || self.is_switching_over();
        self.has_run_there() || (by_itself && was_given)
    }

    /// The same, as far as it is known: that it could have is not enough.
    pub(crate) fn has_run_there(&self) -> bool {
        // One that was held before has all that it needs to run at most, and did not.
        self.ran_there || self.resume_asked_there || self.post_copy_began_unheld
    }

    /// How the source stands to the migration.
    pub(crate) fn source_job(&self) -> SourceJob {
        if self.source_completed_ns.is_some() {
            SourceJob::HandedOver
        } else if self.left || !self.begun {
            SourceJob::Left
        } else {
            SourceJob::UnderWay
        }
    }

    /// What moves bytes has just begun: until it has moved some, its stall is counted from here, if it counts any.
    fn still_moves(&mut self, now_ns: i64) {
        if self.moved_ns.is_some() {
            self.moved_ns = Some(now_ns);
        }
    }

    fn source_is(&mut self, state: MigrationState, word: &str, t_ns: i64) {
        let is_new = |stage| self.stage != stage;
        match state {
            MigrationState::PreCopy if is_new(Stage::PreCopy) => {
                self.stage = Stage::PreCopy;
                self.still_moves(t_ns);
            }
            MigrationState::AwaitingSwitchOver => {
                self.stage = Stage::SwitchOver;
                self.waits_to_be_told = true;
            }
            MigrationState::SwitchOver => {
                self.stage = Stage::SwitchOver;
                self.switch_over_begun = true;
            }
            MigrationState::PostCopy if is_new(Stage::PostCopy) => {
                self.stage = Stage::PostCopy;
                self.begin_post_copy();
                self.post_copy_paused = false;
                self.still_moves(t_ns);
            }
            MigrationState::PostCopyPaused => {
                self.begin_post_copy();
                self.post_copy_paused = true;
                self.fail("post-copy lost its connection; the memory is on both hosts");
            }
            MigrationState::Completed => self.source_completed_ns = Some(t_ns),
            MigrationState::Cancelled => self.left = true,
            MigrationState::Failed => {
                self.left = true;
                self.fail(&format!("the source says that the migration failed ({word})"));
            }
            _ => {}
        }
    }

    fn begin_post_copy(&mut self) {
        self.post_copy_began_unheld |= !self.post_copy_began && !self.held;
        self.post_copy_began = true;
    }

    fn destination_is(&mut self, state: MigrationState, word: &str, t_ns: i64) {
        match state {
            MigrationState::Completed => self.destination_completed_ns = Some(t_ns),
            MigrationState::PostCopy => self.begin_post_copy(),
            MigrationState::Failed => {
                self.fail(&format!("the destination says that the migration failed ({word})"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: &str, state: MigrationState, t_ns: i64) -> Event {
        let kind = EventKind::MigrationStatus { status: "its word".into(), state: Some(state) };
        Event { t_ns, host: Some(HostId::new(host)), vm: Some(VmId::new("vm0")), kind }
    }

    fn watch() -> Watch {
        let mut watch = Watch::new(VmId::new("vm0"), HostId::new("a"), true, 0);
        watch.begun = true;
        watch
    }

    #[test]
    fn a_stall_is_counted_from_the_last_byte_and_only_while_bytes_should_move() {
        let mut watch = watch();
        let stalled_ms = |watch: &Watch, now_ms: i64| watch.telemetry(now_ms * 1_000_000).stalled_ms;
        assert_eq!(stalled_ms(&watch, 9_000), None);
        watch.see(&status("a", MigrationState::PreCopy, 1_000_000));
        watch.count(&Progress { transferred_bytes: Some(5), ..Progress::default() }, 2_000_000);
        watch.count(&Progress { transferred_bytes: Some(5), ..Progress::default() }, 4_000_000);
        assert_eq!(stalled_ms(&watch, 5), Some(2.0), "as far as was told");
        assert_eq!(stalled_ms(&watch, 9_500), Some(9_498.0), "too long was nothing told");
        watch.see(&status("a", MigrationState::SwitchOver, 6_000_000));
        assert_eq!(stalled_ms(&watch, 99), None);
    }

    #[test]
    fn what_a_driver_does_not_count_never_stalls() {
        let mut watch = watch();
        watch.see(&status("a", MigrationState::PreCopy, 1_000_000));
        watch.count(&Progress::default(), 2_000_000);
        watch.enter(Stage::Storage, 3_000_000);
        watch.count_storage(None, 4_000_000);
        assert_eq!(watch.telemetry(99_000_000_000).stalled_ms, None);
    }

    #[test]
    fn copied_disks_are_progress_while_they_are_copied_and_beside_the_memory() {
        let mut watch = watch();
        let stalled_ms = |watch: &Watch, now_ms: i64| watch.telemetry(now_ms * 1_000_000).stalled_ms;
        watch.enter(Stage::Storage, 1_000_000);
        watch.count_storage(Some(7), 4_000_000);
        watch.count_storage(Some(7), 5_000_000);
        assert_eq!(stalled_ms(&watch, 6), Some(2.0));
        watch.see(&status("a", MigrationState::PreCopy, 10_000_000));
        watch.count_storage(Some(8), 12_000_000);
        watch.count(&Progress::default(), 13_000_000);
        assert_eq!(stalled_ms(&watch, 14), Some(1.0), "as far as was told");
    }

    #[test]
    fn a_state_that_is_told_when_asked_counts_as_its_event_would() {
        let mut watch = watch();
        let told = |state| Progress { state: Some(state), ..Progress::default() };
        watch.see(&status("a", MigrationState::Completed, 5));
        watch.count(&told(MigrationState::Completed), 9);
        assert_eq!(watch.source_completed_ns, Some(5), "the event's own time is the better one");
        let mut lost = self::watch();
        lost.count(&told(MigrationState::Cancelled), 9);
        assert_eq!(lost.source_job(), SourceJob::Left);
    }

    #[test]
    fn both_ends_must_complete() {
        let mut watch = watch();
        watch.see(&status("a", MigrationState::Completed, 5));
        assert_eq!((watch.source_completed_ns, watch.destination_completed_ns), (Some(5), None));
        watch.see(&status("b", MigrationState::Completed, 4));
        assert_eq!(watch.destination_completed_ns, Some(4));
    }

    #[test]
    fn the_destination_may_have_run_it_unless_it_was_held_or_the_vm_arrives_stopped() {
        let handed_over = |change: fn(&mut Watch)| {
            let mut watch = watch();
            change(&mut watch);
            watch.see(&status("a", MigrationState::Completed, 5));
            watch.may_have_run_there()
        };
        assert!(handed_over(|_| ()));
        assert!(!handed_over(|watch| watch.held = true));
        assert!(!handed_over(|watch| watch.stopped_before = true));
        assert!(handed_over(|watch| {
            watch.stopped_before = true;
            watch.resume_asked_there = true;
        }));
        let mut stopped = watch();
        stopped.see(&Event { kind: EventKind::VcpusStopped, ..status("a", MigrationState::Setup, 1) });
        assert!(stopped.may_have_run_there() && !stopped.is_committed() && stopped.is_switching_over());
    }
}
