//! The command line: arguments, terminal, exit codes. One file a subcommand.

mod address;
mod commands;
mod failure;
mod helper_binary;
mod progress;
mod shell;
mod shipped;
mod terminal;
mod time;

use std::process::ExitCode;

pub use helper_binary::{helper_binary, helper_sha256};

use clap::{Parser, Subcommand};

use commands::{
    bench, cache, calibrate, capture, compare, doctor, guest, helper, http, inventory, lab, report, scenario,
    scenarios, tcp, wire,
};

/// Measures, explains and improves the live migration of virtual machines.
#[derive(Parser)]
#[command(name = "dunlin", version, after_help = EXIT_CODES, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something went wrong that has no code of its own
  2    the command line is wrong
  3    the scenario, folder, file or argument given cannot be used, or not whole
  4    this machine lacks something; the hint says what mends it
  5    the run ended, but a trial of it failed
  6    calibrate: the figures are not true enough
  7    calibrate: the machine was too noisy to tell
  8    compare: a condition of --fail-if is violated
  9    compare: one seems violated, but with one run a side it may be drift between them
  10   compare: a condition could be decided for no case, and --require-decision is given
  130  ended by the user";

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and report what came out.
    Bench(bench::Args),
    /// Show what a run measured, computed from its events and series.
    Report(report::Args),
    /// Say what changed from some runs to others, and whether that can be told from chance and drift.
    ///
    /// Cases are matched by name and dials. A change is called better or worse only where it is at least 5 % (or the least
    /// limit of --fail-if, if smaller) and stands out of chance and of the drift between runs, corrected for all figures of
    /// the table: of 100 comparisons without any change, at most 5 show one. Drift takes several runs of a side to be known
    /// (`compare A1 A2 A3 -- B1 B2 B3`); with one run a side B only "seems" better, worse or the same. "No difference" means
    /// that a change of that size is ruled out; all else is "not enough data".
    Compare(compare::Args),
    /// Check a scenario, or begin a new one.
    #[command(subcommand)]
    Scenario(scenario::Action),
    /// List the scenarios that are shipped, or print one.
    Scenarios(scenarios::Args),
    /// Check an inventory of real hosts, or begin a new one.
    #[command(subcommand)]
    Inventory(inventory::Action),
    /// Certify the probes: measure outages of known length.
    Calibrate(calibrate::Args),
    /// Capture the packets of an interface to a file that Wireshark opens.
    ///
    /// Frames that cannot be kept in time are dropped from the capture and counted; what is captured is never held up.
    /// The interface is not made promiscuous. Ctrl-C ends a capture well. A file grows no further when its disk has less
    /// than 256 MiB left.
    Capture(capture::Args),
    /// Say what captures hold: protocols, TCP conversations, their overhead, packets over time.
    ///
    /// Reads pcap and pcapng, also compressed with gzip or Zstandard. Retransmissions, duplicate acknowledgements and the
    /// like are counted as Wireshark does. Of a file that breaks off or is damaged, what stands before that is shown, and
    /// the exit code is 3.
    Wire(wire::Args),
    /// Serve and load the guests' web pages without a guest: what remains of a figure where there is no VM.
    #[command(subcommand)]
    Http(http::Action),
    /// Request/response and streams over TCP between two machines: the probes beside a migration, without one.
    #[command(subcommand)]
    Tcp(tcp::Action),
    /// Say what this machine can do, and what mends what it cannot.
    Doctor(doctor::Args),
    /// Own a long-lived lab with its VMs, or join one.
    #[command(subcommand)]
    Lab(lab::Action),
    /// Fetch what guests boot from; write the agent for VMs of your own.
    #[command(subcommand)]
    Guest(guest::Action),
    /// Look at what is kept between runs, or remove it.
    #[command(subcommand)]
    Cache(cache::Action),
    /// Do on a host what has to be done there (started by dunlin itself).
    #[command(hide = true)]
    Helper,
    /// Be the first process of a lab's node (started by dunlin itself).
    #[command(hide = true)]
    Node,
}

/// The whole program.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(args),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Scenario(action) => scenario::run(action),
        Command::Inventory(action) => inventory::run(action),
        Command::Scenarios(args) => scenarios::run(&args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Wire(args) => wire::run(&args),
        Command::Http(action) => http::run(action),
        Command::Tcp(action) => tcp::run(action),
        Command::Doctor(args) => doctor::run(&args),
        Command::Lab(action) => lab::run(action),
        Command::Guest(action) => guest::run(action),
        Command::Cache(action) => cache::run(action),
        Command::Helper => return helper::run(),
        Command::Node => return helper::run_node(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}
