//! Where a VM is, and what has to be done so that one copy of it runs and never two.

use dunlin_record::{Place, Seen};

/// What is known of a migration that is over, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// What the source said. It must have been asked after the destination: the right to run only goes from it to there.
    pub source: Seen,
    /// What the destination said.
    pub destination: Seen,
    /// Whether the VM is to run: it did when the migration began.
    pub should_run: bool,
    /// Whether the destination has acknowledged that it will not run the VM by itself.
    pub held: bool,
    /// Whether the destination has run the VM, or has been in a position to do so without our knowing.
    pub may_have_run: bool,
    /// How the source stands to the migration.
    pub source_job: SourceJob,
}

/// How the source stands to the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceJob {
    /// It is still at it, or did not say.
    UnderWay,
    /// It has handed the VM over.
    HandedOver,
    /// It has left it without handing over: cancelled or failed.
    Left,
}

/// What to do next so that one copy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is there, as it should be.
    At(Place),
    /// Let it run at the source.
    ResumeSource,
    /// Let it run at the destination.
    ResumeDestination,
    /// See to it that the destination does not run it by itself.
    HoldDestination,
    /// End the destination, which does not and will not run it, so that the source may.
    EndDestination,
    /// Stop the source at once: both run, or would.
    StopSource,
    /// Ask again: it is about to become clear. If it does not in time, the VM is there.
    Wait {
        /// What is told where nothing becomes clear.
        else_at: Place,
    },
}

/// What follows from what both ends said.
///
/// Nothing is ended and nothing resumed while an end that may run the VM has not answered.
#[must_use]
pub fn verdict(ends: &Ends) -> Verdict {
    match ends.destination {
        Seen::Runs if ends.source == Seen::Runs => Verdict::StopSource,
        // When it goes on, the migration may fail there, and it would run again: it finds the command then.
        Seen::Runs if ends.source == Seen::Silent && ends.source_job != SourceJob::HandedOver => {
            Verdict::StopSource
        }
        Seen::Runs => Verdict::At(Place::Destination),
        Seen::Holds => destination_holds(ends),
        Seen::Waits => destination_waits(ends),
        Seen::Gone => destination_gone(ends),
        Seen::Silent => destination_silent(ends),
    }
}

/// It has all of the VM and does nothing by itself.
fn destination_holds(ends: &Ends) -> Verdict {
    use SourceJob::{HandedOver, Left, UnderWay};
    let there = if ends.should_run { Verdict::ResumeDestination } else { Verdict::At(Place::Destination) };
    match (ends.source, ends.source_job) {
        (Seen::Runs, _) => Verdict::At(Place::Source),
        // It ran there: that copy is ahead of whatever the source still holds.
        _ if ends.may_have_run => there,
        (_, HandedOver) | (Seen::Gone, _) => there,
        (Seen::Holds | Seen::Waits, Left) => back(ends),
        (Seen::Holds | Seen::Waits, UnderWay) | (Seen::Silent, _) => {
            Verdict::Wait { else_at: Place::Unknown }
        }
    }
}

/// It has nothing yet; what is on its way may still complete it, unless it is held.
fn destination_waits(ends: &Ends) -> Verdict {
    match (ends.source, ends.source_job) {
        // All of it may have been sent before the source failed: then it would run here in a moment.
        (Seen::Runs | Seen::Holds | Seen::Waits, SourceJob::Left) if ends.should_run && !ends.held => {
            Verdict::HoldDestination
        }
        (Seen::Runs, SourceJob::Left) => Verdict::At(Place::Source),
        (Seen::Runs, _) => Verdict::Wait { else_at: Place::Source },
        (Seen::Holds | Seen::Waits, SourceJob::Left) => back(ends),
        (Seen::Holds | Seen::Waits | Seen::Silent, _) => Verdict::Wait { else_at: Place::Unknown },
        (Seen::Gone, _) => Verdict::Wait { else_at: Place::Nowhere },
    }
}

fn destination_gone(ends: &Ends) -> Verdict {
    match (ends.source, ends.source_job) {
        (Seen::Runs, SourceJob::UnderWay) => Verdict::Wait { else_at: Place::Source },
        (Seen::Runs, _) => Verdict::At(Place::Source),
        (Seen::Gone, _) => Verdict::At(Place::Nowhere),
        (Seen::Silent, _) => Verdict::Wait { else_at: Place::Unknown },
        // The source may find out by itself, and run again.
        (Seen::Holds | Seen::Waits, SourceJob::UnderWay) => {
            Verdict::Wait { else_at: if ends.may_have_run { Place::Nowhere } else { Place::Unknown } }
        }
        (Seen::Holds | Seen::Waits, _) if ends.may_have_run => Verdict::At(Place::Nowhere),
        (Seen::Holds | Seen::Waits, _) => back(ends),
    }
}

fn destination_silent(ends: &Ends) -> Verdict {
    match (ends.source, ends.source_job) {
        // At most one may run, and this one does.
        (Seen::Runs, SourceJob::Left) if ends.held => Verdict::At(Place::Source),
        (Seen::Runs, SourceJob::Left) => Verdict::EndDestination,
        (Seen::Runs, _) => Verdict::Wait { else_at: Place::Source },
        (Seen::Holds | Seen::Waits, SourceJob::Left) if ends.held => back(ends),
        (Seen::Holds | Seen::Waits, SourceJob::Left) if !ends.may_have_run => Verdict::EndDestination,
        _ => Verdict::Wait { else_at: Place::Unknown },
    }
}

/// The VM is the source's again.
fn back(ends: &Ends) -> Verdict {
    if ends.should_run { Verdict::ResumeSource } else { Verdict::At(Place::Source) }
}
