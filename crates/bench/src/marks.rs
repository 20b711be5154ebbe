//! Puts the phases of a trial's migrations into its captures, once they are known.

use dunlin_analysis::{Boundary, boundaries};
use dunlin_record::{EventKind, RunFolder, TrialRecord, in_one_line};
use dunlin_wire::{CaptureMark, annotate};

use crate::Observer;

/// Comments each capture of a trial where a phase begins. A capture that cannot be is as good without.
pub(crate) fn mark_captures(folder: &RunFolder, record: &TrialRecord, observer: &mut dyn Observer) {
    let boundaries = boundaries(record);
    for event in &record.events {
        let EventKind::CaptureEnded { file, clock_offset_ns, .. } = &event.kind else { continue };
        let mark = |boundary: &Boundary| CaptureMark {
            epoch_ns: boundary.t_ns - clock_offset_ns,
            text: boundary.text.clone(),
        };
        let marks: Vec<CaptureMark> = boundaries.iter().map(mark).collect();
        if let Err(error) = annotate(&folder.captures_path(&record.id).join(file), &marks) {
            observer.note(&format!("warning: {}", in_one_line(&error)));
        }
    }
}
