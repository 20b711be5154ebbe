//! What TCP cost the migrations, as captures show it: the list of Prakash et al., section V, "Overhead", case by case.

use dunlin_record::{CaptureOutcome, Outcome};

use crate::Report;
use crate::cases::{CaseRow, Spread, case_rows};
use crate::format::{ABSENT, number};
use crate::layout::{Table, wrapped};
use crate::mechanisms::one_link_of_two;

/// A figure of a capture.
pub(crate) struct Figure {
    /// Its name in JSON; in CSV `capture_` stands before it.
    pub(crate) name: &'static str,
    pub(crate) of: fn(&CaptureOutcome) -> Option<f64>,
}

impl Figure {
    /// Its spread over the completed trials.
    pub(crate) fn spread(&self, row: &CaseRow) -> Option<Spread> {
        row.spread(|outcome| (self.of)(outcome.capture.as_ref()?))
    }
}

const fn figure(name: &'static str, of: fn(&CaptureOutcome) -> Option<f64>) -> Figure {
    Figure { name, of }
}

/// All of them, in their order.
pub(crate) const FIGURES: [Figure; 30] = [
    figure("dropped_packets", |of| of.dropped.map(|count| count as f64)),
    figure("conversations", |of| whole(of.conversations)),
    figure("first_to_last_packet_ms", |of| of.first_to_last_packet_ms),
    figure("packets", |of| whole(of.overhead.total.packets)),
    figure("wire_bytes", |of| whole(of.overhead.total.wire_bytes)),
    figure("goodput_packets", |of| whole(of.overhead.goodput_packets)),
    figure("goodput_bytes", |of| whole(of.overhead.goodput_bytes)),
    figure("goodput_mbit_s", |of| of.goodput_mbit_s),
    figure("overhead_percent", |of| of.overhead_percent),
    figure("link_header_bytes", |of| whole(of.overhead.link_header_bytes)),
    figure("ip_header_bytes", |of| whole(of.overhead.ip_header_bytes)),
    figure("tcp_header_bytes", |of| whole(of.overhead.tcp_header_bytes)),
    figure("handshake_packets", |of| whole(of.overhead.handshakes.packets)),
    figure("handshake_bytes", |of| whole(of.overhead.handshakes.wire_bytes)),
    figure("pure_ack_packets", |of| whole(of.overhead.pure_acks.packets)),
    figure("pure_ack_bytes", |of| whole(of.overhead.pure_acks.wire_bytes)),
    figure("retransmission_packets", |of| whole(of.overhead.retransmissions.packets)),
    figure("retransmission_bytes", |of| whole(of.overhead.retransmissions.wire_bytes)),
    figure("retransmissions_fast", |of| whole(of.retransmissions.fast)),
    figure("retransmissions_recovery", |of| whole(of.retransmissions.recovery)),
    figure("retransmissions_timeout", |of| whole(of.retransmissions.timeout)),
    figure("retransmissions_spurious", |of| whole(of.retransmissions.spurious)),
    figure("out_of_order", |of| whole(of.out_of_order)),
    figure("duplicate_acks", |of| whole(of.duplicate_acks)),
    figure("zero_windows", |of| whole(of.zero_windows)),
    figure("malformed_packets", |of| whole(of.malformed)),
    figure("rtt_p50_ms", |of| Some(of.rtt_ms?.p50)),
    figure("rtt_p90_ms", |of| Some(of.rtt_ms?.p90)),
    figure("rtt_p99_ms", |of| Some(of.rtt_ms?.p99)),
    figure("rtt_max_ms", |of| Some(of.rtt_ms?.max)),
];

fn whole(count: u64) -> Option<f64> {
    Some(count as f64)
}

/// How a column of the table is written.
enum Unit {
    Packets,
    Megabytes,
    Percent,
}

/// The table's columns.
const COLUMNS: [(&str, Unit, Figure); 10] = [
    ("all\nMB", Unit::Megabytes, figure("", |of| whole(of.overhead.total.wire_bytes))),
    ("goodput\nMB", Unit::Megabytes, figure("", |of| whole(of.overhead.goodput_bytes))),
    ("headers\nMB", Unit::Megabytes, figure("", |of| whole(of.overhead.header_bytes()))),
    ("open,\nclose", Unit::Packets, figure("", |of| whole(of.overhead.handshakes.packets))),
    ("ACKs\nalone", Unit::Packets, figure("", |of| whole(of.overhead.pure_acks.packets))),
    ("sent\nagain", Unit::Packets, figure("", |of| whole(of.retransmissions.total()))),
    ("dup.\nACKs", Unit::Packets, figure("", |of| whole(of.duplicate_acks))),
    ("out of\norder", Unit::Packets, figure("", |of| whole(of.out_of_order))),
    ("mal-\nformed", Unit::Packets, figure("", |of| whole(of.malformed))),
    ("over-\nhead %", Unit::Percent, figure("", |of| of.overhead_percent)),
];

/// The table, with what its columns are; nothing where nothing was captured.
pub(crate) fn overhead(report: &Report, width: Option<u16>) -> String {
    let rows: Vec<CaseRow> = case_rows(report)
        .into_iter()
        .filter(|row| row.completed().any(|outcome| outcome.capture.is_some()))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = COLUMNS.iter().fold(Table::new().key("case"), |table, (heading, ..)| table.figure(heading));
    let table = rows.iter().fold(table, |mut table, row| {
        table.row(cells(row));
        table
    });
    let legend = "Medians over the completed trials; below them least–greatest where trials differ. Bytes are those on the \
                  wire; headers are those of the packets that carry goodput, payload sent for the first time; the others \
                  are packets. ACKs alone, opening, closing and what is sent again count with all their bytes as overhead.";
    let mut text = format!(
        "\n{}{}\n{}",
        wrapped("The migration's TCP conversations, as captured at the source:", width, ""),
        table.text(width),
        wrapped(legend, width, "")
    );
    let lacking = rows
        .iter()
        .flat_map(CaseRow::completed)
        .filter(|outcome| outcome.capture.as_ref().is_some_and(|capture| !capture.complete));
    let captured: Vec<&Outcome> =
        rows.iter().flat_map(CaseRow::completed).filter(|outcome| outcome.capture.is_some()).collect();
    if let Some(line) = one_link_of_two(&captured) {
        text.push_str(&wrapped(line, width, ""));
    }
    let lacking = lacking.count();
    if lacking > 0 {
        let line = format!("Captures that lack packets: {lacking}. Their amounts are too small.");
        text.push_str(&wrapped(&line, width, ""));
    }
    text
}

fn cells(row: &CaseRow) -> Vec<String> {
    let figures = COLUMNS.iter().map(|(_, unit, figure)| {
        figure.spread(row).map_or_else(|| ABSENT.to_owned(), |spread| unit.cell(spread))
    });
    [row.title.clone()].into_iter().chain(figures).collect()
}

impl Unit {
    /// Median, below it the spread.
    fn cell(&self, spread: Spread) -> String {
        let Spread { median, min, max } = spread;
        match self {
            Self::Packets => {
                let range = (min < max).then(|| format!("\n{min}–{max}"));
                // Half a packet is the mean of two trials.
                format!("{median}{}", range.unwrap_or_default())
            }
            Self::Megabytes => {
                let [median, min, max] = [median, min, max].map(|bytes| bytes / 1e6);
                lines(Spread { median, min, max })
            }
            Self::Percent => lines(spread),
        }
    }
}

fn lines(spread: Spread) -> String {
    let range = (number(spread.min) != number(spread.max))
        .then(|| format!("\n{}–{}", number(spread.min), number(spread.max)));
    number(spread.median) + &range.unwrap_or_default()
}
