//! Records of migrations whose every figure is known, for tests. Times are ms after the migrate command.

use std::collections::BTreeMap;

use dunlin_record::{
    ABSENT, Achieved, Case, Event, EventKind, FileCarried, FileCompression, GuestStart, HostId,
    HypervisorIdentity, HypervisorReport, MemoryHeld, MigrationState, Moment, Outcome, Series,
    StandstillStage, Status, Step, Strategy, Transfer, TransferWay, TrialId, TrialRecord, VmId, shapes,
};

use crate::moments::Moments;
use crate::probe_log::ProbeLog;
use crate::timeline::Timeline;
use crate::trial::Trial;

/// When the migrate command was given.
const COMMAND_NS: i64 = 3_600_000_000_000;
/// What the migration link carries: 800 Mbit/s.
const BYTES_PER_MS: f64 = 100_000.0;

/// A record, and ways to change it.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) record: TrialRecord,
}

/// A moment on the bench's clock.
pub(crate) fn ns(at_ms: f64) -> i64 {
    COMMAND_NS + (at_ms * 1e6).round() as i64
}

pub(crate) fn case() -> Case {
    serde_json::from_value(serde_json::json!({
        "name": "idle", "vm": {}, "toy": {}, "link": {}, "workload": null, "strategy": { "kind": "pre-copy" },
        "probes": { "icmp": { "interval_ms": 1.0 } }, "trials": { "baseline_s": 1.0, "settle_s": 1.0 }
    }))
    .unwrap()
}

pub(crate) fn status(state: MigrationState) -> EventKind {
    EventKind::MigrationStatus { status: format!("its {state:?}"), state: Some(state) }
}

pub(crate) fn saved() -> EventKind {
    EventKind::Checkpoint { name: "its last byte".into(), step: Some(Step::LastByteSent) }
}

pub(crate) fn ended(status: Status, error: Option<&str>) -> EventKind {
    EventKind::TrialEnded { status, error: error.map(Into::into) }
}

pub(crate) fn achieved(rate_mib_s: f64, corrupt_pages: u64) -> EventKind {
    EventKind::WorkloadReported {
        achieved: Box::new(Achieved {
            elapsed_s: Some(1.0),
            rate_mib_s: Some(rate_mib_s),
            passes: Some(1),
            corrupt_pages: Some(corrupt_pages),
            ..Achieved::default()
        }),
    }
}

pub(crate) fn mirror_started() -> EventKind {
    EventKind::StorageMirrorStarted { address: "10.78.0.12:10809".into() }
}

pub(crate) fn probe_ended(probe: &str, send_errors: u64, drops: u64) -> EventKind {
    EventKind::ProbeEnded { probe: probe.into(), cpu_ns: 25, wall_ns: 1000, send_errors, drops }
}

impl Fixture {
    /// The same again for a second VM, 5 s later.
    pub(crate) fn with_second_vm(mut self) -> Self {
        let later = |event: &Event| Event {
            t_ns: event.t_ns + 5_000_000_000,
            vm: Some(VmId::new("vm1")),
            ..event.clone()
        };
        let second: Vec<_> =
            self.record.events.iter().filter(|event| event.vm.is_some()).map(later).collect();
        self.record.events.extend(second);
        self
    }

    /// A trial before its migration: nothing but what was asked and found.
    pub(crate) fn before() -> Self {
        let record = TrialRecord {
            id: TrialId::new("01-idle-1"),
            events: Vec::new(),
            series: BTreeMap::new(),
            capture: None,
            truncated: false,
        };
        let identity = |version: &str| {
            EventKind::HypervisorIdentified(HypervisorIdentity {
                name: "toy".into(),
                version: version.into(),
                accelerator: "kvm".into(),
                emulated: Some(false),
            })
        };
        let held = MemoryHeld {
            configured_bytes: Some(512 << 20),
            allocated_bytes: Some(100 << 20),
            used_bytes: Some(-1),
            requested_bytes: None,
            dirtied_bytes: Some(1 << 19),
            swapped_bytes: None,
        };
        let started = EventKind::TrialStarted {
            scenario: "demo".into(),
            case: Box::new(case()),
            trial: 2,
            source: HostId::new("host-a"),
            destination: HostId::new("host-b"),
        };
        let link = |link: &str, goodput_mbit: f64| EventKind::LinkMeasured {
            link: link.into(),
            rate_mbit: Some(1000.0),
            goodput_mbit,
            rtt_ms: Some(0.2),
        };
        let mut fixture = Self { record };
        fixture.record.events.push(Event { t_ns: ns(-2000.0), host: None, vm: None, kind: started });
        fixture
            .with(-1990.0, "host-a", identity("10.0.2"))
            .with(-1985.0, "host-b", identity("10.0.2"))
            .with(
                -1980.0,
                "",
                EventKind::ClockMapped { clock: "realtime".into(), offset_ns: 5, error_ns: 2000 },
            )
            .with(-1970.0, "", link("migration", 800.0))
            .with(-1960.0, "", link("service", 9000.0))
            .with(-1500.0, "host-b", EventKind::DestinationLaunched)
            .with(-1400.0, "host-b", EventKind::DestinationListening)
            .with(-1300.0, "host-a", EventKind::GuestReady { start: GuestStart::Restored, took_ms: 150.5 })
            .with(-1200.0, "host-a", EventKind::MemoryHeld { moment: Moment::Before, held })
    }

    /// A pre-copy that completed: set up at 2, second pass at 400, stopped at 500, last byte at 530, running at 540,
    /// acknowledged at 542, complete at 543. The service was gone from 500 to 540.
    pub(crate) fn pre_copy() -> Self {
        Self::copying()
            .with(500.0, "host-a", EventKind::VcpusStopped)
            .with(500.1, "host-a", status(MigrationState::SwitchOver))
            .with(500.2, "host-a", EventKind::MigrationPass { pass: 3 })
            .with(530.0, "host-a", saved())
            .with(540.0, "host-b", EventKind::VcpusRunning)
            .with(541.0, "host-b", status(MigrationState::Completed))
            .with(542.0, "host-a", status(MigrationState::Completed))
            .complete(543.0)
            .with_wire(0.0, 530.0)
            .with_probe("icmp", |at_ms| (!(500.0..540.0).contains(&at_ms)).then_some(at_ms + 0.2))
    }

    /// A hybrid that completed: stopped at 500, last byte of the device state at 505, running at 510, complete at 700.
    pub(crate) fn hybrid() -> Self {
        let strategy = Strategy::Hybrid { after_passes: Some(1), after_s: None, preempt: true };
        Self::copying()
            .with_case(|case| case.strategy = strategy)
            .with(500.0, "host-a", EventKind::VcpusStopped)
            .with(500.2, "host-a", EventKind::MigrationPass { pass: 3 })
            .with(505.0, "host-a", saved())
            .with(506.0, "host-a", status(MigrationState::PostCopy))
            .with(510.0, "host-b", EventKind::VcpusRunning)
            .with(699.0, "host-a", status(MigrationState::Completed))
            .complete(700.0)
            .with_wire(0.0, 690.0)
            .with_probe("icmp", |at_ms| (!(500.0..650.0).contains(&at_ms)).then_some(at_ms + 0.2))
    }

    /// A suspended VM that was stopped before the command and resumed by a command after completion.
    pub(crate) fn suspend() -> Self {
        Self::before()
            .with_case(|case| case.strategy = Strategy::Suspend { after_passes: None })
            .with(-5.0, "host-a", EventKind::VcpusStopped)
            .command()
            .with(1.0, "host-a", EventKind::MigrationPass { pass: 1 })
            .with(2.0, "host-a", status(MigrationState::PreCopy))
            .with(300.0, "host-a", EventKind::MigrationPass { pass: 2 })
            .with(310.0, "host-a", saved())
            .with(320.0, "host-a", status(MigrationState::Completed))
            .with(325.0, "host-b", EventKind::VcpusRunning)
            .complete(326.0)
            .with_progress(300.0)
    }

    /// A cold move by `scp` that completed at 130 001: shut down from 1 ms on; a disk of which 1 GB was read, and a swap that
    /// held nothing, at the other host at 110 001; booted until then.
    pub(crate) fn cold(compression: FileCompression) -> Self {
        let is_compressed = compression != FileCompression::None;
        let transfer = Transfer { way: TransferWay::Scp, compression, ..Transfer::default() };
        let stage = |stage| EventKind::StandstillStage { stage };
        let disk = FileCarried {
            file: "disk".into(),
            file_bytes: 4_000_000_000,
            content_bytes: 1_000_000_000,
            sent_bytes: if is_compressed { 300_000_000 } else { 1_000_000_000 },
            threads: 1,
            verified: Some(true),
            ..FileCarried::default()
        };
        let swap = FileCarried { file: "swap".into(), file_bytes: 1 << 20, threads: 1, ..disk.clone() };
        let swap = FileCarried { content_bytes: 0, sent_bytes: 0, ..swap };
        let mut fixture = Self::before()
            .with_case(|case| {
                case.strategy = Strategy::Cold(transfer);
                case.vm.shared_storage = false;
                case.vm.swap_mib = Some(1);
            })
            .command()
            .with(1.0, "host-a", stage(StandstillStage::Rest))
            .with(if is_compressed { 34_001.0 } else { 4001.0 }, "host-a", stage(StandstillStage::Transfer))
            .with(108_000.0, "host-a", EventKind::FileCarried(disk))
            .with(108_001.0, "host-a", stage(StandstillStage::Transfer))
            .with(109_001.0, "host-a", EventKind::FileCarried(swap))
            .with(110_001.0, "host-b", stage(StandstillStage::Wake))
            .complete(130_001.0);
        if is_compressed {
            fixture = fixture.with(4001.0, "host-a", stage(StandstillStage::Compress)).with(
                93_001.0,
                "host-b",
                stage(StandstillStage::Decompress),
            );
        }
        fixture
    }

    /// A pre-copy that was cancelled at 900, when the limit had passed; the trial ended at 1600.
    pub(crate) fn not_converged() -> Self {
        Self::copying()
            .with(900.0, "host-a", status(MigrationState::Cancelled))
            .with(950.0, "host-a", EventKind::SourceChecked { running: true, state: "running".into() })
            .with(1600.0, "", ended(Status::NotConverged, Some("the limit of 0.9 s passed")))
            .with_wire(0.0, 900.0)
            .with_probe("icmp", |at_ms| Some(at_ms + 0.2))
    }

    pub(crate) fn with(mut self, at_ms: f64, host: &str, kind: EventKind) -> Self {
        let host = (!host.is_empty()).then(|| HostId::new(host));
        self.record.events.push(Event { t_ns: ns(at_ms), host, vm: Some(VmId::new("vm0")), kind });
        self
    }

    pub(crate) fn without(mut self, is_meant: impl Fn(&EventKind) -> bool) -> Self {
        let before = self.record.events.len();
        self.record.events.retain(|event| !is_meant(&event.kind));
        assert!(self.record.events.len() < before, "nothing was taken away");
        self
    }

    pub(crate) fn with_case(mut self, change: impl FnOnce(&mut Case)) -> Self {
        let Some(EventKind::TrialStarted { case, .. }) =
            self.record.events.first_mut().map(|event| &mut event.kind)
        else {
            panic!("a record begins with its case");
        };
        change(case);
        self
    }

    pub(crate) fn with_series(mut self, name: &str, series: Series) -> Self {
        self.record.series.insert(name.into(), series);
        self
    }

    pub(crate) fn without_series(mut self, name: &str) -> Self {
        assert!(self.record.series.remove(name).is_some(), "nothing was taken away");
        self
    }

    /// A probe that sends each ms from -1000 to 1600 and gets an answer at the time that `answer` says.
    pub(crate) fn with_probe(self, name: &str, answer: impl Fn(f64) -> Option<f64>) -> Self {
        self.with_long_probe(name, 1600, answer)
    }

    /// The same until another time.
    pub(crate) fn with_long_probe(
        self,
        name: &str,
        until_ms: i32,
        answer: impl Fn(f64) -> Option<f64>,
    ) -> Self {
        let sent = (-1000..=until_ms).map(|at| (at + 1000, f64::from(at)));
        let requests: Vec<[i64; 3]> =
            sent.clone().map(|(seq, at_ms)| [i64::from(seq), ns(at_ms), ns(at_ms + 0.01)]).collect();
        let answers: Vec<[i64; 2]> =
            sent.filter_map(|(seq, at_ms)| Some([i64::from(seq), ns(answer(at_ms)?)])).collect();
        self.with_series(&format!("vm0-probe-{name}-sent"), Series::from_rows(shapes::PROBE_SENT, &requests))
            .with_series(
                &format!("vm0-probe-{name}-answers"),
                Series::from_rows(shapes::PROBE_ANSWERS, &answers),
            )
    }

    /// Counters of the migration link, each 10 ms: sending at full rate between two moments.
    pub(crate) fn with_wire(self, from_ms: f64, to_ms: f64) -> Self {
        let rows: Vec<[i64; 5]> = (-5..200)
            .map(|tick| {
                let t_ms = f64::from(tick) * 10.0;
                let bytes = ((t_ms.clamp(from_ms, to_ms) - from_ms) * BYTES_PER_MS) as i64;
                // From then on one bare acknowledgement a tick.
                let bare = i64::from((tick - (to_ms / 10.0) as i32).max(0));
                [ns(t_ms), 7000 + bytes + bare * 66, 700 + bytes / 50, bytes / 1500 + bare, bytes / 3000]
            })
            .collect();
        self.with_series("wire-host-a-migration", Series::from_rows(shapes::WIRE, &rows))
    }

    /// The hypervisor's counters, each 50 ms: 20 pages a ms until `to_ms`, 900 000 bytes less left each time.
    pub(crate) fn with_progress(self, to_ms: f64) -> Self {
        let rows: Vec<[i64; 10]> = (0..=14)
            .map(|tick| {
                let t_ms = f64::from(tick) * 50.0;
                let pages = (t_ms.min(to_ms) * 20.0) as i64;
                let remaining = (10_000_000 - tick * 900_000).max(0);
                let pass = 1 + i64::from(t_ms > 400.0);
                let dirty_rate = if pass == 1 { ABSENT } else { 512 };
                [ns(t_ms), pages * 4096, i64::from(remaining), 512 << 20, pages, 9, dirty_rate, pass, 20, 0]
            })
            .collect();
        self.with_series("vm0-progress", Series::from_rows(shapes::PROGRESS, &rows))
    }

    /// Its time line.
    pub(crate) fn timeline(&self) -> Timeline {
        crate::timeline(&self.record).unwrap()
    }

    /// Its only VM's outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        let [outcome] = crate::outcomes(&self.record).unwrap().try_into().unwrap();
        outcome
    }

    /// Its moments and its only probe's log.
    pub(crate) fn probe_log(&self) -> (Moments, ProbeLog) {
        let trial = Trial::each_vm(&self.record).unwrap().remove(0);
        (Moments::of(&trial).unwrap(), ProbeLog::of_vm(&trial).remove(0))
    }

    /// The two passes before the switch.
    fn copying() -> Self {
        Self::before()
            .command()
            .with(0.2, "host-a", status(MigrationState::Setup))
            .with(0.9, "host-b", status(MigrationState::PreCopy))
            .with(1.0, "host-a", EventKind::MigrationPass { pass: 1 })
            .with(2.0, "host-a", status(MigrationState::PreCopy))
            .with(400.0, "host-a", EventKind::MigrationPass { pass: 2 })
            .with_progress(500.0)
    }

    fn command(self) -> Self {
        self.with(0.0, "host-a", EventKind::MigrateCommand)
    }

    fn complete(self, at_ms: f64) -> Self {
        let report = HypervisorReport {
            total_time_ms: Some(at_ms),
            downtime_ms: Some(4.0),
            ram_bytes: Some(77),
            ..HypervisorReport::default()
        };
        self.with(at_ms, "", EventKind::MigrationCompleted)
            .with(at_ms + 1.0, "host-a", EventKind::HypervisorReport(report))
            .with(at_ms + 1100.0, "", ended(Status::Completed, None))
    }
}
