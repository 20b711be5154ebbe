//! The programs that a helper has launched: watched, and ended with all in their groups when the helper ends.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;

use crate::local_process::LocalProcess;
use crate::process::{End, ProcessHandle};

/// How often a launched program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long what was started may take to be gone once it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// All of them, by the requests that asked for them. Whoever ends the helper ends them: several threads may.
#[derive(Clone, Default)]
pub(super) struct Processes(Arc<Mutex<HashMap<u32, Launched>>>);

/// One of them; its process is gone from here once it has ended.
#[derive(Clone)]
pub(super) struct Launched(Arc<Mutex<Option<LocalProcess>>>);

impl Processes {
    pub(super) fn add(&self, id: u32, process: LocalProcess) -> Launched {
        let launched = Launched(Arc::new(Mutex::new(Some(process))));
        let mut all = lock(&self.0);
        all.retain(|_, known| lock(&known.0).is_some());
        all.insert(id, launched.clone());
        launched
    }

    pub(super) fn kill(&self, id: u32) {
        if let Some(launched) = lock(&self.0).get(&id) {
            launched.kill();
        }
    }

    /// Ends all.
    pub(super) fn end(&self) {
        let all: Vec<Launched> = lock(&self.0).drain().map(|(_, launched)| launched).collect();
        all.iter().for_each(Launched::kill);
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
            if let Some(ended) = self.try_end() {
                return ended;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn kill(&self) {
        if let Some(process) = lock(&self.0).as_mut() {
            process.kill();
        }
    }

    fn is_there(&self) -> bool {
        self.try_end().is_none() && lock(&self.0).is_some()
    }

    /// How it ended, once; after that it is nobody's to ask for any more.
    fn try_end(&self) -> Option<io::Result<End>> {
        let mut process = lock(&self.0);
        let ended = match process.as_mut() {
            None => Err(io::Error::other("the helper ends")),
            Some(there) => there.try_end().transpose()?.map_err(io::Error::other),
        };
        *process = None;
        Some(ended)
    }
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
