//! Reads back what was captured of a trial's migration, for its outcome and its page.

use dunlin_record::{EventKind, RunFolder, TrialCapture, TrialId, TrialRecord, in_one_line};
use dunlin_wire::{AccountOptions, PacketReader, account};

use crate::{BenchError, Observer, Result};

/// The length of a tick of the graphs.
const TICK_NS: i64 = 10_000_000;

/// What the source's interface to the migration network carried; `None` where that was not captured, or the file is gone.
///
/// # Errors
/// Where the file cannot be read at all. One that is cut or damaged is read as far as it goes.
pub fn read_migration_capture(folder: &RunFolder, record: &TrialRecord) -> Result<Option<TrialCapture>> {
    let source = record.events.iter().find_map(|event| match &event.kind {
        EventKind::TrialStarted { source, .. } => Some(source),
        _ => None,
    });
    let Some(source) = source else { return Ok(None) };
    let file = format!("{source}-migration.pcapng");
    let path = folder.captures_path(&record.id).join(&file);
    if !path.exists() {
        return Ok(None);
    }
    let mut reader = PacketReader::open(&path).map_err(|source| BenchError::ReadCapture { path, source })?;
    let account = account(&mut reader, AccountOptions { tick_ns: TICK_NS });
    // Where probes had their other ends, and where the destination took the VM's disks.
    let probed = ends(record, |kind| match kind {
        EventKind::ProbeConnection { connection, .. } => Some(&connection.peer),
        _ => None,
    });
    let disks = ends(record, |kind| match kind {
        EventKind::StorageMirrorStarted { address } => Some(address),
        _ => None,
    });
    Ok(Some(TrialCapture { trial: record.id.clone(), file, probed, disks, account }))
}

/// The ends of conversations that events tell, each once.
fn ends(record: &TrialRecord, of: impl Fn(&EventKind) -> Option<&String>) -> Vec<String> {
    let mut all: Vec<String> = record.events.iter().filter_map(|event| of(&event.kind).cloned()).collect();
    all.sort();
    all.dedup();
    all
}

/// All that a trial's outcome is computed from. A capture that cannot be read costs its own figures only.
pub(crate) fn read_whole(
    folder: &RunFolder,
    id: &TrialId,
    observer: &mut dyn Observer,
) -> Result<TrialRecord> {
    let mut record = folder.read_trial(id)?;
    add_capture(folder, &mut record, observer);
    Ok(record)
}

/// Puts what was captured of the migration into its record.
pub(crate) fn add_capture(folder: &RunFolder, record: &mut TrialRecord, observer: &mut dyn Observer) {
    match read_migration_capture(folder, record) {
        Ok(capture) => record.capture = capture,
        Err(error) => observer.note(&format!("warning: {}", in_one_line(&error))),
    }
}
