//! TCP beside a migration, as tables: streams as in tables 1 and 2 of Prakash et al., request/response as in 3 and 4.

use dunlin_record::{Outcome, ProbeOutcome, Responses, SocketBuffers, TcpConnections, TcpStreamOutcome};

use crate::Report;
use crate::cases::{CaseRow, case_rows};
use crate::format::{ABSENT, number};
use crate::grid::{Grid, spread};
use crate::layout::wrapped;

/// How many columns are words; the others are figures.
const WORDS: usize = 2;

/// What the buffers of both tables are.
pub(crate) const BUFFERS: &str = "Buffers are the kernels' figures when the sockets were made, as netperf tells them; \
                                  → what an end's kernel had made of its own by the end.";

/// The tables as text, with what their buffers are; nothing where no TCP probe ran. Wraps at `width` columns.
pub(crate) fn performance(report: &Report, width: Option<u16>) -> String {
    let mut text: String = grids(&case_rows(report)).iter().map(|grid| grid.text(width)).collect();
    if !text.is_empty() {
        text.push('\n');
        text.push_str(&wrapped(BUFFERS, width, ""));
    }
    text
}

/// The tables of a run; those without rows are left out.
pub(crate) fn grids(rows: &[CaseRow]) -> Vec<Grid> {
    [streams(rows), transactions(rows)].into_iter().filter(|grid| !grid.rows.is_empty()).collect()
}

fn streams(rows: &[CaseRow]) -> Grid {
    let of_case = |row: &CaseRow| {
        let names = names(row, |outcome| outcome.tcp_streams.keys());
        names.into_iter().map(|name| stream(row, &name)).collect::<Vec<_>>()
    };
    Grid {
        title: "TCP streams beside the migration",
        keys: WORDS,
        words: WORDS,
        header: vec![
            "case",
            "from → to",
            "sender's\nbuffer, B",
            "receiver's\nbuffer, B",
            "before\nMiB/s",
            "during\nMiB/s",
            "after\nMiB/s",
            "longest\nstall ms",
        ],
        rows: rows.iter().flat_map(of_case).collect(),
    }
}

fn stream(row: &CaseRow, name: &str) -> Vec<String> {
    let figure = |value: &dyn Fn(&TcpStreamOutcome) -> Option<f64>| {
        spread(row, |outcome| value(outcome.tcp_streams.get(name)?))
    };
    let first = row.completed().find_map(|outcome| outcome.tcp_streams.get(name));
    let reverse = first.is_some_and(|stream| stream.asked.reverse);
    let connections = first.and_then(|stream| stream.connections.as_ref());
    let (send, receive): (Buffer, Buffer) = (|buffers| buffers.send_bytes, |buffers| buffers.receive_bytes);
    let [sender, receiver] = if reverse {
        [at_remote(connections, send), at_local(connections, receive)]
    } else {
        [at_local(connections, send), at_remote(connections, receive)]
    };
    vec![
        row.title.clone(),
        ends(name, reverse).into(),
        sender,
        receiver,
        figure(&|stream| stream.rate_mib_s.before),
        figure(&|stream| stream.rate_mib_s.during),
        figure(&|stream| stream.rate_mib_s.after),
        figure(&|stream| stream.longest_stall.map(|stall| stall.length_ms)),
    ]
}

fn transactions(rows: &[CaseRow]) -> Grid {
    let of_case = |row: &CaseRow| {
        let names = names(row, |outcome| {
            let probes = outcome.probes.iter().filter(|(_, probe)| probe.connections.is_some());
            probes.map(|(name, _)| name)
        });
        names.into_iter().map(|name| exchange(row, &name)).collect::<Vec<_>>()
    };
    Grid {
        title: "TCP request/response beside the migration, transactions/s",
        keys: WORDS,
        words: WORDS,
        header: vec![
            "case",
            "local ↔ remote",
            "send buffer, B\nlocal, remote",
            "receive buffer, B\nlocal, remote",
            "before\n/s",
            "during\n/s",
            "after\n/s",
            "during, µs\np50, p99",
        ],
        rows: rows.iter().flat_map(of_case).collect(),
    }
}

fn exchange(row: &CaseRow, name: &str) -> Vec<String> {
    let figure = |value: &dyn Fn(&ProbeOutcome) -> Option<f64>| {
        spread(row, |outcome| value(outcome.probes.get(name)?))
    };
    let per_s = |part: fn(&ProbeOutcome) -> Option<&Responses>| {
        figure(&move |probe: &ProbeOutcome| part(probe)?.answered_per_s)
    };
    let during = |share: fn(&Responses) -> Option<f64>| {
        let of = |outcome: &Outcome| share(&outcome.probes.get(name)?.response_ms.as_ref()?.during);
        row.spread(of).map_or_else(|| ABSENT.into(), |spread| number(spread.median * 1e3))
    };
    let connections = row.completed().find_map(|outcome| outcome.probes.get(name)?.connections.as_ref());
    let both = |buffer: Buffer| {
        connections.map_or_else(
            || ABSENT.into(),
            |connections| format!("{}\n{}", buffer(connections.local), buffer(connections.remote)),
        )
    };
    vec![
        row.title.clone(),
        ends(name, false).replace('→', "↔"),
        both(|buffers| buffers.send_bytes),
        both(|buffers| buffers.receive_bytes),
        per_s(|probe| Some(&probe.response_ms.as_ref()?.before)),
        per_s(|probe| Some(&probe.response_ms.as_ref()?.during)),
        per_s(|probe| Some(&probe.response_ms.as_ref()?.after)),
        format!("{}\n{}", during(|times| times.p50), during(|times| times.p99)),
    ]
}

/// One of a socket's two buffers.
type Buffer = fn(SocketBuffers) -> u32;

/// A buffer of the measuring end, and what its kernel made of it.
fn at_local(connections: Option<&TcpConnections>, buffer: Buffer) -> String {
    let Some(TcpConnections { local, local_at_end, .. }) = connections else { return ABSENT.into() };
    let (begin, end) = (buffer(*local), buffer(*local_at_end));
    if begin == end { begin.to_string() } else { format!("{begin}\n→ {end}") }
}

fn at_remote(connections: Option<&TcpConnections>, buffer: Buffer) -> String {
    connections.map_or_else(|| ABSENT.into(), |connections| buffer(connections.remote).to_string())
}

/// Between which ends a TCP probe goes; in reverse the other end sends.
pub(crate) fn ends(name: &str, reverse: bool) -> &'static str {
    match (name.starts_with("hosts_"), reverse) {
        (false, false) => "bench → guest",
        (false, true) => "guest → bench",
        (true, false) => "source → destination",
        (true, true) => "destination → source",
    }
}

/// Every name that any completed outcome has, once.
fn names<'a, I: Iterator<Item = &'a String>>(
    row: &CaseRow<'a>,
    of: impl Fn(&'a Outcome) -> I,
) -> Vec<String> {
    let mut names: Vec<String> = row.completed().flat_map(of).cloned().collect();
    names.sort();
    names.dedup();
    names
}
