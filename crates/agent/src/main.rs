//! Dunlin's agent: init of the guests that Dunlin makes, echo of their probes, and their workload; or, as `dunlin-agent
//! run`, a program in a guest that is not Dunlin's, which it does not change.
//!
//! As process 1 it is alone in its guest. Whatever fails is said on the console and to the client; the agent goes on with
//! what works, since its end would be the guest's.

mod arguments;
mod boot;
mod console;
mod echo;
mod ending;
mod folder;
mod memory;
mod network;
mod pages;
mod port;
mod program;
mod role;
mod seal;
mod service;
mod storage;
mod sys;
mod tcp_test;
mod workload;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use dunlin_agent_proto::READY_LINE;

use crate::arguments::{USAGE, Wanted};
use crate::console::{Troubles, say};
use crate::port::Port;
use crate::role::Role;
use crate::service::Service;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // A kernel passes words of its command line on to its init; none of ours begins with this. A container's process 1 may
    // be a program.
    if std::process::id() == 1 && arguments.first().is_none_or(|first| first != "run") {
        be_init();
    }
    let done = match arguments::parse(arguments) {
        Ok(Wanted::Run(settings)) => program::run(&settings),
        Ok(Wanted::Help) => print(USAGE),
        Ok(Wanted::Version) => print(&format!("dunlin-agent {}\n", env!("CARGO_PKG_VERSION"))),
        Err(mistake) => {
            say(&format!("dunlin-agent: {mistake}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("dunlin-agent: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("print: {error}"))
}

/// Makes the bare kernel a guest and serves for ever.
fn be_init() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("dunlin-agent panicked: {panic}"));
        // A workload's last words are for the client.
        if !std::thread::current().name().is_some_and(|name| name.starts_with(workload::THREAD)) {
            sys::power_off();
        }
    }));
    let mut troubles = Troubles::default();
    boot::prepare(&mut troubles);
    boot::configure_network(&mut troubles);
    troubles.note(echo::start());
    troubles.note(tcp_test::start());
    let port = Port::wait_for();
    say(READY_LINE);
    let served = Service::new(port, troubles, Role::Init, None).and_then(Service::serve);
    say(&format!("dunlin-agent: the guest ends, for its agent does: {served:?}"));
    sys::power_off()
}
