//! What this program does when a test runs it again: it enters a lab, and plays a scene there.

use std::process::ExitCode;

use dunlin_record::{Link, Links};
use dunlin_ssh_nodes::on_libvirt_nodes;
use dunlin_test_support::not_permitted;

use super::ground::Ground;
use super::{existing, faults, mechanisms, obstacles, ours, storage};

/// As in a lab of a scenario that says nothing of links.
const RATE_MBIT: f64 = 1000.0;

pub(crate) fn play(role: &str, args: &[String]) -> ExitCode {
    // A test that is killed leaves no lab.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    let migration = Link { rate_mbit: Some(RATE_MBIT), ..Link::default() };
    let lack = on_libvirt_nodes(Links { migration, ..Links::default() }, |nodes, libvirt| {
        let ground = Ground::new(nodes, libvirt, args);
        match role {
            "ours" => ours::play(&ground),
            "existing" => existing::play(&ground),
            "obstacles" => obstacles::play(&ground),
            "mechanisms" => mechanisms::play(&ground),
            "storage" => storage::play(&ground),
            "faults" => faults::play(&ground),
            other => panic!("no role {other}"),
        }
    });
    lack.unwrap().map_or(ExitCode::SUCCESS, |lack| not_permitted(&lack))
}
