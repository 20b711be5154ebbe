//! `dunlin lab up|shell`: a lab that lives on its own, and a way into it.

use std::ffi::OsString;
use std::path::PathBuf;

use dunlin_bench::{HeldVm, hold};
use dunlin_testbed::RunningLabs;

use super::{bench_failure, cancel_on_signals, enter_lab, load_scenario, testbed_failure};
use crate::failure::{Exit, Failure, Result};
use crate::progress::RunProgress;
use crate::terminal;

/// Own a long-lived lab with its VMs, or join one.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Make the lab of a scenario's first case, start its VMs, and keep both until ended
    Up {
        /// The scenario's file (TOML), or the name of one that is shipped
        scenario: PathBuf,
        /// The lab's name, by which it is joined [default: the scenario's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Run a shell, or a command, on a host of a lab that is up
    Shell {
        /// The host: host-a, host-b, switch or bench
        host: String,
        /// The lab's name, where several are up
        #[arg(long)]
        lab: Option<String>,
        /// The command to run instead of a shell
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

pub(crate) fn run(action: Action) -> Result {
    match action {
        Action::Up { scenario, name } => up(&scenario, name),
        Action::Shell { host, lab, command } => shell(&host, lab.as_deref(), &command),
    }
}

fn up(file: &std::path::Path, name: Option<String>) -> Result {
    let scenario = load_scenario(file)?;
    let name = name.unwrap_or_else(|| scenario.name.clone());
    let inside = enter_lab(&name)?;
    let cancel = cancel_on_signals()?;
    let mut progress = RunProgress::new();
    let mut tell = |vms: &[HeldVm]| {
        terminal::say(&format!("lab {name} is up; end it with Ctrl-C, join it with `dunlin lab shell HOST`"));
        for vm in vms {
            let at = vm.address.as_deref().map(|address| format!(" at {address}")).unwrap_or_default();
            terminal::say(&format!("  {} runs on {}{at}", vm.name, vm.host));
        }
    };
    hold(&scenario, inside, &cancel, &mut progress, &mut tell).map_err(|error| bench_failure(&error))
}

fn shell(host: &str, lab: Option<&str>, command: &[OsString]) -> Result {
    let name = match lab {
        Some(name) => name.to_owned(),
        None => only_lab()?,
    };
    let code = dunlin_testbed::shell(&name, host, command).map_err(|error| testbed_failure(&error))?;
    std::process::exit(code)
}

fn only_lab() -> Result<String> {
    let RunningLabs { names: mut labs, refused } =
        dunlin_testbed::running_labs().map_err(|error| testbed_failure(&error))?;
    match (labs.pop(), labs.len()) {
        (Some(lab), 0) => Ok(lab),
        (None, _) => {
            let hint = match refused.first() {
                Some((name, because)) => format!("{name} is not joined: {because}"),
                None => "make one with `dunlin lab up SCENARIO`".into(),
            };
            Err(Failure::says(Exit::BadInput, "no lab is up here").hint(hint))
        }
        (Some(lab), _) => {
            labs.push(lab);
            Err(Failure::says(Exit::BadInput, format!("several labs are up: {}", labs.join(", ")))
                .hint("name one with --lab"))
        }
    }
}
