//! What became of disks that moved with their VMs, or lay at a server: bytes, rates, steps, and the floor they set.

use dunlin_record::{
    Blocks, Case, Outcome, StorageFault, StorageFaultKind, StorageNetworkBytes, StorageServer, StorageStep,
    Writes,
};

use crate::Report;
use crate::cases::{CaseRow, Spread, case_rows};
use crate::format::{ABSENT, megabytes, number};
use crate::grid::{Grid, spread};
use crate::layout::wrapped;
use crate::words::share;

const MIB: f64 = 1_048_576.0;

/// A figure of it: its name in JSON, and in CSV.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Outcome) -> Option<f64>,
}

const fn figure(name: &'static str, of: fn(&Outcome) -> Option<f64>) -> Figure {
    Figure { name, of }
}

fn bytes(bytes: Option<i64>) -> Option<f64> {
    bytes.map(|bytes| bytes as f64)
}

/// All of them, in their order.
pub(crate) const FIGURES: [Figure; 21] = [
    figure("phase_storage_ms", |of| of.phases_ms.storage),
    figure("storage_floor_ms", |of| of.storage_floor_ms),
    figure("storage_data_bytes", |of| bytes(of.storage_bytes?.data)),
    figure("storage_copied_bytes", |of| bytes(of.storage_bytes?.copied)),
    figure("storage_wire_bytes", |of| bytes(of.storage_bytes?.wire)),
    figure("storage_virtual_size_mib", |of| of.storage_mib?.virtual_size),
    figure("storage_allocated_mib", |of| of.storage_mib?.allocated),
    figure("storage_data_mib", |of| of.storage_mib?.data),
    figure("storage_after_allocated_mib", |of| of.storage_after_mib?.allocated),
    figure("storage_network_source_tx_bytes", |of| bytes(of.storage_network_bytes?.source_tx)),
    figure("storage_network_source_rx_bytes", |of| bytes(of.storage_network_bytes?.source_rx)),
    figure("storage_network_destination_tx_bytes", |of| bytes(of.storage_network_bytes?.destination_tx)),
    figure("storage_network_destination_rx_bytes", |of| bytes(of.storage_network_bytes?.destination_rx)),
    figure("storage_disks_step_ms", |of| of.storage_steps?.disks.time_ms),
    figure("storage_disks_step_wire_bytes", |of| bytes(of.storage_steps?.disks.wire_bytes)),
    figure("storage_disks_step_downtime_icmp_ms", |of| of.storage_steps?.disks.downtime_ms.icmp),
    figure("storage_disks_step_downtime_udp_ms", |of| of.storage_steps?.disks.downtime_ms.udp),
    figure("storage_memory_step_ms", |of| of.storage_steps?.memory.time_ms),
    figure("storage_memory_step_wire_bytes", |of| bytes(of.storage_steps?.memory.wire_bytes)),
    figure("storage_memory_step_downtime_icmp_ms", |of| of.storage_steps?.memory.downtime_ms.icmp),
    figure("storage_memory_step_downtime_udp_ms", |of| of.storage_steps?.memory.downtime_ms.udp),
];

/// What the columns are.
pub(crate) const LEGEND: &str = "Held is what the disks' files have that is no hole (of all they could hold), swap included; \
                                 copied is what the hypervisor says; wire is what the source sent while it made the disks even; \
                                 storage net is what both hosts sent and received on the storage network during the migration, \
                                 which is not among the migration's bytes. Disks' floor is the part of the floor that they set.";

/// The tables as text; nothing where no disk moved or lay at a server.
pub(crate) fn storage(report: &Report, width: Option<u16>) -> String {
    let rows = case_rows(report);
    let grids = grids(&rows);
    let mut text: String = grids.iter().map(|grid| grid.text(width)).collect();
    if !text.is_empty() {
        text.push('\n');
        text.push_str(&wrapped(LEGEND, width, ""));
    }
    for (index, line) in comparisons(&rows).iter().enumerate() {
        text.push_str(if index == 0 { "\nCompared block by block:\n" } else { "" });
        text.push_str(&wrapped(line, width, "  "));
    }
    text
}

/// The tables of a run; those without rows are left out.
pub(crate) fn grids(rows: &[CaseRow]) -> Vec<Grid> {
    [disks(rows), steps(rows)].into_iter().filter(|grid| !grid.rows.is_empty()).collect()
}

fn disks(rows: &[CaseRow]) -> Grid {
    let has_any = |outcome: &Outcome| {
        let moved_live = outcome.storage_bytes.is_some() && outcome.standstill_ms.is_none();
        moved_live || outcome.storage_network_bytes.is_some()
    };
    Grid {
        title: "Disks",
        keys: 1,
        words: 2,
        header: vec![
            "case",
            "how",
            "held\nMB",
            "of all\nMB",
            "copied\nMB",
            "wire\nMB",
            "storage\nnet MB",
            "disks\ns",
            "MiB/s",
            "disks'\nfloor s",
            "total\ns",
            "floor\ns",
        ],
        rows: rows.iter().filter(|row| row.completed().any(has_any)).map(disk_cells).collect(),
    }
}

fn disk_cells(row: &CaseRow) -> Vec<String> {
    let in_mb = |of: fn(&Outcome) -> Option<i64>| spread(row, move |outcome| of(outcome).map(megabytes));
    let in_s = |of: fn(&Outcome) -> Option<f64>| spread(row, move |outcome| Some(of(outcome)? / 1e3));
    vec![
        row.title.clone(),
        row.case.map_or_else(|| ABSENT.into(), how),
        in_mb(|outcome| outcome.storage_bytes?.data),
        spread(row, |outcome| Some(outcome.storage_mib?.virtual_size? * MIB / 1e6)),
        in_mb(|outcome| outcome.storage_bytes?.copied),
        in_mb(|outcome| outcome.storage_bytes?.wire),
        in_mb(|outcome| outcome.storage_network_bytes.as_ref().and_then(both_hosts)),
        in_s(|outcome| outcome.phases_ms.storage),
        spread(row, rate_mib_s),
        in_s(|outcome| outcome.storage_floor_ms),
        in_s(|outcome| outcome.total_time_ms),
        in_s(|outcome| outcome.floor_ms),
    ]
}

/// What was sent a second while the disks were made even.
fn rate_mib_s(outcome: &Outcome) -> Option<f64> {
    let (sent, ms) = (outcome.storage_bytes?.wire?, outcome.phases_ms.storage?);
    (ms > 0.0).then(|| sent as f64 / MIB / (ms / 1e3))
}

/// Both hosts' both directions; absent where any is not known, or it would be too little.
fn both_hosts(bytes: &StorageNetworkBytes) -> Option<i64> {
    let StorageNetworkBytes { source_tx, source_rx, destination_tx, destination_rx } = bytes;
    [source_tx, source_rx, destination_tx, destination_rx].into_iter().copied().sum()
}

/// What was to befall the server of a case's disks.
fn befell(fault: &StorageFault) -> String {
    let how = match fault.kind {
        StorageFaultKind::Kill => "killed",
        StorageFaultKind::Freeze => "frozen",
    };
    format!(", {how} for {}\u{a0}s after {}\u{a0}s", fault.for_s, fault.after_s)
}

/// What was asked of a case's disks.
fn how(case: &Case) -> String {
    let storage = &case.storage;
    if !case.vm.moves_disks() {
        return match storage.server {
            StorageServer::Folder => "shared".into(),
            server => {
                let fault = storage.fault.as_ref().map(befell).unwrap_or_default();
                format!("shared, {}{fault}", server.name())
            }
        };
    }
    let blocks = match storage.blocks {
        Blocks::Allocated => "allocated",
        Blocks::Overlay => "overlay",
        Blocks::All => "all blocks",
    };
    let writes = match storage.writes {
        Writes::WhenDue => None,
        Writes::Background => Some("background".to_owned()),
        Writes::InStep => Some("in step".to_owned()),
    };
    let steps = storage.two_steps.then(|| "two steps".to_owned());
    let rate = storage.rate_mib_s.map(|rate| format!("≤\u{a0}{rate}\u{a0}MiB/s"));
    let parts = [Some(blocks.to_owned()), writes, steps, rate];
    let fault = storage.fault.as_ref().map(befell).unwrap_or_default();
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ") + &fault
}

fn steps(rows: &[CaseRow]) -> Grid {
    let of_case = |row: &CaseRow| {
        let has_steps = row.completed().any(|outcome| outcome.storage_steps.is_some());
        let disks = has_steps.then(|| step_cells(row, "disks", |outcome| Some(outcome.storage_steps?.disks)));
        let memory =
            has_steps.then(|| step_cells(row, "memory", |outcome| Some(outcome.storage_steps?.memory)));
        disks.into_iter().chain(memory).collect::<Vec<_>>()
    };
    Grid {
        title: "Both steps of migrations in two",
        keys: 2,
        words: 2,
        header: vec![
            "case",
            "step",
            "s",
            "wire\nMB",
            "storage\nnet MB",
            "icmp\noutage ms",
            "udp\noutage ms",
            "tcp\noutage ms",
            "http\noutage ms",
        ],
        rows: rows.iter().flat_map(of_case).collect(),
    }
}

fn step_cells(row: &CaseRow, name: &str, step: fn(&Outcome) -> Option<StorageStep>) -> Vec<String> {
    let figure = |of: fn(StorageStep) -> Option<f64>| spread(row, move |outcome| of(step(outcome)?));
    vec![
        row.title.clone(),
        name.into(),
        figure(|step| Some(step.time_ms? / 1e3)),
        figure(|step| step.wire_bytes.map(megabytes)),
        figure(|step| step.storage_network_bytes.map(megabytes)),
        figure(|step| step.downtime_ms.icmp),
        figure(|step| step.downtime_ms.udp),
        figure(|step| step.downtime_ms.tcp),
        figure(|step| step.downtime_ms.http),
    ]
}

/// What was compared block by block, a line a case and a disk.
pub(crate) fn comparisons(rows: &[CaseRow]) -> Vec<String> {
    let of_case = |row: &CaseRow| {
        let mut disks: Vec<&str> = Vec::new();
        for compared in row.outcomes.iter().flat_map(|outcome| &outcome.storage_compared) {
            if !disks.contains(&compared.disk.as_str()) {
                disks.push(&compared.disk);
            }
        }
        let line = |disk: &str| {
            let all = row.outcomes.iter().flat_map(|outcome| &outcome.storage_compared);
            let of_disk: Vec<_> = all.filter(|compared| compared.disk == disk).collect();
            let equal = of_disk.iter().filter(|compared| compared.equal).count();
            let amount = Spread::of(of_disk.iter().map(|compared| compared.compared_bytes as f64 / 1e6));
            let amount = amount.map_or_else(|| ABSENT.into(), |spread| number(spread.median));
            format!("{}: {amount} MB of {disk}, equal in {}", row.title, share(equal, of_disk.len()))
        };
        disks.into_iter().map(line).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of_case).collect()
}
