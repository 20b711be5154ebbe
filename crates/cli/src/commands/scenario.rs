//! `dunlin scenario check|new`.

use std::io::Write;
use std::path::{Path, PathBuf};

use dunlin_bench::{Scenario, expected_case_duration, expected_duration, starter};
use dunlin_record::Case;
use dunlin_report::{Table, wrapped};
use serde_json::json;

use super::load_scenario;
use crate::failure::{Exit, Failure, Result};
use crate::progress::{in_words, range};
use crate::terminal;

/// Check a scenario, or begin a new one.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Print a scenario's cases and how long it will take
    Check {
        /// The scenario's file (TOML), or the name of one that is shipped
        file: PathBuf,
        /// Print the scenario as resolved, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a commented scenario to begin with
    New {
        /// The file to be made; an existing one is not touched
        file: PathBuf,
    },
}

pub(crate) fn run(action: Action) -> Result {
    match action {
        Action::Check { file, json } => check(&file, json),
        Action::New { file } => new(&file),
    }
}

fn check(file: &Path, json: bool) -> Result {
    let scenario = load_scenario(file)?;
    if json {
        return terminal::print_json(&as_json(&scenario));
    }
    let mut table =
        Table::new().key("case").words("strategy").figure("trials").figure("limit").figure("expected");
    for case in &scenario.cases {
        table.row([
            case.title(),
            case.strategy.name().to_owned(),
            range(case.trials.range().into_inner()),
            format!("{} s", case.trials.limit_s),
            in_words(expected_case_duration(case)),
        ]);
    }
    let trials = |bound: fn(&Case) -> u32| scenario.cases.iter().map(bound).sum::<u32>();
    let trials =
        range((trials(|case| *case.trials.range().start()), trials(|case| *case.trials.range().end())));
    let expected = in_words(expected_duration(&scenario));
    let width = terminal::width();
    let title = wrapped(&format!("{}: {}", scenario.name, scenario.title), width, "  ");
    let sum =
        wrapped(&format!("{} cases, {trials} trials, about {expected}", scenario.cases.len()), width, "  ");
    terminal::print(&format!("{title}{}\n{sum}", table.text(width)))
}

/// For programs: the cases as resolved, each with its title and expected duration.
fn as_json(scenario: &Scenario) -> String {
    let cases = scenario.cases.iter().map(|case| {
        let mut object = json!(case);
        object["title"] = case.title().into();
        object["expected_s"] = expected_case_duration(case).as_secs().into();
        object
    });
    let document = json!({
        "name": scenario.name,
        "title": scenario.title,
        "expected_s": expected_duration(scenario).as_secs(),
        "cases": cases.collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn new(file: &Path) -> Result {
    let written = std::fs::File::create_new(file).and_then(|mut file| file.write_all(starter().as_bytes()));
    written.map_err(|error| {
        Failure::says(Exit::BadInput, format!("cannot create {}: {error}", file.display()))
    })?;
    terminal::say(&format!("wrote {0}; check it with `dunlin scenario check {0}`", file.display()));
    Ok(())
}
