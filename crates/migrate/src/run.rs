//! A migration under way and what all its steps share: what is known of it, and the one way to let time pass.

use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::{Act, HypervisorError, MirrorProgress, Mover, Progress, Side};
use dunlin_policy::Limits;
use dunlin_record::{Event, EventKind, Status, Strategy, in_one_line};

use crate::storage::Disks;
use crate::surroundings::Surroundings;
use crate::watch::Watch;

/// How often the source's counters are read.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// How long a process may take from closing its sockets to its end.
const DYING_LIMIT: Duration = Duration::from_secs(1);

/// A migration to be done.
pub struct Job<'a> {
    /// Both ends, ready for it.
    pub mover: &'a mut dyn Mover,
    /// How.
    pub strategy: &'a Strategy,
    /// How long it may take.
    pub limits: Limits,
    /// The user's wish to end it.
    pub cancel: &'a Cancel,
    /// Takes the source's counters each time they are read.
    pub on_progress: &'a mut dyn FnMut(i64, &Progress) -> dunlin_record::Result<()>,
    /// Takes the counters of the disks' copies each time they are read.
    pub on_mirrors: &'a mut dyn FnMut(i64, &MirrorProgress) -> dunlin_record::Result<()>,
}

/// Why a sequence was left before its end.
pub(crate) struct GaveUp {
    pub(crate) status: Status,
    pub(crate) reason: String,
    /// Whether the hypervisors may say more of it, when there is time for that.
    pub(crate) asks_for_words: bool,
}

impl GaveUp {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { status: Status::Failed, reason: reason.into(), asks_for_words: false }
    }

    /// A failure that came to be known by what came of it.
    pub(crate) fn unexplained(reason: impl Into<String>) -> Self {
        Self { asks_for_words: true, ..Self::failed(reason) }
    }

    pub(crate) fn not_converged(reason: String) -> Self {
        Self { status: Status::NotConverged, ..Self::failed(reason) }
    }

    pub(crate) fn cancelled() -> Self {
        Self { status: Status::Cancelled, reason: "ended by the user".into(), asks_for_words: false }
    }

    /// Fails once something of the record could not be kept.
    pub(crate) fn if_unkept(world: &dyn Surroundings) -> Result<(), Self> {
        world.failure().map_or(Ok(()), |error| {
            Err(Self::failed(format!("its record cannot be kept: {}", in_one_line(error))))
        })
    }
}

impl From<HypervisorError> for GaveUp {
    fn from(error: HypervisorError) -> Self {
        Self::failed(in_one_line(&error))
    }
}

pub(crate) struct Run<'a, 'w> {
    pub(crate) job: Job<'a>,
    pub(crate) world: &'w mut dyn Surroundings,
    pub(crate) watch: Watch,
    /// How the VM's disks stand.
    pub(crate) disks: Disks,
    /// A cancel was asked for, and neither done nor refused: it may be lost.
    pub(crate) cancel_unanswered: bool,
}

impl Run<'_, '_> {
    /// Lets time pass until something happens, at most `limit`, and takes note of all that has happened by then. Nothing
    /// is read elsewhere: what was recorded was also seen.
    pub(crate) fn follow(&mut self, limit: Duration) {
        let mut next = self.world.next(limit);
        while let Some(event) = next {
            self.watch.see(&event);
            next = self.world.next(Duration::ZERO);
        }
    }

    /// Lets a time pass, whatever happens.
    pub(crate) fn pause(&mut self, time: Duration) {
        let until = self.after(time);
        while let Some(left) = self.left_until(until) {
            self.follow(left);
        }
    }

    /// The moment that lies a time ahead.
    pub(crate) fn after(&self, time: Duration) -> i64 {
        self.world.after(time)
    }

    /// How long it is until a moment; nothing once it has come.
    pub(crate) fn left_until(&self, moment_ns: i64) -> Option<Duration> {
        self.world.left_until(moment_ns)
    }

    /// Records what happened to the VM on a side, now.
    pub(crate) fn tell(&mut self, side: Side, kind: EventKind) {
        let t_ns = self.world.now_ns();
        self.tell_at(t_ns, side, kind);
    }

    /// Records what happened to the VM on a side at a moment.
    pub(crate) fn tell_at(&mut self, t_ns: i64, side: Side, kind: EventKind) {
        let (host, vm) = (self.job.mover.host(side).clone(), self.job.mover.vm().clone());
        self.world.keep(&Event { t_ns, host: Some(host), vm: Some(vm), kind });
    }

    /// Records what is done and why.
    pub(crate) fn note(&mut self, action: &str, reason: &str) {
        let decision = EventKind::Decision { action: action.to_owned(), reason: reason.to_owned() };
        self.tell(Side::Source, decision);
    }

    /// Records what did not go as it should, but need not stop anything.
    pub(crate) fn warn(&mut self, doing: &str, error: &HypervisorError) {
        let text = format!("{doing}: {}", in_one_line(error));
        self.tell(Side::Source, EventKind::Warning { text });
    }

    /// Asks for an act. It counts as asked from before it is, unless it is refused: an answer may be lost.
    pub(crate) fn act(&mut self, act: Act) -> Result<(), HypervisorError> {
        self.mark(act, true);
        let mut done = self.job.mover.act(act);
        if act == Act::HoldSource && done.as_ref().is_err_and(|error| !error.is_refusal()) {
            // Much hangs on it, and asked again it tells whether it was in time.
            done = self.job.mover.act(act);
        }
        match (&done, act) {
            (_, Act::Cancel) => {
                self.cancel_unanswered = done.as_ref().is_err_and(|error| !error.is_refusal());
            }
            (Ok(()), Act::HoldDestination) => self.watch.held = true,
            (Ok(()), Act::HoldSource) => self.watch.stopped_before = true,
            (Err(_), Act::HoldSource) => self.watch.switch_over_begun = true,
            (Err(error), _) if error.is_refusal() => self.mark(act, false),
            _ => {}
        }
        done
    }

    /// Marks an act as asked, or as not.
    fn mark(&mut self, act: Act, asked: bool) {
        match act {
            Act::SwitchToPostCopy => self.watch.switch_asked = asked,
            // What was refused, because the VM is on its way over already, need not be asked again.
            Act::HoldSource => self.watch.stop_asked = true,
            Act::ContinueSwitchOver => self.watch.continued = asked,
            Act::Resume(Side::Destination) => self.watch.resume_asked_there = asked,
            _ => {}
        }
    }

    /// Fails once something of the record could not be kept.
    pub(crate) fn check_record(&self) -> Result<(), GaveUp> {
        GaveUp::if_unkept(&*self.world)
    }

    /// Reads the source's counters. No answer in time is none: whether bytes move decides.
    pub(crate) fn count(&mut self) -> Result<(), GaveUp> {
        match self.job.mover.progress() {
            Ok(progress) => {
                let read_ns = self.world.now_ns();
                self.watch.count(&progress, read_ns);
                if let Err(error) = (self.job.on_progress)(read_ns, &progress) {
                    self.world.fail(error);
                }
                Ok(())
            }
            Err(HypervisorError::Timeout { .. } | HypervisorError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A failure in the hypervisors' own words, where they have some: that an end is gone says more than what came of it.
    pub(crate) fn explain(&mut self, why: &str) -> String {
        let until = self.after(DYING_LIMIT);
        // Its socket says so a moment before its process does.
        while let Some(left) = self.left_until(until) {
            match self.job.mover.check() {
                Err(HypervisorError::Ended { by_us: true, .. }) => break,
                Err(error) => return in_one_line(&error),
                Ok(()) => {}
            }
            self.follow(left.min(Duration::from_millis(20)));
        }
        let report = self.job.mover.report().ok();
        let words = report.and_then(|report| report.error);
        words.map_or_else(|| why.to_owned(), |words| format!("{why}: {words}"))
    }
}
