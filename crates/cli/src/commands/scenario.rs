//! `dunlin scenario check|new`.

use std::path::{Path, PathBuf};

use dunlin_bench::{Scenario, expected_case_duration, expected_duration, starter};
use dunlin_record::{Case, Links};
use dunlin_report::{Table, count, wrapped};
use serde_json::json;

use super::{load_scenario, write_new};
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
        Action::New { file } => {
            let next = format!("dunlin scenario check {}", file.display());
            write_new(&file, starter(), &next)
        }
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
    let beyond = beyond_machine(&scenario);
    let mut notes = round_trips(&scenario);
    notes.extend(beyond.iter().map(|(title, beyond)| match beyond {
        Beyond::Never(why) => format!("cannot run here: {title}: {why}"),
        Beyond::Hardly(why) => format!("warning: {title}: {why}"),
    }));
    let width = terminal::width();
    let title = wrapped(&format!("{}: {}", scenario.name, scenario.title), width, "  ");
    let trials = if trials == "1" { "1 trial".to_owned() } else { format!("{trials} trials") };
    let sum = format!("{}, {trials}, about {expected}", count(scenario.cases.len(), "case"));
    let sum = [sum].into_iter().chain(notes).map(|line| wrapped(&line, width, "  ")).collect::<String>();
    terminal::print(&format!("{title}{}\n{sum}", table.text(width)))?;
    if beyond.iter().any(|(_, beyond)| matches!(beyond, Beyond::Never(_))) {
        return Err(Failure::says(Exit::Machine, "this machine has less memory than some of its VMs"));
    }
    Ok(())
}

/// What the delays of links come to, where there are any.
fn round_trips(scenario: &Scenario) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for case in &scenario.cases {
        // Between hosts lie two delayed links each way, between bench and guest one: the bench's own has none.
        let Links { migration, service, .. } = &case.link;
        let delays = [("host to host", migration.delay_ms, 4.0), ("bench to guest", service.delay_ms, 2.0)];
        for (between, delay_ms, links) in delays.into_iter().filter(|(_, delay_ms, _)| *delay_ms > 0.0) {
            let line =
                format!("delay_ms = {delay_ms} adds {} ms to the round trip {between}", delay_ms * links);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// How a case asks for more than this machine has.
enum Beyond {
    Never(String),
    Hardly(String),
}

/// What cases ask for beyond this machine, by their titles.
fn beyond_machine(scenario: &Scenario) -> Vec<(String, Beyond)> {
    let machine = dunlin_testbed::this_machine();
    let swap_mib: u64 = machine.more.get("swap_mib").and_then(|swap| swap.parse().ok()).unwrap_or(0);
    let has_mib = machine.memory_mib.map(|memory_mib| memory_mib + swap_mib);
    let beyond = |case: &Case| {
        let asked_mib = u64::from(case.vm.memory_mib);
        let memory = has_mib.filter(|has| 2 * asked_mib > *has).map(|has| {
            if asked_mib > has {
                Beyond::Never(format!("vm.memory_mib = {asked_mib}, and this machine has {has} MiB"))
            } else {
                Beyond::Hardly(format!(
                    "source and destination may take {} MiB of this machine's {has}",
                    2 * asked_mib
                ))
            }
        });
        let cores = machine.cores.filter(|cores| case.vm.vcpus > *cores).map(|cores| {
            Beyond::Hardly(format!(
                "{} vCPUs share {}, so it takes longer",
                case.vm.vcpus,
                count(cores, "core")
            ))
        });
        [memory, cores].into_iter().flatten().map(|beyond| (case.title(), beyond)).collect::<Vec<_>>()
    };
    scenario.cases.iter().flat_map(beyond).collect()
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
        "beyond_machine": beyond_machine(scenario).into_iter().map(|(title, beyond)| {
            let (never, because) = match beyond {
                Beyond::Never(why) => (true, why),
                Beyond::Hardly(why) => (false, why),
            };
            json!({ "title": title, "cannot_run": never, "because": because })
        }).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
