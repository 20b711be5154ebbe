//! Each trial by itself: why it ended as it did, its time line, and its figures.

use dunlin_analysis::Timeline;
use dunlin_record::{Iteration, Outcome, PhasesMs, ProbeOutcome, Status, SwitchBytes, VmId};
use maud::{Markup, PreEscaped, html};

use super::streams::{streams, tcp_streams};
use super::{cpu, stories};
use crate::Report;
use crate::cases::CaseRow;
use crate::format::{ABSENT, megabytes, number, number_or_absent, reading};
use crate::mechanisms;
use crate::timeline_data::packed;
use crate::words::{Downtime, clock_words, flag_words, status_words};
use crate::{unconverged, workload};

/// The trials by case; of each case the first stands open.
pub(super) fn trials(report: &Report, rows: &[CaseRow]) -> Markup {
    html! {
        section class="trials" {
            h2 { "Trial by trial" }
            p class="note" {
                "A dot is one request of a probe, at the time it was sent and as high as its answer took. Drag to \
                 move, pinch or use the buttons to zoom; click a time line, then the wheel and the keys + − 0 ← → \
                 work on it too."
            }
            noscript { p class="warn" { "The time lines are drawn by a script in this page, and scripts are off. All other figures are below." } }
            @for row in rows.iter().filter(|row| !row.outcomes.is_empty()) {
                h3 { (row.title) " " small { (row.strategy) } }
                @for (index, outcome) in row.outcomes.iter().enumerate() {
                    (trial(report, outcome, index == 0))
                }
            }
        }
    }
}

fn trial(report: &Report, outcome: &Outcome, open: bool) -> Markup {
    html! {
        details class="trial" open[open] {
            summary {
                b { "Trial " (outcome.trial) }
                span class={ "status " (outcome.status) } { (status_words(outcome.status)) }
                @if let Some(total) = outcome.total_time_ms { span { "total " (number(total)) " ms" } }
                @for downtime in [Downtime::Reported, Downtime::Icmp] {
                    @if let Some(value) = downtime.reading(outcome) { span { (downtime.name()) " " (reading(value)) " ms" } }
                }
                @for &flag in &outcome.flags {
                    @let words = flag_words(flag);
                    span class="flag" title=(words.meaning) { (words.name) }
                }
            }
            @if outcome.status != Status::Completed {
                p class="warn" { (outcome.error.as_deref().unwrap_or("No reason was recorded.")) }
                @if let Some(sentences) = unconverged::sentences(outcome, unconverged::limits_of(report, outcome)) { p class="warn" { (sentences) } }
            }
            @for (name, probe) in &outcome.probes {
                @if let Some(because) = &probe.unfit { p class="warn" { b { (name) } " tells no downtime: " (because) } }
            }
            @if first_vm(report, outcome) != &outcome.vm {
                p class="note" { "The trial's time line is that of its first VM, " (first_vm(report, outcome)) "." }
            } @else if let Some(timeline) = report.timelines.iter().find(|timeline| timeline.trial == outcome.id) {
                (time_line(timeline, outcome))
                (stories::stories(&timeline.stories))
            } @else {
                p class="note" { "There is no time line: the record of this trial shows no migration." }
            }
            (details(outcome))
        }
    }
}

/// The VM whose time line a trial has: the first by name, as analysis has it.
fn first_vm<'a>(report: &Report<'a>, outcome: &'a Outcome) -> &'a VmId {
    let same_trial = report.outcomes.iter().filter(|other| other.id == outcome.id);
    same_trial.map(|other| &other.vm).min().unwrap_or(&outcome.vm)
}

fn time_line(timeline: &Timeline, outcome: &Outcome) -> Markup {
    html! {
        figure class="timeline" {
            div class="tools" {
                ul class="legend" {
                    li { i class="swatch dot by-source" {} "answered by the source" }
                    li { i class="swatch dot by-destination" {} "by the destination" }
                    li { i class="swatch dot by-unknown" {} "not known by which" }
                    li { i class="swatch tick by-nobody" {} "never answered" }
                }
                div class="buttons" {
                    button type="button" data-do="in" aria-label="Zoom in" { "+" }
                    button type="button" data-do="out" aria-label="Zoom out" { "−" }
                    button type="button" data-do="reset" { "reset" }
                    button type="button" data-do="all" { "all" }
                }
            }
            div class="plot" {
                canvas tabindex="0" role="application" aria-label={ "Time line of trial " (outcome.id) } {}
                div class="tip" hidden {}
            }
            // The packing has escaped what could end the element.
            script type="application/json" { (PreEscaped(packed(timeline, outcome))) }
        }
        @if !timeline.marks.is_empty() {
            details class="more" {
                summary { "Events" }
                div class="scroll" {
                    table {
                        thead { tr { th scope="col" class="n" { "ms" } th scope="col" { "Event" } th scope="col" { "Host" } } }
                        tbody {
                            @for mark in &timeline.marks {
                                tr {
                                    td class="n" { (format!("{:.3}", mark.at_ms)) }
                                    td { (mark.label) }
                                    td { (mark.host.as_deref().unwrap_or("")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn details(outcome: &Outcome) -> Markup {
    html! {
        div class="columns" {
            (pairs("Times, ms", &times(outcome)))
            (pairs("Phases, ms", &phases(outcome)))
            (pairs("Amounts", &amounts(outcome)))
        }
        @if let Some(cpu) = &outcome.cpu_percent { (cpu::shares(cpu)) }
        (mechanisms::markup(outcome))
        (probes(outcome))
        (streams(&outcome.streams))
        (tcp_streams(&outcome.tcp_streams))
        @if !outcome.iterations.is_empty() { (passes(&outcome.iterations)) }
    }
}

type Pair = (&'static str, String);

fn pairs(title: &str, rows: &[Pair]) -> Markup {
    html! {
        table class="pairs" {
            caption { (title) }
            tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td class="n" { (value) } } } }
        }
    }
}

fn times(outcome: &Outcome) -> Vec<Pair> {
    let mut rows = vec![
        ("total time", number_or_absent(outcome.total_time_ms)),
        ("floor", number_or_absent(outcome.floor_ms)),
        ("migration time (total less downtime by icmp)", number_or_absent(outcome.migration_time_ms)),
    ];
    for downtime in Downtime::shown(std::slice::from_ref(outcome)) {
        let error =
            downtime.error_of(outcome).map(|error| format!(" ±{}", number(error))).unwrap_or_default();
        let label = match downtime {
            Downtime::Reported => "downtime reported",
            Downtime::Paused => "downtime paused",
            Downtime::Icmp => "downtime icmp",
            Downtime::Udp => "downtime udp",
            Downtime::Tcp => "downtime tcp",
            Downtime::Http => "downtime http",
        };
        rows.push((label, downtime.reading(outcome).map_or_else(|| ABSENT.into(), reading) + &error));
    }
    rows.push(("downtime floor", number_or_absent(outcome.downtime_floor_ms)));
    rows
}

fn phases(outcome: &Outcome) -> Vec<Pair> {
    let (phases, errors) = (&outcome.phases_ms, &outcome.phases_error_ms);
    let all_passes = |phases: &PhasesMs| (!phases.pre_copy.is_empty()).then(|| phases.pre_copy.iter().sum());
    let storage = phases.storage.map(|storage| ("storage (the disks)", number(storage)));
    let named = [
        ("reserve (before)", phases.reserve, errors.reserve),
        ("initialize", phases.initialize, errors.initialize),
        ("pre-copy, all passes", all_passes(phases), all_passes(errors)),
        ("stop-and-copy", phases.stop_and_copy, errors.stop_and_copy),
        ("commit", phases.commit, errors.commit),
        ("activate", phases.activate, errors.activate),
        ("post-copy", phases.post_copy, errors.post_copy),
    ]
    .map(|(name, value, error)| {
        let error = error.map(|error: f64| format!(" ±{}", number(error))).unwrap_or_default();
        (name, number_or_absent(value) + &error)
    });
    let parts = outcome.standstill_ms.unwrap_or_default().named();
    let parts = parts.into_iter().filter_map(|(name, ms)| Some((name, number(ms?))));
    storage.into_iter().chain(named).chain(parts).collect()
}

fn amounts(outcome: &Outcome) -> Vec<Pair> {
    let with_unit = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| ABSENT.into(), |value| format!("{}\u{a0}{unit}", number(value)))
    };
    let memory = &outcome.memory_mib;
    let mut rows = vec![
        ("on the wire", with_unit(outcome.wire_bytes.map(|wire| megabytes(wire.source_tx)), "MB")),
        ("memory sent, as the hypervisor says", with_unit(outcome.ram_bytes.map(megabytes), "MB")),
        ("goodput of the link", with_unit(outcome.link.goodput_mbit, "Mbit/s")),
        ("memory configured", with_unit(memory.configured, "MiB")),
    ];
    if let Some(storage) = &outcome.storage_bytes {
        let sent = storage.wire.map(|wire| format!(", {}\u{a0}MB sent for it", number(megabytes(wire))));
        let data = with_unit(storage.data.map(megabytes), "MB");
        rows.push(("disks to be copied, without holes", data + &sent.unwrap_or_default()));
    }
    if let Some(switch) = &outcome.wire_bytes_snmp {
        rows.insert(1, ("by the switch's counters", by_switch(switch)));
    }
    if let Some(bytes) = &outcome.storage_network_bytes {
        let megabytes = |bytes: Option<i64>| number_or_absent(bytes.map(megabytes));
        let host = |sent, received| format!("{} sent, {} received", megabytes(sent), megabytes(received));
        let source = host(bytes.source_tx, bytes.source_rx);
        let destination = host(bytes.destination_tx, bytes.destination_rx);
        rows.push(("storage network, MB", format!("source {source}; destination {destination}")));
    }
    rows.extend(held(outcome));
    if let Some(done) = &outcome.workload {
        rows.push(("workload asked for", workload::asked(&done.asked)));
        rows.push(("achieved", done.achieved.as_ref().map_or_else(|| ABSENT.into(), workload::achieved)));
    }
    if let Some(clocks) = clock_words(outcome) {
        rows.push(("the guest's clocks, by which it counts", clocks));
    }
    rows
}

/// What a switch counted, and how far to trust it.
fn by_switch(switch: &SwitchBytes) -> String {
    let mut text = format!("{}\u{a0}MB", number(megabytes(switch.source_tx)));
    if let Some(percent) = switch.difference_percent {
        text += &format!(", {percent:+.2}\u{a0}% against the host's");
    }
    if let Some(granularity_ms) = switch.granularity_ms {
        text += &format!("; told every {}\u{a0}ms", number(granularity_ms));
    }
    if switch.unanswered > 0 {
        text += &format!("; {} of {} questions unanswered", switch.unanswered, switch.asked);
    }
    text
}

/// What the guest held of memory and disk: before the migration, and after it where that was asked.
fn held(outcome: &Outcome) -> Vec<Pair> {
    let mib = |before: Option<f64>, after: Option<f64>| match after {
        Some(after) => format!("{} → {}\u{a0}MiB", number_or_absent(before), number(after)),
        None => before.map_or_else(|| ABSENT.into(), |before| format!("{}\u{a0}MiB", number(before))),
    };
    let (before, after) = (outcome.memory_mib, outcome.memory_after_mib.unwrap_or_default());
    let mut rows = vec![
        ("allocated", mib(before.allocated, after.allocated)),
        ("used", mib(before.used, after.used)),
        ("requested", mib(before.requested, after.requested)),
        ("dirtied", mib(before.dirtied, None)),
    ];
    if before.swapped.is_some() {
        rows.push(("swapped out", mib(before.swapped, after.swapped)));
    }
    if let Some(before) = outcome.disk_mib {
        let after = outcome.disk_after_mib.unwrap_or_default();
        rows.extend([
            ("disk, virtual size", mib(before.virtual_size, None)),
            ("disk allocated", mib(before.allocated, after.allocated)),
            ("disk used", mib(before.used, after.used)),
        ]);
    }
    rows
}

fn probes(outcome: &Outcome) -> Markup {
    let columns = [
        "Sent",
        "Lost",
        "Late",
        "Twice",
        "By source",
        "By destination",
        "Usual gap, ms",
        "Error, ms",
        "CPU, %",
    ];
    html! {
        @if !outcome.probes.is_empty() {
            div class="scroll" {
                table {
                    thead { tr { th scope="col" { "Probe" } @for name in columns { th scope="col" class="n" { (name) } } } }
                    tbody {
                        @for (name, probe) in &outcome.probes {
                            @let by = probe.answered_by;
                            tr {
                                th scope="row" { (name) (pace(probe)) }
                                @for amount in [probe.sent, probe.lost, probe.late, probe.duplicated] { td class="n" { (amount) } }
                                @for amount in [by.map(|by| by.source), by.map(|by| by.destination)] {
                                    td class="n" { (amount.map_or_else(|| ABSENT.into(), |amount| amount.to_string())) }
                                }
                                @for value in [probe.baseline_gap_ms, probe.error_ms, probe.cpu_percent] {
                                    td class="n" { (number_or_absent(value)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How often a probe asks: TCP request/response does as soon as it can.
fn pace(probe: &ProbeOutcome) -> String {
    let usual = if probe.connections.is_some() { "usually" } else { "every" };
    let held = probe.sent_per_s.filter(|_| probe.connections.is_none());
    let held = held.map(|rate| format!(", held {}/s", number(rate)));
    format!(", {usual} {} ms{}", number(probe.interval_ms), held.unwrap_or_default())
}

fn passes(iterations: &[Iteration]) -> Markup {
    html! {
        details class="more" {
            summary { "Passes over the memory" }
            div class="scroll" {
                table {
                    thead { tr { @for name in ["Pass", "Begin, ms", "Took, ms", "Wire, MB", "Left, MB", "Dirtied, MiB/s", "Throttle, %"] {
                        th scope="col" class="n" { (name) }
                    } } }
                    tbody {
                        @for pass in iterations {
                            tr {
                                td class="n" { (pass.pass) }
                                @for value in [
                                    Some(pass.start_ms), Some(pass.duration_ms), pass.wire_bytes.map(megabytes),
                                    pass.remaining_bytes.map(megabytes), pass.dirty_rate_mib_s, pass.throttle_percent,
                                ] { td class="n" { (number_or_absent(value)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
