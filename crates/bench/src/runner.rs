//! A run: every trial of every case, each on its own, whatever happens to the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::{Cancel, epoch_ns};
use dunlin_guest::default_cache_dir;
use dunlin_record::{Case, FORMAT, Outcome, RunFolder, RunInfo, SkippedCase, Status, TrialId};
use dunlin_testbed::Inside;

use crate::plan::{Plan, Planner};
use crate::scenario::{expected_case_duration, trial_id};
use crate::trial::{self, Trial};
use crate::world::World;
use crate::{BenchError, Observer, Result, Scenario};

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
}

/// One trial to be made.
struct Due<'a> {
    id: TrialId,
    case: &'a Case,
    case_index: usize,
    number: u32,
}

/// Makes a run.
///
/// # Errors
/// Where nothing of it can be run here, the record cannot be written, or the lab cannot be made. What was measured
/// before stays.
pub fn run(order: &Order<'_>, inside: Inside, observer: &mut dyn Observer) -> Result<Finished> {
    let mut world = World::new(inside, default_cache_dir()?);
    let cases = &order.scenario.cases;
    let first = cases.first().ok_or(BenchError::Cancelled)?;
    observer.stage("making the lab");
    world.bring_up(&first.link)?;
    observer.stage("asking the hypervisors what they can do");
    let (plans, skipped) = plan_all(cases, &world)?;
    for case in &skipped {
        observer.note(&format!("skipped: {}: {}", case.title, case.because));
    }
    let info = RunInfo {
        format: FORMAT,
        dunlin_version: env!("CARGO_PKG_VERSION").into(),
        scenario: order.scenario.name.clone(),
        title: order.scenario.title.clone(),
        started_epoch_ms: epoch_ns() / 1_000_000,
        cases: cases.clone(),
        skipped: skipped.clone(),
        hosts: vec![world.fingerprint()?],
    };
    let folder = open_folder(order, &info)?;
    let done = if order.resume { tidy_up(&folder)? } else { BTreeSet::new() };
    let due = due_trials(cases, &plans, &done);
    let expected = due.iter().map(|due| expected_trial(due.case)).sum();
    observer.run_started(&order.scenario.title, due.len(), expected, folder.path());

    let mut finished = Finished {
        folder: folder.path().to_owned(),
        ended: [0; 3],
        skipped: skipped.len(),
        cancelled: false,
    };
    for (index, due) in due.iter().enumerate() {
        if order.cancel.is_cancelled() {
            finished.cancelled = true;
            break;
        }
        let Some(plan) = &plans[due.case_index] else { continue };
        observer.trial_started(
            index + 1,
            &format!("{}, trial {}", due.case.title(), due.number),
            expected_trial(due.case),
        );
        world.bring_up(&due.case.link)?;
        let plan = plan.on(world.hosts()?);
        let trial = Trial {
            id: due.id.clone(),
            scenario: &order.scenario.name,
            case: due.case,
            number: due.number,
            plan: &plan,
            folder: &folder,
            cancel: order.cancel,
        };
        let status = trial::run(&trial, &world, observer)?;
        let outcomes = dunlin_analysis::outcomes(&folder.read_trial(&due.id)?)?;
        for outcome in &outcomes {
            folder.append_outcome(outcome)?;
        }
        observer.trial_ended(&outcomes);
        match status {
            Status::Completed => finished.ended[0] += 1,
            Status::NotConverged => finished.ended[1] += 1,
            Status::Failed => finished.ended[2] += 1,
            Status::Cancelled => finished.cancelled = true,
        }
    }
    Ok(finished)
}

/// A plan for each case that can be run here, a reason for each that cannot.
fn plan_all(cases: &[Case], world: &World) -> Result<(Vec<Option<Plan>>, Vec<SkippedCase>)> {
    let mut planner = Planner::default();
    let mut plans = Vec::new();
    let mut skipped = Vec::new();
    for case in cases {
        match planner.plan(case, world) {
            Ok(plan) => plans.push(Some(plan)),
            Err(error) if error.is_unsupported() => {
                skipped.push(SkippedCase { title: case.title(), because: error.to_string() });
                plans.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    match (plans.iter().any(Option::is_some), skipped.first()) {
        (false, Some(first)) => {
            Err(BenchError::NothingToRun { title: first.title.clone(), because: first.because.clone() })
        }
        _ => Ok((plans, skipped)),
    }
}

fn open_folder(order: &Order<'_>, info: &RunInfo) -> Result<RunFolder> {
    if !order.resume {
        return Ok(RunFolder::create(order.folder, info)?);
    }
    let folder = RunFolder::open(order.folder)?;
    if folder.info()?.cases != info.cases {
        return Err(BenchError::OtherScenario { folder: order.folder.to_owned() });
    }
    Ok(folder)
}

/// The trials of a run that need not be made again. Those that broke off or were ended by the user are made again, so
/// their outcomes are taken out; those whose outcome was not written are given one.
fn tidy_up(folder: &RunFolder) -> Result<BTreeSet<TrialId>> {
    let mut kept: Vec<Outcome> = Vec::new();
    for id in folder.trials()? {
        let record = folder.read_trial(&id)?;
        let Ok(outcomes) = dunlin_analysis::outcomes(&record) else { continue };
        if !record.truncated && outcomes.iter().all(|outcome| outcome.status != Status::Cancelled) {
            kept.extend(outcomes);
        }
    }
    folder.replace_outcomes(&kept)?;
    Ok(kept.into_iter().map(|outcome| outcome.id).collect())
}

fn due_trials<'a>(cases: &'a [Case], plans: &[Option<Plan>], done: &BTreeSet<TrialId>) -> Vec<Due<'a>> {
    let mut due = Vec::new();
    for (case_index, case) in cases.iter().enumerate().filter(|(index, _)| plans[*index].is_some()) {
        let trials = (1..=case.trials.count).map(|number| (number, trial_id(case_index, case, number)));
        let missing = trials.filter(|(_, id)| !done.contains(id));
        due.extend(missing.map(|(number, id)| Due { id, case, case_index, number }));
    }
    due
}

fn expected_trial(case: &Case) -> Duration {
    expected_case_duration(case) / case.trials.count.max(1)
}
