//! `dunlin report`: what a run measured.

use std::path::{Path, PathBuf};

use dunlin_analysis::{Timeline, timeline};
use dunlin_record::{Outcome, RunFolder};
use dunlin_report::Report;

use super::record_failure;
use crate::failure::{Exit, Failure, Result};
use crate::terminal;

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
    /// Write a page that opens in a browser, without a network
    #[arg(long, value_name = "FILE", group = "format")]
    html: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let loaded = Loaded::open(&args.run)?;
    match &args.html {
        Some(file) => loaded.write_html(file),
        None if args.json => terminal::print(&dunlin_report::json(&loaded.report(&[]))),
        None if args.csv => terminal::print(&dunlin_report::csv(&loaded.report(&[]))),
        None => terminal::print(&dunlin_report::table(&loaded.report(&[]), terminal::width())),
    }
}

/// Prints a run's table and writes its page.
pub(crate) fn show(folder: &Path) -> Result {
    let loaded = Loaded::open(folder)?;
    let page = folder.join("report.html");
    loaded.write_html(&page)?;
    let table = dunlin_report::table(&loaded.report(&[]), terminal::width());
    terminal::print(&format!("{table}\nreport: {}\n", page.display()))
}

/// A run as read from its folder.
struct Loaded {
    folder: RunFolder,
    info: dunlin_record::RunInfo,
    outcomes: Vec<Outcome>,
}

impl Loaded {
    /// Opens a run. Outcomes that were lost are computed again and written back.
    fn open(path: &Path) -> Result<Self> {
        let read = || {
            let folder = RunFolder::open(path)?;
            let info = folder.info()?;
            let outcomes = if folder.outcomes_path().exists() { folder.outcomes()? } else { Vec::new() };
            Ok((folder, info, outcomes))
        };
        let (folder, info, outcomes) = read().map_err(|error| record_failure(&error))?;
        let mut loaded = Self { folder, info, outcomes };
        if !loaded.folder.outcomes_path().exists() {
            loaded.recompute()?;
        }
        Ok(loaded)
    }

    fn recompute(&mut self) -> Result {
        for id in self.folder.trials().map_err(|error| record_failure(&error))? {
            let record = self.folder.read_trial(&id).map_err(|error| record_failure(&error))?;
            match dunlin_analysis::outcomes(&record) {
                Ok(outcomes) => self.outcomes.extend(outcomes),
                // A trial that was killed at its very beginning.
                Err(error) => terminal::say(&format!("warning: {error}")),
            }
        }
        // A run on a medium that cannot be written is shown all the same.
        if let Err(error) = self.folder.replace_outcomes(&self.outcomes) {
            terminal::say(&format!("warning: {error}"));
        }
        Ok(())
    }

    fn report<'a>(&'a self, timelines: &'a [Timeline]) -> Report<'a> {
        Report { info: &self.info, outcomes: &self.outcomes, timelines }
    }

    fn write_html(&self, file: &Path) -> Result {
        let mut timelines = Vec::new();
        for id in self.folder.trials().map_err(|error| record_failure(&error))? {
            let record = self.folder.read_trial(&id).map_err(|error| record_failure(&error))?;
            timelines.extend(timeline(&record));
        }
        let page = dunlin_report::html(&self.report(&timelines));
        std::fs::write(file, page)
            .map_err(|error| Failure::says(Exit::Failed, format!("cannot write {}: {error}", file.display())))
    }
}
