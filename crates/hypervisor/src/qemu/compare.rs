//! Both hosts' images of a VM's disks compared block by block, by `qemu-img` on the source's host: the destination's are read
//! through its NBD server, over the migration network.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::{Host, Launch, Process};
use serde_json::{Value, json};

use super::blockdev;
use super::export::server;
use super::vm::QemuVm;
use crate::{DiskCompared, HypervisorError, Result, VmDisk};

/// The program.
pub(super) const PROGRAM: &str = "qemu-img";
/// Limit of asking whether it is there.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Limit of comparing disks, however small …
const LIMIT: Duration = Duration::from_secs(60);
/// … and so much more for each so many MiB.
const MIB_S: u32 = 10;
/// What it says where images differ, before the offset.
const DIFFERS: &str = "Content mismatch at offset ";

/// A comparison under way: one disk after the other.
pub(super) struct Comparison {
    host: Arc<dyn Host>,
    left: VecDeque<Pair>,
    now: Option<(Pair, Run)>,
    done: Vec<DiskCompared>,
    deadline: Deadline,
    limit: Duration,
}

/// A disk and its two images.
struct Pair {
    disk: VmDisk,
    there: Value,
    /// What it takes to reach the other one by TLS.
    credentials: Option<Value>,
}

struct Run {
    process: Process,
    said: PathBuf,
    complained: PathBuf,
}

/// Fails where a host lacks the program.
pub(super) fn check(host: &Arc<dyn Host>) -> Result<()> {
    let asked = host.run(Path::new(PROGRAM), &["--version".into()], ASK_LIMIT);
    if asked.is_ok_and(|output| output.success) {
        return Ok(());
    }
    Err(HypervisorError::Unsupported {
        what: "storage.compare".into(),
        because: format!("{} has no {PROGRAM} (on Debian: apt-get install qemu-utils)", host.id()),
    })
}

impl Comparison {
    /// Of a VM's disks with what a server exports by their names.
    pub(super) fn new(
        host: &Arc<dyn Host>,
        disks: &[VmDisk],
        server: &Value,
        credentials: Option<&Value>,
    ) -> Self {
        let pair = |disk: &VmDisk| {
            let mut there = json!({ "driver": "nbd", "server": server, "export": disk.serial });
            if let Some(credentials) = credentials {
                there["tls-creds"] = credentials["id"].clone();
                there["tls-hostname"] = crate::certificates::SERVER_NAME.into();
            }
            Pair {
                disk: disk.clone(),
                there: json!({ "driver": "raw", "file": there }),
                credentials: credentials.cloned(),
            }
        };
        let seconds = disks.iter().map(|disk| u64::from(disk.size_mib / MIB_S)).sum();
        let limit = LIMIT + Duration::from_secs(seconds);
        Self {
            host: Arc::clone(host),
            left: disks.iter().map(pair).collect(),
            now: None,
            done: Vec::new(),
            deadline: Deadline::after(limit),
            limit,
        }
    }

    /// Goes on with it; says what came of it when all are compared.
    pub(super) fn go_on(&mut self) -> Result<Option<Vec<DiskCompared>>> {
        if self.now.is_none() {
            let Some(pair) = self.left.pop_front() else { return Ok(Some(self.done.clone())) };
            let run = self.start(&pair)?;
            self.now = Some((pair, run));
        }
        let Some((pair, run)) = &mut self.now else { return Ok(None) };
        let Some(how) = run.process.try_wait()? else {
            if self.deadline.passed() {
                return Err(HypervisorError::Timeout {
                    host: self.host.id().clone(),
                    waiting_for: format!("{PROGRAM} to compare {}", pair.disk.serial),
                    after_s: self.limit.as_secs_f64(),
                });
            }
            return Ok(None);
        };
        let words = |file: &Path| {
            String::from_utf8_lossy(&self.host.read(file).unwrap_or_default()).trim().to_owned()
        };
        let (said, complained) = (words(&run.said), words(&run.complained));
        let size_bytes = i64::from(pair.disk.size_mib) << 20;
        let compared = verdict(&how, &said, size_bytes).ok_or_else(|| HypervisorError::Refused {
            host: self.host.id().clone(),
            command: format!("to compare {} with the other host's ({PROGRAM}: {how})", pair.disk.serial),
            description: if complained.is_empty() { said.clone() } else { complained },
        })?;
        let disk = pair.disk.serial.clone();
        let compared_bytes = compared.unwrap_or(size_bytes);
        self.done.push(DiskCompared { disk, compared_bytes, differs_at_bytes: compared });
        self.clear();
        Ok(None)
    }

    fn start(&self, pair: &Pair) -> Result<Run> {
        let mut here = blockdev::node(&pair.disk, "here");
        if let Some(node) = here.as_object_mut() {
            node.remove("node-name");
        }
        let mut args: Vec<String> = vec!["compare".into(), "-U".into()];
        if let Some(credentials) = &pair.credentials {
            args.extend(["--object".into(), credentials.to_string()]);
        }
        args.extend([&here, &pair.there].map(|image| format!("json:{image}")));
        let file =
            |kind: &str| self.host.scratch().join(format!("compare-{}-{kind}", dunlin_clock::now_ns()));
        let (said, complained) = (file("said"), file("complained"));
        let launch = Launch {
            program: PROGRAM.into(),
            args: args.into_iter().map(Into::into).collect(),
            stdout: said.clone(),
            stderr: complained.clone(),
        };
        let process = self.host.launch(launch).map_err(|source| HypervisorError::Start {
            program: PROGRAM.into(),
            host: self.host.id().clone(),
            mend: "install it there (on Debian: apt-get install qemu-utils)".into(),
            source: Box::new(source),
        })?;
        Ok(Run { process, said, complained })
    }

    fn clear(&mut self) {
        if let Some((_, mut run)) = self.now.take() {
            run.process.kill();
            for file in [&run.said, &run.complained] {
                let _ = self.host.remove(file);
            }
        }
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        self.clear();
    }
}

impl QemuVm {
    /// Goes on with comparing its disks to those that they were copied to, from the first call on.
    pub(super) fn compare_all(&self) -> Result<Option<Vec<DiskCompared>>> {
        let address = self.state().copying.as_ref().map(|copying| copying.order.address.clone());
        let disks: Vec<VmDisk> = self.disks_now().into_iter().map(|(_, disk)| disk).collect();
        let (transport, credentials) = (self.transport(), self.credentials_object());
        let mut state = self.state();
        let comparison = state.comparison.get_or_insert_with(|| {
            let server = server(transport, &address.unwrap_or_default());
            Comparison::new(&self.host, &disks, &server, credentials.as_ref())
        });
        comparison.go_on()
    }
}

/// Where two images differ first, if they do; absent where that was not found out.
fn verdict(how: &str, said: &str, size_bytes: i64) -> Option<Option<i64>> {
    match how {
        "exit status 0" => Some(None),
        "exit status 1" => {
            let offset =
                said.lines().find_map(|line| line.strip_prefix(DIFFERS)?.strip_suffix('!')?.parse().ok());
            // Of two sizes, where the shorter one ends.
            Some(Some(offset.unwrap_or(size_bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `qemu-img compare` (its manual: 0 identical, 1 different, more: failed).
    #[test]
    fn equal_different_and_not_compared_are_three_things() {
        assert_eq!(verdict("exit status 0", "Images are identical.", 9), Some(None));
        assert_eq!(
            verdict("exit status 1", "Warning: Image size mismatch!\nContent mismatch at offset 512!", 9),
            Some(Some(512))
        );
        assert_eq!(verdict("exit status 1", "Strict mode: Image size mismatch!", 9), Some(Some(9)));
        for how in ["exit status 2", "signal 9"] {
            assert_eq!(verdict(how, "", 9), None);
        }
    }
}
