//! A VM's disks copied to another host's by `blockdev-mirror`: to what the destination's QEMU exports over NBD, or, in two steps,
//! to disks that both hosts see.
//!
//! The order is that of QEMU's `docs/interop/live-block-operations.rst` ("QMP invocation for live storage migration with
//! drive-mirror + NBD"), with the end of it before the switch-over instead of after the migration: a mirror that is
//! ready is ended by `block-job-cancel` without force, which lets it copy the last and keeps the source's disk the VM's
//! own. Each mirror has a node of its own at the source (the other disk) and stays, once ended, until it is dismissed.

use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{Blocks, Writes};
use serde_json::{Value, json};

use super::blockdev::{self, CONNECT_LIMIT_S};
use super::export::server;
use super::mechanisms::{InStep, all_in_step, copies_seen};
use super::vm::{ACT_LIMIT, QemuVm};
use crate::certificates::SERVER_NAME;
use crate::{CopyOrder, HypervisorError, MirrorProgress, MirrorStage, Result, VmDisk};

/// What a mirror has under way at once. QEMU's own 16 MiB would have to be through whenever the VM is stopped, for its
/// switch-over too: 140 ms at 1 Gbit/s, and 9 s at 15 Mbit/s, in which QEMU answers nobody. A quarter of that still fills
/// 1 Gbit/s over a round trip of 30 ms.
const AT_ONCE_BYTES: u64 = 4 << 20;
/// The question how far mirrors are.
pub(super) const JOBS: &str = "query-block-jobs";
/// The command that makes a mirror write in step (QEMU >= 8.2).
const CHANGE: &str = "block-job-change";
/// Zeros in requests smaller than this are written as any other data by a node that is told so: a mirror's requests are.
const WHOLE_BYTES: u64 = 1 << 30;
const MIB: f64 = 1_048_576.0;

/// The copies that a source was asked for.
pub(super) struct Copying {
    pub(super) order: CopyOrder,
    began_ns: i64,
}

/// The copy of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    /// Of which, as the guest knows it.
    pub(super) serial: String,
    /// The node of the VM's disk …
    pub(super) from: String,
    /// … and of the other one.
    pub(super) to: String,
    /// The node whose connection is broken to end it by force; absent where that would cut the VM off its new disk.
    connection: Option<String>,
    /// In two steps: the other one.
    pub(super) disk: Option<VmDisk>,
}

impl QemuVm {
    pub(super) fn start_all_mirrors(&self, order: &CopyOrder) -> Result<()> {
        self.state().copying = Some(Copying { order: order.clone(), began_ns: dunlin_clock::now_ns() });
        let how = &order.how;
        if how.writes == Writes::InStep {
            self.state().noticed.in_step = Some(InStep { seen: Some(false), from_begin: true });
        }
        let disks = self.least_first(self.disks_now())?;
        let share = disks.len().max(1) as f64;
        for (from, disk) in disks {
            let (mirror, node) = self.other_end(order, &disk, &from)?;
            let mut job = json!({
                "job-id": job_of(&disk.serial),
                "device": from,
                "target": mirror.to,
                // Below an overlay the other one has the same.
                "sync": if how.blocks == Blocks::Overlay && disk.backing.is_some() { "top" } else { "full" },
                // Told at once; another error only when all that is on its way has been tried too.
                "on-target-error": "enospc",
                "buf-size": AT_ONCE_BYTES,
                "auto-dismiss": false,
            });
            if how.writes == Writes::InStep {
                job["copy-mode"] = "write-blocking".into();
            }
            if let Some(rate_mib_s) = how.rate_mib_s {
                job["speed"] = rate_bytes(rate_mib_s / share).into();
            }
            // Noted first, so that whatever comes of it is cleared away.
            self.state().mirrors.push(mirror.clone());
            self.execute("blockdev-add", node)?;
            self.check_room(&mirror)?;
            self.execute("blockdev-mirror", job)?;
        }
        Ok(())
    }

    /// Disks by what their images take up. A copy that is begun beside another waits until that has done what it has under
    /// way, and QEMU with it: the guest was seen to stand still for a second, until the first disk was there.
    fn least_first(&self, mut disks: Vec<(String, VmDisk)>) -> Result<Vec<(String, VmDisk)>> {
        let nodes = self.execute("query-named-block-nodes", json!({ "flat": true }))?;
        disks.sort_by_key(|(node, _)| actual_size(&nodes, node));
        Ok(disks)
    }

    /// The VM's disks, with their nodes' names.
    pub(super) fn disks_now(&self) -> Vec<(String, VmDisk)> {
        let state = self.state();
        let now = |disk: &VmDisk| {
            state.changed.get(&disk.serial).cloned().unwrap_or_else(|| (disk.serial.clone(), disk.clone()))
        };
        self.machine.spec.disks.iter().map(now).collect()
    }

    /// The copy of a disk, and the node that it is copied to.
    fn other_end(&self, order: &CopyOrder, disk: &VmDisk, from: &str) -> Result<(Mirror, Value)> {
        let serial = &disk.serial;
        let there = format!("{serial}-there");
        // One that the VM has changed to before has that name already.
        let to = if from == there { format!("{serial}-next") } else { there };
        let mirror = |connection, disk| Mirror {
            serial: serial.clone(),
            from: from.to_owned(),
            to: to.clone(),
            connection,
            disk,
        };
        if let Some(others) = &order.disks {
            let other = others
                .iter()
                .find(|other| other.serial == *serial)
                .ok_or_else(|| self.failed_mirror(serial, "the destination has no such disk"))?;
            return Ok((mirror(None, Some(other.clone())), blockdev::node(other, &to)));
        }
        let mut node = json!({
            "driver": "nbd",
            "node-name": to,
            "server": server(self.transport(), &order.address),
            "export": serial,
            "discard": "unmap",
            "open-timeout": CONNECT_LIMIT_S,
        });
        if let Some(id) = self.credentials_id() {
            node["tls-creds"] = id.into();
            node["tls-hostname"] = SERVER_NAME.into();
        }
        if order.how.blocks != Blocks::All {
            return Ok((mirror(Some(to.clone()), None), node));
        }
        let connection = format!("{serial}-nbd");
        node["node-name"] = connection.clone().into();
        node["discard"] = "ignore".into();
        let whole = json!({
            "driver": "blkdebug", "node-name": to, "opt-write-zero": WHOLE_BYTES, "discard": "ignore", "image": node
        });
        Ok((mirror(Some(connection), None), whole))
    }

    /// Fails where the other disk holds less than the VM's.
    fn check_room(&self, mirror: &Mirror) -> Result<()> {
        let nodes = self.execute("query-named-block-nodes", json!({ "flat": true }))?;
        let size = |name: &str| {
            let node = nodes.as_array()?.iter().find(|node| node["node-name"] == *name)?;
            node["image"]["virtual-size"].as_u64()
        };
        match (size(&mirror.from), size(&mirror.to)) {
            (Some(here), Some(there)) if there < here => Err(self.failed_mirror(
                &mirror.serial,
                &format!("the other one holds {there} bytes, and this one has {here}"),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn failed_mirror(&self, disk: &str, why: &str) -> HypervisorError {
        HypervisorError::Mirror {
            vm: self.machine.spec.id.clone(),
            host: self.host.id().clone(),
            disk: disk.to_owned(),
            why: why.to_owned(),
        }
    }

    /// The disks that are being copied.
    pub(super) fn mirrored(&self) -> Vec<String> {
        self.state().mirrors.iter().map(|mirror| mirror.serial.clone()).collect()
    }

    pub(super) fn mirror_progress(&self) -> Result<MirrorProgress> {
        let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
        progress(&jobs, &self.mirrored()).map_err(|(disk, why)| self.failed_mirror(&disk, &why))
    }

    pub(super) fn mirror_all_in_step(&self) -> Result<bool> {
        if !self.features.knows(CHANGE) {
            return Ok(false);
        }
        for serial in &self.mirrored() {
            let change = json!({ "id": job_of(serial), "type": "mirror", "copy-mode": "write-blocking" });
            self.execute_within(ACT_LIMIT, CHANGE, change)?;
        }
        // Unless it is seen to come about.
        self.state().noticed.in_step = Some(InStep { seen: Some(false), from_begin: false });
        Ok(true)
    }

    pub(super) fn finish_all_mirrors(&self) -> Result<()> {
        self.take_note_of_copies()?;
        let cancel = |serial: &String| {
            self.execute_within(ACT_LIMIT, "block-job-cancel", json!({ "device": job_of(serial) })).map(drop)
        };
        self.mirrored().iter().try_for_each(cancel)
    }

    /// Sees what came of what was asked of the copies, while they still tell.
    pub(super) fn take_note_of_copies(&self) -> Result<()> {
        let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
        let Some((order, began_ns)) =
            self.state().copying.as_ref().map(|copying| (copying.order.clone(), copying.began_ns))
        else {
            return Ok(());
        };
        let took_ms = (dunlin_clock::now_ns() - began_ns) as f64 / 1e6;
        let is_of_interest = order.how.blocks == Blocks::All || order.how.rate_mib_s.is_some();
        let sent_bytes =
            (is_of_interest && order.disks.is_none()).then(|| self.sent_bytes(&order.address)).flatten();
        let mut state = self.state();
        if let Some(in_step) = &mut state.noticed.in_step {
            in_step.seen = all_in_step(&jobs);
        }
        state.noticed.copies = copies_seen(&order.how, &jobs, took_ms, sent_bytes);
        Ok(())
    }

    pub(super) fn release_all_mirrors(&self) -> Result<()> {
        self.state().comparison = None;
        while let Some(mirror) = self.last_mirror() {
            self.execute_within(ACT_LIMIT, "job-dismiss", json!({ "id": job_of(&mirror.serial) }))?;
            self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": mirror.to }))?;
            self.state().mirrors.pop();
        }
        Ok(())
    }

    pub(super) fn abandon_all_mirrors(&self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        let (mirrors, comparison) = {
            let mut state = self.state();
            (state.mirrors.clone(), state.comparison.take())
        };
        drop(comparison);
        for connection in mirrors.iter().filter_map(|mirror| mirror.connection.as_ref()) {
            // Even a main loop that waits for a dead link answers this one. What is not connected needs no breaking.
            let _ = self.break_off(&json!({ "type": "block-node", "node-name": connection }));
        }
        for mirror in &mirrors {
            // One that has ended by then is refused.
            let cancel = json!({ "device": job_of(&mirror.serial), "force": true });
            let cancelled = self.execute_within(ACT_LIMIT, "block-job-cancel", cancel);
            if matches!(cancelled, Err(HypervisorError::Timeout { .. })) {
                // It does not answer at all: whoever waits has a VM to care for.
                return cancelled.map(drop);
            }
        }
        while let Some(mirror) = self.last_mirror() {
            let serial = &mirror.serial;
            let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
            match status(&jobs, serial).map(|(status, _)| status) {
                None => {}
                Some("concluded") => {
                    self.execute_within(ACT_LIMIT, "job-dismiss", json!({ "id": job_of(serial) }))?;
                }
                Some(_) if deadline.passed() => {
                    return Err(self.timeout(&format!("the copy of {serial} to end"), limit));
                }
                Some(_) => {
                    std::thread::sleep(deadline.step(Duration::from_millis(10)));
                    continue;
                }
            }
            let left = if mirror.disk.is_some() && self.has_changed_to(&mirror)? {
                self.take_note_of_change(&mirror);
                &mirror.from
            } else {
                &mirror.to
            };
            // It may never have been made.
            let _ = self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": left }));
            self.state().mirrors.pop();
        }
        Ok(())
    }

    pub(super) fn last_mirror(&self) -> Option<Mirror> {
        self.state().mirrors.last().cloned()
    }
}

pub(super) fn job_of(serial: &str) -> String {
    format!("mirror-{serial}")
}

/// A rate that QEMU takes: 0 would be none.
fn rate_bytes(rate_mib_s: f64) -> u64 {
    (rate_mib_s * MIB).round().max(1.0) as u64
}

/// All mirrors together, by `query-block-jobs`; the disk of one that has failed, and why.
fn progress(jobs: &Value, serials: &[String]) -> Result<MirrorProgress, (String, String)> {
    let mut all = MirrorProgress { stage: MirrorStage::Ended, copied_bytes: Some(0), total_bytes: Some(0) };
    for serial in serials {
        let (status, job) =
            status(jobs, serial).ok_or_else(|| (serial.clone(), "its job is gone".to_owned()))?;
        // One that finds no room does not end by itself.
        let no_room = (job["io-status"] == "nospace").then_some("No space left on device");
        if let Some(why) = job["error"].as_str().or(no_room) {
            return Err((serial.clone(), why.to_owned()));
        }
        let stage = match status {
            // Also while it is stopped for a moment; also while it ends well.
            "ready" | "standby" | "waiting" | "pending" => MirrorStage::Even,
            "concluded" => MirrorStage::Ended,
            _ => MirrorStage::Copying,
        };
        all.stage = all.stage.min(stage);
        // What one of them does not tell, nobody can tell of all.
        let sum = |all: Option<i64>, one: &str| Some(all?.saturating_add(job[one].as_i64()?));
        all.copied_bytes = sum(all.copied_bytes, "offset");
        all.total_bytes = sum(all.total_bytes, "len");
    }
    Ok(all)
}

/// A mirror's job and its status.
pub(super) fn status<'a>(jobs: &'a Value, serial: &str) -> Option<(&'a str, &'a Value)> {
    let id = job_of(serial);
    let job = jobs.as_array()?.iter().find(|job| job["device"] == *id)?;
    Some((job["status"].as_str()?, job))
}

/// What a node's image takes up, by `query-named-block-nodes`; as much as can be where that is not told.
fn actual_size(nodes: &Value, node: &str) -> u64 {
    let known = nodes.as_array().into_iter().flatten().find(|known| known["node-name"] == node);
    known.and_then(|known| known["image"]["actual-size"].as_u64()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(serial: &str, status: &str, copied: i64) -> Value {
        json!({ "device": job_of(serial), "type": "mirror", "status": status, "io-status": "ok", "offset": copied, "len": 100 })
    }

    #[test]
    fn what_an_image_takes_up_is_told_by_its_node() {
        let nodes = json!([
            { "node-name": "data", "image": { "actual-size": 4096 } },
            { "node-name": "swap", "image": {} },
        ]);
        let sizes = ["data", "swap", "other"].map(|node| actual_size(&nodes, node));
        assert_eq!(sizes, [4096, u64::MAX, u64::MAX]);
    }

    #[test]
    fn all_are_as_far_as_the_one_that_is_least_far() {
        let serials = ["data".to_owned(), "swap".to_owned()];
        let far = |jobs: Value| progress(&jobs, &serials);
        let said = |stage, copied_bytes| {
            Ok(MirrorProgress { stage, copied_bytes: Some(copied_bytes), total_bytes: Some(200) })
        };
        assert_eq!(
            far(json!([job("data", "ready", 100), job("swap", "running", 20), job("other", "created", 7)])),
            said(MirrorStage::Copying, 120)
        );
        assert_eq!(
            far(json!([job("data", "standby", 100), job("swap", "concluded", 100)])),
            said(MirrorStage::Even, 200)
        );
        let mut untold = job("data", "running", 0);
        untold.as_object_mut().unwrap().remove("offset");
        let progress = far(json!([untold, job("swap", "running", 20)])).unwrap();
        assert_eq!((progress.copied_bytes, progress.total_bytes), (None, Some(200)));
        // What breaks off is not even, whatever its counters say.
        assert_eq!(
            far(json!([job("data", "concluded", 100), job("swap", "aborting", 100)])),
            said(MirrorStage::Copying, 200)
        );
        assert_eq!(
            far(json!([job("data", "concluded", 100), job("swap", "concluded", 100)])),
            said(MirrorStage::Ended, 200)
        );
    }

    #[test]
    fn a_mirror_that_failed_or_is_gone_is_told_with_its_disk() {
        let serials = ["data".to_owned(), "swap".to_owned()];
        let mut failed = job("swap", "concluded", 20);
        failed["error"] = "No space left on device".into();
        let told = progress(&json!([job("data", "ready", 100), failed]), &serials);
        assert_eq!(told, Err(("swap".into(), "No space left on device".into())));
        let mut full = job("swap", "paused", 20);
        full["io-status"] = "nospace".into();
        assert!(
            progress(&json!([job("data", "ready", 100), full]), &serials).unwrap_err().1.contains("space")
        );
        let told = progress(&json!([job("data", "ready", 100)]), &serials);
        assert_eq!(told, Err(("swap".into(), "its job is gone".into())));
    }
}
