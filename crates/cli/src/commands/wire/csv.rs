//! Tables of captures as CSV (RFC 4180): names and units in the header, nothing where nothing is known.

use std::io::{self, Write};

use dunlin_record::{Conversation, Flow, StreamKind, WireMigration};

use super::{Read, name};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Table {
    /// A line for each direction of each TCP conversation
    Conversations,
    /// A line for each protocol
    Protocols,
    /// A line for each tick
    Graph,
    /// A line for each migration, or for each of its outages
    Migrations,
}

const CONVERSATION: [&str; 39] = [
    "file",
    "conversation",
    "direction",
    "from",
    "to",
    "start_ms",
    "end_ms",
    "handshake_rtt_ms",
    "may_lack_bytes",
    "begins_as",
    "packets",
    "wire_bytes",
    "payload_bytes",
    "goodput_bytes",
    "unseen_bytes",
    "header_bytes",
    "pure_ack_packets",
    "pure_ack_bytes",
    "handshake_packets",
    "handshake_bytes",
    "retransmission_packets",
    "retransmission_bytes",
    "syns",
    "fins",
    "resets",
    "fast",
    "recovery",
    "timeout",
    "spurious",
    "out_of_order",
    "duplicate_acks",
    "zero_windows",
    "windows_full",
    "keep_alives",
    "gaps",
    "acks_of_unseen",
    "rtt_samples",
    "rtt_p50_ms",
    "rtt_p99_ms",
];

const MIGRATION: [&str; 18] = [
    "file",
    "evidence",
    "from",
    "to",
    "conversations",
    "goodput_bytes",
    "begin_ms",
    "end_ms",
    "moved",
    "first_announced_ms",
    "service",
    "address",
    "client",
    "outage_ms",
    "outage_begin_ms",
    "outage_end_ms",
    "interval_ms",
    "requests",
];

/// Writes a table of all files.
pub(super) fn write(out: &mut dyn Write, table: Table, all: &[Read<'_>]) -> io::Result<()> {
    match table {
        Table::Conversations => {
            line(out, CONVERSATION)?;
            for read in all {
                for one in &read.account.conversations {
                    line(out, conversation(read, one, true))?;
                    line(out, conversation(read, one, false))?;
                }
            }
        }
        Table::Protocols => {
            line(out, ["file", "protocol", "packets", "wire_bytes"])?;
            for read in all {
                for share in &read.account.protocols {
                    let [packets, wire_bytes] = [share.amount.packets, share.amount.wire_bytes];
                    let numbers = [packets.to_string(), wire_bytes.to_string()];
                    line(out, [name(read.file), share.protocol.clone()].into_iter().chain(numbers))?;
                }
            }
        }
        Table::Graph => {
            line(out, ["file", "begin_ms", "length_ms", "packets", "wire_bytes"])?;
            for read in all {
                let graph = &read.account.graph;
                for ((tick, packets), wire_bytes) in
                    graph.tick.iter().zip(&graph.packets).zip(&graph.wire_bytes)
                {
                    let [begin_ms, length_ms] = [*tick as f64 * graph.tick_ms, graph.tick_ms];
                    let cells = [
                        begin_ms.to_string(),
                        length_ms.to_string(),
                        packets.to_string(),
                        wire_bytes.to_string(),
                    ];
                    line(out, [name(read.file)].into_iter().chain(cells))?;
                }
            }
        }
        Table::Migrations => {
            line(out, MIGRATION)?;
            for read in all {
                for one in &read.migrations {
                    migration(out, read, one)?;
                }
            }
        }
    }
    Ok(())
}

fn conversation(read: &Read<'_>, one: &Conversation, is_from_a: bool) -> Vec<String> {
    let (flow, from, to) =
        if is_from_a { (&one.from_a, &one.a, &one.b) } else { (&one.from_b, &one.b, &one.a) };
    let Flow { overhead, retransmissions, rtt_ms, .. } = flow;
    let mut cells = vec![
        name(read.file),
        one.number.to_string(),
        if is_from_a { "a" } else { "b" }.into(),
        from.clone(),
        to.clone(),
        one.start_ms.to_string(),
        one.end_ms.to_string(),
        optional(one.handshake_rtt_ms),
        one.may_lack_bytes.to_string(),
        flow.begins_as.map_or_else(String::new, |kind| stream(kind).into()),
    ];
    let counts = [
        flow.total.packets,
        flow.total.wire_bytes,
        flow.payload_bytes,
        overhead.goodput_bytes,
        flow.unseen_bytes,
        overhead.header_bytes(),
        overhead.pure_acks.packets,
        overhead.pure_acks.wire_bytes,
        overhead.handshakes.packets,
        overhead.handshakes.wire_bytes,
        overhead.retransmissions.packets,
        overhead.retransmissions.wire_bytes,
        flow.syns,
        flow.fins,
        flow.resets,
        retransmissions.fast,
        retransmissions.recovery,
        retransmissions.timeout,
        retransmissions.spurious,
        flow.out_of_order,
        flow.duplicate_acks,
        flow.zero_windows,
        flow.windows_full,
        flow.keep_alives,
        flow.gaps,
        flow.acks_of_unseen,
    ];
    cells.extend(counts.map(|count| count.to_string()));
    cells.push(optional(rtt_ms.map(|rtt| rtt.samples)));
    cells.extend([rtt_ms.map(|rtt| rtt.p50), rtt_ms.map(|rtt| rtt.p99)].map(optional));
    cells
}

fn migration(out: &mut dyn Write, read: &Read<'_>, one: &WireMigration) -> io::Result<()> {
    let conversations: Vec<String> = one.conversations.iter().map(u64::to_string).collect();
    let moved: Vec<&str> = one.moved.iter().map(|moved| moved.mac.as_str()).collect();
    let [from, to] = one.hosts.clone().unwrap_or_default();
    let first_ms = one.moved.iter().map(|moved| moved.first_ms).min_by(f64::total_cmp);
    let cells = [
        name(read.file),
        super::migrations::evidence(one.evidence).into(),
        from,
        to,
        conversations.join(" "),
        one.goodput_bytes.to_string(),
        optional(one.begin_ms),
        optional(one.end_ms),
        moved.join(" "),
        optional(first_ms),
    ];
    if one.outages.is_empty() {
        return line(out, cells.into_iter().chain(vec![String::new(); 8]));
    }
    for outage in &one.outages {
        let more = [
            outage.what.clone(),
            outage.address.clone(),
            outage.client.clone(),
            outage.outage_ms.to_string(),
            outage.begin_ms.to_string(),
            outage.end_ms.to_string(),
            outage.interval_ms.to_string(),
            outage.requests.to_string(),
        ];
        line(out, cells.iter().cloned().chain(more))?;
    }
    Ok(())
}

/// As JSON has it.
fn stream(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::QemuMigration => "qemu-migration",
        StreamKind::QemuChannel => "qemu-channel",
        StreamKind::XenMigration => "xen-migration",
        StreamKind::Nbd => "nbd",
        StreamKind::Libvirt => "libvirt",
        StreamKind::Tls => "tls",
        StreamKind::Ssh => "ssh",
        StreamKind::Http => "http",
    }
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn line<T: AsRef<str>>(out: &mut dyn Write, cells: impl IntoIterator<Item = T>) -> io::Result<()> {
    let cells: Vec<String> = cells.into_iter().map(|cell| quoted(cell.as_ref())).collect();
    write!(out, "{}\r\n", cells.join(","))
}

/// With quotes where a field needs them.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
