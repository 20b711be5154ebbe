//! Moves for which a VM stood still: their parts side by side, and what travelled of its files.

use dunlin_analysis::Reading;
use dunlin_record::{Case, FileCompression, FileOutcome, Outcome, TransferWay};

use crate::Report;
use crate::cases::{CaseRow, case_rows};
use crate::format::{ABSENT, megabytes, reading};
use crate::grid::{Grid, spread};
use crate::layout::wrapped;
use crate::storage::Figure;
use crate::words::Downtime;

/// All figures, in their order: their names in JSON and in CSV.
pub(crate) const FIGURES: [Figure; 8] = [
    Figure { name: "standstill_rest_ms", of: |of| of.standstill_ms?.rest },
    Figure { name: "standstill_compress_ms", of: |of| of.standstill_ms?.compress },
    Figure { name: "standstill_transfer_ms", of: |of| of.standstill_ms?.transfer },
    Figure { name: "standstill_decompress_ms", of: |of| of.standstill_ms?.decompress },
    Figure { name: "standstill_wake_ms", of: |of| of.standstill_ms?.wake },
    Figure { name: "files_content_bytes", of: |of| read(of).map(|bytes| bytes as f64) },
    Figure { name: "files_sent_bytes", of: |of| sent(of).map(|bytes| bytes as f64) },
    Figure { name: "files_compress_ms", of: |of| all_files(of, |file| file.compress_ms) },
];

/// What the columns are.
pub(crate) const LEGEND: &str = "Parts follow one another: the VM is put to rest, its files are compressed, travel, are \
                                 decompressed, and it is woken. A stream compresses and decompresses while they travel; that is \
                                 part of transfer. Read is what was read of the files, sent what travelled: the same compressed, \
                                 where asked for. The downtimes are those that the probes saw.";

/// The table as text; nothing where no VM stood still.
pub(crate) fn standstill(report: &Report, width: Option<u16>) -> String {
    grid(&case_rows(report))
        .map_or_else(String::new, |grid| format!("{}\n{}", grid.text(width), wrapped(LEGEND, width, "")))
}

/// The table; nothing where no VM stood still.
pub(crate) fn grid(rows: &[CaseRow]) -> Option<Grid> {
    let stood_still: Vec<&CaseRow> =
        rows.iter().filter(|row| row.completed().any(|outcome| outcome.standstill_ms.is_some())).collect();
    (!stood_still.is_empty()).then(|| Grid {
        title: "Cold and offline",
        keys: 1,
        words: 2,
        header: vec![
            "case",
            "how",
            "rest\ns",
            "compress\ns",
            "transfer\ns",
            "decompress\ns",
            "wake\ns",
            "total\ns",
            "icmp\ndown s",
            "udp\ndown s",
            "read\nMB",
            "sent\nMB",
            "floor\ns",
        ],
        rows: stood_still.into_iter().map(cells).collect(),
    })
}

fn cells(row: &CaseRow) -> Vec<String> {
    let mut cells = vec![row.title.clone(), row.case.map_or_else(|| row.strategy.clone(), how)];
    let in_s = |of: fn(&Outcome) -> Option<f64>| spread(row, move |outcome| Some(of(outcome)? / 1e3));
    cells.extend(FIGURES[..5].iter().map(|part| in_s(part.of)));
    cells.push(in_s(|outcome| outcome.total_time_ms));
    cells.extend([Downtime::Icmp, Downtime::Udp].map(|downtime| {
        let median = row.downtime(downtime).map(|spread| spread.median);
        median.map_or_else(
            || ABSENT.into(),
            |Reading { low, high }| reading(Reading { low: low / 1e3, high: high / 1e3 }),
        )
    }));
    cells.push(spread(row, |outcome| read(outcome).map(megabytes)));
    cells.push(spread(row, |outcome| sent(outcome).map(megabytes)));
    cells.push(in_s(|outcome| outcome.floor_ms));
    cells
}

/// How the files of a case were to be brought.
fn how(case: &Case) -> String {
    let Some(transfer) = case.strategy.standstill() else { return case.strategy.name().into() };
    let mut text = format!("{}, {}", case.strategy.name(), transfer.way.name());
    if transfer.compression != FileCompression::None {
        text.push_str(&format!(", {}", transfer.compression.name()));
        if let Some(level) = transfer.level {
            text.push_str(&format!("\u{a0}{level}"));
        }
        if transfer.threads > 1 {
            text.push_str(&format!(", {}\u{a0}threads", transfer.threads));
        }
    }
    if transfer.way == TransferWay::Stream && transfer.sparse == Some(false) {
        text.push_str(", holes too");
    }
    text
}

/// What was read of all files; absent where none was brought.
pub(crate) fn read(outcome: &Outcome) -> Option<i64> {
    sum(outcome, |file| file.content_bytes)
}

/// What travelled of them.
pub(crate) fn sent(outcome: &Outcome) -> Option<i64> {
    sum(outcome, |file| file.sent_bytes)
}

fn sum(outcome: &Outcome, of: fn(&FileOutcome) -> i64) -> Option<i64> {
    (!outcome.files.is_empty()).then(|| outcome.files.iter().map(of).fold(0, i64::saturating_add))
}

/// A figure of all files added up; absent where one of them has none.
fn all_files(outcome: &Outcome, of: fn(&FileOutcome) -> Option<f64>) -> Option<f64> {
    let all: Option<Vec<f64>> = outcome.files.iter().map(of).collect();
    all.filter(|all| !all.is_empty()).map(|all| (all.iter().sum::<f64>() * 1e3).round() / 1e3)
}
