//! The subcommands, one file each, and what they share.

pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod calibrate;
pub(crate) mod capture;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod existing;
pub(crate) mod guest;
pub(crate) mod helper;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod inventory;
pub(crate) mod lab;
pub(crate) mod on_host;
pub(crate) mod report;
pub(crate) mod scenario;
pub(crate) mod scenarios;
pub(crate) mod tcp;
pub(crate) mod wire;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dunlin_bench::{BenchError, Scenario};
use dunlin_clock::Cancel;
use dunlin_guest::GuestError;
use dunlin_hypervisor::{HypervisorError, Registry};
use dunlin_record::RecordError;
use dunlin_testbed::{Inside, TestbedError};

use crate::failure::{Exit, Failure, Result};
use crate::shipped;
use crate::terminal;

/// How long the work inside a lab may take to end once it was told to.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Goes on in a world of its own in which a lab can be made. Before any thread exists.
fn enter_lab(name: &str) -> Result<Inside> {
    dunlin_testbed::enter(name, END_LIMIT).map_err(|error| testbed_failure(&error))
}

/// A wish to end that SIGINT, SIGTERM and SIGHUP set.
fn cancel_on_signals() -> Result<Cancel> {
    let cancel = Cancel::new();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, cancel.flag())
            .map_err(|error| Failure::says(Exit::Failed, format!("cannot watch for signals: {error}")))?;
    }
    Ok(cancel)
}

/// A scenario by its file or its name.
fn load_scenario(scenario: &Path) -> Result<Scenario> {
    load_scenario_for(scenario, &Registry::builtin())
}

/// The same for drivers of which the first is the usual one.
fn load_scenario_for(scenario: &Path, drivers: &Registry) -> Result<Scenario> {
    shipped::load(scenario, drivers).map_err(|error| {
        let failure = Failure::new(Exit::BadInput, &error);
        if scenario.exists() { failure } else { failure.hint(shipped::hint(scenario)) }
    })
}

/// Writes a text to a file that must be new, and says with what it is checked.
fn write_new(file: &Path, text: &str, next: &str) -> Result {
    let written = std::fs::File::create_new(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Failure::says(Exit::BadInput, format!("cannot create {}: {error}", file.display()))
    })?;
    terminal::say(&format!("wrote {}; check it with `{next}`", file.display()));
    Ok(())
}

/// What went wrong with a run, with what to do about it.
fn bench_failure(error: &BenchError) -> Failure {
    let failure = failure_of(error);
    if error.is_disk_full() {
        return failure.hint("make room and go on with --resume; trials that had ended are kept");
    }
    failure
}

fn failure_of(error: &BenchError) -> Failure {
    match error {
        BenchError::Scenario(_) => Failure::new(Exit::BadInput, error),
        BenchError::Testbed(inner) => testbed_failure(inner),
        BenchError::Hypervisor(inner) => hypervisor_failure(inner),
        BenchError::Record(inner) => record_failure(inner),
        BenchError::Guest(inner) => guest_failure(inner),
        BenchError::NoKernel { .. } => Failure::new(Exit::Machine, error)
            .hint("fetch one with `dunlin guest fetch`, or name your own by vm.kernel"),
        BenchError::NothingToRun { .. } => {
            Failure::new(Exit::Machine, error).hint("`dunlin doctor` says what this machine can do")
        }
        BenchError::OtherScenario { .. } | BenchError::Mistaken { .. } | BenchError::OtherVms { .. } => {
            Failure::new(Exit::BadInput, error)
        }
        BenchError::StaysOnce { .. } => Failure::new(Exit::BadInput, error)
            .hint("name a scenario of one case, and --trials 1; or leave --stay out"),
        BenchError::VmNotThere { vm, host, elsewhere, .. } => {
            Failure::new(Exit::BadInput, error).hint(elsewhere.mend(vm, host))
        }
        BenchError::Obstacles { .. } => Failure::new(Exit::Machine, error)
            .hint("`dunlin doctor SCENARIO --inventory FILE --vm NAME` shows what is left of it"),
        BenchError::NotHome { home, by_user, .. } => {
            let exit = if *by_user { Exit::Interrupted } else { Exit::Failed };
            Failure::new(exit, error).hint(format!(
                "do not start it on {home}; move it back there by hand (docs/libvirt.md, \"Bringing a VM back\"), or by an \
                 inventory whose hosts are in the other order, with --stay"
            ))
        }
        BenchError::WhereUnknown { .. } => Failure::new(Exit::Failed, error).hint(
            "ask both hosts with the hypervisor's own tools, and see to it that one copy runs and no second one",
        ),
        BenchError::NoAnswer { product, .. } => {
            Failure::new(Exit::Machine, error).hint(start_hint(product))
        }
        BenchError::OtherHosts { .. } => Failure::new(Exit::BadInput, error)
            .hint("go on with it where it was made: with --inventory as then, or without for a lab"),
        BenchError::FolderTaken { .. } => {
            Failure::new(Exit::BadInput, error).hint("go on with it by --resume, or name another folder")
        }
        BenchError::Cancelled => Failure::new(Exit::Interrupted, error),
        _ => Failure::new(Exit::Failed, error),
    }
}

/// What may make a product answer that is there and does not.
fn start_hint(product: &str) -> String {
    match product {
        // The one that is a daemon of the host's.
        "libvirt" => "start it there (systemctl start libvirtd, or virtqemud)".into(),
        _ => "see that it runs there".into(),
    }
}

fn testbed_failure(error: &TestbedError) -> Failure {
    match error {
        TestbedError::Ssh { host, doing, why, mend } => {
            Failure::says(Exit::Machine, format!("{host}: cannot {doing}: {why}")).hint(mend.clone())
        }
        TestbedError::Mismatch { .. } => {
            Failure::new(Exit::BadInput, error).hint("correct the inventory: docs/inventory.md")
        }
        TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. } => {
            Failure::new(Exit::Machine, error).hint("`dunlin doctor` says what this machine can do")
        }
        _ => Failure::new(Exit::Failed, error),
    }
}

fn hypervisor_failure(error: &HypervisorError) -> Failure {
    match error {
        HypervisorError::Start { mend, .. } => Failure::new(Exit::Machine, error).hint(mend.clone()),
        HypervisorError::Unsupported { .. } => Failure::new(Exit::Machine, error),
        HypervisorError::WrongSetting { .. } => Failure::new(Exit::BadInput, error),
        _ => Failure::new(Exit::Failed, error),
    }
}

fn guest_failure(error: &GuestError) -> Failure {
    match error {
        GuestError::NoKernel { .. } => Failure::new(Exit::Machine, error),
        _ => Failure::new(Exit::Failed, error),
    }
}

fn record_failure(error: &RecordError) -> Failure {
    match error {
        RecordError::Busy { .. } => {
            Failure::new(Exit::BadInput, error).hint("wait for its end, or name another folder")
        }
        RecordError::NotARun { .. } | RecordError::Json { .. } => Failure::new(Exit::BadInput, error),
        RecordError::Format { .. } | RecordError::LineFormat { .. } => {
            Failure::new(Exit::BadInput, error).hint("a newer dunlin wrote it, and reads it")
        }
        _ => Failure::new(Exit::Failed, error),
    }
}
