//! Disks that move before the memory, in two steps: the mirrors end by the VM going on with the new ones, where it is.

use serde_json::{Value, json};

use super::mirror::{JOBS, Mirror, job_of, status};
use super::vm::{ACT_LIMIT, QemuVm};
use crate::{HypervisorError, Result};

impl QemuVm {
    pub(super) fn change_to_all_mirrors(&self) -> Result<()> {
        self.take_note_of_copies()?;
        let complete = |serial: &String| {
            self.execute_within(ACT_LIMIT, "block-job-complete", json!({ "device": job_of(serial) }))
                .map(drop)
        };
        self.mirrored().iter().try_for_each(complete)
    }

    /// Those that the VM has changed for since it was made. Fails where it may yet change for one: that is not known then.
    pub(super) fn all_changed(&self) -> Result<Vec<String>> {
        let mirrors = self.state().mirrors.clone();
        // Asked first: what has ended by then changes no more.
        let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
        if let Some(undecided) = mirrors.iter().find(|mirror| may_change(&jobs, &mirror.serial)) {
            let why =
                "its copy was to be given up and has not ended: the VM may still change for the new one";
            return Err(self.failed_mirror(&undecided.serial, why));
        }
        for mirror in mirrors {
            if self.has_changed_to(&mirror)? {
                self.take_note_of_change(&mirror);
            }
        }
        Ok(self.state().changed.keys().cloned().collect())
    }

    pub(super) fn release_all_originals(&self) -> Result<()> {
        while let Some(mirror) = self.last_mirror() {
            if !self.has_changed_to(&mirror)? {
                return Err(self.failed_mirror(&mirror.serial, "the VM has not changed for the new one"));
            }
            self.take_note_of_change(&mirror);
            self.execute_within(ACT_LIMIT, "job-dismiss", json!({ "id": job_of(&mirror.serial) }))?;
            self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": mirror.from }))?;
            self.state().mirrors.pop();
        }
        Ok(())
    }

    /// Whether the VM's device has the other disk by now.
    pub(super) fn has_changed_to(&self, mirror: &Mirror) -> Result<bool> {
        let devices = self.execute_within(ACT_LIMIT, "query-block", json!({}))?;
        let devices = devices.as_array().ok_or_else(|| HypervisorError::Answer {
            host: self.host.id().clone(),
            command: "query-block".into(),
            expected: "a list of devices",
        })?;
        Ok(devices.iter().any(|device| device["inserted"]["node-name"] == *mirror.to))
    }

    /// From now on that is the VM's disk, whatever becomes of it.
    pub(super) fn take_note_of_change(&self, mirror: &Mirror) {
        if let Some(disk) = &mirror.disk {
            let now = (mirror.to.clone(), disk.clone());
            self.state().changed.insert(mirror.serial.clone(), now);
        }
    }
}

/// Whether the VM may still change for the other disk: its copy has not ended one way or the other.
fn may_change(jobs: &Value, serial: &str) -> bool {
    status(jobs, serial).is_some_and(|(status, _)| status != "concluded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_has_not_ended_leaves_open_which_disk_the_vm_has() {
        let jobs = |status: &str| json!([{ "device": job_of("disk"), "type": "mirror", "status": status }]);
        for open in ["running", "ready", "standby", "waiting", "pending", "aborting", "paused"] {
            assert!(may_change(&jobs(open), "disk"), "{open}");
        }
        assert!(!may_change(&jobs("concluded"), "disk"));
        assert!(!may_change(&jobs("ready"), "swap"), "it was dismissed, or never begun");
    }
}
