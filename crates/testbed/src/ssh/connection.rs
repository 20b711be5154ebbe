//! What is up on a machine: the connection, our program with its folder, and the files that were brought into it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_clock::HostClock;

use super::deliver::{Delivered, again, deliver};
use super::master::{Master, Patience, Words};
use super::{HelperProgram, Target};
use crate::helper::host_protocol::{HostAsk, HostTell};
use crate::{Helper, Result, TestbedError};

/// How long what is done at once may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// By what a local file is known again: device, inode, size, and when it was made, where that is told.
pub(super) type Version = (u64, u64, u64, Option<std::time::SystemTime>);

/// A connection that is up. Dropping it ends all that was started over it, and our folder there goes.
#[derive(Debug)]
pub(super) struct Connection {
    // In this order: the helper ends by the end of its session, then the connection.
    helper: Arc<Helper>,
    master: Master,
    target: Target,
    folder: PathBuf,
    placed: Mutex<HashMap<PathBuf, (Version, PathBuf)>>,
    /// How many files were brought, replaced ones included.
    brought: AtomicU32,
    outboxes: Mutex<HashMap<PathBuf, PathBuf>>,
    /// The local files that were brought from there.
    collected: Mutex<HashSet<PathBuf>>,
}

impl Connection {
    pub(super) fn open(
        target: &Target,
        program: HelperProgram,
        clock: &HostClock,
        patience: Patience,
    ) -> Result<Self> {
        let master = Master::open(target, patience)?;
        let Delivered { child, folder, words } = deliver(&master, target, program)?;
        let started = Helper::start(target.id.clone(), child, clock.clone());
        let helper = started.map_err(|error| with_words(error, &words))?;
        helper.keep_alive()?;
        let helper = Arc::new(helper);
        clock_watch(&helper, clock)?;
        life_watch(&helper)?;
        let connection = Self {
            helper,
            master,
            target: target.clone(),
            folder,
            placed: Mutex::default(),
            brought: AtomicU32::new(0),
            outboxes: Mutex::default(),
            collected: Mutex::default(),
        };
        for folder in ["scratch", "placed", "outbox"] {
            connection.make_folder(&connection.folder.join(folder))?;
        }
        Ok(connection)
    }

    pub(super) fn helper(&self) -> &Arc<Helper> {
        &self.helper
    }

    /// Our folder there.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn ask(&self, ask: HostAsk, what: &str, limit: Duration) -> Result<HostTell> {
        self.helper.for_host(ask, what, limit)
    }

    pub(super) fn make_folder(&self, path: &Path) -> Result<()> {
        let what = format!("the folder {} to be made", path.display());
        match self.ask(HostAsk::MakeFolder { path: path.to_owned() }, &what, ANSWER_LIMIT)? {
            HostTell::Done => Ok(()),
            other => Err(self.helper.misunderstood(&other)),
        }
    }

    /// Runs our program once more there, to measure.
    pub(super) fn another_helper(&self, clock: &HostClock) -> Result<Helper> {
        let (child, _) = self.master.session(&again(&self.target, &self.folder))?;
        let helper = Helper::start(self.target.id.clone(), child, clock.clone())?;
        helper.keep_alive()?;
        Ok(helper)
    }

    /// Where a local file lies there; `bring` puts it there if it does not yet.
    pub(super) fn place(
        &self,
        local: &Path,
        version: Version,
        bring: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, there)) = placed.get(local)
            && *known == version
        {
            return Ok(there.clone());
        }
        let number = self.brought.fetch_add(1, Ordering::Relaxed);
        let there = self.folder.join("placed").join(number.to_string());
        bring(&there)?;
        placed.insert(local.to_owned(), (version, there.clone()));
        Ok(there)
    }

    /// Whether a file may be brought to a place here: nobody else's lies there.
    pub(super) fn may_bring(&self, local: &Path) -> bool {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = collected.contains(local) || std::fs::symlink_metadata(local).is_err();
        if is_free {
            collected.insert(local.to_owned());
        }
        is_free
    }

    /// Where programs write what is to end up in a local folder.
    pub(super) fn outbox(&self, local: &Path) -> PathBuf {
        let mut outboxes = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = outboxes.len().to_string();
        let new = || self.folder.join("outbox").join(number);
        outboxes.entry(local.to_owned()).or_insert_with(new).clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It need not be ours alone, and would else lose its session first.
        self.helper.hang_up();
    }
}

/// A helper that ends at once has said why to nobody else.
fn with_words(error: TestbedError, words: &Words) -> TestbedError {
    match (error, words.said()) {
        (TestbedError::Helper { host, why }, said) if !said.is_empty() => {
            let said: Vec<&str> = said.lines().map(str::trim).collect();
            TestbedError::Helper { host, why: format!("{why}: {}", said.join("; ")) }
        }
        (error, _) => error,
    }
}

/// Compares the clocks again and again, until the helper is gone.
fn clock_watch(helper: &Arc<Helper>, clock: &HostClock) -> Result<()> {
    /// How often: what two clocks run apart in that time stays below a millisecond.
    const EVERY: Duration = Duration::from_millis(500);
    let clock = clock.clone();
    let compare = move |helper: &Helper| {
        // Where it does not answer, what is known gets less certain by itself.
        if let Ok(exchange) = helper.exchange(Duration::from_secs(1)) {
            clock.learn(exchange);
        }
    };
    again_and_again("clock-watch", helper, EVERY, compare)
}

/// Takes the helper for lost where nothing is heard of it, though it is asked for the time again and again: ssh itself notices
/// where its machine is gone, but not where it hangs. On a thread that never waits for what is said to it to be taken.
fn life_watch(helper: &Arc<Helper>) -> Result<()> {
    /// As long as it waits to hear of us.
    const LOST_AFTER: Duration = Duration::from_secs(8);
    const EVERY: Duration = Duration::from_millis(250);
    again_and_again("life-watch", helper, EVERY, |helper| helper.give_up_after(LOST_AFTER))
}

/// Does something with a helper until it is gone, on a thread that does not keep it.
fn again_and_again(
    name: &str,
    helper: &Arc<Helper>,
    every: Duration,
    what: impl Fn(&Helper) + Send + 'static,
) -> Result<()> {
    let helper = Arc::downgrade(helper);
    let watch = move || {
        while let Some(helper) = helper.upgrade().filter(|helper| helper.is_well()) {
            what(&helper);
            drop(helper);
            std::thread::sleep(every);
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(watch);
    thread.map(drop).map_err(TestbedError::io("start a thread that watches a helper"))
}
