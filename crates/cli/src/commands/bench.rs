//! `dunlin bench`: a run, then its report.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dunlin_bench::{Finished, Ground, Order, Scenario, check_stay};
use dunlin_hypervisor::Registry;
use dunlin_record::{RunFolder, RunInfo};
use dunlin_report::count;

use super::{
    bench_failure, cancel_on_signals, enter_lab, existing, hosts, load_scenario_for, record_failure, report,
};
use crate::failure::{Exit, Failure, Result};
use crate::progress::RunProgress;
use crate::terminal;

mod failed;

/// Run a scenario and report what came out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenario's file (TOML), or the name of one that is shipped; with --resume that of the run is meant
    #[arg(required_unless_present = "resume")]
    scenario: Option<PathBuf>,
    /// Record the run in this folder [default: runs/NAME-TIME, with a link runs/NAME]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Trials of each case, instead of the scenario's count; with --resume, how many there are to be in the end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// Capture packets of these networks, whatever the scenario says: migration (on both hosts), service (on the VMs'
    /// taps and on the bench)
    #[arg(long, value_name = "NETWORK,…", value_delimiter = ',', hide_possible_values = true)]
    capture: Vec<Captured>,
    /// Run on the hosts of this inventory, reached through ssh, instead of a lab on this machine (see docs/hosts.md)
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Move this VM, which exists on the inventory's source already, as it is, instead of guests that are made; may be given
    /// again. After each trial it is brought back
    #[arg(long = "vm", value_name = "NAME", value_parser = existing::name, requires = "inventory", conflicts_with = "resume")]
    vms: Vec<String>,
    /// Where that VM is reached, if its hypervisor does not know; of several, in the order of --vm
    #[arg(long = "vm-address", value_name = "ADDRESS", requires = "vms")]
    vm_addresses: Vec<Ipv4Addr>,
    /// Leave that VM where it was moved to; then there can be one trial
    #[arg(long, requires = "vms")]
    stay: bool,
    /// Take a scenario that shapes links on hosts whose links are as they are
    #[arg(long, requires = "inventory")]
    links_as_they_are: bool,
    /// Go on with the run in this folder: make the trials that are missing or were ended; more of them with --trials
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
}

/// A network whose packets are captured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Captured {
    Migration,
    Service,
}

pub(crate) fn run(args: Args) -> Result {
    // Bad input is told before anything is started.
    let mut registry = Registry::builtin();
    let inventory = args.inventory.as_deref().map(|path| hosts::load(path, &registry)).transpose()?;
    if let Some(inventory) = &inventory {
        registry = hosts::drivers(inventory, registry);
    }
    let (mut scenario, earlier) = asked(&args, &registry)?;
    let (existing, stay) = match &earlier {
        Some(run) => (run.existing.clone(), run.stay),
        None => (existing::of(&args.vms, &args.vm_addresses)?, args.stay),
    };
    if !existing.is_empty() && inventory.is_none() {
        let message = "the run moves VMs that existed before it, on the hosts of an inventory".to_owned();
        return Err(Failure::says(Exit::BadInput, message).hint("name it by --inventory, as then"));
    }
    if let Some(trials) = args.trials {
        scenario.cases.iter_mut().for_each(|case| case.trials.fix(trials));
    }
    if !args.capture.is_empty() {
        for case in &mut scenario.cases {
            case.capture.migration = args.capture.contains(&Captured::Migration);
            case.capture.service = args.capture.contains(&Captured::Service);
        }
    }
    if let Some(inventory) = &inventory {
        hosts::fit(&mut scenario, inventory, args.links_as_they_are)?;
    }
    check_stay(&scenario, stay).map_err(|error| bench_failure(&error))?;
    let inside = match inventory {
        Some(_) => None,
        None => Some(enter_lab(&format!("bench-{}", scenario.name))?),
    };
    let cancel = cancel_on_signals()?;
    let (folder, link) = match (args.resume.as_ref(), args.out) {
        (Some(folder), _) => (folder.clone(), None),
        (None, Some(folder)) => (unused(folder)?, None),
        (None, None) => default_folder(&scenario.name),
    };
    let ground = match (inside, &inventory) {
        (Some(inside), _) => {
            outside_run(&folder)?;
            Ground::Lab(inside)
        }
        (None, Some(inventory)) => Ground::Testbed(Box::new(hosts::connect(inventory)?)),
        (None, None) => return Err(Failure::says(Exit::Failed, "there is no place for the run".to_owned())),
    };
    let order = Order {
        scenario: &scenario,
        folder: &folder,
        resume: args.resume.is_some(),
        cancel: &cancel,
        registry: &registry,
        existing: &existing,
        stay,
    };
    let mut progress = RunProgress::new();
    let asked = failed::Asked {
        scenario: args.scenario.as_deref(),
        folder: &folder,
        inventory: args.inventory.as_deref(),
        existing: &existing,
    };
    let finished = dunlin_bench::run(&order, ground, &mut progress).map_err(|error| asked.failure(&error));
    drop(progress);
    if let Some(link) = link.filter(|_| folder.is_dir()) {
        point(&link, &folder);
    }
    let finished = finished?;
    report::show(&folder)?;
    if let Some(time) = time_line(&finished) {
        terminal::say(&time);
    }
    if finished.definitions_changed > 0 {
        let times = count(finished.definitions_changed, "trial");
        terminal::say(&format!(
            "warning: after {times} a VM was not defined as before; what differs is in {}",
            finished.folder.join("logs").display()
        ));
    }
    verdict(&finished, &asked)
}

/// What is to be run: the scenario that is named, else that of the run which is gone on with; and that run, if there is
/// one.
fn asked(args: &Args, drivers: &Registry) -> Result<(Scenario, Option<RunInfo>)> {
    let read = |folder: &PathBuf| RunFolder::open(folder).and_then(|folder| folder.info());
    let earlier = args.resume.as_ref().map(read).transpose().map_err(|error| record_failure(&error))?;
    let scenario = match (&args.scenario, &earlier) {
        (None, Some(run)) => Scenario::of_run(run),
        // clap sees to it that there is one of them.
        (scenario, _) => load_scenario_for(scenario.as_deref().unwrap_or(Path::new("")), drivers)?,
    };
    Ok((scenario, earlier))
}

/// The lab has a `/run` of its own, which goes with it.
fn outside_run(folder: &Path) -> Result {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if absolute.starts_with("/run") {
        let message =
            format!("a run cannot be recorded in {}: below /run nothing outlives the lab", folder.display());
        return Err(Failure::says(Exit::BadInput, message).hint("name a folder elsewhere with --out"));
    }
    Ok(())
}

/// A folder given by the user must not hold another run.
fn unused(folder: PathBuf) -> Result<PathBuf> {
    if folder.join("run.json").exists() {
        let message = format!("{} holds a run already", folder.display());
        return Err(
            Failure::says(Exit::BadInput, message).hint("go on with it by --resume, or name another folder")
        );
    }
    Ok(folder)
}

/// `runs/NAME-TIME`, and the link to the newest.
fn default_folder(name: &str) -> (PathBuf, Option<PathBuf>) {
    let time: String = dunlin_report::utc(dunlin_clock::epoch_ns() / 1_000_000)
        .replace(' ', "-")
        .chars()
        .filter(|character| character.is_ascii_digit() || *character == '-')
        .collect();
    let time = time.trim_end_matches('-');
    let runs = Path::new("runs");
    (runs.join(format!("{name}-{time}")), Some(runs.join(name)))
}

fn point(link: &Path, folder: &Path) {
    let Some(target) = folder.file_name() else { return };
    if link.is_symlink() {
        let _ = std::fs::remove_file(link);
    }
    if let Err(error) = std::os::unix::fs::symlink(target, link) {
        terminal::say(&format!("warning: cannot make the link {}: {error}", link.display()));
    }
}

/// Where the run's time went; nothing where no trial was made.
fn time_line(finished: &Finished) -> Option<String> {
    let made: usize = finished.ended.iter().sum();
    let time = &finished.time;
    let percent = |ns: i64| (ns as f64 / time.total_ns() as f64 * 100.0).round();
    let beyond_s = (time.total_ns() - time.migrating_ns) as f64 / 1e9 / made as f64;
    (made > 0).then(|| {
        format!(
            "time: {} % migrating, {} % observing, {} % starting guests, {} % other; {beyond_s:.1} s a trial beyond \
             its migration",
            percent(time.migrating_ns),
            percent(time.observing_ns),
            percent(time.starting_ns),
            percent(time.other_ns),
        )
    })
}

fn verdict(finished: &Finished, asked: &failed::Asked<'_>) -> Result {
    if finished.cancelled {
        let message = format!("ended by the user; what was measured is in {}", finished.folder.display());
        return Err(Failure::says(Exit::Interrupted, message).hint(asked.go_on()));
    }
    match finished.ended {
        [.., 0] => Ok(()),
        [.., failed] => Err(Failure::says(Exit::TrialsFailed, format!("{} failed", count(failed, "trial")))
            .hint(format!("their logs are in {}", finished.folder.join("logs").display()))),
    }
}
