//! `dunlin scenarios`: those that are shipped.

use std::path::Path;

use dunlin_bench::expected_duration;
use dunlin_report::{Table, wrapped};

use crate::failure::{Exit, Failure, Result};
use crate::progress::in_words;
use crate::shipped::{SHIPPED, Shipped};
use crate::{shipped, terminal};

/// List the scenarios that are shipped, or print one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print this scenario's file
    name: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    match &args.name {
        Some(name) => print(name),
        None => list(),
    }
}

fn print(name: &str) -> Result {
    let shipped = Shipped::find(name).ok_or_else(|| {
        Failure::says(Exit::BadInput, format!("no scenario named {name:?} is shipped"))
            .hint(shipped::hint(Path::new(name)))
    })?;
    terminal::print(shipped.text)
}

fn list() -> Result {
    let mut table =
        Table::new().key("name").figure("cases").figure("trials").figure("expected").words("about");
    for shipped in SHIPPED {
        let scenario = shipped.scenario().map_err(|error| Failure::new(Exit::Failed, &error))?;
        let trials: u32 = scenario.cases.iter().map(|case| case.trials.count).sum();
        table.row([
            scenario.name.clone(),
            scenario.cases.len().to_string(),
            trials.to_string(),
            in_words(expected_duration(&scenario)),
            scenario.title.clone(),
        ]);
    }
    let width = terminal::width();
    let hint = "Run one with `dunlin bench NAME`, read it with `dunlin scenarios NAME`.";
    terminal::print(&format!("{}\n{}", table.text(width), wrapped(hint, width, "")))
}
