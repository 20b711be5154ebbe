//! What this program does when a test runs it again: it enters a lab, and plays a scene there.

use std::process::ExitCode;

use dunlin_record::Links;
use dunlin_ssh_nodes::on_libvirt_nodes;
use dunlin_test_support::not_permitted;

use super::scenes;

pub(crate) fn play(role: &str, args: &[String]) -> ExitCode {
    let lack = on_libvirt_nodes(Links::default(), |nodes, libvirt| match role {
        "moves" => scenes::moves(libvirt, args),
        "outlives" => scenes::outlives(nodes, libvirt, args),
        "stays" => scenes::stays(libvirt, args),
        "refusals" => scenes::refusals(libvirt),
        other => panic!("no role {other}"),
    });
    if let Some(lack) = lack.unwrap() {
        return not_permitted(&lack);
    }
    scenes::nothing_runs();
    ExitCode::SUCCESS
}
