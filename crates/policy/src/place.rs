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
    /// Whether it is known to have run it, so that its copy is ahead of the source's.
    pub has_run: bool,
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
    /// Stop the source at once: both run, or would, or may, the destination's copy being ahead.
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
        // For the same reason, but it is heard of at once.
        Seen::Runs
            if matches!(ends.source, Seen::Holds | Seen::Waits) && ends.source_job == SourceJob::UnderWay =>
        {
            Verdict::Wait { else_at: Place::Destination }
        }
        // It began to run by itself, as post-copy lets it.
        Seen::Runs if !ends.should_run => Verdict::HoldDestination,
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
        // A source whose migration failed runs it again by itself.
        (Seen::Silent, UnderWay | Left) => Verdict::Wait { else_at: Place::Unknown },
        // It ran there: that copy is ahead of whatever the source still holds.
        _ if ends.may_have_run => there,
        (_, HandedOver) | (Seen::Gone, _) => there,
        (Seen::Holds | Seen::Waits, Left) => back(ends),
        (Seen::Holds | Seen::Waits, UnderWay) => Verdict::Wait { else_at: Place::Unknown },
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
        (Seen::Runs, _) => still_at_source(ends),
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
        (Seen::Runs, SourceJob::Left) if ends.has_run => Verdict::StopSource,
        (Seen::Runs, SourceJob::Left) if ends.held => Verdict::At(Place::Source),
        (Seen::Runs, SourceJob::Left) => Verdict::EndDestination,
        (Seen::Runs, _) => still_at_source(ends),
        (Seen::Holds | Seen::Waits, SourceJob::Left) if ends.held && !ends.has_run => back(ends),
        (Seen::Holds | Seen::Waits, SourceJob::Left) if !ends.may_have_run => Verdict::EndDestination,
        // All may have been sent before the source failed, and that runs the VM again by itself: it finds the command when it
        // goes on.
        (Seen::Silent, SourceJob::Left) if !ends.held && !ends.has_run => Verdict::HoldDestination,
        (Seen::Silent, SourceJob::Left | SourceJob::UnderWay) if ends.has_run => Verdict::StopSource,
        _ => Verdict::Wait { else_at: Place::Unknown },
    }
}

/// The VM runs at the source: a migration that is still under way may take it from there at any moment.
fn still_at_source(ends: &Ends) -> Verdict {
    let may_go = ends.source_job == SourceJob::UnderWay && !ends.held;
    Verdict::Wait { else_at: if may_go { Place::Unknown } else { Place::Source } }
}

/// The VM is the source's again.
fn back(ends: &Ends) -> Verdict {
    if ends.should_run { Verdict::ResumeSource } else { Verdict::At(Place::Source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [Seen; 5] = [Seen::Runs, Seen::Holds, Seen::Waits, Seen::Gone, Seen::Silent];
    const JOBS: [SourceJob; 3] = [SourceJob::UnderWay, SourceJob::HandedOver, SourceJob::Left];

    /// All that can be known.
    fn all() -> Vec<Ends> {
        let mut all = Vec::new();
        for (source, destination) in SEEN.into_iter().flat_map(|source| SEEN.map(|other| (source, other))) {
            for source_job in JOBS {
                for flags in 0..16 {
                    let [should_run, held, may_have_run, has_run] =
                        [1, 2, 4, 8].map(|flag| flags & flag != 0);
                    if may_have_run || !has_run {
                        all.push(Ends {
                            source,
                            destination,
                            should_run,
                            held,
                            may_have_run,
                            has_run,
                            source_job,
                        });
                    }
                }
            }
        }
        all
    }

    /// Fails with what is known where `is_right` does not hold of the verdict.
    fn each(is_right: impl Fn(&Ends, Verdict) -> bool) {
        for ends in all() {
            let verdict = verdict(&ends);
            assert!(is_right(&ends, verdict), "{verdict:?} for {ends:?}");
        }
    }

    #[test]
    fn the_source_runs_again_only_where_the_destination_cannot() {
        each(|ends, verdict| {
            let cannot = match ends.destination {
                Seen::Runs => false,
                Seen::Silent => ends.held && !ends.has_run,
                Seen::Waits => ends.held,
                Seen::Holds | Seen::Gone => !ends.may_have_run,
            };
            let is_asked_for = ends.should_run && matches!(ends.source, Seen::Holds | Seen::Waits);
            let has_ended = ends.source_job == SourceJob::Left
                || (ends.destination == Seen::Gone && ends.source_job == SourceJob::HandedOver);
            verdict != Verdict::ResumeSource || (cannot && is_asked_for && has_ended)
        });
    }

    #[test]
    fn the_destination_runs_only_what_it_has_while_the_source_does_not_run() {
        each(|ends, verdict| {
            let source_cannot = match ends.source {
                Seen::Runs => false,
                Seen::Silent => ends.source_job == SourceJob::HandedOver,
                Seen::Holds | Seen::Waits | Seen::Gone => true,
            };
            let may_run = ends.destination == Seen::Holds
                && ends.should_run
                && source_cannot
                && (ends.may_have_run
                    || ends.source_job == SourceJob::HandedOver
                    || ends.source == Seen::Gone);
            verdict != Verdict::ResumeDestination || may_run
        });
    }

    #[test]
    fn a_destination_is_ended_only_where_it_is_silent_and_the_source_has_the_vm() {
        each(|ends, verdict| {
            let has_it = ends.source == Seen::Runs
                || (matches!(ends.source, Seen::Holds | Seen::Waits) && !ends.may_have_run);
            let may_end = ends.destination == Seen::Silent
                && ends.source_job == SourceJob::Left
                && !ends.held
                && !ends.has_run
                && has_it;
            verdict != Verdict::EndDestination || may_end
        });
    }

    #[test]
    fn a_copy_is_stopped_only_where_another_one_runs() {
        each(|ends, verdict| {
            let both = ends.destination == Seen::Runs && matches!(ends.source, Seen::Runs | Seen::Silent);
            let may_both = ends.destination == Seen::Silent
                && matches!(ends.source, Seen::Runs | Seen::Silent)
                && ends.has_run;
            verdict != Verdict::StopSource || both || may_both
        });
        each(|ends, verdict| {
            let both_run = ends.destination == Seen::Runs && ends.source == Seen::Runs;
            !both_run || verdict == Verdict::StopSource
        });
    }

    #[test]
    fn a_place_is_told_only_where_the_vm_is_as_it_should_be() {
        each(|ends, verdict| match verdict {
            Verdict::At(Place::Source) => {
                let as_it_should = if ends.should_run {
                    ends.source == Seen::Runs
                } else {
                    matches!(ends.source, Seen::Runs | Seen::Holds | Seen::Waits)
                };
                as_it_should && ends.destination != Seen::Runs
            }
            Verdict::At(Place::Destination) => {
                let as_it_should =
                    ends.destination == Seen::Runs || (ends.destination == Seen::Holds && !ends.should_run);
                as_it_should && ends.source != Seen::Runs
            }
            Verdict::At(Place::Nowhere) => {
                ends.destination == Seen::Gone && !matches!(ends.source, Seen::Runs | Seen::Silent)
            }
            Verdict::At(Place::Unknown) => false,
            _ => true,
        });
    }

    #[test]
    fn a_place_that_a_migration_under_way_may_change_is_not_told() {
        each(|ends, verdict| {
            let may_still_go = ends.source == Seen::Runs
                && ends.source_job == SourceJob::UnderWay
                && matches!(ends.destination, Seen::Waits | Seen::Silent)
                && !ends.held;
            !may_still_go || verdict == Verdict::Wait { else_at: Place::Unknown }
        });
    }

    #[test]
    fn what_nobody_has_to_do_anything_about_is_never_waited_for() {
        each(|ends, verdict| {
            let is_clear = ends.source_job == SourceJob::Left
                && ends.destination == Seen::Gone
                && ends.source != Seen::Silent;
            !is_clear || !matches!(verdict, Verdict::Wait { .. })
        });
    }
}
