//! What is told of a run that did not get to its end, with the commands that go on from there, ready to be copied.

use std::path::Path;

use dunlin_bench::{BenchError, Existing};

use crate::commands::bench_failure;
use crate::failure::Failure;
use crate::shell::quoted;

/// A run, as it was asked for.
pub(super) struct Asked<'a> {
    /// Absent where a run is gone on with and none was named.
    pub(super) scenario: Option<&'a Path>,
    pub(super) folder: &'a Path,
    pub(super) inventory: Option<&'a Path>,
    pub(super) existing: &'a [Existing],
}

impl Asked<'_> {
    /// The error for people.
    pub(super) fn failure(&self, error: &BenchError) -> Failure {
        let failure = bench_failure(error);
        let Some(inventory) = self.inventory.map(quoted) else { return failure };
        match error {
            BenchError::Obstacles { .. } => {
                failure.hint(format!("`{}` shows what is left of it", self.doctor(&inventory)))
            }
            BenchError::NotHome { .. } | BenchError::WhereUnknown { .. } => failure.then(&self.go_on()),
            _ => {
                failure.or_hint(format!("`dunlin doctor --inventory {inventory}` tries all that a run needs"))
            }
        }
    }

    /// How it is gone on with.
    pub(super) fn go_on(&self) -> String {
        let inventory = self.inventory.map(|file| format!(" --inventory {}", quoted(file)));
        format!("go on with --resume {}{}", quoted(self.folder), inventory.unwrap_or_default())
    }

    /// What looks at its VMs anew: what speaks against moving them rests on the scenario too.
    fn doctor(&self, inventory: &str) -> String {
        let scenario = self.scenario.map_or_else(|| "SCENARIO".into(), quoted);
        let vms = self.existing.iter().map(|vm| format!(" --vm {}", quoted(Path::new(&vm.name))));
        let addresses = self
            .existing
            .iter()
            .filter_map(|vm| vm.address)
            .map(|address| format!(" --vm-address {address}"));
        let words: String = vms.chain(addresses).collect();
        format!("dunlin doctor {scenario} --inventory {inventory}{words}")
    }
}

#[cfg(test)]
mod tests {
    use dunlin_bench::{Elsewhere, VmObstacle};
    use dunlin_hypervisor::Obstacle;

    use super::*;
    use crate::failure::Exit;

    fn told(error: &BenchError) -> Failure {
        let existing = [
            Existing { name: "db".into(), address: Some([192, 0, 2, 7].into()) },
            Existing { name: "größe 2".into(), address: None },
        ];
        let asked = Asked {
            scenario: Some(Path::new("my own.toml")),
            folder: Path::new("runs/x"),
            inventory: Some(Path::new("hosts.toml")),
            existing: &existing,
        };
        asked.failure(error)
    }

    fn not_home(by_user: bool) -> BenchError {
        let said = |text: &str| text.to_owned();
        BenchError::NotHome {
            vm: said("db"),
            home: said("host-a"),
            why: said("ended by the user"),
            said: said("host-b says of it: running"),
            by_user,
        }
    }

    #[test]
    fn who_leaves_a_vm_away_gets_the_code_of_that_and_how_to_go_on() {
        let failure = told(&not_home(true));
        assert_eq!(failure.exit, Exit::Interrupted);
        insta::assert_snapshot!(failure.text(), @r#"
        error: db is not back on host-a: ended by the user; host-b says of it: running
         hint: do not start it on host-a; move it back there by hand (docs/libvirt.md, "Bringing a VM back"), or by an inventory whose hosts are in the other order, with --stay; then go on with --resume runs/x --inventory hosts.toml
        "#);
        assert_eq!(told(&not_home(false)).exit, Exit::Failed);
    }

    #[test]
    fn what_looks_at_obstacles_anew_names_the_scenario_on_which_they_rest() {
        let obstacle = Obstacle { what: "host-b has no bridge br1".into(), mend: "make it".into() };
        let error = BenchError::Obstacles { obstacles: vec![VmObstacle { vm: "db".into(), obstacle }] };
        insta::assert_snapshot!(told(&error).text(), @r"
        error: nothing was moved, because of:
        1. db: host-b has no bridge br1
           mend it by: make it
         hint: `dunlin doctor 'my own.toml' --inventory hosts.toml --vm db --vm 'größe 2' --vm-address 192.0.2.7` shows what is left of it
        ");
    }

    #[test]
    fn a_vm_that_runs_at_the_other_host_is_not_to_be_started() {
        let error = BenchError::VmNotThere {
            vm: "db".into(),
            host: "host-a".into(),
            said: "it is shut off".into(),
            elsewhere: Box::new(Elsewhere::There { host: "host-b".into(), word: "running".into() }),
        };
        let failure = told(&error);
        assert_eq!(failure.exit, Exit::BadInput);
        insta::assert_snapshot!(failure.text(), @r#"
        error: db does not run on host-a, where it is to be moved from, and is not started: it is shut off; host-b has it, where it is running
         hint: do NOT start db on host-a: host-b has it, and two copies would write to the same disks. It can be moved back by hand (docs/libvirt.md, "Bringing a VM back"), or by an inventory whose hosts are in the other order, with --stay
        "#);
    }
}
