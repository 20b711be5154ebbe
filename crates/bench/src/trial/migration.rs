//! One VM's migration within a trial, with what is done to it before and after.

use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_guest::GuestError;
use dunlin_hypervisor::{Condition, Journey, MirrorProgress, MoveOrder, Mover, Progress, Side, Vm};
use dunlin_migrate::{Job, Live, StandstillJob, migrate, stand_still};
use dunlin_policy::Limits;
use dunlin_record::{ABSENT, Blocks, Case, EventKind, Journal, Moment, Place, Status, in_one_line, shapes};

use super::observation::Observation;
use super::probing::Probing;
use super::served::Befalling;
use super::standstill::{Parts, Still};
use super::streams::Streams;
use super::way_back::Moved;
use super::{Ended, Guest, Run, event};
use crate::recording::SeriesHandle;
use crate::{BenchError, Result};

/// Without a byte moving for this long a migration is ended as failed.
const STALL_LIMIT: Duration = Duration::from_secs(5);
/// How long clients of a server that was away may take to come back to it (docs/storage.md).
const BACK_LIMIT: Duration = Duration::from_secs(10);
/// What the copy of a disk has under way at once, at most: by libvirt's and QEMU's own default.
const COPY_AT_ONCE_BYTES: u32 = 16 << 20;
/// How long ends are waited for that do not answer, or stand still, once the VM may run at the destination.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long probes run before what is usual is taken from them: the guest's first answers are slow, and under emulation
/// very slow.
const WARM_UP_S: f64 = 0.5;
/// How long a guest that is up may take to its first answer to a probe.
const SERVICE_LIMIT: Duration = Duration::from_secs(20);
/// How long a hypervisor may take to end.
const QUIT_LIMIT: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// Observes, moves and observes one guest.
    pub(super) fn move_one(
        &mut self,
        guest: &mut Guest,
        observation: &mut Observation,
        journal: &mut Journal,
    ) -> Result<Ended> {
        let case = self.trial.case;
        let streams = Streams::open(self, guest, journal)?;
        if let Some(workload) = &case.workload {
            self.observer.stage("starting the workload");
            let started = guest.start_workload(workload, &streams);
            check_vm(&*guest.source).and(started)?;
            let started = EventKind::WorkloadStarted { workload: workload.clone() };
            journal.keep(&event(Some(guest.source.host()), Some(&guest.id), started))?;
        }
        guest.tell_held(&*guest.source, Moment::Before, case, journal)?;

        self.observer.stage("preparing the destination");
        let plan = self.trial.plan;
        let disks = guest.disks_there();
        let order = MoveOrder {
            strategy: &case.strategy,
            transport: &case.transport,
            disks: &disks,
            copies: case.vm.moves_disks().then_some(&case.storage),
            journey: if self.trial.stay { Journey::ForGood } else { Journey::Excursion },
            logs: &self.logs,
            events: journal.sender(),
        };
        let mut moving = if case.strategy.standstill().is_some() {
            Moving::Still(Still::prepare(self)?)
        } else {
            Moving::Live(plan.source.mover(&guest.source, &*plan.destination, &order)?)
        };
        if let Some(destination) = moving.handle(guest, Side::Destination) {
            observation.count_vm(self, Side::Destination, destination)?;
        }

        self.observer.stage("observing");
        let probing = Probing::start(self, guest, journal)?;
        let observed = self.await_service(guest, &probing, journal);
        let observed = observed.and_then(|()| self.baseline(guest, &probing, journal));
        let mut place = Place::Source;
        let mut befalling = None;
        let ended = observed.and_then(|()| {
            self.observer.stage("migrating");
            self.pause_if_asked(guest)?;
            befalling = guest.befall(case.storage.fault.as_ref(), journal.sender(), self.trial.cancel);
            let (ended, kept) = match &mut moving {
                Moving::Live(mover) => self.migrate(guest, &mut **mover, journal)?,
                Moving::Still(still) => self.move_still(guest, still, &streams, journal)?,
            };
            place = ended.place;
            self.moved.extend(Moved::of(guest, ended.place));
            // The VM is cared for; what cannot be kept any more ends the run.
            kept.map(|()| ended)
        });
        if ended.is_err() {
            let at = match place {
                Place::Source => Some(&*guest.source),
                Place::Destination => moving.handle(guest, Side::Destination),
                Place::Nowhere | Place::Unknown => None,
            };
            at.into_iter().for_each(|at| self.resume_if_paused(guest, at));
        }
        let settled = match &ended {
            Ok(ended) => {
                probing.count_anew();
                self.settle(guest, &moving, ended.place, journal)
            }
            Err(_) => Ok(()),
        };
        // Its disks are asked for next.
        befalling.into_iter().for_each(|befalling: Befalling| befalling.finish(self.trial.cancel));
        // What befell the guest says more than what did not go on because of it.
        let unhurt = check_ends(guest, &moving);
        let drowning = probing.drowning();
        let (ended, settled) = (drowned(ended, drowning.as_deref()), drowned(settled, drowning.as_deref()));
        probing.stop(guest, journal)?;
        unhurt?;
        let mut ended = ended?;
        if let Err(error) = guest.check_server() {
            let which = if case.vm.moves_disks() { "its new disks" } else { "its disks" };
            let lost = format!("the server of {which} is gone: {}", in_one_line(&error));
            ended.error = Some(ended.error.map_or_else(|| lost.clone(), |why| format!("{why}; {lost}")));
            ended.status = Status::Failed;
        }
        self.observer.stage("asking the guest");
        match settled.and_then(|()| self.close(guest, moving, ended.place, streams, journal)) {
            // What went wrong with the migration says more than what came of it.
            Err(error) if ended.status != Status::Completed => {
                let warning = EventKind::Warning { text: in_one_line(&error) };
                journal.keep(&event(None, Some(&guest.id), warning))?;
            }
            Err(error) => return Err(error),
            // Nothing that came of the migration is graver.
            Ok(Some(damage)) => {
                return Ok(Ended { status: Status::Failed, error: Some(damage) });
            }
            Ok(None) => {}
        }
        Ok(Ended { status: ended.status, error: ended.error })
    }

    /// Waits until every probe has been answered: a service that is not there cannot be seen to go.
    fn await_service(&self, guest: &Guest, probing: &Probing<'_>, journal: &mut Journal) -> Result<()> {
        let deadline = Deadline::after(SERVICE_LIMIT);
        while let Some(probe) = probing.unanswered() {
            if deadline.passed() {
                return Err(BenchError::NoService {
                    probe: probe.to_owned(),
                    after_s: SERVICE_LIMIT.as_secs(),
                    asked: guest.asked(),
                });
            }
            self.pause(0.02, journal)?;
        }
        Ok(())
    }

    /// Lets the guest warm up, then shows what is usual.
    fn baseline(&self, guest: &Guest, probing: &Probing<'_>, journal: &mut Journal) -> Result<()> {
        self.pause(WARM_UP_S, journal)?;
        probing.mark();
        guest.tell_cpu(journal)?;
        self.pause(self.trial.case.trials.baseline_s, journal)?;
        guest.tell_cpu(journal)?;
        guest.tell_clocks(journal)
    }

    /// Pauses the VM as its owner would, where the case says that it is paused, and its owner has not.
    fn pause_if_asked(&self, guest: &Guest) -> Result<()> {
        if self.trial.case.vm.paused && !guest.is_paused() {
            guest.source.stop()?;
        }
        Ok(())
    }

    /// Lets a VM of the user's run again that was paused for a move that failed. One that cannot be is told of
    /// where it is seen to be stopped.
    fn resume_if_paused(&self, guest: &Guest, at: &dyn Vm) {
        let is_here = at.run_state().is_ok_and(|state| state.condition == Condition::Stopped);
        if self.trial.case.vm.paused && !guest.is_ours() && !guest.is_paused() && is_here {
            let _ = at.resume();
        }
    }

    /// Goes after the guest to where it is now, lets it run again if it was paused for the move, and shows how it fares
    /// there.
    fn settle(&self, guest: &Guest, moving: &Moving, place: Place, journal: &mut Journal) -> Result<()> {
        let at = match place {
            Place::Source => moving.handle(guest, Side::Source),
            Place::Destination => moving.handle(guest, Side::Destination),
            Place::Nowhere | Place::Unknown => return Ok(()),
        };
        if let Some(at) = at {
            // A guest that stood still was followed as it was woken.
            let is_new = place == Place::Destination && matches!(moving, Moving::Live(_));
            let followed = if is_new { guest.follow(at) } else { Ok(()) };
            if self.trial.case.vm.paused && !guest.is_paused() {
                at.resume()?;
            }
            followed?;
        }
        guest.tell_cpu(journal)?;
        self.pause(self.trial.case.trials.settle_s, journal)?;
        guest.tell_cpu(journal)?;
        guest.tell_clocks(journal)
    }

    /// Moves the guest, and says whether all of it could be kept.
    fn migrate(
        &self,
        guest: &Guest,
        mover: &mut dyn Mover,
        journal: &mut Journal,
    ) -> Result<(dunlin_migrate::Ended, Result<()>)> {
        let case = self.trial.case;
        let series = self.recording.series(&format!("{}-progress", guest.id), shapes::PROGRESS)?;
        let recording = self.recording.clone();
        let mut on_progress = |t_ns: i64, progress: &Progress| {
            series.push(&progress_row(t_ns, progress));
            // A full disk ends the migration instead of leaving a record with holes.
            recording.check()
        };
        let copied = case
            .vm
            .moves_disks()
            .then(|| self.recording.series(&format!("{}-storage", guest.id), shapes::STORAGE));
        let copied = copied.transpose()?;
        let mut on_mirrors = |t_ns: i64, progress: &MirrorProgress| {
            if let Some(series) = &copied {
                let or_absent = |value: Option<i64>| value.unwrap_or(ABSENT);
                series.push(&[t_ns, or_absent(progress.copied_bytes), or_absent(progress.total_bytes)]);
            }
            self.recording.check()
        };
        guest.tell_storage(case.storage.blocks, journal)?;
        let job = Job {
            mover,
            strategy: &case.strategy,
            limits: limits(case),
            cancel: self.trial.cancel,
            on_progress: &mut on_progress,
            on_mirrors: &mut on_mirrors,
        };
        let mut live = Live::new(journal);
        let ended = migrate(job, &mut live);
        let unkept = live.into_failure();
        series.finish();
        copied.iter().for_each(SeriesHandle::finish);
        Ok((ended, unkept.map_or(Ok(()), |error| Err(error.into()))))
    }

    /// Moves the guest, which stands still meanwhile, and says whether all of it could be kept.
    fn move_still(
        &mut self,
        guest: &mut Guest,
        still: &mut Still,
        streams: &Streams,
        journal: &mut Journal,
    ) -> Result<(dunlin_migrate::Ended, Result<()>)> {
        let case = self.trial.case;
        let transfer = case.strategy.standstill().cloned().unwrap_or_default();
        guest.tell_storage(Blocks::Overlay, journal)?;
        let mut parts = Parts {
            context: self.trial.context(self.world, &self.logs),
            transfer: &transfer,
            workload: case.workload.as_ref(),
            hosts: self.world.hosts()?,
            guest,
            still,
            streams,
            events: journal.sender(),
            observer: &mut *self.observer,
            remains: Default::default(),
        };
        let job = StandstillJob {
            parts: &mut parts,
            limit: Duration::from_secs_f64(case.trials.limit_s),
            patience: PATIENCE,
            cancel: self.trial.cancel,
        };
        let mut live = Live::new(journal);
        let ended = stand_still(job, &mut live);
        let unkept = live.into_failure();
        Ok((ended, unkept.map_or(Ok(()), |error| Err(error.into()))))
    }

    /// Asks the guest, where it runs now, what it did; ends both hypervisors. Gives what the guest found damaged, if it
    /// did.
    fn close(
        &self,
        guest: &Guest,
        moving: Moving,
        place: Place,
        streams: Streams,
        journal: &mut Journal,
    ) -> Result<Option<String>> {
        let side = match place {
            Place::Source => Side::Source,
            Place::Destination => Side::Destination,
            // Nobody is there to be asked. What we made ends with its handles.
            Place::Nowhere | Place::Unknown => return Ok(None),
        };
        let Some(at) = moving.handle(guest, side) else { return Ok(None) };
        guest.tell_held(at, Moment::After, self.trial.case, journal)?;
        let (mut damage, mut death) = (None, None);
        if let Some(workload) = &self.trial.case.workload {
            streams.end_sending();
            let achieved = guest.stop_workload(workload);
            check_ends(guest, &moving)?;
            let achieved = achieved?;
            damage = streams.finish(guest, journal)?.or_else(|| achieved.damage());
            death = achieved.death().map(str::to_owned);
            let reported = EventKind::WorkloadReported { achieved: Box::new(achieved) };
            journal.keep(&event(Some(at.host()), Some(&guest.id), reported))?;
        }
        if guest.is_ours() {
            for vm in moving.handles(guest) {
                vm.end(QUIT_LIMIT)?;
            }
        }
        drop(moving);
        journal.drain()?;
        match (damage, death) {
            (None, Some(last_words)) => Err(BenchError::WorkloadDied { last_words }),
            (damage, _) => Ok(damage),
        }
    }
}

/// How long a migration of a case may take.
pub(super) fn limits(case: &Case) -> Limits {
    let ms = |limit: Duration| limit.as_secs_f64() * 1e3;
    // While the server of its disks is made to be away, a VM may not stop, and clients take a while to come back to it.
    let away_ms = case.storage.fault.as_ref().map_or(0.0, |fault| fault.for_s * 1e3 + ms(BACK_LIMIT));
    let stall_ms = ms(STALL_LIMIT) + at_once_ms(case) + away_ms;
    Limits { total_ms: case.trials.limit_s * 1e3, stall_ms, patience_ms: ms(PATIENCE) }
}

/// How long the link takes for what the copy of a disk has under way at once: all of it may end at the same time, and until
/// then no byte seems to move.
fn at_once_ms(case: &Case) -> f64 {
    let link_bytes_s = case.link.migration.rate_mbit.map(|rate| rate * 1e6 / 8.0);
    let copy_bytes_s = case.storage.rate_mib_s.map(|rate| rate * f64::from(1 << 20));
    let bytes_s = [link_bytes_s, copy_bytes_s].into_iter().flatten().fold(f64::INFINITY, f64::min);
    if case.vm.moves_disks() { f64::from(COPY_AT_ONCE_BYTES) / bytes_s * 1e3 } else { 0.0 }
}

/// Says why the agent did not answer, where the probes are the reason.
fn drowned<T>(outcome: Result<T>, drowning: Option<&str>) -> Result<T> {
    outcome.map_err(|error| match (error, drowning) {
        (BenchError::Guest(source @ GuestError::Timeout { .. }), Some(probes)) => {
            BenchError::Drowned { probes: probes.to_owned(), source }
        }
        (error, _) => error,
    })
}

/// Fails where the guest or its host did: that says more than what a workload made of it.
fn check_vm(vm: &dyn Vm) -> Result<()> {
    Ok(vm.check_guest()?)
}

/// The same at both ends.
fn check_ends(guest: &Guest, moving: &Moving) -> Result<()> {
    moving.handles(guest).try_for_each(check_vm)
}

/// A move that is prepared.
enum Moving {
    /// The VM's memory goes from hypervisor to hypervisor.
    Live(Box<dyn Mover>),
    /// It stands still meanwhile.
    Still(Still),
}

impl Moving {
    /// The VM on a side; absent where it is not there (yet).
    fn handle<'a>(&'a self, guest: &'a Guest, side: Side) -> Option<&'a dyn Vm> {
        match self {
            Self::Live(mover) => mover.handle(side),
            Self::Still(still) => still.handle(guest, side),
        }
    }

    /// The VM on those sides where it is.
    fn handles<'a>(&'a self, guest: &'a Guest) -> impl Iterator<Item = &'a dyn Vm> {
        [Side::Source, Side::Destination].into_iter().filter_map(|side| self.handle(guest, side))
    }
}

fn progress_row(t_ns: i64, progress: &Progress) -> [i64; 10] {
    let or_absent = |value: Option<i64>| value.unwrap_or(ABSENT);
    [
        t_ns,
        or_absent(progress.transferred_bytes),
        or_absent(progress.remaining_bytes),
        or_absent(progress.total_bytes),
        or_absent(progress.normal_pages),
        or_absent(progress.zero_pages),
        or_absent(progress.dirty_rate_pages_s),
        or_absent(progress.pass),
        or_absent(progress.throttle_percent),
        or_absent(progress.postcopy_requests),
    ]
}
