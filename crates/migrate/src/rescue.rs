//! The end of a migration, however it went: at most one copy runs, one runs again, and where is asked, not guessed.

use std::time::Duration;

use dunlin_hypervisor::{Act, Presence, Side};
use dunlin_policy::{Ends, SourceJob, Verdict, verdict};
use dunlin_record::{EventKind, Place, Seen, Status};

use crate::run::{GaveUp, Run};
use crate::sequence::Ended;

/// How long a cancel may take before connections are broken by force.
const CANCEL_LIMIT: Duration = Duration::from_secs(4);
/// How long it may take after that.
const BREAK_LIMIT: Duration = Duration::from_secs(6);
/// How long a hypervisor may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long both ends may take to become clear about where the VM is, if nothing is wrong with either.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// After how long a place that is not believed at once is.
const DOUBT: Duration = Duration::from_millis(300);
/// How often ends are asked that are not clear about it.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Where a VM is, and what made that known.
struct Settled {
    place: Place,
    source: Presence,
    destination: Presence,
    /// When it was told to run at the destination, if it was.
    resumed_there_ns: Option<i64>,
}

impl Run<'_, '_> {
    /// After both ends have said that they are complete.
    pub(crate) fn complete(mut self) -> Ended {
        let settled = self.settle();
        self.conclude(settled, Status::Completed, None)
    }

    /// After anything else: takes the VM back if that is safe, else sees the migration through.
    pub(crate) fn give_up(mut self, GaveUp { status, mut reason, asks_for_words }: GaveUp) -> Ended {
        self.follow(Duration::ZERO);
        if self.watch.is_committed() {
            self.note("see-through", &reason);
            self.see_through();
            if !self.watch.has_gone_over() && self.watch.source_job() == SourceJob::UnderWay {
                self.note("cancel", "what was asked for has not come about");
                self.back_out();
            }
        } else {
            self.note("cancel", &reason);
            self.back_out();
        }
        let mut settled = self.settle();
        if asks_for_words {
            // Only now: while words are waited for, two copies might run.
            reason = self.explain(&reason);
            if settled.place != Place::Unknown {
                let resumed_there_ns = settled.resumed_there_ns;
                settled = self.settle();
                settled.resumed_there_ns = settled.resumed_there_ns.or(resumed_there_ns);
            }
        }
        self.conclude(settled, status, Some(reason))
    }

    /// Ends a migration whose VM has not gone over, with hands on whatever could let it run there meanwhile.
    fn back_out(&mut self) {
        let until = self.after(self.patience());
        while self.watch.source_job() == SourceJob::UnderWay && !self.job.mover.is_managed() {
            let is_held = self.hold_an_end();
            if self.watch.has_gone_over() {
                // It had arrived before it was held.
                return self.see_through();
            }
            if is_held || self.left_until(until).is_none() {
                break;
            }
            // Whoever may run it does not say: nothing is safe to be done but to ask again.
            self.pause(ASK_EVERY);
            let _ = self.count();
        }
        // First, as the source may be waiting for them.
        self.abandon_disks();
        // A VM that was stopped before may still begin to run there by post-copy, which the cancel then finds.
        let is_safe = self.job.mover.is_managed() || self.watch.stopped_before || self.has_hold();
        if is_safe && self.watch.source_job() == SourceJob::UnderWay {
            self.cancel();
            if self.watch.has_gone_over() && self.watch.source_job() == SourceJob::UnderWay {
                self.see_through();
            }
        }
    }

    /// Whether the VM cannot begin to run at the destination by itself.
    fn has_hold(&mut self) -> bool {
        self.watch.held
            || self.watch.arrives_stopped()
            || self.watch.stands_before_switch_over()
            || self.job.mover.ask(Side::Destination).seen == Seen::Gone
    }

    /// Sees to it that the VM cannot begin to run at the destination by itself; says whether it cannot.
    fn hold_an_end(&mut self) -> bool {
        let held = self.act(Act::HoldDestination);
        // That it ran there before it was held is told before the answer.
        self.follow(Duration::ZERO);
        let Err(error) = held else { return true };
        if self.has_hold() {
            return true;
        }
        self.warn("the destination cannot be held", &error);
        let held = self.act(Act::HoldSource);
        self.follow(Duration::ZERO);
        if let Err(error) = &held {
            self.warn("the source cannot be held", error);
        }
        held.is_ok()
    }

    /// Cancels and waits until the source says that it has left the migration, by force where that sticks.
    fn cancel(&mut self) {
        // Some take it in post-copy too, and tear that apart.
        let _ = self.count();
        if !self.is_undecided() {
            return;
        }
        // A source that refuses may do so because it is too late, which shows soon; one that does not answer is forced below.
        if let Err(error) = self.act(Act::Cancel) {
            self.warn("it cannot be cancelled", &error);
        }
        if self.await_leaving(CANCEL_LIMIT) {
            return;
        }
        if self.job.mover.is_managed() {
            self.await_leaving(BREAK_LIMIT);
            return;
        }
        self.note("break-connections", "the cancel did not take effect");
        if let Err(error) = self.act(Act::BreakConnections) {
            self.warn("its connections cannot be broken", &error);
        }
        self.await_leaving(BREAK_LIMIT);
    }

    /// Asks a product that did not answer again to cancel its job, which else goes on for as long as it likes: it knows itself
    /// whether that is in time. Says whether it will.
    fn cancel_again(&mut self) -> bool {
        if !self.job.mover.is_managed() || !self.is_undecided() || self.watch.is_committed() {
            return false;
        }
        self.note(Act::Cancel.name(), "the first one was not answered, and the migration goes on");
        match self.act(Act::Cancel) {
            Ok(()) => self.await_leaving(CANCEL_LIMIT),
            Err(error) => {
                self.warn("it cannot be cancelled", &error);
                false
            }
        }
    }

    /// Waits until the source is through with the migration one way or the other, or the VM has gone over; says whether it
    /// is so. Post-copy refuses to be cancelled, and would be torn apart.
    fn await_leaving(&mut self, limit: Duration) -> bool {
        let until = self.after(limit);
        while self.is_undecided() {
            let Some(left) = self.left_until(until) else { return false };
            self.follow(left.min(Duration::from_millis(100)));
            if self.is_undecided() && self.count().is_err() {
                return self.job.mover.ask(Side::Source).seen == Seen::Gone;
            }
        }
        true
    }

    fn is_undecided(&self) -> bool {
        self.watch.source_job() == SourceJob::UnderWay && !self.watch.has_gone_over()
    }

    /// Waits for a migration that can no longer be taken back: until both ends are complete, or one of them is out of it
    /// for good, or patience has an end. As long as bytes move it begins anew, up to twice the migration's own limit.
    fn see_through(&mut self) {
        let patience = self.patience();
        let total = Duration::from_secs_f64(self.job.limits.total_ms.max(0.0) / 1e3);
        let last_ns = self.after(patience.max(2 * total));
        let mut until_ns = self.after(patience);
        while self.left_until(until_ns).is_some() {
            self.follow(ASK_EVERY);
            let both_complete = self.watch.destination_completed_ns.is_some() || self.job.mover.is_managed();
            if self.watch.source_completed_ns.is_some() && both_complete {
                return;
            }
            // A connection that is lost does not come back by itself.
            if self.watch.post_copy_paused || self.watch.source_job() == SourceJob::Left {
                return;
            }
            let moved_ns = self.watch.moved_ns();
            // Nobody counts for an end that is gone, which the next question shows.
            let counted = self.count().is_ok();
            if self.watch.moved_ns() != moved_ns {
                until_ns = self.after(patience).min(last_ns);
            }
            let gone = |run: &mut Self, side| run.job.mover.ask(side).seen == Seen::Gone;
            // With a product a VM that is not there yet is no sign of anything.
            let is_lost = !self.job.mover.is_managed() && gone(self, Side::Destination);
            if is_lost || (!counted && gone(self, Side::Source)) {
                return;
            }
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.job.limits.patience_ms.max(0.0) / 1e3)
    }

    /// Asks both ends where the VM is, again and again until that is clear, and does what is needed for one copy to run.
    fn settle(&mut self) -> Settled {
        let mut until = self.after(SETTLE_LIMIT);
        // An end that does not answer may be held up by something that passes; then it gets as long as any other.
        let until_if_silent = self.after(self.patience());
        let mut resumed_there_ns = None;
        let (mut at_first, mut is_last_resort) = (None, false);
        let mut noted = None;
        loop {
            // In this order: the right to run only goes from the source to the destination.
            let destination = self.job.mover.ask(Side::Destination);
            let source = self.job.mover.ask(Side::Source);
            // What they said before they answered belongs to the answer.
            self.follow(Duration::ZERO);
            let ends = self.ends(&source, &destination);
            let verdict = verdict(&ends);
            match verdict {
                Verdict::At(place) if self.is_doubtful(place, &ends) && at_first != Some(place) => {
                    at_first = Some(place);
                    self.pause(DOUBT);
                    continue;
                }
                Verdict::At(place) => return Settled { place, source, destination, resumed_there_ns },
                _ => {}
            }
            if self.cancel_unanswered && source.seen != Seen::Silent && self.cancel_again() {
                until = self.after(SETTLE_LIMIT);
                continue;
            }
            let (mut act, otherwise) = remedy(verdict, &source, &destination);
            let is_silent = [&source, &destination].iter().any(|presence| presence.seen == Seen::Silent);
            if is_silent && self.left_until(until_if_silent).is_some() {
                until = self.after(SETTLE_LIMIT);
            }
            let is_managed = self.job.mover.is_managed();
            let may_act = |act: &Act| !is_managed || !is_for_our_own_ends(*act);
            if self.left_until(until).is_none() {
                let arrived = self.watch.destination_completed_ns.is_some();
                act = last_resort(verdict, &ends, arrived).filter(|act| !is_last_resort && may_act(act));
                if act.is_none() {
                    return Settled { place: otherwise, source, destination, resumed_there_ns };
                }
                is_last_resort = true;
                until = self.after(SETTLE_LIMIT);
            }
            let act = act.filter(may_act);
            if let Some(act) = act {
                // Asked again and again, it is told once for each reason.
                let reason = why(&ends);
                if noted.as_ref() != Some(&(act.name(), reason.clone())) {
                    self.note(act.name(), &reason);
                    noted = Some((act.name(), reason));
                }
                // A hypervisor may refuse for as long as the migration is on its way out: it is asked again.
                if self.act(act).is_ok() && act == Act::Resume(Side::Destination) {
                    resumed_there_ns = Some(self.world.now_ns());
                    continue;
                }
            }
            self.pause(ASK_EVERY);
            // Where an event was lost, the answer tells.
            let _ = self.count();
        }
    }

    fn ends(&self, source: &Presence, destination: &Presence) -> Ends {
        // Whatever it could have done there is gone. A source whose migration failed goes on by itself, even so; where we
        // stopped it in the meantime, that is for us to do.
        let is_left_alone = destination.seen == Seen::Gone && self.watch.source_job() == SourceJob::Left;
        let has_run = self.watch.has_run_there();
        let is_managed = self.job.mover.is_managed();
        let may_have_run =
            if is_left_alone && !is_managed { has_run } else { self.watch.may_have_run_there() };
        let source_job = self.watch.source_job();
        // With a product it is there only when it has arrived, which it may until its job has ended.
        let is_expected = is_managed && destination.seen == Seen::Gone && source_job == SourceJob::UnderWay;
        // What is still shown as about to arrive the product may yet let run, whatever it says of its job: an order to do so
        // may be on its way.
        let is_in_its_hands = !matches!(destination.seen, Seen::Silent | Seen::Waits);
        Ends {
            source: source.seen,
            destination: if is_expected { Seen::Waits } else { destination.seen },
            should_run: self.watch.should_run,
            // A product holds by itself an end that it has in its hands, which one that does not answer is not.
            held: self.watch.held || (is_managed && is_in_its_hands && !is_expected),
            may_have_run,
            has_run,
            // A source that has lost its post-copy takes nothing back.
            source_job: if self.watch.post_copy_paused { SourceJob::HandedOver } else { source_job },
        }
    }

    /// Whether a place is not believed at once. A VM may appear where it was not a moment ago, as it does with a product that
    /// had it all there already; and a source that says that its migration failed may be about to run it again.
    fn is_doubtful(&self, place: Place, ends: &Ends) -> bool {
        let has_left = ends.source_job == SourceJob::Left;
        match place {
            Place::Nowhere => true,
            Place::Destination => has_left && matches!(ends.source, Seen::Holds | Seen::Waits),
            Place::Source => has_left && self.job.mover.is_managed() && ends.destination == Seen::Gone,
            Place::Unknown => false,
        }
    }

    /// Records the end, and takes away what is no longer needed.
    fn conclude(mut self, settled: Settled, status: Status, error: Option<String>) -> Ended {
        let Settled { place, source, destination, resumed_there_ns } = settled;
        // The last word is what both ends say in the end.
        let arrived = place == Place::Destination && self.watch.source_completed_ns.is_some();
        if arrived {
            let ends =
                [self.watch.source_completed_ns, self.watch.destination_completed_ns, resumed_there_ns];
            let t_ns = ends.into_iter().flatten().max().unwrap_or_else(|| self.world.now_ns());
            self.tell_at(t_ns, Side::Destination, EventKind::MigrationCompleted);
            match self.job.mover.report() {
                Ok(report) => self.tell(Side::Source, EventKind::HypervisorReport(report)),
                Err(error) => self.warn("the hypervisor's own account of the migration", &error),
            }
            // The counters' last word, now that they are final: of a short last pass there may be none yet.
            let _ = self.count();
        }
        // A managed product has a VM no more that has left, and knows of its job all the same.
        let can_tell = match source.seen {
            Seen::Gone => self.job.mover.is_managed() && arrived,
            Seen::Silent => false,
            _ => true,
        };
        if can_tell {
            match self.job.mover.mechanisms() {
                Ok(seen) => {
                    seen.into_iter().for_each(|one| self.tell(Side::Source, EventKind::MechanismSeen(one)));
                }
                Err(error) => self.warn("what was used of what was asked for", &error),
            }
        }
        if place == Place::Source {
            let running = source.seen == Seen::Runs;
            self.tell(Side::Source, EventKind::SourceChecked { running, state: source.word.clone() });
            // What we prepared there holds nothing that is worth anything.
            if !self.job.mover.is_managed()
                && let Err(error) = self.job.mover.act(Act::EndDestination { limit: END_LIMIT })
            {
                self.warn("the destination was not ended", &error);
            }
        }
        self.tell(Side::Source, placed(place, &source, &destination));
        let ended = match (place, self.check_record()) {
            (_, Err(unkept)) => Ended { status: Status::Failed, error: Some(unkept.reason), place },
            (Place::Destination, Ok(())) if arrived => {
                Ended { status: Status::Completed, error: None, place }
            }
            (Place::Source, Ok(())) if status != Status::Completed => Ended { status, error, place },
            (Place::Source | Place::Destination, Ok(())) => {
                let error = error.or_else(|| Some("the VM did not stay where it had been moved to".into()));
                Ended { status: Status::Failed, error, place }
            }
            (Place::Nowhere | Place::Unknown, Ok(())) => {
                let error = lost(place, &source, &destination, "resumed", error.as_deref());
                Ended { status: Status::Failed, error: Some(error), place }
            }
        };
        let disks = ended.error.is_some().then(|| self.disks_told()).flatten();
        let error = ended.error.map(|error| match disks {
            Some(disks) => format!("{error}; {disks}"),
            None => error,
        });
        Ended { error, ..ended }
    }
}

/// What a verdict asks for, and where the VM is told to be if it does not help in time.
fn remedy(verdict: Verdict, source: &Presence, destination: &Presence) -> (Option<Act>, Place) {
    match verdict {
        Verdict::At(place) => (None, place),
        Verdict::Wait { else_at } => (None, else_at),
        Verdict::ResumeSource => (Some(Act::Resume(Side::Source)), Place::Nowhere),
        Verdict::ResumeDestination => (Some(Act::Resume(Side::Destination)), Place::Nowhere),
        Verdict::HoldDestination if destination.seen == Seen::Runs => {
            (Some(Act::HoldDestination), Place::Destination)
        }
        Verdict::HoldDestination => (Some(Act::HoldDestination), without_answer(source)),
        Verdict::EndDestination => (Some(Act::EndDestination { limit: END_LIMIT }), without_answer(source)),
        Verdict::StopSource if destination.seen == Seen::Runs => (Some(Act::StopSource), Place::Destination),
        Verdict::StopSource => (Some(Act::StopSource), Place::Unknown),
    }
}

/// What is done where nothing else has helped in time.
fn last_resort(verdict: Verdict, ends: &Ends, arrived: bool) -> Option<Act> {
    let is_superseded = match ends.destination {
        Seen::Runs => matches!(ends.source, Seen::Holds | Seen::Waits | Seen::Silent),
        Seen::Silent if ends.has_run => matches!(ends.source, Seen::Holds | Seen::Waits | Seen::Silent),
        // One that is silent may have run it again meanwhile.
        Seen::Holds => matches!(ends.source, Seen::Holds | Seen::Waits),
        _ => false,
    };
    if arrived && is_superseded && ends.source_job == SourceJob::UnderWay {
        // It has not heard that all has arrived. Once it finds its connection broken, it would run the VM too.
        return Some(Act::EndSource { limit: END_LIMIT });
    }
    // The source is refused what it needs to run again; all of the VM is at the destination.
    (verdict == Verdict::ResumeSource && ends.destination == Seen::Holds)
        .then_some(Act::Resume(Side::Destination))
}

/// Whether an act is none to be done to an end that a product looks after by itself.
fn is_for_our_own_ends(act: Act) -> bool {
    matches!(act, Act::HoldDestination | Act::EndSource { .. } | Act::EndDestination { .. })
}

/// Where the VM is told to be if a destination can neither be held nor ended: the source's own answer stands.
fn without_answer(source: &Presence) -> Place {
    if source.seen == Seen::Runs { Place::Source } else { Place::Unknown }
}

/// Why something is done to an end, in the record.
fn why(ends: &Ends) -> String {
    let word = |seen| match seen {
        Seen::Runs => "runs it",
        Seen::Holds => "holds it",
        Seen::Waits => "waits for it",
        Seen::Gone => "is gone",
        Seen::Silent => "does not answer",
    };
    format!("the source {}, the destination {}", word(ends.source), word(ends.destination))
}

/// Where the VM is in the end, as both ends said.
pub(crate) fn placed(place: Place, source: &Presence, destination: &Presence) -> EventKind {
    EventKind::VmPlaced {
        place,
        source: source.seen,
        source_word: source.word.clone(),
        destination: destination.seen,
        destination_word: destination.word.clone(),
    }
}

/// What is told of a VM that runs nowhere, or nobody knows where; then nothing was ended, nor what else might be to be done.
pub(crate) fn lost(
    place: Place,
    source: &Presence,
    destination: &Presence,
    undone: &str,
    reason: Option<&str>,
) -> String {
    let head = match place {
        Place::Nowhere => "the VM runs nowhere".to_owned(),
        _ => format!("it is not known where the VM runs, so nothing was ended and nothing {undone}"),
    };
    let reason = reason.map(|reason| format!(" after: {reason}")).unwrap_or_default();
    format!("{head} (source: {}; destination: {}){reason}", source.word, destination.word)
}
