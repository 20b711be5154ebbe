//! What a helper does at its end, however it ends: first it ends all that it was asked to start, then it runs what it was asked
//! to run last. Only one that is killed cannot.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;

use super::launched::{LOOK_EVERY, Launched, Processes};
use super::services::command;
use crate::local_process::LocalProcess;

/// How long what runs last may take.
const LAST_LIMIT: Duration = Duration::from_secs(10);

/// What is done at the end. Whoever ends the helper does it: several threads may.
#[derive(Clone, Default)]
pub(super) struct AtEnd {
    pub(super) processes: Processes,
    wills: Wills,
}

/// What is to be run last, by the requests that asked for it.
#[derive(Clone)]
struct Wills(Arc<Mutex<Option<HashMap<u32, Will>>>>);

/// A program that is to be run last.
struct Will {
    program: PathBuf,
    args: Vec<OsString>,
}

impl AtEnd {
    /// Has a program run at the end.
    pub(super) fn run(&self, id: u32, program: PathBuf, args: Vec<OsString>) -> io::Result<()> {
        let mut wills = self.wills.lock();
        let all = wills.as_mut().ok_or_else(|| io::Error::other("the helper ends"))?;
        all.insert(id, Will { program, args });
        Ok(())
    }

    /// A program is not to be run after all.
    pub(super) fn revoke(&self, id: u32) {
        if let Some(all) = self.wills.lock().as_mut() {
            all.remove(&id);
        }
    }

    /// Does it. Whoever comes second waits until it is done: with the process what still runs would end.
    pub(super) fn come(&self) {
        self.come_within(LAST_LIMIT);
    }

    fn come_within(&self, limit: Duration) {
        // Nobody is left who could start again what is ended last.
        self.processes.end();
        let mut wills = self.wills.lock();
        let last = Processes::default();
        let start = |(id, will): (u32, Will)| last.add(id, will.start().ok()?).ok();
        let started: Vec<Launched> = wills.take().unwrap_or_default().into_iter().filter_map(start).collect();
        let deadline = Deadline::after(limit);
        while started.iter().any(Launched::is_there) && !deadline.passed() {
            std::thread::sleep(deadline.step(LOOK_EVERY));
        }
        last.end();
    }
}

impl Default for Wills {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(HashMap::new()))))
    }
}

impl Wills {
    /// A thread that panicked while holding the lock leaves nothing half-done here.
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u32, Will>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Will {
    fn start(self) -> io::Result<LocalProcess> {
        let mut command: Command = command(Path::new(&self.program));
        command.args(self.args).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(LocalProcess::new(command.spawn()?).whose_group_ends_with_it())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn will(at_end: &AtEnd, id: u32, script: &str) {
        at_end.run(id, "sh".into(), vec!["-c".into(), script.into()]).unwrap();
    }

    #[test]
    fn what_is_to_run_last_runs_once_unless_it_was_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at_end = AtEnd::default();
        will(&at_end, 1, &format!("echo ran >> {}", path("kept").display()));
        will(&at_end, 2, &format!("echo ran >> {}", path("revoked").display()));
        at_end.revoke(2);
        at_end.run(3, "/nonexistent".into(), Vec::new()).unwrap();
        at_end.come_within(LIMIT);
        at_end.clone().come_within(LIMIT);
        assert_eq!(std::fs::read_to_string(path("kept")).unwrap(), "ran\n");
        assert!(!path("revoked").exists());
    }

    /// Each waits for the other.
    #[test]
    fn all_run_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let at_end = AtEnd::default();
        for (id, own, others) in [(1, "a", "b"), (2, "b", "a")] {
            let script = format!(
                "cd {}; mkfifo {own} 2>/dev/null; until [ -e {others} ]; do sleep 0.01; done; touch met-{own}",
                folder.path().display()
            );
            will(&at_end, id, &script);
        }
        at_end.come_within(LIMIT);
        assert!(folder.path().join("met-a").exists() && folder.path().join("met-b").exists());
    }

    #[test]
    fn one_that_hangs_is_ended_with_what_it_started_and_whoever_comes_second_waits_for_that() {
        let folder = tempfile::tempdir().unwrap();
        let (began, pids) = (folder.path().join("began"), folder.path().join("pids"));
        let at_end = AtEnd::default();
        will(
            &at_end,
            1,
            &format!("sleep 600 & echo $$ $! > {}; mv {0} {}; wait", pids.display(), began.display()),
        );
        std::thread::scope(|scope| {
            let first = scope.spawn(|| at_end.come_within(Duration::from_millis(1500)));
            while !began.exists() && !first.is_finished() {
                std::thread::yield_now();
            }
            at_end.come_within(LIMIT);
            let pids = std::fs::read_to_string(&began).unwrap();
            for pid in pids.split_whitespace() {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
            }
        });
    }

    #[test]
    fn nothing_is_taken_on_once_the_end_has_come() {
        let at_end = AtEnd::default();
        at_end.come_within(LIMIT);
        at_end.run(1, "true".into(), Vec::new()).unwrap_err();
        let child = command(Path::new("sleep")).arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(at_end.processes.add(2, LocalProcess::new(child)).is_err());
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }
}
