//! A run: every trial of every case, each on its own, whatever happens to the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_analysis::TimeShares;
use dunlin_clock::{Cancel, Deadline, epoch_ns, now_ns};
use dunlin_guest::default_cache_dir;
use dunlin_hypervisor::Registry;
use dunlin_record::{Case, FORMAT, FolderLock, RunFolder, RunInfo, SkippedCase, Status, in_one_line};

use crate::captured::add_capture;
use crate::definition::Definitions;
use crate::existing::check_stay;
use crate::lacks::{addresses, lacks};
use crate::ledger::Ledger;
use crate::marks::mark_captures;
use crate::order;
use crate::plan::{Plan, Planner};
use crate::resume::{self, Earlier, Taken};
use crate::scenario::{expected_trial_duration, trial_id};
use crate::trial::{self, Trial};
use crate::world::{Ground, World};

use crate::{BenchError, Existing, Mistake, Observer, Result, Scenario};

/// How long a host that was lost is waited for: some machines take minutes to start.
const BACK_LIMIT: Duration = Duration::from_secs(180);
/// How often it is tried.
const BACK_EVERY: Duration = Duration::from_secs(3);

/// A run to be made.
pub struct Order<'a> {
    /// What is asked.
    pub scenario: &'a Scenario,
    /// Where the record goes: a folder to be made, or with `resume` one that is there.
    pub folder: &'a Path,
    /// Whether to go on with the run in the folder.
    pub resume: bool,
    /// The user's wish to end it.
    pub cancel: &'a Cancel,
    /// The drivers that cases may name.
    pub registry: &'a Registry,
    /// VMs that exist already, to be moved instead of guests that are made; usually none.
    pub existing: &'a [Existing],
    /// Whether these are left where they were moved to. Else they are brought back after each trial.
    pub stay: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Where its record is.
    pub folder: PathBuf,
    /// Trials made now, by how they ended: completed, not converged, failed.
    pub ended: [usize; 3],
    /// Cases that could not be run here.
    pub skipped: usize,
    /// Whether the user ended it before its end.
    pub cancelled: bool,
    /// How often a VM that exists was found defined otherwise after a trial than before.
    pub definitions_changed: usize,
    /// Where the time of the trials made now went; what lay between them is in `other_ns`.
    pub time: TimeShares,
}

/// Makes a run.
///
/// # Errors
/// Where nothing of it can be run here, the record cannot be written, or the lab cannot be made. What was measured
/// before stays.
pub fn run(order: &Order<'_>, ground: Ground, observer: &mut dyn Observer) -> Result<Finished> {
    check_stay(order.scenario, order.stay)?;
    let mut world = World::new(ground, default_cache_dir()?);
    let cases = &order.scenario.cases;
    let first = cases.first().ok_or(BenchError::Cancelled)?;
    let earlier = order.resume.then(|| Earlier::open(order.folder, cases, order.existing)).transpose()?;
    observer.stage("making the testbed");
    world.bring_up_plain(&first.link)?;
    observer.stage("asking the hypervisors what they can do");
    let mut planner = Planner::new(order.registry, order.existing);
    let (plans, skipped) = plan_all(&mut planner, order.scenario, &world)?;
    for case in &skipped {
        observer.note(&format!("skipped: {}: {}", case.title, case.because));
    }
    for said in lacks(&plans, &world)?.into_iter().chain(addresses(&plans)) {
        observer.note(&said);
    }
    let info = RunInfo {
        format: FORMAT,
        dunlin_version: env!("CARGO_PKG_VERSION").into(),
        scenario: order.scenario.name.clone(),
        title: order.scenario.title.clone(),
        started_epoch_ms: epoch_ns() / 1_000_000,
        cases: cases.clone(),
        seed: seed(order.scenario),
        skipped: skipped.clone(),
        hosts: world.fingerprints()?,
        software: resume::software(&plans),
        existing: order.existing.to_vec(),
        stay: order.stay,
        resumed: Vec::new(),
    };
    let Taken { folder, done, seed, lock } = match earlier {
        Some(earlier) => earlier.go_on(&info, observer)?,
        None => resume::begin(order.folder, &info)?,
    };
    let ledger = Ledger::new(cases, plans.iter().map(Option::is_some), done);
    observer.run_started(&order.scenario.title, ledger.trials_left(), ledger.expected(), folder.path());

    let finished = Finished {
        folder: folder.path().to_owned(),
        ended: [0; 3],
        skipped: skipped.len(),
        cancelled: false,
        definitions_changed: 0,
        time: TimeShares::default(),
    };
    let definitions = Definitions::default();
    let mut run =
        Run { order, world, planner, plans, definitions, folder, ledger, observer, finished, _lock: lock };
    let started_ns = now_ns();
    run.all(seed)?;
    run.finished.time.other_ns += now_ns() - started_ns - run.finished.time.total_ns();
    Ok(run.finished)
}

/// The seed of the order; absent where that is not shuffled.
fn seed(scenario: &Scenario) -> Option<u32> {
    // Any seed will do, as long as it is recorded: of the time, what changes from run to run.
    let of_now = || (epoch_ns() / 1_000_000) as u32;
    scenario.shuffle.then(|| scenario.seed.unwrap_or_else(of_now))
}

/// A run under way.
struct Run<'a> {
    order: &'a Order<'a>,
    world: World,
    planner: Planner<'a>,
    /// Of each case that can be run here.
    plans: Vec<Option<Plan>>,
    definitions: Definitions,
    folder: RunFolder,
    ledger: Ledger<'a>,
    observer: &'a mut dyn Observer,
    finished: Finished,
    /// Nobody else writes in the folder as long as this lives.
    _lock: FolderLock,
}

impl Run<'_> {
    /// Makes every trial that is due: in rounds, each of which gives every case of the same links one trial.
    fn all(&mut self, seed: Option<u32>) -> Result<()> {
        for group in order::groups(&self.order.scenario.cases) {
            let mut number = 1;
            while self.ledger.goes_on(&group, number) {
                for case_index in order::round(&group, seed, number) {
                    if self.order.cancel.is_cancelled() {
                        self.finished.cancelled = true;
                    }
                    if self.finished.cancelled {
                        return Ok(());
                    }
                    if self.ledger.is_due(case_index, number) {
                        self.make(case_index, number)?;
                    }
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Makes one trial.
    fn make(&mut self, case_index: usize, number: u32) -> Result<()> {
        let Some(plan) = self.plans[case_index].clone() else { return Ok(()) };
        let case = &self.order.scenario.cases[case_index];
        let id = trial_id(case_index, case, number);
        let made = self.finished.ended.iter().sum::<usize>();
        let title = format!("{}, trial {number}", case.title());
        self.observer.trial_started(made + 1, &title, expected_trial_duration(case));
        self.bring_up(case)?;
        self.world.manage_switch(&case.switch)?;
        let plan = self.planner.again(&plan, case, &self.world)?;
        let trial = Trial {
            id: id.clone(),
            scenario: &self.order.scenario.name,
            case,
            number,
            plan: &plan,
            folder: &self.folder,
            cancel: self.order.cancel,
            definitions: &self.definitions,
            stay: self.order.stay,
        };
        // One that broke off or cannot be read may have left files that this one does not write.
        self.folder.clear_trial(&id)?;
        let ran = match trial::run(&trial, &self.world, self.observer) {
            // Nothing was done, and it may be made once the VM is there.
            Err(error @ BenchError::VmNotThere { .. }) => {
                self.folder.clear_trial(&id)?;
                return Err(error);
            }
            ran => ran?,
        };
        let mut record = self.folder.read_trial(&id)?;
        mark_captures(&self.folder, &record, self.observer);
        add_capture(&self.folder, &mut record, self.observer);
        let outcomes = dunlin_analysis::outcomes(&record)?;
        self.finished.time += dunlin_analysis::time_shares(&record);
        self.observer.trial_ended(&outcomes);
        self.ledger.enter(case_index, number, outcomes);
        // In the order in which they are computed again, whatever the order in which the trials are made.
        self.folder.replace_outcomes(self.ledger.outcomes())?;
        if ran.guest_is_hopeless && self.ledger.give_up(case_index) {
            let note =
                format!("{}: its guest cannot come up, so its other trials are not made", case.title());
            self.observer.note(&note);
        }
        match ran.status {
            Status::Completed => self.finished.ended[0] += 1,
            Status::NotConverged => self.finished.ended[1] += 1,
            Status::Failed => self.finished.ended[2] += 1,
            Status::Cancelled => self.finished.cancelled = true,
        }
        self.finished.definitions_changed += ran.definitions_changed;
        ran.ends_the_run.map_or(Ok(()), Err)
    }
}

impl Run<'_> {
    /// Makes the testbed ready for a case. A host that was lost may be on its way back, as after a restart: it is waited for.
    fn bring_up(&mut self, case: &Case) -> Result<()> {
        let until = Deadline::after(BACK_LIMIT);
        let mut is_told = false;
        loop {
            match self.world.bring_up(case) {
                Err(BenchError::Testbed(error)) if self.world.may_be_back(&error) && !until.passed() => {
                    if self.order.cancel.is_cancelled() {
                        return Err(BenchError::Cancelled);
                    }
                    if !is_told {
                        let error = in_one_line(&error);
                        let note = format!("waiting {} s at most: {error}", BACK_LIMIT.as_secs());
                        self.observer.note(&note);
                        is_told = true;
                    }
                    std::thread::sleep(until.step(BACK_EVERY));
                }
                made => return made,
            }
        }
    }
}

/// A plan for each case that can be run here, a reason for each that cannot. What no machine could run is a mistake in the
/// scenario: all such are told at once, and nothing is run.
fn plan_all(
    planner: &mut Planner<'_>,
    scenario: &Scenario,
    world: &World,
) -> Result<(Vec<Option<Plan>>, Vec<SkippedCase>)> {
    let mut plans = Vec::new();
    let mut skipped = Vec::new();
    let mut mistakes: Vec<Mistake> = Vec::new();
    // All are asked before any case is judged: what one of them knows is no mistake in a case of another. One that fails is
    // told of when its case is planned.
    for case in &scenario.cases {
        if planner.open(case, world).is_err_and(|error| !error.is_unsupported()) {
            break;
        }
    }
    for case in &scenario.cases {
        match planner.plan(case, world) {
            Ok(plan) => plans.push(Some(plan)),
            Err(error) if error.is_unsupported() => {
                skipped.push(SkippedCase { title: case.title(), because: error.to_string() });
                plans.push(None);
            }
            Err(error) => {
                let mistake = Mistake::of(&case.title(), &error).ok_or(error)?;
                match mistakes.iter_mut().find(|known| known.what == mistake.what) {
                    Some(known) => known.cases.extend(mistake.cases),
                    None => mistakes.push(mistake),
                }
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(BenchError::Mistaken { file: scenario.file.clone(), mistakes });
    }
    if let (false, Some(first)) = (plans.iter().any(Option::is_some), skipped.first()) {
        return Err(BenchError::NothingToRun { title: first.title.clone(), because: first.because.clone() });
    }
    let obstacles = planner.take_obstacles();
    if obstacles.is_empty() { Ok((plans, skipped)) } else { Err(BenchError::Obstacles { obstacles }) }
}
