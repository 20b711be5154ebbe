//! A made-up run that looks like a real one: four cases, three trials each, of which some do not complete.

use std::collections::BTreeMap;

use dunlin_analysis::{Answerer, Mark, ProbeTrack, Request, Span, Timeline, WireTick};
use dunlin_record::{
    Achieved, AnsweredBy, Case, CaseLabel, CpuPercent, CpuShares, DowntimeMs, Flag, HostFingerprint,
    HypervisorLabel, Iteration, LinkOutcome, MemoryMib, MemoryWrite, Outage, Outcome, PhasesMs, ProbeOutcome,
    ResponsePhases, Responses, RunInfo, Software, Status, SwitchBytes, TrialCapture, TrialId, VmId,
    WireBytes, Workload, WorkloadOutcome,
};

/// A text that breaks a page which does not escape it.
pub(crate) const HOSTILE: &str = "</script><script>alert(\"1\")</script> & <b>'";

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) info: RunInfo,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) captures: Vec<TrialCapture>,
}

/// The whole run. The same at each call.
pub(crate) fn run() -> Run {
    let mut noise = Noise(1);
    let mut run = Run { info: info(), outcomes: Vec::new(), timelines: Vec::new(), captures: Vec::new() };
    for (index, case) in run.info.cases.clone().iter().enumerate() {
        for trial in 1..=3 {
            let plan = plan(index, trial, &mut noise);
            let id = TrialId::new(format!("{:02}-{}-{trial}", index + 1, case.title().replace(' ', "-")));
            run.outcomes.push(outcome(case, trial, &id, &plan));
            run.timelines.push(timeline(&id, &plan, &mut noise));
        }
    }
    run
}

/// What one trial is to look like. Times in ms after the migrate command.
struct Plan {
    status: Status,
    error: Option<String>,
    passes: Vec<f64>,
    stopped: Option<f64>,
    running: Option<f64>,
    completed: Option<f64>,
    end: f64,
    icmp_outage: f64,
    dirty_mib: Option<u32>,
}

fn plan(case: usize, trial: u32, noise: &mut Noise) -> Plan {
    let wobble = 1.0 + 0.06 * noise.next();
    let completed =
        |passes: Vec<f64>, stopped: f64, running: f64, completed: f64, outage: f64, dirty_mib| Plan {
            status: Status::Completed,
            error: None,
            passes,
            stopped: Some(stopped * wobble),
            running: Some(running * wobble),
            completed: Some(completed * wobble),
            end: completed * wobble + 1000.0,
            icmp_outage: outage * wobble,
            dirty_mib,
        };
    match (case, trial) {
        (1, 2) => Plan {
            status: Status::Failed,
            error: Some(format!("the destination's QEMU ended with signal 9 {HOSTILE}")),
            end: 620.0,
            ..completed(vec![31.0], 0.0, 0.0, 0.0, 0.0, Some(16))
        }
        .never(),
        (0, _) => completed(vec![28.0], 742.0, 801.0, 812.0, 74.0, None),
        (1, _) => completed(vec![31.0, 905.0, 1080.0], 1172.0, 1361.0, 1376.0, 214.0, Some(16)),
        (2, _) => Plan {
            status: Status::NotConverged,
            error: Some("the limit of 20 s passed after 19 passes".into()),
            passes: (0..19).map(|pass| 30.0 + 1050.0 * f64::from(pass)).collect(),
            end: 20_400.0,
            ..completed(Vec::new(), 0.0, 0.0, 0.0, 0.0, Some(128))
        }
        .never(),
        _ => completed(vec![33.0], 1124.0, 1131.0, 3290.0, 618.0, Some(128)),
    }
}

impl Plan {
    fn never(mut self) -> Self {
        (self.stopped, self.running, self.completed) = (None, None, None);
        self
    }

    fn migration_end(&self) -> f64 {
        self.completed.unwrap_or(self.end - 400.0)
    }
}

fn info() -> RunInfo {
    let case = |value: serde_json::Value| serde_json::from_value::<Case>(value).expect("a case");
    let of = |name: &str, dirty: Option<u32>, strategy: serde_json::Value| {
        case(serde_json::json!({
            "name": name, "dials": dirty.map_or(serde_json::json!({}), |mib| serde_json::json!({"working_set_mib": mib})),
            "vm": {}, "qemu": {}, "limits": { "downtime_ms": 300.0 }, "strategy": strategy, "trials": { "limit_s": 20.0 },
            "link": { "migration": { "rate_mbit": 1000.0 } },
            "probes": { "icmp": { "interval_ms": 1.0 }, "udp": { "interval_ms": 1.0 } },
            "workload": dirty.map(|mib| serde_json::json!({ "kind": "memory-write", "working_set_mib": mib })),
        }))
    };
    RunInfo {
        format: 1,
        dunlin_version: "0.1.0".into(),
        scenario: "demo".into(),
        title: "What dirtying memory does to a migration".into(),
        started_epoch_ms: 1_763_686_987_000,
        cases: vec![
            of("idle", None, serde_json::json!({"kind": "pre-copy"})),
            of("dirty", Some(16), serde_json::json!({"kind": "pre-copy"})),
            of("dirty", Some(128), serde_json::json!({"kind": "pre-copy"})),
            of("hybrid", Some(128), serde_json::json!({"kind": "hybrid", "after_passes": 1})),
        ],
        seed: None,
        skipped: Vec::new(),
        hosts: vec![HostFingerprint {
            hosts: "host-a, host-b, bench".into(),
            cpu: Some("Example CPU at 2.40 GHz".into()),
            cores: Some(2),
            memory_mib: Some(7936),
            kernel: Some("6.1.0-example".into()),
            ksm: Some("off".into()),
            thp: Some("madvise".into()),
            congestion_control: Some("cubic".into()),
            more: BTreeMap::new(),
        }],
        software: Software::default(),
        existing: Vec::new(),
        stay: false,
        resumed: Vec::new(),
    }
}

fn outcome(case: &Case, trial: u32, id: &TrialId, plan: &Plan) -> Outcome {
    let whole = plan.status == Status::Completed;
    let paused = plan.running.zip(plan.stopped).map(|(running, stopped)| round(running - stopped));
    let icmp = whole.then(|| round(plan.icmp_outage));
    let downtime_ms = DowntimeMs {
        reported: paused.map(|paused| round(paused * 0.8)),
        paused,
        icmp,
        udp: icmp.map(|icmp| round(icmp * 1.02)),
        ..DowntimeMs::default()
    };
    let probe = ProbeOutcome {
        sent: plan.end as u64,
        lost: plan.icmp_outage as u64 / 3,
        late: plan.icmp_outage as u64 / 2,
        duplicated: 0,
        interval_ms: 1.0,
        error_ms: Some(1.31),
        baseline_gap_ms: Some(2.4),
        send_lateness_p99_ms: Some(0.21),
        cpu_percent: Some(3.8),
        answered_by: Some(AnsweredBy { source: 900, destination: 1040, unknown: 0 }),
        response_ms: Some(response_ms(plan)),
        failures: None,
        connections: None,
        sent_per_s: Some(998.7),
        baseline_unanswered_percent: Some(0.0),
        unfit: None,
        outages: icmp
            .map(|length_ms| Outage { start_ms: round(plan.stopped.unwrap_or(0.0)), length_ms })
            .into_iter()
            .collect(),
    };
    let mut flags = vec![Flag::EmulatedCpu];
    if case.name == "hybrid" && trial == 2 {
        flags.insert(0, Flag::HostSaturated);
    }
    Outcome {
        format: 1,
        analysis: 1,
        scenario: "demo".into(),
        case: CaseLabel { name: case.name.clone(), dials: case.dials.clone() },
        trial,
        id: id.clone(),
        vm: VmId::new("vm0"),
        hypervisor: Some(HypervisorLabel {
            name: "qemu".into(),
            version: "10.0.2".into(),
            destination_version: None,
            accelerator: "tcg".into(),
        }),
        strategy: case.strategy.name().into(),
        status: plan.status,
        error: plan.error.clone(),
        flags,
        mechanisms: Vec::new(),
        total_time_ms: plan.completed.map(round),
        migration_time_ms: plan.completed.zip(icmp).map(|(total, icmp)| round(total - icmp)),
        floor_ms: Some(688.5),
        storage_floor_ms: None,
        downtime_floor_ms: plan.stopped.map(|_| 41.2),
        downtime_ms,
        downtime_error_ms: DowntimeMs {
            icmp: icmp.map(|_| 1.31),
            udp: icmp.map(|_| 1.42),
            paused: paused.map(|_| 0.02),
            ..DowntimeMs::default()
        },
        downtime_at_most_ms: DowntimeMs::default(),
        downtime_at_least_ms: DowntimeMs::default(),
        guest_clock: None,
        not_converged: None,
        probes: BTreeMap::from([("icmp".into(), probe.clone()), ("udp".into(), probe)]),
        tcp_streams: BTreeMap::new(),
        wire_bytes: Some(WireBytes {
            source_tx: (plan.migration_end() * 112_000.0) as i64,
            source_rx: 1_200_000,
        }),
        capture: None,
        wire_bytes_snmp: plan.completed.map(|end| SwitchBytes {
            source_tx: (end * 112_300.0) as i64,
            source_rx: 1_260_000,
            granularity_ms: Some(104.2),
            difference_percent: Some(0.27),
            asked: 24,
            unanswered: 1,
            counter_bits: 64,
        }),
        storage_bytes: None,
        storage_network_bytes: None,
        storage_steps: None,
        storage_compared: Vec::new(),
        standstill_ms: None,
        files: Vec::new(),
        ram_bytes: whole.then_some((plan.migration_end() * 108_000.0) as i64),
        iterations: iterations(plan),
        phases_ms: phases(plan),
        phases_error_ms: PhasesMs::default(),
        memory_mib: MemoryMib {
            configured: Some(512.0),
            allocated: Some(211.4),
            used: Some(96.2),
            requested: Some(150.0),
            dirtied: plan.dirty_mib.map(f64::from),
            swapped: None,
        },
        cpu_percent: plan.completed.map(|_| {
            let shares =
                |before, during, after| CpuShares { before: Some(before), during: Some(during), after };
            CpuPercent {
                source: shares(14.2, 96.5, None),
                source_vcpus: shares(12.0, 40.25, None),
                destination: shares(0.5, 31.0, Some(13.9)),
                destination_vcpus: shares(0.0, 2.5, Some(12.0)),
                guest: shares(8.0, 7.5, Some(8.1)),
            }
        }),
        memory_after_mib: None,
        disk_mib: None,
        disk_after_mib: None,
        storage_mib: None,
        storage_after_mib: None,
        streams: Vec::new(),
        workload: plan.dirty_mib.map(|mib| WorkloadOutcome {
            asked: Workload::MemoryWrite(MemoryWrite::new(mib, dunlin_record::Rate::Full)),
            achieved: Some(Achieved {
                elapsed_s: Some(3.2),
                rate_mib_s: Some(612.5),
                passes: Some(40),
                corrupt_pages: Some(0),
                ..Achieved::default()
            }),
        }),
        link: LinkOutcome { rate_mbit: Some(1000.0), goodput_mbit: Some(941.3) },
        guest_start_ms: Some(152.0),
    }
}

/// Usual answers before and after; during the outage a third of the requests are lost and the others wait for its end.
fn response_ms(plan: &Plan) -> ResponsePhases {
    let usual = |n| Responses {
        n,
        unanswered: 0,
        answered_per_s: Some(1000.0),
        p50: Some(0.41),
        p90: Some(0.62),
        p99: Some(0.9),
        p99_9: Some(1.2),
        max: Some(1.31),
        histogram: vec![(0.3981, n / 4), (0.5012, n / 2), (1.0, n - n / 4 - n / 2 - 1), (1.585, 1)],
    };
    let outage = plan.icmp_outage.max(1.0);
    let mut during = usual(plan.migration_end() as u64);
    during.unanswered = outage as u64 / 3;
    (during.p99_9, during.max) = (Some(round(outage * 0.6)), Some(round(outage * 0.7)));
    during.histogram.push((1000.0, outage as u64 / 2));
    ResponsePhases { before: usual(1000), during, after: usual(400) }
}

fn iterations(plan: &Plan) -> Vec<Iteration> {
    let end = plan.stopped.unwrap_or(plan.migration_end());
    let ends = plan.passes.iter().skip(1).copied().chain([end]);
    plan.passes
        .iter()
        .zip(ends)
        .zip(1..)
        .map(|((&start, end), pass)| Iteration {
            pass,
            start_ms: start,
            duration_ms: round(end - start),
            wire_bytes: Some(((end - start) * 112_000.0) as i64),
            remaining_bytes: (pass > 1).then_some(16 << 20),
            dirty_rate_mib_s: (pass > 1).then_some(130.5),
            throttle_percent: None,
        })
        .collect()
}

fn phases(plan: &Plan) -> PhasesMs {
    PhasesMs {
        storage: None,
        initialize: plan.passes.first().copied(),
        reserve: Some(212.0),
        pre_copy: iterations(plan).iter().map(|pass| pass.duration_ms).collect(),
        stop_and_copy: plan
            .stopped
            .zip(plan.running)
            .map(|(stopped, running)| round((running - stopped) * 0.7)),
        commit: plan.stopped.zip(plan.running).map(|(stopped, running)| round((running - stopped) * 0.1)),
        activate: plan.stopped.zip(plan.running).map(|(stopped, running)| round((running - stopped) * 0.2)),
        post_copy: plan
            .completed
            .zip(plan.running)
            .map(|(end, run)| round(end - run))
            .filter(|ms| *ms > 100.0),
    }
}

fn timeline(id: &TrialId, plan: &Plan, noise: &mut Noise) -> Timeline {
    let start = -1000.0;
    let probe = |name: &str, noise: &mut Noise| ProbeTrack {
        name: name.into(),
        interval_ms: 1.0,
        requests: (0..(plan.end - start) as u64).map(|seq| request(seq, start, plan, noise)).collect(),
    };
    Timeline {
        trial: id.clone(),
        start_ms: start,
        end_ms: plan.end,
        probes: vec![probe("icmp", noise), probe("udp", noise)],
        stories: Vec::new(),
        rates: Vec::new(),
        spans: spans(plan),
        marks: marks(plan),
        wire: wire(plan, noise),
    }
}

fn request(seq: u64, start: f64, plan: &Plan, noise: &mut Noise) -> Request {
    let sent_ms = start + seq as f64 + 0.08 * noise.next().abs();
    let usual = 0.35 + 0.12 * noise.next().abs().powi(3) * 8.0;
    let (stopped, back) =
        (plan.stopped.unwrap_or(f64::MAX), plan.stopped.unwrap_or(f64::MAX) + plan.icmp_outage);
    let (answered_ms, by) = if sent_ms < stopped {
        (Some(sent_ms + usual), Answerer::Source)
    } else if sent_ms < stopped + plan.icmp_outage / 3.0 {
        (None, Answerer::Nobody)
    } else if sent_ms < back {
        (Some(back + usual), Answerer::Destination)
    } else {
        let slow = if sent_ms < plan.migration_end() && plan.icmp_outage > 400.0 {
            12.0 * noise.next().abs()
        } else {
            0.0
        };
        (
            Some(sent_ms + usual + slow),
            if seq.is_multiple_of(97) { Answerer::Unknown } else { Answerer::Destination },
        )
    };
    Request { seq, sent_ms, answered_ms, by }
}

fn spans(plan: &Plan) -> Vec<Span> {
    let mut spans = vec![span("initialize", 0.0, plan.passes[0])];
    spans.extend(
        iterations(plan).iter().map(|pass| {
            span(&format!("pass {}", pass.pass), pass.start_ms, pass.start_ms + pass.duration_ms)
        }),
    );
    if let (Some(stopped), Some(running), Some(completed)) = (plan.stopped, plan.running, plan.completed) {
        let (sent, acknowledged) = (stopped + (running - stopped) * 0.7, stopped + (running - stopped) * 0.8);
        spans.push(span("stop-and-copy", stopped, sent));
        spans.push(span("commit", sent, acknowledged));
        spans.push(span("activate", acknowledged, running));
        if completed - running > 100.0 {
            spans.push(span("post-copy", running, completed));
        }
    }
    spans
}

fn marks(plan: &Plan) -> Vec<Mark> {
    let mut marks = vec![mark(0.0, "migrate command", None), mark(1.5, "setup", Some("host-a"))];
    marks.extend(plan.passes.first().map(|&at| mark(at, "active", Some("host-a"))));
    marks.extend(plan.stopped.map(|at| mark(at, "vcpus-stopped", Some("host-a"))));
    marks.extend(plan.running.map(|at| mark(at, "vcpus-running", Some("host-b"))));
    marks.extend(plan.completed.map(|at| mark(at, "completed", Some("host-a"))));
    marks.extend(plan.error.as_ref().map(|error| mark(plan.end - 10.0, error, None)));
    marks
}

fn wire(plan: &Plan, noise: &mut Noise) -> Vec<WireTick> {
    let ticks = ((plan.end + 1000.0) / 10.0) as i32;
    (0..ticks)
        .map(|tick| {
            let at_ms = -1000.0 + 10.0 * f64::from(tick);
            let busy = at_ms > plan.passes[0] && at_ms < plan.migration_end();
            let tx_bytes = if busy { 1_170_000 + (30_000.0 * noise.next()) as i64 } else { 0 };
            WireTick { at_ms, tx_bytes, rx_bytes: tx_bytes / 90 }
        })
        .collect()
}

fn span(name: &str, start_ms: f64, end_ms: f64) -> Span {
    Span { name: name.into(), start_ms, end_ms }
}

fn mark(at_ms: f64, label: &str, host: Option<&str>) -> Mark {
    Mark { at_ms, label: label.into(), host: host.map(str::to_owned) }
}

/// To whole microseconds, as analysis does.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Repeatable noise between -1 and 1 (a linear congruential generator; Knuth's MMIX constants).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
