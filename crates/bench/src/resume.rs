//! A run's folder, taken for writing: made for a new run, or gone on with, and what is other by then.

use std::path::Path;

use dunlin_analysis::{ChangedSetting, changed_settings_and_amounts};
use dunlin_record::{
    Case, Difference, ExistingVm, FolderLock, HostFingerprint, Outcome, RecordError, Resumption, RunFolder,
    RunInfo, Software, Status, TrialId, Trials, in_one_line,
};

use crate::captured::read_whole;
use crate::plan::Plan;
use crate::{BenchError, Observer, Result};

/// Of what differs in the cases, so much is told.
const MOST_TOLD: usize = 3;
/// A machine's memory, in which a kernel keeps a little for itself, now more, now less.
const MEMORY_SHARE: f64 = 0.01;

/// A run's folder of which this process is the one writer.
pub(crate) struct Taken {
    pub(crate) folder: RunFolder,
    /// What came of the trials that need not be made again.
    pub(crate) done: Vec<Outcome>,
    /// Of the order of the trials, which is that of the run's first part.
    pub(crate) seed: Option<u32>,
    pub(crate) lock: FolderLock,
}

/// A run that is to be gone on with.
pub(crate) struct Earlier {
    folder: RunFolder,
    info: RunInfo,
    lock: FolderLock,
}

/// Makes the folder of a new run.
///
/// # Errors
/// Where it cannot be made, holds a run already, or another process writes in it.
pub(crate) fn begin(path: &Path, info: &RunInfo) -> Result<Taken> {
    std::fs::create_dir_all(path)
        .map_err(|source| BenchError::Io { doing: format!("create {}", path.display()), source })?;
    let lock = FolderLock::take(path)?;
    if path.join("run.json").exists() {
        return Err(BenchError::FolderTaken { folder: path.to_owned() });
    }
    let folder = RunFolder::create(path, info)?;
    Ok(Taken { folder, done: Vec::new(), seed: info.seed, lock })
}

impl Earlier {
    /// Takes the folder of a run of these cases, of which more trials may be asked for than before.
    ///
    /// # Errors
    /// Where another process writes in it, or it holds a run of other cases, or of more trials.
    pub(crate) fn open(path: &Path, cases: &[Case], existing: &[ExistingVm]) -> Result<Self> {
        // Before it is locked: what is no run's folder is told as that.
        let folder = RunFolder::open(path)?;
        let lock = FolderLock::take(path)?;
        let mut info = folder.info()?;
        if is_same_but_more(&info.cases, cases) {
            info.cases = cases.to_vec();
        }
        if info.cases != cases {
            let differences = in_words(&info.cases, cases);
            return Err(BenchError::OtherScenario { folder: path.to_owned(), differences });
        }
        if info.existing != existing {
            let (before, now) = (vms(&info.existing), vms(existing));
            return Err(BenchError::OtherVms { folder: path.to_owned(), before, now });
        }
        Ok(Self { folder, info, lock })
    }

    /// Goes on with it: sorts out which trials are kept, tells what is other than at its begin, and records it.
    ///
    /// # Errors
    /// Where a record can be read by a newer version only, or not be written.
    pub(crate) fn go_on(mut self, now: &RunInfo, observer: &mut dyn Observer) -> Result<Taken> {
        let machines = |info: &RunInfo| {
            info.hosts.iter().map(|host| format!("[{}]", host.hosts)).collect::<Vec<_>>().join(" ")
        };
        let (before, here) = (machines(&self.info), machines(now));
        // A run from before that was recorded has none.
        if before != here && !self.info.hosts.is_empty() {
            return Err(BenchError::OtherHosts { folder: self.folder.path().to_owned(), before, now: here });
        }
        let differences = differences(&self.info, now);
        for difference in &differences {
            observer.note(&format!("warning: since this run began, {difference}"));
        }
        let done = tidy_up(&self.folder, observer)?;
        let mut kept: Vec<TrialId> = done.iter().map(|outcome| outcome.id.clone()).collect();
        kept.dedup();
        self.info.resumed.push(Resumption { at_epoch_ms: now.started_epoch_ms, kept, differences });
        self.folder.write_info(&self.info)?;
        Ok(Taken { folder: self.folder, done, seed: self.info.seed, lock: self.lock })
    }
}

fn vms(existing: &[ExistingVm]) -> String {
    let said = |vm: &ExistingVm| match vm.address {
        Some(address) => format!("{} at {address}", vm.name),
        None => vm.name.clone(),
    };
    if existing.is_empty() {
        return "guests of ours".into();
    }
    existing.iter().map(said).collect::<Vec<_>>().join(", ")
}

/// Whether the cases differ in nothing but that more trials of them are asked for.
fn is_same_but_more(before: &[Case], now: &[Case]) -> bool {
    let is_more = |(before, now): (&Case, &Case)| {
        let mut with_more = before.clone();
        let Trials { count, until, min, max, .. } = now.trials;
        with_more.trials = Trials { count, until, min, max, ..with_more.trials };
        with_more == *now && before.trials.range().start() <= now.trials.range().end()
    };
    before.len() == now.len() && before.iter().zip(now).all(is_more)
}

/// What runs the VMs of these plans.
pub(crate) fn software(plans: &[Option<Plan>]) -> Software {
    let each = |of: fn(&Plan) -> String| {
        let mut all: Vec<String> = plans.iter().flatten().map(of).collect();
        all.sort();
        all.dedup();
        all
    };
    Software {
        source_hypervisors: each(|plan| product(&*plan.source)),
        destination_hypervisors: each(|plan| product(&*plan.destination)),
        guest_kernels: each(|plan| {
            plan.image.as_ref().map(|image| image.release.clone()).unwrap_or_default()
        }),
    }
}

/// The outcomes of a run's trials that need not be made again. Those that broke off, were ended by the user or cannot be
/// read are made again, so their outcomes are taken out; those whose outcome was not written are given one.
fn tidy_up(folder: &RunFolder, observer: &mut dyn Observer) -> Result<Vec<Outcome>> {
    let mut kept: Vec<Outcome> = Vec::new();
    for id in folder.trials()? {
        let record = match read_whole(folder, &id, observer) {
            Err(BenchError::Record(error)) if is_damage(&error) => {
                let why = in_one_line(&error);
                observer.note(&format!("warning: trial {id} cannot be read and is made again: {why}"));
                continue;
            }
            read => read?,
        };
        let Ok(outcomes) = dunlin_analysis::outcomes(&record) else { continue };
        if !record.truncated && outcomes.iter().all(|outcome| outcome.status != Status::Cancelled) {
            kept.extend(outcomes);
        }
    }
    folder.replace_outcomes(&kept)?;
    Ok(kept)
}

/// Whether a file holds what nobody wrote, so that it will never be read. What a newer version wrote, or a disk refuses for
/// now, is not lost.
fn is_damage(error: &RecordError) -> bool {
    matches!(error, RecordError::Json { .. } | RecordError::Series { .. } | RecordError::BreaksOff { .. })
}

/// What was asked otherwise.
fn in_words(before: &[Case], now: &[Case]) -> String {
    let titles = |cases: &[Case]| cases.iter().map(Case::title).collect::<Vec<_>>();
    let (old, new) = (titles(before), titles(now));
    let lacks = |of: &[String], other: &[String]| {
        let mut lacking: Vec<String> = of.iter().filter(|title| !other.contains(*title)).cloned().collect();
        let more = lacking.len().saturating_sub(MOST_TOLD);
        lacking.truncate(MOST_TOLD);
        if more > 0 { format!("{} and {more} more", lacking.join(", ")) } else { lacking.join(", ") }
    };
    let (gone, added) = (lacks(&old, &new), lacks(&new, &old));
    let said = |value: &Option<serde_json::Value>| {
        value.as_ref().map_or_else(|| "not set".into(), ToString::to_string)
    };
    let changed = changed_settings_and_amounts(before, now);
    let setting = |one: &ChangedSetting| {
        format!("{}: {} was {}, is {}", one.case, one.setting, said(&one.a), said(&one.b))
    };
    let mut words: Vec<String> = changed.iter().take(MOST_TOLD).map(setting).collect();
    if changed.len() > MOST_TOLD {
        words.push(format!("and {} more settings", changed.len() - MOST_TOLD));
    }
    if !gone.is_empty() {
        words.push(format!("only in the run: {gone}"));
    }
    if !added.is_empty() {
        words.push(format!("only asked for now: {added}"));
    }
    if words.is_empty() { "the order of its cases".into() } else { words.join("; ") }
}

/// What is other about the machines, what runs the VMs, and this program. What was not known before is not other.
fn differences(before: &RunInfo, now: &RunInfo) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut compare = |what: String, before: Option<String>, now: Option<String>| {
        if before.is_some() && before != now {
            all.push(Difference { what, before, now });
        }
    };
    let text = |value: &str| Some(value.to_owned());
    compare("the scenario's name".into(), text(&before.scenario), text(&now.scenario));
    compare("dunlin's version".into(), text(&before.dunlin_version), text(&now.dunlin_version));
    let list = |values: &[String]| (!values.is_empty()).then(|| values.join(", "));
    let Software { source_hypervisors, destination_hypervisors, guest_kernels } = &before.software;
    for (what, before, now) in [
        ("the source's hypervisor", source_hypervisors, &now.software.source_hypervisors),
        ("the destination's hypervisor", destination_hypervisors, &now.software.destination_hypervisors),
        ("the guests' kernel", guest_kernels, &now.software.guest_kernels),
    ] {
        compare(what.into(), list(before), list(now));
    }
    let unknown = HostFingerprint::default();
    for host in &before.hosts {
        let other = now.hosts.iter().find(|other| other.hosts == host.hosts).unwrap_or(&unknown);
        for (what, before, now) in of_machine(host, other) {
            compare(format!("{what} of {}", host.hosts), before, now);
        }
    }
    all
}

type Compared = (String, Option<String>, Option<String>);

fn of_machine(before: &HostFingerprint, now: &HostFingerprint) -> Vec<Compared> {
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let close = match (before.memory_mib, now.memory_mib) {
        (Some(a), Some(b)) => a.abs_diff(b) as f64 <= a as f64 * MEMORY_SHARE,
        _ => false,
    };
    let memory_now = if close { before.memory_mib } else { now.memory_mib };
    let mut all: Vec<Compared> = [
        ("CPU", before.cpu.clone(), now.cpu.clone()),
        ("cores", number(before.cores.map(u64::from)), number(now.cores.map(u64::from))),
        ("memory in MiB", number(before.memory_mib), number(memory_now)),
        ("kernel", before.kernel.clone(), now.kernel.clone()),
        ("KSM", before.ksm.clone(), now.ksm.clone()),
        ("huge pages", before.thp.clone(), now.thp.clone()),
        ("congestion control", before.congestion_control.clone(), now.congestion_control.clone()),
    ]
    .map(|(what, before, now)| (what.to_owned(), before, now))
    .into();
    all.extend(
        before
            .more
            .iter()
            .map(|(name, value)| (name.clone(), Some(value.clone()), now.more.get(name).cloned())),
    );
    all
}

#[cfg(test)]
mod tests;

/// What a hypervisor is, as in `qemu 10.0.2`, with the packager's addition where there is one.
fn product(product: &dyn dunlin_hypervisor::Hypervisor) -> String {
    let identity = product.identity();
    let package = product.facts().into_iter().find(|(name, _)| *name == "package").map(|(_, said)| said);
    format!("{} {} {}", identity.name, identity.version, package.unwrap_or_default()).trim_end().to_owned()
}
