//! A stream of ours beside `scp`, on a link that limits both.

use std::sync::Arc;

use dunlin_record::{FileCompression, Link, Links, Transfer, TransferWay};
use dunlin_testbed::{Host, Inside, Lab, LabSpec, Testbed};

use super::{NamelessFile, WAYS, bring, image};
use crate::roles::up;

const RATE_MBIT: f64 = 100.0;
const ROUNDS: usize = 3;
/// What the table is made of, where nobody says.
const TABLE_MIB: u64 = 200;
/// Names the size of the file that the table is made of.
const TABLE_MIB_VARIABLE: &str = "DUNLIN_CARRY_MIB";

/// Neither is much slower than the other; how much exactly is for the table to say, on a machine with nothing else to do.
pub(crate) fn compared(inside: &Inside) {
    let lab = slow(inside);
    let [from, to] = &Testbed::hosts(&lab)[..] else { panic!("two hosts") };
    let length = 10 << 20;
    let file = image(length, &[(0, length)]);
    let mut took_ms = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (way, took_ms) in WAYS.into_iter().zip(&mut took_ms) {
            let transfer = Transfer { way, ..Transfer::default() };
            took_ms.push(parts(from, to, &file, &transfer)[1].unwrap());
        }
    }
    let medians = took_ms.each_mut().map(|took| median(took));
    println!("10 MiB at 100 Mbit/s: stream {:.1} ms, scp {:.1} ms: {took_ms:.1?}", medians[0], medians[1]);
    let at_best_ms = length as f64 * 8.0 / RATE_MBIT / 1e3;
    assert!(medians.iter().all(|ms| *ms > 0.9 * at_best_ms), "the link limits them");
    let ratio = medians[0] / medians[1];
    assert!((0.3..1.5).contains(&ratio), "{ratio:.2}");
}

/// Every way with every compression, N = 3 each, interleaved: parts as medians.
pub(crate) fn table(inside: &Inside) {
    let mib = std::env::var(TABLE_MIB_VARIABLE).ok().map_or(TABLE_MIB, |mib| mib.parse().unwrap());
    let lab = slow(inside);
    let [from, to] = &Testbed::hosts(&lab)[..] else { panic!("two hosts") };
    let file = image(mib << 20, &[(0, mib << 20)]);
    let rows = [
        (TransferWay::Scp, FileCompression::None, 1),
        (TransferWay::Scp, FileCompression::Gzip, 1),
        (TransferWay::Scp, FileCompression::Zstd, 1),
        (TransferWay::Scp, FileCompression::Zstd, 2),
        (TransferWay::Stream, FileCompression::None, 1),
        (TransferWay::Stream, FileCompression::Gzip, 1),
        (TransferWay::Stream, FileCompression::Gzip, 2),
        (TransferWay::Stream, FileCompression::Zstd, 1),
        (TransferWay::Stream, FileCompression::Zstd, 2),
    ];
    let mut took: Vec<[Vec<f64>; 4]> = rows.iter().map(|_| Default::default()).collect();
    for round in 0..ROUNDS {
        for ((way, compression, threads), took) in rows.into_iter().zip(&mut took) {
            let transfer = Transfer { way, compression, threads, ..Transfer::default() };
            let parts = parts(from, to, &file, &transfer);
            println!("round {round}: {} {} {threads}: {parts:.0?}", way.name(), compression.name());
            for (part, took) in parts.into_iter().zip(took) {
                took.extend(part);
            }
        }
    }
    println!(
        "{mib} MiB, 50 % compressible, {RATE_MBIT} Mbit/s; medians of {ROUNDS}, in s; ranges of the whole"
    );
    println!("| way | compression | threads | compress | transfer | decompress | whole | range |");
    println!("|---|---|---|---|---|---|---|---|");
    for ((way, compression, threads), mut took) in rows.into_iter().zip(took) {
        let range = took[3].clone();
        let [least, most] =
            [range.iter().copied().fold(f64::MAX, f64::min), range.iter().copied().fold(0.0, f64::max)];
        let cells = took.each_mut().map(|took| match took.len() {
            0 => "-".to_owned(),
            _ => format!("{:.2}", median(took) / 1e3),
        });
        println!(
            "| {} | {} | {threads} | {} | {:.2}-{:.2} |",
            way.name(),
            compression.name(),
            cells.join(" | "),
            least / 1e3,
            most / 1e3
        );
    }
}

fn slow(inside: &Inside) -> Lab {
    let migration = Link { rate_mbit: Some(RATE_MBIT), ..Link::default() };
    up(inside, &LabSpec::new(Links { migration, ..Links::default() }))
}

/// Carries a file; in ms compressing, transfer, decompressing, and the whole of what is one after the other.
fn parts(
    from: &Arc<dyn Host>,
    to: &Arc<dyn Host>,
    file: &NamelessFile,
    transfer: &Transfer,
) -> [Option<f64>; 4] {
    let there = to.scratch().join("compared.raw");
    let carried = bring(from, &file.path(), to, &there, transfer, &mut |_| ()).unwrap();
    to.remove(&there).unwrap();
    let (compress, transfer, decompress) = (carried.compress_ms, carried.transfer_ms, carried.decompress_ms);
    let whole = if carried.overlapped {
        transfer
    } else {
        Some([compress, transfer, decompress].into_iter().flatten().sum())
    };
    [compress, transfer, decompress, whole]
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
