//! `dunlin report`: what a run measured.

use std::path::{Path, PathBuf};

use dunlin_analysis::timeline;
use dunlin_bench::read_migration_capture;
use dunlin_record::{
    ANALYSIS, Case, FolderLock, Outcome, RecordError, RunFolder, RunInfo, SkippedCase, TrialId, TrialRecord,
};
use dunlin_report::Report;

use super::record_failure;
use crate::failure::{Exit, Failure, Result};
use crate::terminal;
use dunlin_record::in_one_line;

/// Show what a run measured, computed from its events and series.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run's folder
    run: PathBuf,
    /// Print everything as JSON
    #[arg(long, group = "format")]
    json: bool,
    /// Print a line a trial as CSV
    #[arg(long, group = "format")]
    csv: bool,
    /// Write a page that opens in a browser, without a network; - writes it to standard output
    #[arg(long, value_name = "FILE", group = "format")]
    html: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let loaded = Loaded::open(&args.run)?;
    match &args.html {
        Some(file) if file.as_os_str() == "-" => terminal::print_data(&loaded.html()),
        Some(file) => loaded.write_html(file),
        None if args.json => terminal::print_json(&dunlin_report::json(&loaded.report())),
        None if args.csv => terminal::print_data(&dunlin_report::csv(&loaded.report())),
        None => terminal::print(&dunlin_report::table(&loaded.report(), terminal::width())),
    }
}

/// Prints a run's table and writes its page.
pub(crate) fn show(folder: &Path) -> Result {
    let loaded = Loaded::open(folder)?;
    let page = folder.join("report.html");
    loaded.write_html(&page)?;
    let table = dunlin_report::table(&loaded.report(), terminal::width());
    terminal::print(&format!("{table}\nreport: {}\n", page.display()))
}

/// A run as read from its folder.
pub(super) struct Loaded {
    folder: RunFolder,
    info: RunInfo,
    outcomes: Vec<Outcome>,
}

impl Loaded {
    /// The cases as the scenario asked for them.
    pub(super) fn cases(&self) -> &[Case] {
        &self.info.cases
    }

    /// The cases that could not be run there.
    pub(super) fn skipped(&self) -> &[SkippedCase] {
        &self.info.skipped
    }

    /// When the run began, in milliseconds since the Unix epoch.
    pub(super) fn started_epoch_ms(&self) -> i64 {
        self.info.started_epoch_ms
    }

    /// The scenario's name.
    pub(super) fn scenario(&self) -> &str {
        &self.info.scenario
    }

    /// Opens a run. Outcomes that were lost are computed again and written back; those of an older analysis are computed
    /// again and the file left as it is, for it may be an archive's.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let read = || {
            let folder = RunFolder::open(path)?;
            Ok(Self { info: folder.info()?, outcomes: Vec::new(), folder })
        };
        let mut loaded: Self = read().map_err(|error| record_failure(&error))?;
        if loaded.folder.outcomes_path().exists() {
            loaded.outcomes = loaded.folder.outcomes().map_err(|error| outcomes_failure(&error))?;
            loaded.bring_up_to_date();
            loaded.put_in_order();
        } else {
            loaded.recompute()?;
        }
        Ok(loaded)
    }

    /// Computes outcomes of an older analysis again, and all where none were kept; those whose record is not there, or not
    /// whole, stay as they are.
    fn bring_up_to_date(&mut self) {
        let is_old = |outcome: &Outcome| outcome.analysis < ANALYSIS;
        let none_is_kept = self.outcomes.is_empty();
        if !none_is_kept && !self.outcomes.iter().any(is_old) {
            return;
        }
        // Of some archives the outcomes are all there is.
        let Ok(recorded) = self.folder.trials() else { return };
        for id in recorded {
            let mut known = self.outcomes.iter().filter(|outcome| outcome.id == id);
            if !none_is_kept && !known.any(is_old) {
                continue;
            }
            let whole = self.read_trial(&id).filter(|record| !record.truncated);
            let again = whole.and_then(|record| dunlin_analysis::outcomes(&record).ok());
            if let Some(again) = again {
                self.outcomes.retain(|outcome| outcome.id != id);
                self.outcomes.extend(again);
            }
        }
    }

    /// What came out, in the scenario's order.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// By case, then by trial. Runs of older versions wrote them in the order in which they were made.
    fn put_in_order(&mut self) {
        let titles: Vec<String> = self.info.cases.iter().map(Case::title).collect();
        self.outcomes.sort_by_key(|outcome| {
            let title = outcome.case.title();
            let place = titles.iter().position(|of_case| *of_case == title).unwrap_or(titles.len());
            (place, outcome.trial)
        });
    }

    fn recompute(&mut self) -> Result {
        let mut all_read = true;
        for id in self.folder.trials().map_err(|error| record_failure(&error))? {
            let Some(record) = self.read_trial(&id) else {
                all_read = false;
                continue;
            };
            match dunlin_analysis::outcomes(&record) {
                Ok(outcomes) => self.outcomes.extend(outcomes),
                // A trial that was killed at its very beginning.
                Err(error) => {
                    all_read = false;
                    warn(&format!("trial {id} is left out: {}", in_one_line(&error)));
                }
            }
        }
        self.put_in_order();
        let lock = FolderLock::take(self.folder.path());
        // A run that is still being made writes them itself.
        let is_ours = !matches!(lock, Err(RecordError::Busy { .. }));
        // Without the trials that could not be read it would be a file that lacks lines, and nobody told why.
        if all_read
            && is_ours
            && let Err(error) = self.folder.replace_outcomes(&self.outcomes)
        {
            // A run on a medium that cannot be written is shown all the same.
            warn(&in_one_line(&error));
        }
        Ok(())
    }

    /// A trial's raw record, with what was captured of its migration. One that cannot be read is told and absent: the
    /// others are shown all the same.
    fn read_trial(&self, id: &TrialId) -> Option<TrialRecord> {
        let warned = |error| warn(&format!("trial {id} cannot be read: {}", in_one_line(&error)));
        let mut record = self.folder.read_trial(id).map_err(warned).ok()?;
        let warned = |error| warn(&in_one_line(&error));
        record.capture = read_migration_capture(&self.folder, &record).map_err(warned).ok().flatten();
        Some(record)
    }

    fn report(&self) -> Report<'_> {
        Report { info: &self.info, outcomes: &self.outcomes, timelines: &[], captures: &[] }
    }

    fn write_html(&self, file: &Path) -> Result {
        std::fs::write(file, self.html())
            .map_err(|error| Failure::says(Exit::Failed, format!("cannot write {}: {error}", file.display())))
    }

    /// The page.
    fn html(&self) -> String {
        // VMs share their trial's record.
        let mut ids: Vec<&TrialId> = self.outcomes.iter().map(|outcome| &outcome.id).collect();
        ids.dedup();
        let (mut timelines, mut captures) = (Vec::new(), Vec::new());
        for record in ids.into_iter().filter_map(|id| self.read_trial(id)) {
            timelines.extend(timeline(&record));
            captures.extend(record.capture);
        }
        dunlin_report::html(&Report { timelines: &timelines, captures: &captures, ..self.report() })
    }
}

fn warn(text: &str) {
    terminal::say(&format!("warning: {text}"));
}

/// Outcomes can be had again from events and series, so a broken file of them is no loss.
fn outcomes_failure(error: &RecordError) -> Failure {
    match error {
        RecordError::Json { path, .. } => {
            record_failure(error).hint(format!("delete {}: it is then computed again", path.display()))
        }
        _ => record_failure(error),
    }
}
