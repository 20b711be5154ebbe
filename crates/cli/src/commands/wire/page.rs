//! A capture as people read it.

use std::fmt::Write as _;

use dunlin_record::{Amount, Conversation, Flow, Overhead, RttMs, WireAccount};
use dunlin_report::{Table, number, utc, wrapped};

use super::{Read, graph};

const ABSENT: &str = "–";
/// Conversations that the table shows; JSON has all.
const MOST_CONVERSATIONS: usize = 12;

/// A file's page: all of it, or only the conversations that were asked for.
pub(super) fn text(read: &Read<'_>, only_conversations: bool, width: Option<u16>) -> String {
    let account = &read.account;
    let mut text = wrapped(head(read).trim_end(), width, "  ");
    if only_conversations {
        for conversation in &account.conversations {
            text += &one_conversation(account, conversation, width);
        }
        return text;
    }
    for line in cautions(account).lines() {
        text += &wrapped(line, width, "  ");
    }
    if account.total.packets == 0 {
        return text;
    }
    let _ = write!(text, "\n{}", protocols(account).text(width));
    if !account.conversations.is_empty() {
        let _ = write!(text, "\n{}", conversations(account).text(width));
        if account.conversations.len() > MOST_CONVERSATIONS {
            let more = account.conversations.len() - MOST_CONVERSATIONS;
            let _ = writeln!(text, "\nand {more} smaller ones: --json has them all");
        }
        let _ = write!(text, "\n{}", overhead(&account.overhead).text(width));
    }
    text + "\n" + &graph::of_file(account, width)
}

fn head(read: &Read<'_>) -> String {
    let account = &read.account;
    let interfaces: Vec<String> = account
        .interfaces
        .iter()
        .map(|interface| match &interface.name {
            Some(name) => format!("{name} ({})", interface.link),
            None => interface.link.clone(),
        })
        .collect();
    let mut text = format!("{}: {}", read.file.display(), account.format);
    if !interfaces.is_empty() {
        let _ = write!(text, ", {}", interfaces.join(", "));
    }
    let _ =
        write!(text, "\n{} packets, {} on the wire", account.total.packets, bytes(account.total.wire_bytes));
    if account.captured_bytes < account.total.wire_bytes {
        let _ = write!(text, " ({} of them captured)", bytes(account.captured_bytes));
    }
    if let (Some(start_ns), Some(duration_ms)) = (account.start_epoch_ns, account.duration_ms) {
        let _ = write!(text, ", {} ms from {}", number(duration_ms), utc(start_ns / 1_000_000));
    }
    text + "\n"
}

/// What lowers the worth of the figures.
fn cautions(account: &WireAccount) -> String {
    let mut text = String::new();
    if let Some(dropped) = account.dropped.filter(|dropped| *dropped > 0) {
        let _ = writeln!(text, "the capture missed {dropped} packets");
    }
    for malformed in &account.malformed {
        let _ = writeln!(
            text,
            "malformed: {}: {} packets, the first is number {}",
            malformed.what, malformed.packets, malformed.first_packet
        );
    }
    let counted = [
        (account.fragments, "packets are fragments: what they carry is not analysed"),
        (account.snapped_headers, "packets were cut in their headers: what they carry is not analysed"),
        (
            account.not_followed.packets,
            "packets belong to TCP conversations beyond those that are followed at once",
        ),
    ];
    for (amount, what) in counted.into_iter().filter(|(amount, _)| *amount > 0) {
        let _ = writeln!(text, "{amount} {what}");
    }
    text
}

fn protocols(account: &WireAccount) -> Table {
    let rows = account
        .protocols
        .iter()
        .map(|share| amount_row(&share.protocol, share.amount, account.total.wire_bytes));
    amounts("protocol", rows)
}

/// Where TCP's bytes went.
fn overhead(overhead: &Overhead) -> Table {
    let all = overhead.total.wire_bytes;
    let header = |name: &str, wire_bytes| {
        let [name, _, bytes, share] = amount_row(name, Amount { packets: 0, wire_bytes }, all);
        [name, String::new(), bytes, share]
    };
    let goodput = Amount { packets: overhead.goodput_packets, wire_bytes: overhead.goodput_bytes };
    amounts(
        "overhead of TCP",
        [
            amount_row("goodput: payload sent first", goodput, all),
            header("  its link headers", overhead.link_header_bytes),
            header("  its IP headers", overhead.ip_header_bytes),
            header("  its TCP headers", overhead.tcp_header_bytes),
            amount_row("pure acknowledgements", overhead.pure_acks, all),
            amount_row("opening and closing", overhead.handshakes, all),
            amount_row("retransmissions", overhead.retransmissions, all),
            amount_row("all", overhead.total, all),
        ],
    )
}

fn amount_row(name: &str, amount: Amount, all_bytes: u64) -> [String; 4] {
    let share = if all_bytes == 0 { 0.0 } else { 100.0 * amount.wire_bytes as f64 / all_bytes as f64 };
    [name.to_owned(), amount.packets.to_string(), bytes(amount.wire_bytes), format!("{share:.2} %")]
}

fn amounts(title: &str, rows: impl IntoIterator<Item = [String; 4]>) -> Table {
    table(&[title, "packets", "bytes", "of the bytes"], rows.into_iter().map(Vec::from))
}

fn conversations(account: &WireAccount) -> Table {
    let header = [
        "conversation",
        "packets",
        "bytes",
        "sent\nagain",
        "out of\norder",
        "dup.\nACKs",
        "zero\nwindow",
        "RTT ms\np50",
        "RTT ms\np99",
    ];
    table(&header, account.conversations.iter().take(MOST_CONVERSATIONS).map(conversation_row))
}

/// A line a direction.
fn conversation_row(conversation: &Conversation) -> Vec<String> {
    let flows = [&conversation.from_a, &conversation.from_b];
    let column = |cell: &dyn Fn(&Flow) -> String| flows.map(cell).join("\n");
    let rtt = |pick: fn(&RttMs) -> f64| column(&|flow| number_or_absent(flow.rtt_ms.as_ref().map(pick)));
    vec![
        format!("#{} {} →\n{} →", conversation.number, conversation.a, conversation.b),
        column(&|flow| flow.total.packets.to_string()),
        column(&|flow| bytes(flow.total.wire_bytes)),
        column(&|flow| flow.retransmissions.total().to_string()),
        column(&|flow| flow.out_of_order.to_string()),
        column(&|flow| flow.duplicate_acks.to_string()),
        column(&|flow| flow.zero_windows.to_string()),
        rtt(|rtt| rtt.p50),
        rtt(|rtt| rtt.p99),
    ]
}

/// Every figure of a conversation.
fn one_conversation(account: &WireAccount, conversation: &Conversation, width: Option<u16>) -> String {
    let flows = [&conversation.from_a, &conversation.from_b];
    let count = |name: &str, pick: fn(&Flow) -> u64| row(name, flows.map(|flow| pick(flow).to_string()));
    let rtt = |name: &str, pick: fn(&RttMs) -> f64| {
        row(name, flows.map(|flow| number_or_absent(flow.rtt_ms.as_ref().map(pick))))
    };
    let rows = [
        count("packets", |flow| flow.total.packets),
        row("bytes on the wire", flows.map(|flow| bytes(flow.total.wire_bytes))),
        row("payload", flows.map(|flow| bytes(flow.payload_bytes))),
        count("pure acknowledgements", |flow| flow.overhead.pure_acks.packets),
        count("opening (SYN)", |flow| flow.syns),
        count("closing (FIN)", |flow| flow.fins),
        count("aborting (RST)", |flow| flow.resets),
        count("sent again, fast", |flow| flow.retransmissions.fast),
        count("sent again, in recovery", |flow| flow.retransmissions.recovery),
        count("sent again, time-out", |flow| flow.retransmissions.timeout),
        count("sent again, spurious", |flow| flow.retransmissions.spurious),
        count("out of order", |flow| flow.out_of_order),
        count("duplicate ACKs", |flow| flow.duplicate_acks),
        count("zero windows", |flow| flow.zero_windows),
        count("windows full", |flow| flow.windows_full),
        count("keep-alives", |flow| flow.keep_alives),
        count("gaps before a segment", |flow| flow.gaps),
        count("ACKs of what was not seen", |flow| flow.acks_of_unseen),
        row(
            "RTT samples",
            flows.map(|flow| flow.rtt_ms.map_or_else(|| ABSENT.into(), |rtt| rtt.samples.to_string())),
        ),
        rtt("RTT ms, p50", |rtt| rtt.p50),
        rtt("RTT ms, p90", |rtt| rtt.p90),
        rtt("RTT ms, p99", |rtt| rtt.p99),
        rtt("RTT ms, greatest", |rtt| rtt.max),
    ];
    let [number_of, from_a, from_b] = [
        format!("#{}", conversation.number),
        format!("{} →", conversation.a),
        format!("{} →", conversation.b),
    ];
    let handshake = conversation.handshake_rtt_ms.map_or_else(
        || "its opening was not seen".to_owned(),
        |ms| format!("opened within {} ms", number(ms)),
    );
    let times =
        format!("from {} to {} ms, {handshake}", number(conversation.start_ms), number(conversation.end_ms),);
    format!(
        "\n{}\n{}\n{}\n{}",
        table(&[&number_of, &from_a, &from_b], rows).text(width),
        wrapped(&times, width, "  "),
        overhead(&conversation.overhead).text(width),
        graph::of_conversation(account, conversation, width)
    )
}

fn row(name: &str, cells: [String; 2]) -> Vec<String> {
    let [a, b] = cells;
    vec![name.to_owned(), a, b]
}

/// The first column says whose figures the others are.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let (key, figures) = header.split_at(1);
    let table = key.iter().fold(Table::new(), |table, name| table.key(name));
    let mut table = figures.iter().fold(table, |table, name| table.figure(name));
    rows.into_iter().for_each(|row| table.row(row));
    table
}

/// As in `512 B`, `3.29 MB`: powers of 1000, as the papers' tables have it.
fn bytes(amount: u64) -> String {
    let (unit, name) = match amount {
        0..1_000 => return format!("{amount} B"),
        1_000..1_000_000 => (1e3, "kB"),
        1_000_000..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{} {name}", number(amount as f64 / unit))
}

fn number_or_absent(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.into(), number)
}
