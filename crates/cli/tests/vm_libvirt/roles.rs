//! What this program does when a test runs it again: it enters a lab, and plays a scene there.

use std::process::ExitCode;
use std::time::Duration;

use dunlin_record::{Link, Links};
use dunlin_ssh_nodes::{LibvirtNodes, SshNodes};
use dunlin_testbed::{HostKind, Inside, Lab, LabSpec, TestbedError, enter};

use super::ground::Ground;
use super::{existing, faults, mechanisms, obstacles, ours};

/// The argument that announces a role.
pub(crate) const ROLE: &str = "--role";
/// The exit code that says that this machine does not permit labs, or lacks what they take.
pub(crate) const NOT_PERMITTED: i32 = 77;
/// As in a lab of a scenario that says nothing of links.
const RATE_MBIT: f64 = 1000.0;

pub(crate) fn play(role: &str, args: &[String]) -> ExitCode {
    // A test that is killed leaves no lab.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    if let Some(lack) = LibvirtNodes::lack() {
        return not_permitted(&lack);
    }
    match enter(&format!("test-{}", std::process::id()), Duration::from_secs(20)) {
        Ok(inside) => act(role, args, &inside),
        Err(error @ TestbedError::NotPermitted { .. }) => not_permitted(&error.to_string()),
        Err(error) => panic!("{error:?}"),
    }
}

fn act(role: &str, args: &[String], inside: &Inside) -> ExitCode {
    let migration = Link { rate_mbit: Some(RATE_MBIT), ..Link::default() };
    let spec = LabSpec { kind: HostKind::Node, ..LabSpec::new(Links { migration, ..Links::default() }) };
    let lab = match Lab::up(inside, &spec) {
        Ok(lab) => lab,
        Err(error @ (TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. })) => {
            return not_permitted(&error.to_string());
        }
        Err(error) => panic!("{error:?}"),
    };
    let nodes = SshNodes::up(&lab).unwrap();
    let libvirt = LibvirtNodes::up(&nodes).unwrap();
    let ground = Ground::new(&nodes, &libvirt, args);
    match role {
        "ours" => ours::play(&ground),
        "existing" => existing::play(&ground),
        "obstacles" => obstacles::play(&ground),
        "mechanisms" => mechanisms::play(&ground),
        "faults" => faults::play(&ground),
        other => panic!("no role {other}"),
    }
    ExitCode::SUCCESS
}

fn not_permitted(why: &str) -> ExitCode {
    println!("{why}");
    ExitCode::from(NOT_PERMITTED as u8)
}
