//! One trial: guests up, observed, moved, observed, ended; everything recorded, nothing left running.

mod captures;
mod clocks;
mod disk_file;
mod disk_image;
mod guest;
mod load;
mod migration;
mod observation;
mod probing;
mod served;
mod standstill;
mod storage;
mod streams;
mod tcp_probing;
mod way_back;

use std::path::{Path, PathBuf};

use dunlin_clock::{Cancel, Deadline, Mapping, now_ns};
use dunlin_record::{
    Case, Event, EventKind, EventWriter, HostId, Journal, RunFolder, Status, TrialId, VmId, in_one_line,
};

use crate::definition::Definitions;
use crate::plan::Plan;
use crate::recording::Recording;
use crate::world::World;
use crate::{BenchError, Observer, Result};
use captures::Captures;
use clocks::Clocks;
pub(crate) use disk_image::fitting_image;
pub(crate) use guest::Guest;
use observation::Observation;
use way_back::Moved;

/// What a trial is to do.
pub(crate) struct Trial<'a> {
    pub(crate) id: TrialId,
    pub(crate) scenario: &'a str,
    pub(crate) case: &'a Case,
    pub(crate) number: u32,
    pub(crate) plan: &'a Plan,
    pub(crate) folder: &'a RunFolder,
    pub(crate) cancel: &'a Cancel,
    /// How VMs that exist are defined at the source.
    pub(crate) definitions: &'a Definitions,
    /// Whether they are left where they were moved to.
    pub(crate) stay: bool,
}

impl<'a> Trial<'a> {
    /// What its guests are started in.
    fn context(&self, world: &'a World, logs: &'a Path) -> TrialContext<'a> {
        let Self { case, plan, cancel, .. } = *self;
        TrialContext { case, plan, world, logs, cancel }
    }
}

/// What came of a trial.
pub(crate) struct Ran {
    pub(crate) status: Status,
    /// Whether its guest did not come up, and would not in another trial of the case.
    pub(crate) guest_is_hopeless: bool,
    /// How many VMs that exist are defined otherwise than before.
    pub(crate) definitions_changed: usize,
    /// What is wrong afterwards with a VM that exists, so that no more may be done to it.
    pub(crate) ends_the_run: Option<BenchError>,
}

/// How a trial ended.
struct Ended {
    status: Status,
    error: Option<String>,
}

/// Runs a trial to its end. Failures of the trial are in its record; an error means that the record is not whole.
pub(crate) fn run(trial: &Trial<'_>, world: &World, observer: &mut dyn Observer) -> Result<Ran> {
    let logs = trial.folder.logs_path(&trial.id);
    std::fs::create_dir_all(&logs)
        .map_err(|source| BenchError::Io { doing: format!("create {}", logs.display()), source })?;
    let mut journal = Journal::new(EventWriter::create(&trial.folder.events_path(&trial.id))?);
    let recording = Recording::new(trial.folder.clone(), trial.id.clone());
    let mut run = Run { trial, logs, recording, world, observer, moved: Vec::new() };
    let ended = run.all(&mut journal);
    let ended_ns = now_ns();
    let went_home = run.go_home(&mut journal);
    let (status, error) = match &ended {
        Ok(ended) => (ended.status, ended.error.clone()),
        Err(BenchError::Cancelled) => (Status::Cancelled, Some("ended by the user".into())),
        Err(error) => (Status::Failed, Some(in_one_line(error))),
    };
    // A VM of the user's comes before the record of it.
    let (definitions_changed, ends_the_run) = match went_home {
        Ok(changed) => (changed, None),
        Err(error) => {
            // What goes on to be said is where the VM is.
            if let Err(error) = &ended {
                observer.note(&in_one_line(error));
            }
            (0, Some(error))
        }
    };
    let kept = end(journal, ended_ns, status, error);
    let guest_is_hopeless = match ended {
        Err(error) if error.ends_the_run() => return Err(ends_the_run.unwrap_or(error)),
        Err(error) => error.is_guest_hopeless(),
        Ok(_) => false,
    };
    match (kept, ends_the_run) {
        (Err(_), Some(error)) => Err(error),
        (kept, ends_the_run) => {
            kept?;
            Ok(Ran { status, guest_is_hopeless, definitions_changed, ends_the_run })
        }
    }
}

/// Ends the record.
fn end(mut journal: Journal, t_ns: i64, status: Status, error: Option<String>) -> Result<()> {
    // Whoever was still running has told its end by now.
    journal.drain()?;
    journal.keep(&Event { t_ns, host: None, vm: None, kind: EventKind::TrialEnded { status, error } })?;
    Ok(journal.finish()?)
}

/// What a guest is started in.
#[derive(Clone, Copy)]
pub(crate) struct TrialContext<'a> {
    pub(crate) case: &'a Case,
    pub(crate) plan: &'a Plan,
    pub(crate) world: &'a World,
    /// Where logs go.
    pub(crate) logs: &'a Path,
    pub(crate) cancel: &'a Cancel,
}

/// The stages of a trial and what they share.
struct Run<'a> {
    trial: &'a Trial<'a>,
    logs: PathBuf,
    recording: Recording,
    world: &'a World,
    observer: &'a mut dyn Observer,
    /// The VMs that exist and whose migration was begun, in order.
    moved: Vec<Moved>,
}

impl Run<'_> {
    fn all(&mut self, journal: &mut Journal) -> Result<Ended> {
        self.open(journal)?;
        let clocks = Clocks::start(self)?;
        self.observer.stage("starting the guest");
        let mut guests = Vec::new();
        let existing = u32::try_from(self.trial.plan.existing.len()).unwrap_or(u32::MAX);
        let count = if existing > 0 { existing } else { self.trial.case.vm.count };
        for number in 0..count {
            guests.push(Guest::start(self.context(), number, journal)?);
        }
        self.learn_definitions(&guests, journal)?;
        let captures = Captures::start(self, &guests)?;
        let mut observation = Observation::start(self, &guests, journal)?;
        let ended = self.move_all(&mut guests, &mut observation, journal);
        let observed = observation.stop(self, journal);
        let captured = captures.stop(journal);
        drop(guests);
        drop(clocks);
        // What went wrong first says most.
        self.recording.check()?;
        let ended = ended?;
        observed?;
        captured?;
        Ok(ended)
    }

    fn context(&self) -> TrialContext<'_> {
        self.trial.context(self.world, &self.logs)
    }

    /// The head of the record.
    fn open(&self, journal: &mut Journal) -> Result<()> {
        let [source, destination] = self.world.host_ids()?;
        let started = EventKind::TrialStarted {
            scenario: self.trial.scenario.to_owned(),
            case: Box::new(self.trial.case.clone()),
            trial: self.trial.number,
            source,
            destination,
        };
        journal.keep(&event(None, None, started))?;
        let mapping = Mapping::read();
        let (offset_ns, error_ns) = (mapping.offset_ns, mapping.error_ns);
        journal.keep(&event(
            None,
            None,
            EventKind::ClockMapped { clock: "realtime".into(), offset_ns, error_ns },
        ))?;
        let Some(goodput) = self.world.goodput()? else { return Ok(()) };
        let measured = EventKind::LinkMeasured {
            link: "migration".into(),
            rate_mbit: self.trial.case.link.migration.rate_mbit,
            goodput_mbit: goodput.goodput_mbit,
            rtt_ms: Some(goodput.rtt_ms),
        };
        Ok(journal.keep(&event(None, None, measured))?)
    }

    /// Moves the guests one after the other; the first that does not complete ends the trial.
    fn move_all(
        &mut self,
        guests: &mut [Guest],
        observation: &mut Observation,
        journal: &mut Journal,
    ) -> Result<Ended> {
        let mut ended = Ended { status: Status::Completed, error: None };
        for guest in guests {
            ended = self.move_one(guest, observation, journal)?;
            if ended.status != Status::Completed {
                break;
            }
        }
        Ok(ended)
    }

    /// Lets time pass while events are recorded.
    fn pause(&self, seconds: f64, journal: &mut Journal) -> Result<()> {
        let deadline = Deadline::after(std::time::Duration::from_secs_f64(seconds));
        while !deadline.passed() {
            if self.trial.cancel.is_cancelled() {
                return Err(BenchError::Cancelled);
            }
            journal.next(deadline.step(std::time::Duration::from_millis(100)))?;
        }
        Ok(())
    }
}

/// An event of this moment.
fn event(host: Option<&HostId>, vm: Option<&VmId>, kind: EventKind) -> Event {
    Event { t_ns: now_ns(), host: host.cloned(), vm: vm.cloned(), kind }
}
