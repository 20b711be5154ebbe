//! Records as tests need them: each kind of event and each shape of series, with any numbers and words in them.
//!
//! Both come from lists that cannot miss one: [`shapes::ALL`] holds what its macro makes, and [`event_kinds`] does not
//! compile without a sample of every kind.

mod choices;
mod distort;

use std::collections::BTreeMap;

use serde_json::json;

pub use choices::Choices;
pub use distort::distort;

use crate::{
    Achieved, Case, ClockSeen, DiskHeld, Event, EventKind, FileCarried, GuestStart, HostId, HttpServed,
    HypervisorIdentity, HypervisorReport, LostNumbers, Mechanism, MechanismSeen, MemoryHeld, MigrationState,
    Moment, Place, ProbeConnection, Received, Seen, Series, SocketBuffers, StandstillStage, Status, Step,
    StorageFaultKind, StorageHeld, StreamSeen, TrialId, TrialRecord, VmId, Workload, shapes,
};

/// What the parts of series' names in angle brackets stand for.
const PARTS: [(&str, &[&str]); 5] = [
    ("<vm>", &["vm0", "vm1"]),
    ("<host>", &["host-a", "host-b"]),
    ("<network>", &["migration", "migration-2", "migration-probes", "service"]),
    ("<probe>", &["icmp", "udp", "http", "tcp_rr", "tcp_stream", "hosts_tcp_rr", "hosts_tcp_stream"]),
    ("<workload>", &["0", "1"]),
];
/// The most rows of a series, and events of a record.
const MOST_ROWS: usize = 24;
const MOST_EVENTS: usize = 40;

/// A list of values, and a match that does not compile while one of the enum's kinds has none.
macro_rules! one_of_each {
    ($($(#[$doc:meta])* $name:ident($type:ty) { $($pattern:pat => $value:expr,)+ })+) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name() -> Vec<$type> {
            let missing_none = |kind: &$type| match kind {
                $($pattern => {})+
            };
            let all = vec![$($value),+];
            all.iter().for_each(missing_none);
            all
        }
    )+};
}

one_of_each! {
    /// Each kind of event, everything in it present.
    event_kinds(EventKind) {
        EventKind::TrialStarted { .. } => EventKind::TrialStarted {
            scenario: "demo".into(),
            case: Box::new(case()),
            trial: 1,
            source: HostId::new("host-a"),
            destination: HostId::new("host-b"),
        },
        EventKind::HypervisorIdentified(_) => EventKind::HypervisorIdentified(HypervisorIdentity {
            name: "toy".into(),
            version: "10.0.2".into(),
            accelerator: "kvm".into(),
            emulated: Some(false),
        }),
        EventKind::ClockMapped { .. } =>
            EventKind::ClockMapped { clock: "realtime".into(), offset_ns: 5, error_ns: 2000 },
        EventKind::LinkMeasured { .. } => EventKind::LinkMeasured {
            link: "migration".into(),
            rate_mbit: Some(1000.0),
            goodput_mbit: 800.0,
            rtt_ms: Some(0.2),
        },
        EventKind::VmFound { .. } => EventKind::VmFound {
            address: Some([192, 0, 2, 100].into()),
            told_by: Some("a lease".into()),
            paused: true,
        },
        EventKind::GuestReady { .. } => EventKind::GuestReady { start: GuestStart::Restored, took_ms: 150.5 },
        EventKind::WorkloadStarted { .. } => EventKind::WorkloadStarted { workload: workload() },
        EventKind::WorkloadReported { .. } => EventKind::WorkloadReported { achieved: Box::new(achieved()) },
        EventKind::StreamConnected { .. } => EventKind::StreamConnected { workload: 0 },
        EventKind::StreamBroken { .. } => EventKind::StreamBroken { workload: 0, why: "reset".into() },
        EventKind::StreamEnded { .. } => EventKind::StreamEnded { workload: 0, seen: seen() },
        EventKind::MemoryHeld { .. } => EventKind::MemoryHeld {
            moment: Moment::Before,
            held: MemoryHeld {
                configured_bytes: Some(512 << 20),
                allocated_bytes: Some(100 << 20),
                used_bytes: Some(90 << 20),
                requested_bytes: Some(80 << 20),
                dirtied_bytes: Some(1 << 20),
                swapped_bytes: Some(1 << 12),
            },
        },
        EventKind::GuestCpu { .. } => EventKind::GuestCpu { busy_ns: 70, idle_ns: 30 },
        EventKind::GuestClocks { .. } => EventKind::GuestClocks {
            monotonic_ns: 5_000_000_000,
            boottime_ns: 5_000_000_000,
            realtime_ns: 1_700_000_000_000_000_000,
            error_ns: 200_000,
        },
        EventKind::DiskHeld { .. } => EventKind::DiskHeld {
            moment: Moment::After,
            held: DiskHeld {
                virtual_size_bytes: Some(64 << 20),
                allocated_bytes: Some(32 << 20),
                used_bytes: Some(16 << 20),
            },
        },
        EventKind::StorageHeld(_) => EventKind::StorageHeld(StorageHeld {
            virtual_size_bytes: Some(64 << 20),
            allocated_bytes: Some(32 << 20),
            data_bytes: Some(16 << 20),
        }),
        EventKind::DestinationLaunched => EventKind::DestinationLaunched,
        EventKind::DestinationListening => EventKind::DestinationListening,
        EventKind::ProbeStarted { .. } => EventKind::ProbeStarted {
            probe: "icmp".into(),
            interval_ms: Some(1.0),
            realtime_priority: true,
        },
        EventKind::ProbeEnded { .. } => EventKind::ProbeEnded {
            probe: "icmp".into(),
            cpu_ns: 25,
            wall_ns: 1000,
            send_errors: 1,
            drops: 1,
        },
        EventKind::ProbeConnection { .. } =>
            EventKind::ProbeConnection { probe: "tcp_rr".into(), connection: connection() },
        EventKind::PassagesEnded { .. } => EventKind::PassagesEnded { drops: 1 },
        EventKind::CaptureEnded { .. } => EventKind::CaptureEnded {
            file: "host-a-migration.pcapng".into(),
            packets: 10,
            drops: 1,
            written: 9,
            bytes: 9000,
            clock_offset_ns: 5,
            clock_error_ns: 2000,
            cut_short: Some("the disk is full".into()),
        },
        EventKind::MigrateCommand => EventKind::MigrateCommand,
        EventKind::StorageMirrorStarted { .. } =>
            EventKind::StorageMirrorStarted { address: "10.78.0.12:10809".into() },
        EventKind::StorageMirrored { .. } => EventKind::StorageMirrored { copied_bytes: Some(1 << 20) },
        EventKind::StorageMoved { .. } => EventKind::StorageMoved { copied_bytes: Some(2 << 20) },
        EventKind::StorageCompared { .. } => EventKind::StorageCompared {
            disk: "disk".into(),
            compared_bytes: 64 << 20,
            differs_at_bytes: Some(4096),
        },
        EventKind::StorageServerAway { .. } => EventKind::StorageServerAway { how: StorageFaultKind::Freeze },
        EventKind::StorageServerBack => EventKind::StorageServerBack,
        EventKind::StandstillStage { .. } =>
            EventKind::StandstillStage { stage: StandstillStage::Transfer },
        EventKind::FileCarried(_) => EventKind::FileCarried(FileCarried {
            file: "disk".into(),
            file_bytes: 64 << 20,
            content_bytes: 16 << 20,
            sent_bytes: 8 << 20,
            compress_ms: Some(70.5),
            transfer_ms: Some(90.5),
            decompress_ms: Some(20.5),
            overlapped: true,
            threads: 2,
            verified: Some(true),
        }),
        EventKind::StorageHandedOver { .. } => EventKind::StorageHandedOver { copied_bytes: Some(2 << 20) },
        EventKind::MigrationStatus { .. } => EventKind::MigrationStatus {
            status: "its word".into(),
            state: Some(MigrationState::PreCopy),
        },
        EventKind::MigrationPass { .. } => EventKind::MigrationPass { pass: 1 },
        EventKind::Checkpoint { .. } => EventKind::Checkpoint {
            name: "its step".into(),
            step: Some(Step::LastByteSent),
        },
        EventKind::VcpusStopped => EventKind::VcpusStopped,
        EventKind::VcpusRunning => EventKind::VcpusRunning,
        EventKind::Decision { .. } =>
            EventKind::Decision { action: "switch".into(), reason: "a pass ended".into() },
        EventKind::MechanismSeen(_) => EventKind::MechanismSeen(MechanismSeen {
            mechanism: Mechanism::Throttle,
            used: Some(false),
            evidence: "cpu-throttle-percentage: 0".into(),
        }),
        EventKind::HypervisorReport(_) => EventKind::HypervisorReport(HypervisorReport {
            total_time_ms: Some(543.0),
            downtime_ms: Some(4.0),
            setup_time_ms: Some(2.0),
            ram_bytes: Some(77 << 20),
            downtime_bytes: Some(1 << 20),
            error: Some("it said so".into()),
            raw: BTreeMap::from([("ram".into(), json!({ "transferred": 77 }))]),
        }),
        EventKind::HypervisorEvent { .. } =>
            EventKind::HypervisorEvent { name: "RTC_CHANGE".into(), data: json!({ "offset": 1 }) },
        EventKind::ProcessEnded { .. } => EventKind::ProcessEnded { how: "signal 9".into(), expected: false },
        EventKind::MigrationCompleted => EventKind::MigrationCompleted,
        EventKind::SourceChecked { .. } =>
            EventKind::SourceChecked { running: true, state: "running".into() },
        EventKind::VmPlaced { .. } => EventKind::VmPlaced {
            place: Place::Source,
            source: Seen::Runs,
            source_word: "running".into(),
            destination: Seen::Gone,
            destination_word: "signal 9".into(),
        },
        EventKind::Warning { .. } => EventKind::Warning { text: "this lowers the worth".into() },
        EventKind::TrialEnded { .. } =>
            EventKind::TrialEnded { status: Status::Failed, error: Some("something went wrong".into()) },
        EventKind::Unknown => EventKind::Unknown,
    }
}

/// A case that asks for all that is observed.
#[must_use]
#[expect(clippy::expect_used, reason = "only tests have it")]
pub fn case() -> Case {
    serde_json::from_value(json!({
        "name": "idle", "dials": { "order": 5 }, "vm": { "disk": { "size_mib": 64 }, "swap_mib": 64, "count": 2 },
        "toy": {}, "link": { "migration": { "rate_mbit": 1000.0, "delay_ms": 0.5 }, "service": {} },
        "switch": { "snmp": {} },
        "workload": workload(),
        "strategy": { "kind": "hybrid", "after_passes": 1, "after_s": 2.5 },
        "probes": {
            "icmp": {}, "udp": {}, "http": {}, "tcp_rr": {}, "tcp_stream": {}, "hosts_tcp_rr": {},
            "hosts_tcp_stream": {},
        },
        "capture": { "migration": true, "service": true },
        "trials": { "until": "5%", "baseline_s": 1.0, "settle_s": 1.0 },
    }))
    .expect("the sample of a case is one")
}

/// A made-up record of a trial: it begins as all do, then anything happens; any of the series are there.
pub fn record(choices: &mut Choices) -> TrialRecord {
    let kinds = event_kinds();
    let count = choices.below(MOST_EVENTS);
    let mut events = vec![Event { t_ns: choices.time_ns(), host: None, vm: None, kind: kinds[0].clone() }];
    events[0] = distort(&events[0], choices);
    events.extend((0..count).map(|_| event(&kinds, choices)));
    events.sort_by_key(|event| event.t_ns);
    TrialRecord {
        id: TrialId::new("01-any-1"),
        events,
        series: series(choices),
        capture: None,
        truncated: choices.below(2) == 1,
    }
}

fn event(kinds: &[EventKind], choices: &mut Choices) -> Event {
    let host = choices.of(&[None, Some("host-a"), Some("host-b")]).map(HostId::new);
    let vm = choices.of(&[None, Some("vm0"), Some("vm1")]).map(VmId::new);
    let t_ns = choices.time_ns();
    let kind = &kinds[choices.below(kinds.len())];
    distort(&Event { t_ns, host, vm, kind: kind.clone() }, choices)
}

/// Series of every shape, any of its names, with any rows.
pub fn series(choices: &mut Choices) -> BTreeMap<String, Series> {
    let mut all = BTreeMap::new();
    for (shape, name) in series_names() {
        if choices.below(2) == 1 {
            all.insert(name, Series::from_values(shape, values(shape, choices)));
        }
    }
    all
}

/// Every name under which a series may stand, with its shape.
pub fn series_names() -> impl Iterator<Item = (shapes::Shape, String)> {
    shapes::ALL.iter().flat_map(|(shape, patterns)| {
        patterns.iter().flat_map(|pattern| names(pattern)).map(|name| (*shape, name))
    })
}

fn values(shape: shapes::Shape, choices: &mut Choices) -> Vec<i64> {
    let rows = choices.below(MOST_ROWS + 1);
    let only_grow = choices.below(2) == 1;
    let column = |(name, _): &(&str, &str)| -> Vec<i64> {
        let is_time = name.ends_with("_ns");
        let drawn = || if is_time { choices.time_ns() } else { choices.number() };
        let mut column: Vec<i64> = std::iter::repeat_with(drawn).take(rows).collect();
        if only_grow {
            // As counters do, and what lies between two of them is looked at.
            column.sort_unstable();
        }
        column
    };
    let columns: Vec<Vec<i64>> = shape.iter().map(column).collect();
    (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
}

/// The names that a pattern stands for.
fn names(pattern: &str) -> Vec<String> {
    PARTS.iter().fold(vec![pattern.to_owned()], |names, (part, values)| {
        let filled = |name: &String| -> Vec<String> {
            if !name.contains(part) {
                return vec![name.clone()];
            }
            values.iter().map(|value| name.replace(part, value)).collect()
        };
        names.iter().flat_map(filled).collect()
    })
}

#[expect(clippy::expect_used, reason = "only tests have it")]
fn workload() -> Workload {
    serde_json::from_value(json!({ "kind": "several", "each": [
        { "kind": "udp-send", "rate_mib_s": 10.0 },
        { "kind": "tcp-receive" },
        { "kind": "memory-write", "working_set_mib": 16, "allocated_mib": 32 },
        { "kind": "memory-read", "working_set_mib": 16 },
        { "kind": "disk-write", "file_mib": 16 },
        { "kind": "http-server", "increase_calls": 2 },
    ] }))
    .expect("the sample of a workload is one")
}

fn achieved() -> Achieved {
    let part = Achieved {
        elapsed_s: Some(1.0),
        last_words: Some("out of memory".into()),
        rate_mib_s: Some(20.0),
        passes: Some(3),
        corrupt_pages: Some(1),
        corrupt_disk_pages: Some(1),
        operations_per_s: Some(5.0),
        user_percent: Some(60.0),
        system_percent: Some(20.0),
        wrong_results: Some(1),
        clock: Some(ClockSeen::default()),
        stream: Some(seen()),
        parts: Vec::new(),
        http_server: Some(HttpServed::default()),
    };
    Achieved::of_parts(vec![part; 6])
}

fn seen() -> StreamSeen {
    let received = Received {
        missing: 1,
        late: 1,
        repeated: 1,
        corrupted: 0,
        longest_gap_ns: 5_000_000,
        lost: vec![LostNumbers { first: 3, count: 2 }, LostNumbers { first: 9, count: 1 }],
    };
    StreamSeen { bytes: 1 << 20, connections: Some(2), received: Some(received) }
}

fn connection() -> ProbeConnection {
    let buffers = SocketBuffers { send_bytes: 16_384, receive_bytes: 131_072 };
    ProbeConnection {
        peer: "10.78.0.12:7008".into(),
        connected_ns: choices::NOW_NS,
        ended_ns: choices::NOW_NS + 1_000_000_000,
        broken: Some("reset".into()),
        local: buffers,
        remote: buffers,
        local_at_end: buffers,
        congestion_control: "cubic".into(),
        retransmitted_segments: Some(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_and_every_series_comes_and_can_be_written_and_read() {
        let (mut kinds, mut names) = (HashSet::new(), HashSet::new());
        for start in 0..100_u64 {
            let mut noise = start.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let seed = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 33) as u8
            });
            let record = record(&mut Choices::new(&seed.take(6000).collect::<Vec<_>>()));
            names.extend(record.series.into_keys());
            for event in &record.events {
                kinds.insert(std::mem::discriminant(&event.kind));
                let line = serde_json::to_string(event).unwrap();
                assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), *event);
            }
        }
        assert_eq!(kinds.len(), event_kinds().len());
        assert_eq!(names.len(), series_names().count());
    }

    #[test]
    fn names_of_series_are_filled_in_for_every_part() {
        assert_eq!(names("cpu-<host>"), ["cpu-host-a", "cpu-host-b"]);
        assert_eq!(names("<vm>-stream-<workload>").len(), 4);
        for (_, name) in series_names() {
            assert!(!name.contains(['<', '>']), "{name}");
        }
    }

    #[test]
    fn no_sample_leaves_anything_out() {
        for kind in event_kinds() {
            let text = serde_json::to_string(&kind).unwrap();
            assert!(matches!(kind, EventKind::TrialStarted { .. }) || !text.contains("null"), "{text}");
        }
    }
}
