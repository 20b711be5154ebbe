//! The run folder: `run.json`, `trials.jsonl`, `events/`, `series/`, `capture/`, `logs/`.

mod existing;
mod file_name;
mod lock;
mod resumption;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use existing::ExistingVm;
pub use file_name::file_name;
pub use lock::FolderLock;
pub use resumption::{Difference, Resumption, Software};

use serde::{Deserialize, Serialize};

use crate::{
    Case, Event, FORMAT, Outcome, RecordError, Result, Series, TrialCapture, TrialId, read_events,
    read_series, upgrade,
};

/// `run.json`: what a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The folder's format.
    pub format: u32,
    /// The version of Dunlin that made it.
    pub dunlin_version: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// When the run began, in milliseconds since the Unix epoch.
    pub started_epoch_ms: i64,
    /// The scenario as resolved: its cells, in order.
    pub cases: Vec<Case>,
    /// The seed by which the order of the trials was shuffled; absent where they were made in the scenario's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Cells that could not be run here.
    #[serde(default)]
    pub skipped: Vec<SkippedCase>,
    /// The machines it ran on.
    pub hosts: Vec<HostFingerprint>,
    /// What ran its VMs; nothing is known of it in runs of older versions.
    #[serde(default, skip_serializing_if = "Software::is_unknown")]
    pub software: Software,
    /// The VMs that were moved, where they existed already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing: Vec<ExistingVm>,
    /// Whether they were left where they had been moved to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stay: bool,
    /// When it was gone on with, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumption>,
}

/// A cell that could not be run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedCase {
    /// The case's title.
    pub title: String,
    /// What is missing.
    pub because: String,
}

/// What a machine was when a run began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HostFingerprint {
    /// The hosts of the testbed that it was, as in `host-a, host-b, bench`.
    pub hosts: String,
    /// CPU model.
    pub cpu: Option<String>,
    /// Its cores.
    pub cores: Option<u32>,
    /// Its memory in MiB.
    pub memory_mib: Option<u64>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Whether the kernel merges equal pages (KSM).
    pub ksm: Option<String>,
    /// Transparent huge pages.
    pub thp: Option<String>,
    /// TCP congestion control of the testbed.
    pub congestion_control: Option<String>,
    /// Anything else worth knowing, by name.
    #[serde(default)]
    pub more: BTreeMap<String, String>,
}

/// A run folder on disk.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

/// The raw record of one trial: all that its outcome is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRecord {
    /// Which trial.
    pub id: TrialId,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
    /// Its series by name, as in `vm0-probe-icmp-sent`.
    pub series: BTreeMap<String, Series>,
    /// What the source's interface to the migration network carried, where that was captured. [`RunFolder::read_trial`]
    /// leaves it out: who reads captures puts it in.
    pub capture: Option<TrialCapture>,
    /// Whether any of it breaks off.
    pub truncated: bool,
}

impl RunFolder {
    /// Makes the folder and writes its `run.json`.
    ///
    /// # Errors
    /// Where either cannot be done.
    pub fn create(path: &Path, info: &RunInfo) -> Result<Self> {
        for folder in ["events", "series", "logs"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(RecordError::io("create", folder))?;
        }
        let folder = Self { path: path.to_owned() };
        folder.write_info(info)?;
        Ok(folder)
    }

    /// Opens a run folder that is there.
    ///
    /// # Errors
    /// Where it is no run folder, or of a newer format.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: path.to_owned() };
        folder.info().map(|_| folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// Where it is missing, broken or of a newer format.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.path.join("run.json");
        if !path.is_file() {
            return Err(RecordError::NotARun { path: self.path.clone() });
        }
        let text = fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
        let mut info: RunInfo = serde_json::from_str(&text).map_err(|source| RecordError::Json {
            what: "run",
            line: source.line(),
            path: path.clone(),
            source,
        })?;
        if info.format > FORMAT {
            return Err(RecordError::Format { path, found: info.format, known: FORMAT });
        }
        info.cases.iter_mut().for_each(upgrade::case);
        Ok(info)
    }

    /// Writes `run.json` anew.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_info(&self, info: &RunInfo) -> Result<()> {
        let path = self.path.join("run.json");
        let text = serde_json::to_string_pretty(info).map_err(|source| RecordError::Json {
            what: "run",
            path: path.clone(),
            line: 0,
            source,
        })?;
        replace(&path, text.as_bytes())
    }

    /// Where a trial's events are.
    #[must_use]
    pub fn events_path(&self, trial: &TrialId) -> PathBuf {
        self.path.join("events").join(format!("{trial}.jsonl.zst"))
    }

    /// Where a series of a trial is.
    #[must_use]
    pub fn series_path(&self, trial: &TrialId, name: &str) -> PathBuf {
        self.path.join("series").join(trial.as_str()).join(format!("{}.zst", file_name(name)))
    }

    /// The folder of a trial's captures.
    #[must_use]
    pub fn captures_path(&self, trial: &TrialId) -> PathBuf {
        self.path.join("capture").join(trial.as_str())
    }

    /// The folder of a trial's logs.
    #[must_use]
    pub fn logs_path(&self, trial: &TrialId) -> PathBuf {
        self.path.join("logs").join(trial.as_str())
    }

    /// The trials that have events, by case, then by their own number: the 2nd of a case before its 10th.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn trials(&self) -> Result<Vec<TrialId>> {
        let folder = self.path.join("events");
        let mut names: Vec<String> = list(&folder)?;
        names.sort_by_key(|name| in_order(name));
        Ok(names.iter().filter_map(|name| name.strip_suffix(".jsonl.zst")).map(TrialId::new).collect())
    }

    /// Reads the raw record of a trial, as far as it goes.
    ///
    /// # Errors
    /// Where its events or a series cannot be read at all.
    pub fn read_trial(&self, trial: &TrialId) -> Result<TrialRecord> {
        let read = read_events(&self.events_path(trial))?;
        let mut events = read.events;
        events.sort_by_key(|event| event.t_ns);
        let folder = self.path.join("series").join(trial.as_str());
        let mut series = BTreeMap::new();
        let mut truncated = read.truncated;
        if folder.is_dir() {
            for file in list(&folder)? {
                let Some(name) = file.strip_suffix(".zst").map(file_name::text) else { continue };
                match read_series(&folder.join(&file)) {
                    Ok(one) => {
                        truncated |= one.truncated;
                        series.insert(name, one);
                    }
                    Err(RecordError::BreaksOff { .. }) => truncated = true,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(TrialRecord { id: trial.clone(), events, series, capture: None, truncated })
    }

    /// Removes all that is recorded of a trial, so that it can be made again and nothing of both is mixed.
    ///
    /// # Errors
    /// Where something is there and cannot be removed.
    pub fn clear_trial(&self, trial: &TrialId) -> Result<()> {
        let events = self.events_path(trial);
        let series = self.path.join("series").join(trial.as_str());
        let folders = [series, self.captures_path(trial), self.logs_path(trial)];
        let removed = |(path, result): (PathBuf, std::io::Result<()>)| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RecordError::io("remove", path)(error))
            }
            _ => Ok(()),
        };
        folders
            .into_iter()
            .map(|folder| (folder.clone(), fs::remove_dir_all(folder)))
            .chain([(events.clone(), fs::remove_file(events))])
            .try_for_each(removed)
    }

    /// Reads `trials.jsonl`; empty if it is not there.
    ///
    /// # Errors
    /// Where a line of it is no outcome, or of a newer format.
    pub fn outcomes(&self) -> Result<Vec<Outcome>> {
        let path = self.outcomes_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
        let parse = |(index, line): (usize, &str)| {
            let broken =
                |source| RecordError::Json { what: "outcome", path: path.clone(), line: index + 1, source };
            // Before the rest is read: a newer format may have other fields, or the same ones with another meaning.
            let Version { format: found } = serde_json::from_str(line).map_err(broken)?;
            if found > FORMAT {
                return Err(RecordError::LineFormat {
                    path: path.clone(),
                    line: index + 1,
                    found,
                    known: FORMAT,
                });
            }
            let mut outcome = serde_json::from_str(line).map_err(broken)?;
            upgrade::outcome(&mut outcome);
            Ok(outcome)
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
    }

    /// Writes `trials.jsonl` anew.
    ///
    /// # Errors
    /// Where it cannot be written; the old one then stays.
    pub fn replace_outcomes<'a>(&self, outcomes: impl IntoIterator<Item = &'a Outcome>) -> Result<()> {
        let path = self.outcomes_path();
        let mut text = String::new();
        for outcome in outcomes {
            text.push_str(&outcome_line(outcome, &path)?);
        }
        replace(&path, text.as_bytes())
    }

    /// Where `trials.jsonl` is.
    #[must_use]
    pub fn outcomes_path(&self) -> PathBuf {
        self.path.join("trials.jsonl")
    }
}

/// What every line tells, whatever its format.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

fn outcome_line(outcome: &Outcome, path: &Path) -> Result<String> {
    serde_json::to_string(outcome).map(|line| line + "\n").map_err(|source| RecordError::Json {
        what: "outcome",
        path: path.to_owned(),
        line: 0,
        source,
    })
}

/// Replaces a file in one step, so that no reader sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let next = path.with_extension("new");
    File::create(&next)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&next, path))
        .map_err(|error| {
            let _ = fs::remove_file(&next);
            RecordError::io("write", path)(error)
        })
}

/// A key that sorts a trial's file among others: its case's number at the begin, the case's title, and its own number at
/// the end. What has no numbers comes last.
fn in_order(name: &str) -> (u32, String, u32) {
    let trial = name.strip_suffix(".jsonl.zst").unwrap_or(name);
    let split = trial.split_once('-').and_then(|(case, rest)| {
        let (title, number) = rest.rsplit_once('-')?;
        Some((case.parse().ok()?, title.to_owned(), number.parse().ok()?))
    });
    split.unwrap_or_else(|| (u32::MAX, trial.to_owned(), 0))
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(RecordError::io("list", folder))?;
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .map_err(RecordError::io("list", folder))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_is_cleared_leaves_nothing_and_others_all() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder { path: dir.path().to_owned() };
        let [cleared, other] = ["01-idle-1", "01-idle-10"].map(TrialId::new);
        for trial in [&cleared, &other] {
            for path in [
                folder.events_path(trial),
                folder.series_path(trial, "wire"),
                folder.captures_path(trial).join("a.pcapng"),
                folder.logs_path(trial).join("console"),
            ] {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
        folder.clear_trial(&cleared).unwrap();
        folder.clear_trial(&cleared).unwrap();
        assert_eq!(folder.trials().unwrap(), std::slice::from_ref(&other));
        assert!(!folder.logs_path(&cleared).exists() && !folder.captures_path(&cleared).exists());
        assert!(folder.series_path(&other, "wire").exists() && folder.logs_path(&other).exists());
    }

    #[test]
    fn trials_come_by_the_numbers_of_their_cases_and_their_own() {
        let mut names =
            ["100-idle-1", "odd", "99-idle-1", "01-dirty-16-10", "01-dirty-16-2", "01-dirty-16-1"]
                .map(|trial| format!("{trial}.jsonl.zst"));
        names.sort_by_key(|name| in_order(name));
        let order = names.each_ref().map(|name| name.strip_suffix(".jsonl.zst").unwrap());
        assert_eq!(
            order,
            ["01-dirty-16-1", "01-dirty-16-2", "01-dirty-16-10", "99-idle-1", "100-idle-1", "odd"]
        );
    }
}
