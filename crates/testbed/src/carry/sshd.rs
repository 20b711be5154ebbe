//! An sshd on the destination that takes one key, on the migration network, as long as a file is carried.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::Deadline;

use super::keys::{Door, Folder, run, server_config, start_failed};
use super::{Carry, Work, stream};
use crate::{Launch, Process, Result, TestbedError};

/// Where distributions have it: it is not in the path of ordinary users, and wants to be called by its whole name.
const PLACES: [&str; 4] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd", "/usr/lib/ssh/sshd"];
/// Where one that is root's keeps its unprivileged part (Debian's build of it).
const EMPTY_FOLDER: &str = "/run/sshd";
/// How often another port is tried where somebody was quicker.
const TRIES: usize = 3;
/// How long it may take until it listens.
const UP_LIMIT: Duration = Duration::from_secs(10);
const LOOK_STEP: Duration = Duration::from_millis(10);
/// How long a look at the host may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
const LOG: &str = "sshd.log";
/// What it says where all is well.
const USUAL: [&str; 6] = [
    "Server listening",
    "Accepted ",
    "Received disconnect",
    "Disconnected from",
    "Connection closed",
    "Connection from",
];

/// It runs. Dropping it ends it, with all its sessions.
pub(super) struct Sshd<'a> {
    work: &'a Work<'a>,
    folder: &'a Folder<'a>,
    process: Process,
    pub(super) door: Door,
    made_empty_folder: bool,
}

impl<'a> Sshd<'a> {
    /// Starts it, and waits until it listens.
    pub(super) fn start(work: &'a Work<'a>, folder: &'a Folder<'a>) -> Result<Self> {
        let Carry { to, .. } = work.order;
        let program = find(work)?;
        let user = run(work.order, to, "id", &["-un".into()])?;
        if user.is_empty()
            || user.contains(|letter: char| letter.is_whitespace() || "*?!@,\"\\".contains(letter))
        {
            return Err(work
                .order
                .failed(format_args!("{}: sshd's settings cannot hold the user {user:?}", to.id())));
        }
        if user == "root" && !has_all_users(work)? {
            return Err(TestbedError::Unsupported {
                what: format!("to carry {} by scp", work.order.file),
                because: format!(
                    "sshd changes users, which {} has no others of: it is an ordinary user's lab",
                    to.id()
                ),
            });
        }
        let made_empty_folder = user == "root" && make_empty_folder(work)?;
        let mut said = String::new();
        for number in 0..TRIES {
            let address = stream::address(work.order, &***to)?;
            let port = work.to.free_port(address).map_err(|error| work.order.failed_on(to.id(), &error))?;
            let door = Door { address, port, user: user.clone() };
            let config = format!("sshd_config-{number}");
            folder.write(&config, &server_config(&door, folder)?)?;
            let launched = to.launch(Launch {
                program: program.clone(),
                args: vec!["-D".into(), "-e".into(), "-f".into(), folder.path(&config).into()],
                stdout: "/dev/null".into(),
                stderr: folder.path(LOG),
            });
            let process = launched.map_err(|error| start_failed(work.order, to, "sshd", &error))?;
            let mut sshd = Self { work, folder, process, door, made_empty_folder };
            if sshd.listens()? {
                return Ok(sshd);
            }
            said = folder.said(LOG);
            if !said.contains("in use") {
                break;
            }
        }
        Err(work.order.failed(format_args!("{}: sshd did not start: {said}", to.id())))
    }

    /// How it ended, and what it said, if it has.
    pub(super) fn why_ended(&mut self) -> Option<String> {
        let how = self.process.try_wait().ok()??;
        Some(format!("sshd ended ({how}) {}", self.complained()).trim_end().to_owned())
    }

    /// What it said of what goes wrong.
    pub(super) fn complained(&self) -> String {
        let said = self.folder.said(LOG);
        let is_usual = |line: &&str| USUAL.iter().any(|usual| line.starts_with(usual));
        said.split(" / ").filter(|line| !is_usual(line)).collect::<Vec<_>>().join(" / ")
    }

    /// Waits until it listens; says whether it does, or has ended.
    fn listens(&mut self) -> Result<bool> {
        let deadline = Deadline::after(UP_LIMIT.min(self.work.deadline.left()));
        while !deadline.passed() {
            self.work.check_on()?;
            if self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            if self.folder.said(LOG).contains("Server listening on") {
                return Ok(true);
            }
            std::thread::sleep(deadline.step(LOOK_STEP));
        }
        Ok(false)
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        // Its sessions have groups of their own, and would else end only when they notice that nobody is there any more.
        if let Some(pid) = self.process.pid() {
            let _ = self.work.to.end_tree(pid);
        }
        self.process.kill();
        if self.made_empty_folder {
            let _ = self.work.order.to.run(Path::new("rmdir"), &[EMPTY_FOLDER.into()], LOOK_LIMIT);
        }
    }
}

fn find(work: &Work<'_>) -> Result<PathBuf> {
    let Carry { to, .. } = work.order;
    for place in PLACES.map(Path::new) {
        let look = work.to.look_at_file(place, LOOK_LIMIT);
        if look.map_err(|error| work.order.failed_on(to.id(), &error))?.is_some() {
            return Ok(place.to_owned());
        }
    }
    Err(work
        .order
        .failed(format_args!("{}: there is no sshd, which the package openssh-server has", to.id())))
}

/// Whether root there is whom the kernel takes for that, and not one user who is called so (user_namespaces(7)).
fn has_all_users(work: &Work<'_>) -> Result<bool> {
    let Carry { to, .. } = work.order;
    // As a program there sees it, which may be in other namespaces than whoever reads a file for us.
    let map = run(work.order, to, "cat", &["/proc/self/uid_map".into()])?;
    Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Says whether it was not there.
fn make_empty_folder(work: &Work<'_>) -> Result<bool> {
    let Carry { to, .. } = work.order;
    let there = work.to.look_at_file(Path::new(EMPTY_FOLDER), LOOK_LIMIT);
    if there.map_err(|error| work.order.failed_on(to.id(), &error))?.is_some() {
        return Ok(false);
    }
    run(work.order, to, "mkdir", &["-p".into(), "-m".into(), "0755".into(), EMPTY_FOLDER.into()])?;
    Ok(true)
}
