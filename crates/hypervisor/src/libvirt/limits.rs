//! Limits of a VM's migrations that libvirt keeps from one to the next: what was set before is set again afterwards.

use super::shell::quoted;
use super::virsh::ASK_LIMIT;
use super::vm::Handle;
use crate::{Condition, Result, RunState, Vm};

const SET_DOWNTIME: &str = "migrate-setmaxdowntime";
const SET_BANDWIDTH: &str = "migrate-setspeed";

/// Those of a VM on the host that it leaves.
pub(super) struct Limits {
    vm: Handle,
    /// QEMU's downtime limit before we set ours, in ms.
    earlier_downtime: Option<String>,
    /// libvirt's cap before we set ours, in MiB/s.
    earlier_bandwidth: Option<String>,
}

impl Limits {
    pub(super) fn new(vm: Handle) -> Self {
        Self { vm, earlier_downtime: None, earlier_bandwidth: None }
    }

    pub(super) fn set_downtime(&mut self, ms: u64) -> Result<()> {
        if self.earlier_downtime.is_none() {
            // Before it is set: that may be done though nobody answers.
            self.earlier_downtime = Some(self.say(&["migrate-getmaxdowntime", &self.vm.uuid])?);
        }
        self.say(&[SET_DOWNTIME, &self.vm.uuid, &ms.to_string()]).map(drop)
    }

    pub(super) fn set_bandwidth(&mut self, mib_s: u64) -> Result<()> {
        if self.earlier_bandwidth.is_none() {
            self.earlier_bandwidth = Some(self.say(&["migrate-getspeed", &self.vm.uuid])?);
        }
        self.say(&[SET_BANDWIDTH, &self.vm.uuid, &mib_s.to_string()]).map(drop)
    }

    fn say(&self, args: &[&str]) -> Result<String> {
        Ok(self.vm.virsh.say(args, ASK_LIMIT)?.trim().to_owned())
    }

    /// Sets again what was there before. What does not succeed is given, with the command that does it.
    pub(super) fn restore(&self) -> Vec<String> {
        let changed: Vec<_> = [
            ("downtime limit", SET_DOWNTIME, &self.earlier_downtime),
            ("cap on migrations", SET_BANDWIDTH, &self.earlier_bandwidth),
        ]
        .into_iter()
        .filter_map(|(what, command, earlier)| Some((what, command, earlier.as_deref()?)))
        .collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let state = self.vm.run_state();
        let failures = changed.into_iter().filter_map(|(what, command, earlier)| {
            let why = match &state {
                // At the destination another QEMU has its own limit.
                Ok(RunState { condition: Condition::Ended, .. }) if command == SET_DOWNTIME => return None,
                Ok(RunState { condition, .. }) => match self.say(&[command, &self.vm.uuid, earlier]) {
                    Ok(_) => return None,
                    // The cap of one that is defined is remembered though it does not run; another one is not known any more.
                    Err(error) if *condition == Condition::Ended && error.is_refusal() => return None,
                    Err(error) => dunlin_record::in_one_line(&error),
                },
                // It is not waited for twice.
                Err(error) => dunlin_record::in_one_line(error),
            };
            Some(not_restored(what, command, &self.vm.name, self.vm.host().as_str(), earlier, &why))
        });
        failures.collect()
    }
}

fn not_restored(what: &str, command: &str, name: &str, host: &str, earlier: &str, why: &str) -> String {
    format!(
        "the {what} of {name} on {host} is still the trial's ({why}); this sets it again there: virsh {command} {} {earlier}",
        quoted(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_stays_is_told_with_the_command_that_sets_it_again() {
        let text = not_restored("downtime limit", SET_DOWNTIME, "db 1", "host-a", "300", "no answer");
        assert!(text.ends_with("virsh migrate-setmaxdowntime 'db 1' 300"), "{text}");
        assert!(text.contains("of db 1 on host-a") && text.contains("(no answer)"), "{text}");
    }
}
