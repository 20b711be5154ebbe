//! A VM's disks that move with it: exported by the destination's QEMU over NBD, copied by the source's `blockdev-mirror`.
//!
//! The order is that of QEMU's `docs/interop/live-block-operations.rst` ("QMP invocation for live storage migration with
//! drive-mirror + NBD"), with the end of it before the switch-over instead of after the migration: a mirror that is
//! ready is ended by `block-job-cancel` without force, which lets it copy the last and keeps the source's disk the VM's
//! own. Each mirror has a node of its own at the source (an NBD client) and stays, once ended, until it is dismissed.

use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::TransportKind;
use dunlin_testbed::Host;
use serde_json::{Value, json};

use super::mechanisms::all_in_step;
use super::transport::migration_address;
use super::vm::{ACT_LIMIT, QemuVm};
use crate::certificates::SERVER_NAME;
use crate::{HypervisorError, MirrorProgress, MirrorStage, Result};

/// The first port tried for NBD (its own, by IANA) and how many more: QEMU does not tell which one it took by itself.
const PORT: u16 = 10_809;
const PORTS_TRIED: u16 = 32;
/// How long the source may take to connect, in seconds.
const CONNECT_LIMIT_S: u64 = 10;
/// The question how far mirrors are.
const JOBS: &str = "query-block-jobs";
/// The command that makes a mirror write in step (QEMU >= 8.2).
const CHANGE: &str = "block-job-change";

impl QemuVm {
    pub(super) fn export_all(&self) -> Result<String> {
        let address = self.serve_disks()?;
        for disk in &self.machine.spec.disks {
            let serial = &disk.serial;
            let export =
                json!({ "type": "nbd", "id": serial, "node-name": serial, "name": serial, "writable": true });
            self.execute("block-export-add", export)?;
        }
        Ok(address)
    }

    /// Opens the NBD server where it can be reached as the migration itself.
    fn serve_disks(&self) -> Result<String> {
        let mut attempt = 0;
        loop {
            let address = nbd_address(self.transport(), &*self.host, PORT + attempt)?;
            let mut start = json!({ "addr": legacy(&server(self.transport(), &address)) });
            if let Some(id) = self.credentials_id() {
                start["tls-creds"] = id.into();
            }
            match self.execute("nbd-server-start", start) {
                Ok(_) => return Ok(address),
                Err(HypervisorError::Refused { .. }) if attempt < PORTS_TRIED => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn start_all_mirrors(&self, address: &str) -> Result<()> {
        let server = server(self.transport(), address);
        for disk in self.machine.spec.disks.clone() {
            let serial = disk.serial;
            let mut node = json!({
                "driver": "nbd",
                "node-name": node_of(&serial),
                "server": server,
                "export": serial,
                "discard": "unmap",
                "open-timeout": CONNECT_LIMIT_S,
            });
            if let Some(id) = self.credentials_id() {
                node["tls-creds"] = id.into();
                node["tls-hostname"] = SERVER_NAME.into();
            }
            // Noted first, so that whatever comes of it is cleared away.
            self.state().mirrors.push(serial.clone());
            self.execute("blockdev-add", node)?;
            let mirror = json!({
                "job-id": job_of(&serial),
                "device": serial,
                "target": node_of(&serial),
                "sync": "full",
                // Told at once; another error only when all that is on its way has been tried too.
                "on-target-error": "enospc",
                "auto-dismiss": false,
            });
            self.execute("blockdev-mirror", mirror)?;
        }
        Ok(())
    }

    pub(super) fn mirror_progress(&self) -> Result<MirrorProgress> {
        let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
        progress(&jobs, &self.mirrored()).map_err(|(disk, why)| HypervisorError::Mirror {
            vm: self.machine.spec.id.clone(),
            host: self.host.id().clone(),
            disk,
            why,
        })
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
        self.state().noticed.in_step = Some(false);
        Ok(true)
    }

    pub(super) fn finish_all_mirrors(&self) -> Result<()> {
        if self.state().noticed.in_step.is_some() {
            let seen = all_in_step(&self.execute_within(ACT_LIMIT, JOBS, json!({}))?);
            self.state().noticed.in_step = seen;
        }
        let cancel = |serial: &String| {
            self.execute_within(ACT_LIMIT, "block-job-cancel", json!({ "device": job_of(serial) })).map(drop)
        };
        self.mirrored().iter().try_for_each(cancel)
    }

    pub(super) fn release_all_mirrors(&self) -> Result<()> {
        while let Some(serial) = self.mirrored().pop() {
            self.execute_within(ACT_LIMIT, "job-dismiss", json!({ "id": job_of(&serial) }))?;
            self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": node_of(&serial) }))?;
            self.state().mirrors.pop();
        }
        Ok(())
    }

    pub(super) fn abandon_all_mirrors(&self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        for serial in &self.mirrored() {
            // Even a main loop that waits for a dead link answers this one. What is not connected needs no breaking.
            let _ = self.break_off(&json!({ "type": "block-node", "node-name": node_of(serial) }));
        }
        for serial in &self.mirrored() {
            // One that has ended by then is refused.
            let cancel = json!({ "device": job_of(serial), "force": true });
            let cancelled = self.execute_within(ACT_LIMIT, "block-job-cancel", cancel);
            if matches!(cancelled, Err(HypervisorError::Timeout { .. })) {
                // It does not answer at all: whoever waits has a VM to care for.
                return cancelled.map(drop);
            }
        }
        while let Some(serial) = self.mirrored().pop() {
            let jobs = self.execute_within(ACT_LIMIT, JOBS, json!({}))?;
            match status(&jobs, &serial).map(|(status, _)| status) {
                None => {}
                Some("concluded") => {
                    self.execute_within(ACT_LIMIT, "job-dismiss", json!({ "id": job_of(&serial) }))?;
                }
                Some(_) if deadline.passed() => {
                    return Err(self.timeout(&format!("the copy of {serial} to end"), limit));
                }
                Some(_) => {
                    std::thread::sleep(deadline.step(Duration::from_millis(10)));
                    continue;
                }
            }
            // It may never have been made.
            let _ = self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": node_of(&serial) }));
            self.state().mirrors.pop();
        }
        Ok(())
    }
}

fn job_of(serial: &str) -> String {
    format!("mirror-{serial}")
}

fn node_of(serial: &str) -> String {
    format!("{serial}-there")
}

/// Where a destination serves its disks, as the source is told.
fn nbd_address(kind: TransportKind, host: &dyn Host, port: u16) -> Result<String> {
    Ok(match kind {
        TransportKind::Tcp | TransportKind::Tls | TransportKind::Mptcp => {
            format!("{}:{port}", migration_address(host)?)
        }
        TransportKind::Unix => {
            host.scratch().join(format!("disks-{}", dunlin_clock::now_ns())).display().to_string()
        }
    })
}

/// The same as QEMU's `SocketAddress`.
fn server(kind: TransportKind, address: &str) -> Value {
    let inet = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        json!({ "type": "inet", "host": host, "port": port })
    };
    match kind {
        TransportKind::Tcp | TransportKind::Tls => inet(address),
        TransportKind::Mptcp => {
            let mut server = inet(address);
            server["mptcp"] = true.into();
            server
        }
        TransportKind::Unix => json!({ "type": "unix", "path": address }),
    }
}

/// A `SocketAddress` as a `SocketAddressLegacy`, which `nbd-server-start` takes.
fn legacy(server: &Value) -> Value {
    let mut data = server.clone();
    let kind = data.as_object_mut().and_then(|data| data.remove("type"));
    json!({ "type": kind, "data": data })
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
fn status<'a>(jobs: &'a Value, serial: &str) -> Option<(&'a str, &'a Value)> {
    let id = job_of(serial);
    let job = jobs.as_array()?.iter().find(|job| job["device"] == *id)?;
    Some((job["status"].as_str()?, job))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(serial: &str, status: &str, copied: i64) -> Value {
        json!({ "device": job_of(serial), "type": "mirror", "status": status, "io-status": "ok", "offset": copied, "len": 100 })
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

    #[test]
    fn the_server_is_told_its_address_in_the_old_way_and_the_client_in_the_new() {
        let inet = server(TransportKind::Mptcp, "10.78.0.12:10809");
        assert_eq!(inet, json!({ "type": "inet", "host": "10.78.0.12", "port": "10809", "mptcp": true }));
        let data = json!({ "host": "10.78.0.12", "port": "10809", "mptcp": true });
        assert_eq!(legacy(&inet), json!({ "type": "inet", "data": data }));
        let unix = server(TransportKind::Unix, "/run/a:b");
        assert_eq!(legacy(&unix), json!({ "type": "unix", "data": { "path": "/run/a:b" } }));
    }
}
