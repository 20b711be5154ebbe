//! The programs that a helper has started: watched, and ended with all in their groups when the helper ends.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;

use crate::TestbedError;
use crate::local_process::LocalProcess;
use crate::process::{End, ProcessHandle};

/// How often a program is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long what was started may take to be gone once it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// All of them, by the requests that asked for them; none any more once they were ended. Whoever ends the helper ends them:
/// several threads may.
#[derive(Clone)]
pub(super) struct Processes(Arc<Mutex<Option<HashMap<u32, Launched>>>>);

/// One of them; its process is gone from here once it has ended.
#[derive(Clone, Debug)]
pub(super) struct Launched(Arc<Mutex<Option<LocalProcess>>>);

impl Default for Processes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(HashMap::new()))))
    }
}

impl Processes {
    /// Takes one on that has just been started. It is ended at once where all were: what is done after that is done last.
    pub(super) fn add(&self, id: u32, process: LocalProcess) -> io::Result<Launched> {
        let mut launched = Launched(Arc::new(Mutex::new(Some(process))));
        let mut all = lock(&self.0);
        let Some(all) = all.as_mut() else {
            launched.kill();
            launched.await_end();
            return Err(io::Error::other("the helper ends"));
        };
        all.retain(|_, known| lock(&known.0).is_some());
        all.insert(id, launched.clone());
        Ok(launched)
    }

    pub(super) fn kill(&self, id: u32) {
        if let Some(launched) = lock(&self.0).as_mut().and_then(|all| all.get_mut(&id)) {
            launched.kill();
        }
    }

    /// Ends all, and lets no more begin.
    pub(super) fn end(&self) {
        let mut all: Vec<Launched> = lock(&self.0).take().unwrap_or_default().into_values().collect();
        all.iter_mut().for_each(Launched::kill);
        let deadline = Deadline::after(KILL_LIMIT);
        while all.iter().any(Launched::is_there) && !deadline.passed() {
            std::thread::sleep(deadline.step(LOOK_EVERY));
        }
    }
}

impl Launched {
    /// Waits until it ends, for as long as that takes.
    pub(super) fn wait(&self) -> io::Result<End> {
        loop {
            if let Some(ended) = self.try_end_once() {
                return ended;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.try_end_once().is_none() && lock(&self.0).is_some()
    }

    /// Waits a little until one that was killed is gone.
    fn await_end(&self) {
        let deadline = Deadline::after(KILL_LIMIT);
        while self.is_there() && !deadline.passed() {
            std::thread::sleep(deadline.step(LOOK_EVERY));
        }
    }

    /// How it ended, once; after that it is nobody's to ask for any more.
    fn try_end_once(&self) -> Option<io::Result<End>> {
        let mut process = lock(&self.0);
        let ended = match process.as_mut() {
            None => Err(io::Error::other("the helper ends")),
            Some(there) => there.try_end().transpose()?.map_err(io::Error::other),
        };
        *process = None;
        Some(ended)
    }
}

impl ProcessHandle for Launched {
    fn pid(&self) -> Option<u32> {
        lock(&self.0).as_ref().and_then(ProcessHandle::pid)
    }

    fn try_end(&mut self) -> crate::Result<Option<End>> {
        self.try_end_once().transpose().map_err(TestbedError::io("hear how a program ended"))
    }

    fn kill(&mut self) {
        if let Some(process) = lock(&self.0).as_mut() {
            process.kill();
        }
    }
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
