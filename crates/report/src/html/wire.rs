//! What captures of the migration network show: the migration's conversations over time, and what they cost.

use dunlin_analysis::MigrationOnWire;
use dunlin_record::{Amount, Outcome, RttMs, TrialCapture, WireAccount};
use maud::{Markup, html};

use crate::Report;
use crate::chart::{Area, area};
use crate::format::{number, number_or_absent};
use crate::mechanisms::one_link_of_two;

/// More columns than that nobody tells apart.
const MOST_COLUMNS: u64 = 240;

/// The section; nothing where nothing was captured.
pub(super) fn wire(report: &Report) -> Markup {
    html! {
        @if !report.captures.is_empty() {
            section {
                h2 { "On the wire" }
                p class="note" {
                    "The migration's TCP conversations, as captured at the source's interface to the migration network. \
                     Each packet is in one class, so that the classes add up to all bytes. Counts are those of \
                     Wireshark's TCP analysis; more of them: " code { "dunlin wire FILE" } "."
                }
                @for (index, capture) in report.captures.iter().enumerate() { (one(report, capture, index == 0)) }
            }
        }
    }
}

fn one(report: &Report, capture: &TrialCapture, open: bool) -> Markup {
    let account = &capture.account;
    let outcome = report.outcomes.iter().find(|outcome| outcome.id == capture.trial);
    html! {
        details class="more" open[open] {
            summary { b { (capture.trial) } " " (capture.file) }
            @if let Some(broken_off) = &account.broken_off { p class="warn" { "The capture " (broken_off.why) "." } }
            @if let Some(dropped) = account.dropped.filter(|dropped| *dropped > 0) {
                p class="warn" { "The capture missed " (dropped) " packets: the figures are too small." }
            }
            @match MigrationOnWire::find(capture) {
                Some(migration) => {
                    @if let Some(line) = outcome.and_then(|outcome| one_link_of_two(&[outcome])) { p class="note" { (line) } }
                    figure { (graph(account)) }
                    div class="columns" { (times(&migration, outcome)) (troubles(&migration)) }
                    (overhead(&migration))
                }
                None => p class="note" { "No TCP conversation was captured." },
            }
        }
    }
}

fn times(migration: &MigrationOnWire, outcome: Option<&Outcome>) -> Markup {
    let total_time_ms = outcome.and_then(|outcome| outcome.total_time_ms);
    pairs(
        "Time",
        &[
            ("total time by events, ms", number_or_absent(total_time_ms)),
            ("first to last packet, ms", number(migration.length_ms())),
            ("goodput, Mbit/s", number_or_absent(migration.goodput_mbit_s())),
            ("TCP conversations", migration.conversations.len().to_string()),
        ],
    )
}

fn troubles(migration: &MigrationOnWire) -> Markup {
    let rtt = |pick: fn(RttMs) -> f64| number_or_absent(migration.rtt_ms().map(pick));
    pairs(
        "TCP",
        &[
            ("sent again", migration.retransmissions().total().to_string()),
            ("out of order", migration.count(|flow| flow.out_of_order).to_string()),
            ("duplicate acknowledgements", migration.count(|flow| flow.duplicate_acks).to_string()),
            ("zero windows", migration.count(|flow| flow.zero_windows).to_string()),
            ("round trip, median, ms", rtt(|rtt| rtt.p50)),
            ("round trip, 99 %, ms", rtt(|rtt| rtt.p99)),
        ],
    )
}

fn pairs(title: &str, rows: &[(&str, String)]) -> Markup {
    html! {
        table class="pairs" {
            caption { (title) }
            tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td class="n" { (value) } } } }
        }
    }
}

/// Prakash et al., section V, "Overhead".
fn overhead(migration: &MigrationOnWire) -> Markup {
    let overhead = &migration.overhead;
    let headers = |wire_bytes| (None, wire_bytes);
    let class = |amount: Amount| (Some(amount.packets), amount.wire_bytes);
    let rows = [
        (
            "goodput: payload sent for the first time",
            (Some(overhead.goodput_packets), overhead.goodput_bytes),
        ),
        ("its link headers", headers(overhead.link_header_bytes)),
        ("its IP headers", headers(overhead.ip_header_bytes)),
        ("its TCP headers", headers(overhead.tcp_header_bytes)),
        ("pure acknowledgements", class(overhead.pure_acks)),
        ("opening and closing", class(overhead.handshakes)),
        ("retransmissions", class(overhead.retransmissions)),
        ("all", class(overhead.total)),
    ];
    let all = overhead.total.wire_bytes.max(1) as f64;
    html! {
        div class="scroll" {
            table {
                thead { tr { th scope="col" { "Overhead" } @for name in ["Packets", "MB", "%"] { th scope="col" class="n" { (name) } } } }
                tbody {
                    @for (name, (packets, wire_bytes)) in rows {
                        tr {
                            th scope="row" { (name) }
                            td class="n" { @if let Some(packets) = packets { (packets) } }
                            td class="n" { (number(wire_bytes as f64 / 1e6)) }
                            td class="n" { (format!("{:.2}", 100.0 * wire_bytes as f64 / all)) }
                        }
                    }
                }
            }
        }
    }
}

/// The capture over time, with its comments.
fn graph(account: &WireAccount) -> Markup {
    let graph = &account.graph;
    let (Some(first), Some(last)) = (graph.tick.first(), graph.tick.last()) else { return html! {} };
    let ticks_a_column = last.saturating_sub(*first).cast_unsigned() / MOST_COLUMNS + 1;
    let column_ms = graph.tick_ms * ticks_a_column as f64;
    let mut columns: Vec<(u64, u64)> = Vec::new();
    for (tick, bytes) in graph.tick.iter().zip(&graph.wire_bytes) {
        let column = tick.saturating_sub(*first).cast_unsigned() / ticks_a_column;
        match columns.last_mut() {
            Some((last, sum)) if *last == column => *sum = sum.saturating_add(*bytes),
            _ => columns.push((column, *bytes)),
        }
    }
    let start_ms = *first as f64 * graph.tick_ms;
    let step = |(column, bytes): &(u64, u64)| {
        let from = *column as f64 * column_ms;
        ([from, from + column_ms], *bytes as f64 * 8.0 / 1000.0 / column_ms)
    };
    let marks = account.marks.iter().zip('a'..='z');
    let marks: Vec<(f64, char, String)> =
        marks.map(|(mark, letter)| (mark.at_ms - start_ms, letter, mark.text.clone())).collect();
    html! {
        (area(&Area {
            name: "bytes on the wire over time".into(),
            unit: "Mbit/s",
            steps: columns.iter().map(step).collect(),
            marks: marks.clone(),
        }))
        @if !marks.is_empty() {
            ul class="legend" { @for (at_ms, letter, text) in &marks { li { b { (letter) } " " (text) ", " (number(*at_ms)) " ms" } } }
        }
    }
}
