//! A capture as people read it.

use std::fmt::Write as _;

use dunlin_record::{Amount, Conversation, Flow, Overhead, RttMs, WireAccount};
use dunlin_report::{Table, number, utc, wrapped};

use super::{Read, graph, migrations, name};

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
    for line in (cautions(account) + &migrations::text(&read.migrations)).lines() {
        text += &wrapped(line, width, "  ");
    }
    if account.total.packets == 0 {
        return text;
    }
    let _ = write!(text, "\n{}", protocols(account).text(width));
    if !account.conversations.is_empty() {
        let _ = write!(text, "\n{}", conversations(account).text(width));
        text += &others(account);
        let _ = write!(text, "\n{}", overhead(&account.overhead).text(width));
    }
    text + "\n" + &graph::of_file(account, width)
}

/// What the table of conversations leaves out.
fn others(account: &WireAccount) -> String {
    let mut text = String::new();
    if account.conversations.len() > MOST_CONVERSATIONS {
        let more = account.conversations.len() - MOST_CONVERSATIONS;
        let _ = writeln!(text, "and {more} smaller ones: --json has them all");
    }
    let unlisted = account.unlisted;
    if unlisted.conversations > 0 {
        let _ = writeln!(
            text,
            "and {} yet smaller ones, counted only: {} packets, {}",
            unlisted.conversations,
            unlisted.total.packets,
            bytes(unlisted.total.wire_bytes)
        );
    }
    text
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
    let mut text = format!("{}: {}", name(read.file), account.format);
    if !interfaces.is_empty() {
        let _ = write!(text, ", {}", interfaces.join(", "));
    }
    let _ =
        write!(text, "\n{} packets, {} on the wire", account.total.packets, bytes(account.total.wire_bytes));
    if account.captured_bytes < account.total.wire_bytes {
        let _ = write!(text, " ({} of them captured)", bytes(account.captured_bytes));
    }
    if let Some(duration_ms) = account.duration_ms {
        let begin = account.start_epoch_ns.map_or_else(
            || "a time that 64 bits cannot tell".into(),
            |start_ns| {
                utc(start_ns.saturating_add((account.start_ms.unwrap_or(0.0) * 1e6) as i64) / 1_000_000)
            },
        );
        let _ = write!(text, ", {} ms from {begin}", number(duration_ms));
    }
    text.push('\n');
    if account.not_selected > 0 {
        let _ = writeln!(text, "{} more packets were left out, as asked", account.not_selected);
    }
    if account.seen_again.packets > 0 {
        let _ = writeln!(
            text,
            "{} of them were seen again on another interface, and count once",
            account.seen_again.packets
        );
    }
    text
}

/// What lowers the worth of the figures.
fn cautions(account: &WireAccount) -> String {
    let mut text = String::new();
    if let Some(dropped) = account.dropped.filter(|dropped| *dropped > 0) {
        let _ = writeln!(text, "the capture missed {dropped} packets: all amounts are too small");
    }
    if account.unseen_bytes > 0 {
        let _ = writeln!(
            text,
            "at least {} of TCP payload are not in the file: amounts are too small, and more may have been sent again",
            bytes(account.unseen_bytes)
        );
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
        (account.too_deep, "packets have more tunnels in each other than are looked into"),
        (
            account.unlisted.let_go,
            "TCP conversations were let go while they were open: too many were at once",
        ),
    ];
    for (amount, what) in counted.into_iter().filter(|(amount, _)| *amount > 0) {
        let _ = writeln!(text, "{amount} {what}");
    }
    if account.unlisted.let_go > 0 {
        let _ = writeln!(
            text,
            "of a conversation whose opening was not seen up to {} may be missing",
            bytes(account.unlisted.let_go_bytes)
        );
    }
    text + &tunnels(account)
}

/// Which tunnels were looked into, and which were not.
fn tunnels(account: &WireAccount) -> String {
    let mut text = String::new();
    let all = account.total.wire_bytes.max(1) as f64;
    for (shares, what) in [(&account.tunnels, "looked into tunnels"), (&account.unopened, "not looked into")]
    {
        let told: Vec<String> = shares
            .iter()
            .map(|share| {
                let Amount { packets, wire_bytes } = share.amount;
                format!("{} {packets} packets ({:.2} %)", share.protocol, 100.0 * wire_bytes as f64 / all)
            })
            .collect();
        if !told.is_empty() {
            let _ = writeln!(text, "{what}: {}", told.join(", "));
        }
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
            amount_row("goodput: payload seen first", goodput, all),
            header("  its link headers", overhead.link_header_bytes),
            header("  its IP headers", overhead.ip_header_bytes),
            header("  its TCP headers", overhead.tcp_header_bytes),
            amount_row("pure acknowledgements", overhead.pure_acks, all),
            amount_row("opening and closing", overhead.handshakes, all),
            amount_row("nothing new: sent again, out of order", overhead.retransmissions, all),
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
        row("payload not seen, at least", flows.map(|flow| bytes(flow.unseen_bytes))),
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
    let lacks = if conversation.may_lack_bytes > 0 {
        format!("; up to {} of its begin may be missing", bytes(conversation.may_lack_bytes))
    } else {
        String::new()
    };
    let [start, end] = [conversation.start_ms, conversation.end_ms].map(number);
    let times = format!("from {start} to {end} ms, {handshake}{lacks}");
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
pub(super) fn bytes(amount: u64) -> String {
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
