//! Properties that hold for any record.

use dunlin_record::samples::{self, Choices};
use dunlin_record::{
    ABSENT, Event, EventKind, HostId, HypervisorReport, MemoryHeld, Moment, Outcome, Series, Status,
    Strategy as Move, StreamProbe, TrialRecord, VmId, shapes,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixture::{Fixture, achieved, case, ns, status};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_record_makes_it_panic(
        events in vec(any_event(), 0..60),
        sent in vec(row::<3>(), 0..30),
        answers in vec(row::<2>(), 0..30),
        passages in vec(row::<4>(), 0..30),
        wire in vec(row::<5>(), 0..30),
        progress in vec(row::<10>(), 0..30),
        transactions in vec(row::<3>(), 0..30),
        samples in vec(row::<6>(), 0..30),
        cpu in vec(row::<3>(), 0..10),
        is_foreign in any::<bool>(),
    ) {
        let mut fixture = Fixture::pre_copy()
            .with_series("vm0-probe-icmp-sent", Series::from_rows(shapes::PROBE_SENT, &sent))
            .with_series("vm0-probe-icmp-answers", Series::from_rows(shapes::PROBE_ANSWERS, &answers))
            .with_series("vm0-passages-host-a", Series::from_rows(shapes::PASSAGES, &passages))
            .with_case(|case| case.probes.tcp_stream = Some(StreamProbe::default()))
            .with_series(
                "vm0-probe-tcp_rr-transactions",
                Series::from_rows(shapes::PROBE_TRANSACTIONS, &transactions),
            )
            .with_series(
                "vm0-probe-tcp_stream-samples",
                Series::from_rows(shapes::PROBE_SAMPLES, &samples),
            )
            .with_series("vm0-progress", Series::from_rows(shapes::PROGRESS, &progress))
            .with_series("wire-host-a-migration", Series::from_rows(shapes::WIRE, &wire))
            .with_series("cpu-host-a", Series::from_rows(shapes::CPU, &cpu));
        if is_foreign {
            // Nothing but the events made up here, and series of a shape that their name does not promise.
            fixture.record.events.clear();
            fixture = fixture
                .with_series("vm0-probe-udp-sent", Series::from_rows(shapes::CPU, &cpu))
                .with_series("vm1-probe--sent", Series::from_rows(shapes::PROGRESS, &progress))
                .with_series("vm0-passages-host-b", Series::from_rows(shapes::PROBE_ANSWERS, &answers));
        }
        fixture.record.events.extend(events);
        every_reader(&fixture.record);
    }

    #[test]
    fn no_series_and_no_event_makes_it_panic(
        seed in vec(any::<u8>(), 0..6000),
        began_well in any::<bool>(),
    ) {
        let mut record = samples::record(&mut Choices::new(&seed));
        if began_well {
            // A migration with its ends known is looked at more closely.
            record.events.extend(Fixture::hybrid().record.events.split_off(1));
            record.events.sort_by_key(|event| event.t_ns);
        }
        every_reader(&record);
    }

    #[test]
    fn no_duration_is_negative(events in vec(any_event(), 0..20)) {
        let mut fixture = Fixture::hybrid();
        fixture.record.events.extend(events);
        for outcome in crate::outcomes(&fixture.record).unwrap() {
            let phases = outcome.phases_ms;
            let single = [
                outcome.total_time_ms,
                outcome.migration_time_ms,
                outcome.floor_ms,
                outcome.downtime_floor_ms,
                outcome.downtime_ms.paused,
                outcome.downtime_ms.icmp,
                phases.storage,
                phases.initialize,
                phases.reserve,
                phases.stop_and_copy,
                phases.commit,
                phases.activate,
                phases.post_copy,
            ];
            let durations = outcome.iterations.iter().map(|one| one.duration_ms);
            for ms in single.into_iter().flatten().chain(phases.pre_copy).chain(durations) {
                prop_assert!(ms >= 0.0, "{ms}");
            }
        }
    }
}

proptest! {
    // Each of these analyses thousands of requests.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_hole_is_found_and_measured_to_one_interval_and_the_jitter(
        interval_us in select(vec![100_u32, 1000, 5000]),
        start_us in 0_u32..300_000,
        hole_intervals in 4.0_f64..200.0,
        jitter_us in vec(0_u32..1000, 1..50),
        is_held in any::<bool>(),
    ) {
        let interval_ms = f64::from(interval_us) / 1000.0;
        let worst_ms = f64::from(*jitter_us.iter().max().unwrap()) / 1000.0;
        let hole_ms = hole_intervals * interval_ms + 2.0 * worst_ms;
        let start_ms = f64::from(start_us) / 1000.0;
        let hole = start_ms..start_ms + hole_ms;

        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for seq in 0..(3_000_000 / i64::from(interval_us)) {
            let at_ms = -500.0 + seq as f64 * interval_ms;
            let trip_ms = 0.1 + f64::from(jitter_us[seq as usize % jitter_us.len()]) / 1000.0;
            requests.push([seq, ns(at_ms), ns(at_ms)]);
            if !hole.contains(&at_ms) {
                answers.push([seq, ns(at_ms + trip_ms)]);
            } else if is_held {
                answers.push([seq, ns(hole.end.max(at_ms) + trip_ms)]);
            }
        }
        let outcome = Fixture::pre_copy()
            .with_case(|case| case.probes.icmp = Some(dunlin_record::Probe { interval_ms }))
            .with_series("vm0-probe-icmp-sent", Series::from_rows(shapes::PROBE_SENT, &requests))
            .with_series("vm0-probe-icmp-answers", Series::from_rows(shapes::PROBE_ANSWERS, &answers))
            .outcome();
        let measured = outcome.downtime_ms.icmp.unwrap();
        let off = (measured - hole_ms).abs();
        prop_assert!(off <= interval_ms + 2.0 * worst_ms + 0.001, "{measured} for {hole_ms}");
    }

    #[test]
    fn the_order_of_events_and_rows_does_not_matter(
        events in Just(Fixture::pre_copy().record.events).prop_shuffle(),
        turn in 0_usize..500,
    ) {
        let expected = Fixture::pre_copy();
        let mut shuffled = expected.clone();
        shuffled.record.events = events;
        for name in ["vm0-probe-icmp-sent", "vm0-probe-icmp-answers"] {
            shuffled = turned(shuffled, name, turn);
        }
        prop_assert_eq!(shuffled.outcome(), expected.outcome());
        prop_assert_eq!(shuffled.timeline(), expected.timeline());
    }
}

/// All that reads a record.
fn every_reader(record: &TrialRecord) {
    let outcomes = crate::outcomes(record);
    let _ = crate::timeline(record);
    let _ = crate::boundaries(record);
    let _ = crate::time_shares(record);
    for outcome in outcomes.unwrap_or_default() {
        let line = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
    }
}

/// Lets a series begin with another row.
fn turned(fixture: Fixture, name: &str, by: usize) -> Fixture {
    let series = &fixture.record.series[name];
    let turned = if name.ends_with("sent") {
        let mut rows: Vec<[i64; 3]> = series.rows_of().collect();
        rows.rotate_left(by);
        Series::from_rows(shapes::PROBE_SENT, &rows)
    } else {
        let mut rows: Vec<[i64; 2]> = series.rows_of().collect();
        rows.rotate_left(by);
        Series::from_rows(shapes::PROBE_ANSWERS, &rows)
    };
    fixture.with_series(name, turned)
}

/// Values near what is usual, and the worst there are.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0_i64..40,
        4 => (-100_i64..2000).prop_map(|ms| ns(ms as f64)),
        1 => select(vec![ABSENT, i64::MIN + 1, i64::MAX, -1, 0]),
        1 => any::<i64>(),
    ]
}

fn row<const N: usize>() -> impl Strategy<Value = [i64; N]> {
    vec(value(), N).prop_map(|values| values.try_into().unwrap())
}

fn any_event() -> impl Strategy<Value = Event> {
    let host = select(vec![None, Some("host-a"), Some("host-b")]);
    let vm = select(vec![None, Some("vm0"), Some("vm0"), Some("vm1")]);
    (value(), host, vm, any_kind()).prop_map(|(t_ns, host, vm, kind)| Event {
        t_ns,
        host: host.map(HostId::new),
        vm: vm.map(VmId::new),
        kind,
    })
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    let statuses =
        vec!["setup", "active", "device", "postcopy-active", "completed", "failed", "cancelled", "?"];
    let endings = vec![Status::Completed, Status::Failed, Status::NotConverged, Status::Cancelled];
    let plain = vec![
        EventKind::MigrateCommand,
        EventKind::MigrationCompleted,
        EventKind::VcpusStopped,
        EventKind::VcpusRunning,
        EventKind::DestinationLaunched,
        EventKind::DestinationListening,
        EventKind::Checkpoint { name: "src-non-iterable-saved".into() },
        EventKind::Unknown,
    ];
    prop_oneof![
        8 => select(plain),
        4 => select(statuses).prop_map(status),
        2 => any::<u32>().prop_map(|pass| EventKind::MigrationPass { pass: pass % 5 }),
        2 => select(endings).prop_map(|status| EventKind::TrialEnded { status, error: None }),
        2 => any_number_kind(),
        1 => (any::<f64>(), select(vec![Move::PreCopy, Move::Suspend { after_passes: None }])).prop_map(|(seconds, strategy)| started(seconds, strategy)),
    ]
}

/// Events that hold numbers, with any numbers.
fn any_number_kind() -> impl Strategy<Value = EventKind> {
    let number = || any::<f64>();
    prop_oneof![
        (number(), number(), number()).prop_map(|(rate, goodput_mbit, rtt)| EventKind::LinkMeasured {
            link: "migration".into(),
            rate_mbit: Some(rate),
            goodput_mbit,
            rtt_ms: Some(rtt),
        }),
        number().prop_map(|interval_ms| EventKind::ProbeStarted {
            probe: "icmp".into(),
            interval_ms: Some(interval_ms),
            realtime_priority: true,
        }),
        (value(), value()).prop_map(|(offset_ns, error_ns)| EventKind::ClockMapped {
            clock: "realtime".into(),
            offset_ns,
            error_ns,
        }),
        number().prop_map(|ms| EventKind::HypervisorReport(HypervisorReport {
            downtime_ms: Some(ms),
            ..HypervisorReport::default()
        })),
        value().prop_map(|bytes| EventKind::MemoryHeld {
            moment: Moment::Before,
            held: MemoryHeld { used_bytes: Some(bytes), ..MemoryHeld::default() },
        }),
        (value(), value()).prop_map(|(cpu_ns, wall_ns)| EventKind::ProbeEnded {
            probe: "icmp".into(),
            cpu_ns,
            wall_ns,
            send_errors: 0,
            drops: 0,
        }),
        number().prop_map(|rate| achieved(rate, 0)),
        any::<u64>().prop_map(|drops| EventKind::PassagesEnded { drops }),
    ]
}

fn started(seconds: f64, strategy: Move) -> EventKind {
    let mut case = case();
    case.strategy = strategy;
    case.trials.settle_s = seconds;
    if let Some(probe) = &mut case.probes.icmp {
        probe.interval_ms = seconds;
    }
    EventKind::TrialStarted {
        scenario: "any".into(),
        case: Box::new(case),
        trial: 1,
        source: HostId::new("host-a"),
        destination: HostId::new("host-b"),
    }
}
