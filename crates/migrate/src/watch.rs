//! What a running migration's events and counters say about it.

use dunlin_hypervisor::Progress;
use dunlin_policy::{Stage, Telemetry};
use dunlin_record::{Event, EventKind, HostId, VmId};

/// What is known of a running migration; fed with events and counters, asked for telemetry.
#[derive(Debug)]
pub(crate) struct Watch {
    vm: VmId,
    source: HostId,
    started_ns: i64,
    stage: Stage,
    pass: u32,
    pub(crate) switch_asked: bool,
    pub(crate) stop_asked: bool,
    pub(crate) source_completed_ns: Option<i64>,
    pub(crate) destination_completed_ns: Option<i64>,
    /// The source waits for a word before its switch-over.
    pub(crate) waits_for_switchover: bool,
    /// Why it has failed, if it has.
    pub(crate) failure: Option<String>,
    pub(crate) cancelled: bool,
    pub(crate) post_copy_began: bool,
    memory_bytes: i64,
    storage_bytes: i64,
    moved_ns: i64,
}

impl Watch {
    pub(crate) fn new(vm: VmId, source: HostId, now_ns: i64) -> Self {
        Self {
            vm,
            source,
            started_ns: now_ns,
            stage: Stage::Setup,
            pass: 0,
            switch_asked: false,
            stop_asked: false,
            source_completed_ns: None,
            destination_completed_ns: None,
            waits_for_switchover: false,
            failure: None,
            cancelled: false,
            post_copy_began: false,
            memory_bytes: 0,
            storage_bytes: 0,
            moved_ns: now_ns,
        }
    }

    /// Takes note of an event of either side; those of other VMs are passed over.
    pub(crate) fn see(&mut self, event: &Event) {
        if event.vm.as_ref() != Some(&self.vm) {
            return;
        }
        let at_source = event.host.as_ref() == Some(&self.source);
        match &event.kind {
            EventKind::MigrationStatus { status } if at_source => self.source_status(status, event.t_ns),
            EventKind::MigrationStatus { status } => self.destination_status(status, event.t_ns),
            EventKind::MigrationPass { pass } if at_source => self.pass = self.pass.max(*pass),
            _ => {}
        }
    }

    /// Takes note of the source's counters.
    pub(crate) fn count(&mut self, progress: &Progress, now_ns: i64) {
        let moved = progress.transferred_bytes.unwrap_or(0);
        if moved != self.memory_bytes {
            self.memory_bytes = moved;
            self.moved_ns = now_ns;
        }
    }

    /// Takes note of how much of the disks has been copied: that is progress too.
    pub(crate) fn count_storage(&mut self, copied_bytes: i64, now_ns: i64) {
        if copied_bytes != self.storage_bytes {
            self.storage_bytes = copied_bytes;
            self.moved_ns = now_ns;
        }
    }

    pub(crate) fn storage_bytes(&self) -> i64 {
        self.storage_bytes
    }

    /// Takes note of a stage that no event of the hypervisor tells. Its stall is counted from here.
    pub(crate) fn enter(&mut self, stage: Stage, now_ns: i64) {
        self.stage = stage;
        self.moved_ns = now_ns;
    }

    pub(crate) fn telemetry(&self, now_ns: i64) -> Telemetry {
        // While the destination loads device state nothing moves, and that is no stall; nor is the set-up.
        let may_stall = matches!(self.stage, Stage::Storage | Stage::PreCopy | Stage::PostCopy);
        Telemetry {
            elapsed_ms: (now_ns - self.started_ns) as f64 / 1e6,
            stage: self.stage,
            passes_ended: self.pass.saturating_sub(1),
            switch_asked: self.switch_asked,
            stop_asked: self.stop_asked,
            stalled_ms: if may_stall { (now_ns - self.moved_ns) as f64 / 1e6 } else { 0.0 },
        }
    }

    fn source_status(&mut self, status: &str, t_ns: i64) {
        self.waits_for_switchover = status == "pre-switchover";
        match status {
            "active" => {
                self.stage = Stage::PreCopy;
                self.moved_ns = t_ns;
            }
            "pre-switchover" | "device" => self.stage = Stage::SwitchOver,
            "postcopy-active" => {
                self.stage = Stage::PostCopy;
                self.post_copy_began = true;
                self.moved_ns = t_ns;
            }
            "completed" => self.source_completed_ns = Some(t_ns),
            "cancelled" => self.cancelled = true,
            "failed" => self.fail("the source says that the migration failed"),
            "postcopy-paused" => self.fail("post-copy lost its connection; the memory is on both hosts"),
            _ => {}
        }
    }

    fn destination_status(&mut self, status: &str, t_ns: i64) {
        match status {
            "completed" => self.destination_completed_ns = Some(t_ns),
            "postcopy-active" => self.post_copy_began = true,
            "failed" => self.fail("the destination says that the migration failed"),
            _ => {}
        }
    }

    pub(crate) fn fail(&mut self, why: &str) {
        self.failure.get_or_insert_with(|| why.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: &str, status: &str, t_ns: i64) -> Event {
        Event {
            t_ns,
            host: Some(HostId::new(host)),
            vm: Some(VmId::new("vm0")),
            kind: EventKind::MigrationStatus { status: status.into() },
        }
    }

    #[test]
    fn a_stall_is_counted_from_the_last_byte_and_only_while_bytes_should_move() {
        let mut watch = Watch::new(VmId::new("vm0"), HostId::new("a"), 0);
        assert!(watch.telemetry(9_000_000_000).stalled_ms.abs() < f64::EPSILON);
        watch.see(&status("a", "active", 1_000_000));
        watch.count(&Progress { transferred_bytes: Some(5), ..Progress::default() }, 2_000_000);
        watch.count(&Progress { transferred_bytes: Some(5), ..Progress::default() }, 4_000_000);
        assert!((watch.telemetry(5_000_000).stalled_ms - 3.0).abs() < 1e-9);
        watch.see(&status("a", "device", 6_000_000));
        assert!(watch.telemetry(99_000_000).stalled_ms.abs() < f64::EPSILON);
    }

    #[test]
    fn copied_disks_are_progress_while_they_are_copied_and_beside_the_memory() {
        let mut watch = Watch::new(VmId::new("vm0"), HostId::new("a"), 0);
        let stalled_ms = |watch: &Watch, now_ms: i64| watch.telemetry(now_ms * 1_000_000).stalled_ms;
        watch.enter(Stage::Storage, 1_000_000);
        assert!((stalled_ms(&watch, 3) - 2.0).abs() < 1e-9);
        watch.count_storage(7, 4_000_000);
        watch.count_storage(7, 5_000_000);
        assert!((stalled_ms(&watch, 6) - 2.0).abs() < 1e-9);
        watch.see(&status("a", "active", 10_000_000));
        watch.count_storage(8, 12_000_000);
        watch.count(&Progress::default(), 13_000_000);
        assert!((stalled_ms(&watch, 14) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn both_ends_must_complete() {
        let mut watch = Watch::new(VmId::new("vm0"), HostId::new("a"), 0);
        watch.see(&status("a", "completed", 5));
        assert_eq!((watch.source_completed_ns, watch.destination_completed_ns), (Some(5), None));
        watch.see(&status("b", "completed", 4));
        assert_eq!(watch.destination_completed_ns, Some(4));
    }
}
