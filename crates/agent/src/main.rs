//! Dunlin's agent: init of the guests it measures, echo of their probes, and their workload.
//!
//! It is process 1 of a guest that has nothing else. Whatever fails is said on the console and to the client; the agent
//! goes on with what works, since its end would be the guest's.

mod boot;
mod console;
mod echo;
mod memory;
mod network;
mod pages;
mod port;
mod service;
mod storage;
mod sys;
mod tcp_test;
mod workload;

use dunlin_agent_proto::READY_LINE;

use crate::console::{Troubles, say};
use crate::port::Port;
use crate::service::Service;

fn main() {
    if std::process::id() != 1 {
        say("the agent is the init of a Dunlin guest: it does nothing elsewhere");
        std::process::exit(2);
    }
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
    Service::new(port, troubles).serve()
}
