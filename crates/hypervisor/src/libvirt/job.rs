//! One job of libvirt's, followed: the command that began it, libvirt's counters, and how it ended, which is asked where the
//! command was lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::{Event, EventKind, HostId, MigrationState, VmId};
use dunlin_testbed::{Output, Process};

use super::copy_state::Heard;
use super::stats::{self, Counters, JobInfo};
use super::virsh::{ASK_LIMIT, Failure, Virsh, failure, last_words};
use super::vm::{Asked, ask};
use crate::{Condition, HypervisorError, Progress, Result, Side};

/// How often it is seen whether the command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often libvirt is asked for its counters: a call of `virsh` costs some 20 ms of a CPU.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// For how long libvirt may not answer before its silence is told: a stall is something else.
const SILENT_NS: i64 = 1_500_000_000;
/// How often a cancel that has not taken effect is asked for again: one that comes before QEMU's migration finds nothing.
const CANCEL_EVERY: Duration = Duration::from_secs(1);
/// How often no job must be found, one time after the other, before there is none: a daemon that has just started again may
/// not know of it yet.
const MISSED: u32 = 3;

/// What is known of the job.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// libvirt's own last word of it.
    pub(super) completed: Option<Counters>,
    /// Its counters, until they are told: they are of one moment.
    fresh: Option<Progress>,
    /// When libvirt answered last; absent where it was not asked yet.
    answered_ns: Option<i64>,
    /// Whether its last word was told.
    is_told: bool,
    /// The pass over the memory that was heard of last.
    pass: i64,
    /// Whether something happened of which the counters are wanted now.
    is_called: bool,
    /// How it ended.
    pub(super) end: Option<MigrationState>,
    /// Why the VM's process is no more, where it ended badly at the source.
    pub(super) ended_there: Option<String>,
    /// The most by which vCPUs were slowed.
    pub(super) throttle_percent: Option<i64>,
    /// Pages that went as differences.
    pub(super) xbzrle_pages: Option<i64>,
    /// Whether it was to be cancelled.
    pub(super) cancel_asked: bool,
    /// Whether the VM may run at the destination by now.
    pub(super) is_in_post_copy: bool,
    /// What was heard of the copies of its disks that go before.
    pub(super) copies: Heard,
}

impl Job {
    /// Takes note of what an end told.
    pub(super) fn hear(&mut self, side: Side, kind: &EventKind) {
        match kind {
            EventKind::MigrationStatus { state: Some(MigrationState::PostCopy), .. } => {
                self.is_in_post_copy = true;
            }
            EventKind::MigrationPass { pass } if side == Side::Source => {
                self.pass = self.pass.max((*pass).into());
                self.is_called = true;
            }
            EventKind::VcpusStopped if side == Side::Source => self.is_called = true,
            EventKind::HypervisorEvent { name, data } if side == Side::Source => match name.as_str() {
                "block-job-2" => self.copies.hear_libvirt(data.as_str().unwrap_or_default()),
                "BLOCK_JOB_COMPLETED" => self.copies.hear_qemu(data),
                _ => {}
            },
            _ => {}
        }
    }

    /// What there is to tell of its progress, once: what was counted a while ago is not so now.
    pub(super) fn tell(&mut self, now_ns: i64) -> Result<Progress, Untold> {
        let state = self.end;
        let last_word =
            self.completed.as_ref().filter(|_| state.is_some() && !self.is_told).map(stats::progress);
        self.is_told |= last_word.is_some();
        let mut told = last_word.or(self.fresh.take()).unwrap_or_default();
        // Of a pass that has ended meanwhile it does not say what was left of it.
        if told.pass.is_some_and(|pass| pass < self.pass) {
            (told.remaining_bytes, told.dirty_rate_pages_s) = (None, None);
        }
        let silent_ns = now_ns - *self.answered_ns.get_or_insert(now_ns);
        match state {
            None if silent_ns > SILENT_NS => Err(Untold { for_ns: silent_ns }),
            _ => Ok(Progress { state, ..told }),
        }
    }

    /// Whether it is to be cancelled still: in post-copy each host has a part of the VM.
    fn is_to_be_cancelled(&self) -> bool {
        self.cancel_asked && !self.is_in_post_copy
    }

    fn count(&mut self, counters: &Counters) {
        self.fresh = Some(stats::progress(counters));
        let most = |known: Option<i64>, now: Option<&i64>| known.max(now.copied());
        self.throttle_percent = most(self.throttle_percent, counters.get("auto_converge_throttle"));
        self.xbzrle_pages = most(self.xbzrle_pages, counters.get("compression_pages"));
    }
}

/// libvirt does not say how far its job is, and for how long it has not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) for_ns: i64,
}

/// Follows a job until it is dropped.
pub(super) struct Follower {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is followed.
pub(super) struct Followed {
    pub(super) source: Virsh,
    pub(super) destination: Virsh,
    pub(super) uuid: String,
    pub(super) vm: VmId,
    pub(super) events: Sender<Event>,
    pub(super) job: Arc<Mutex<Job>>,
    /// The command, or why it was not started as far as is known, and the file at the source that has its errors.
    pub(super) command: Result<Process, String>,
    pub(super) stderr: PathBuf,
}

impl Follower {
    pub(super) fn start(followed: Followed) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("libvirt-job".into())
            .spawn(move || followed.follow(&told))
            .map_err(|source| HypervisorError::Io {
                doing: "start the thread that follows libvirt's job".into(),
                source,
            })?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Each question it may be waiting for has a limit.
            let _ = thread.join();
        }
    }
}

impl Followed {
    fn follow(mut self, ends: &AtomicBool) {
        let mut count_due = Deadline::after(COUNT_EVERY);
        let mut cancel_due = Deadline::after(CANCEL_EVERY);
        // What the command said when it was lost: since then nobody tells how the job ends, so that is asked.
        let mut lost = None;
        let mut missed = 0;
        while !ends.load(Ordering::Relaxed) {
            if lost.is_none() {
                match self.command_end() {
                    None => {}
                    Some(Ok(())) => return self.end(MigrationState::Completed, "virsh migrate ended well"),
                    Some(Err((Failure::Lost, words))) => lost = Some(words),
                    Some(Err((_, words))) => return self.failed(&words),
                }
            }
            if count_due.passed() || std::mem::take(&mut lock(&self.job).is_called) {
                count_due = Deadline::after(COUNT_EVERY);
                let asked = self.count();
                if let Some(words) = &lost {
                    missed = if asked == Some(false) { missed + 1 } else { 0 };
                    if missed >= MISSED && self.is_over(words) {
                        return;
                    }
                }
            }
            if cancel_due.passed() && lock(&self.job).is_to_be_cancelled() {
                cancel_due = Deadline::after(CANCEL_EVERY);
                let _ = self.source.run(&["domjobabort", &self.uuid], ASK_LIMIT);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How the command ended, if it did.
    fn command_end(&mut self) -> Option<Result<(), (Failure, String)>> {
        let how = match self.command.as_mut().map(Process::try_wait) {
            Ok(Ok(how)) => how?,
            Ok(Err(error)) => return Some(Err((Failure::Lost, error.to_string()))),
            Err(error) => return Some(Err((Failure::Lost, error.clone()))),
        };
        if how == "exit status 0" {
            return Some(Ok(()));
        }
        let stderr = self.source.host.read(&self.stderr).unwrap_or_default();
        let mut words = last_words(&String::from_utf8_lossy(&stderr));
        if words.is_empty() {
            words = format!("virsh migrate ended ({how})");
            return Some(Err((Failure::Lost, words)));
        }
        let output = Output { how, success: false, stdout: Vec::new(), stderr: Vec::new() };
        Some(Err((failure(&output, &words), words)))
    }

    /// Asks for the counters; says whether a job is under way, if that is known.
    fn count(&self) -> Option<bool> {
        let output = self.source.run(&["domjobinfo", &self.uuid, "--rawstats"], ASK_LIMIT).ok()?;
        if output.success {
            let info = JobInfo::read(&String::from_utf8_lossy(&output.stdout));
            lock(&self.job).answered_ns = Some(now_ns());
            if info.is_running() && info.is_migration() {
                lock(&self.job).count(&info.counters);
            }
            return Some(info.is_running());
        }
        let words = last_words(&String::from_utf8_lossy(&output.stderr));
        let is_answered = failure(&output, &words) != Failure::Lost;
        if is_answered {
            lock(&self.job).answered_ns = Some(now_ns());
        }
        is_answered.then_some(false)
    }

    /// Whether a job of which nobody tells any more has ended, as its ends say: then that is told.
    fn is_over(&self, words: &str) -> bool {
        // In this order: the right to run only goes from the source to the destination.
        let there = ask(&self.destination, &self.uuid).ok();
        let here = ask(&self.source, &self.uuid).ok();
        let Some((state, why)) = how_ended(here.as_ref(), there.as_ref()) else { return false };
        self.end(state, &format!("{words} ({why})"));
        true
    }

    fn failed(&self, words: &str) {
        let is_cancelled = words.contains("canceled by client") || words.contains("operation aborted");
        let state = if is_cancelled { MigrationState::Cancelled } else { MigrationState::Failed };
        self.end(state, words);
    }

    fn end(&self, state: MigrationState, words: &str) {
        lock(&self.job).end = Some(state);
        let host: HostId = self.source.host.id().clone();
        let kind = EventKind::MigrationStatus { status: words.to_owned(), state: Some(state) };
        // Nobody listens any more where the trial has ended.
        let _ = self.events.send(Event { t_ns: now_ns(), host: Some(host), vm: Some(self.vm.clone()), kind });
    }
}

/// How a migration ended of which libvirt has no job any more, as both ends say of the VM; nothing where that is not sure. Who
/// does not answer is absent.
fn how_ended(here: Option<&Asked>, there: Option<&Asked>) -> Option<(MigrationState, &'static str)> {
    let is_gone = |asked: &Asked| matches!(asked.condition, None | Some(Condition::Ended));
    // By a user, who may be us: libvirt's own stops have other reasons, and of these it may not know how it ended itself.
    let is_paused = |asked: &Asked| asked.word == "paused (user)";
    let runs = |asked: &Asked| asked.condition == Some(Condition::Running);
    let here = here?;
    if runs(here) {
        // A source that has no job gives the VM to nobody, whatever the destination says.
        return Some((MigrationState::Failed, "it has no job any more, and runs the VM"));
    }
    let there = there?;
    if is_paused(here) && is_gone(there) {
        return Some((
            MigrationState::Failed,
            "it has no job any more, and holds the VM, which the destination has not",
        ));
    }
    if is_gone(here) && runs(there) {
        return Some((MigrationState::Completed, "the VM runs at the destination"));
    }
    (is_gone(here) && is_paused(there))
        .then_some((MigrationState::Completed, "the VM is at the destination, paused as it was"))
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Ok(command) = &mut self.command {
            command.kill();
        }
        let _ = self.source.host.remove(&self.stderr);
    }
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::vm::condition;
    use super::*;

    #[test]
    fn counters_are_told_once_of_their_own_pass_and_silence_is_no_stall() {
        let counters = |pass: i64| {
            let all = [("memory_total", 9), ("memory_remaining", 5), ("memory_iteration", pass)];
            all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Counters>()
        };
        let remaining = |job: &mut Job| job.tell(0).unwrap().remaining_bytes;
        let mut job = Job::default();
        job.count(&counters(1));
        assert_eq!(remaining(&mut job), Some(5));
        assert_eq!(remaining(&mut job), None, "it was so then");
        job.hear(Side::Source, &EventKind::MigrationPass { pass: 2 });
        assert!(job.is_called);
        job.count(&counters(1));
        assert_eq!(remaining(&mut job), None, "of a pass that has ended");
        assert_eq!(job.tell(2_000_000_000), Err(Untold { for_ns: 2_000_000_000 }));
        job.answered_ns = Some(1_900_000_000);
        assert_eq!(job.tell(2_000_000_000), Ok(Progress::default()));
        (job.end, job.completed) = (Some(MigrationState::Completed), Some(counters(3)));
        assert_eq!(job.tell(9_000_000_000).unwrap().remaining_bytes, Some(5), "its last word");
        let last = Progress { state: Some(MigrationState::Completed), ..Progress::default() };
        assert_eq!(job.tell(9_000_000_000), Ok(last));
    }

    #[test]
    fn a_job_that_nobody_tells_of_has_ended_only_where_both_ends_leave_no_doubt() {
        let said = |word: &str| match word {
            "silent" => None,
            "none" => Some(Asked { condition: None, word: "there is no such VM".into() }),
            word => Some(Asked { condition: Some(condition(word)), word: word.into() }),
        };
        let ended =
            |here, there| how_ended(said(here).as_ref(), said(there).as_ref()).map(|(state, _)| state);
        let (failed, completed) = (Some(MigrationState::Failed), Some(MigrationState::Completed));
        for there in ["silent", "none", "running (migrated)", "paused (migrating)"] {
            assert_eq!(ended("running (booted)", there), failed, "{there}");
            assert_eq!(ended("silent", there), None, "{there}");
        }
        // One that was paused for its migration, or by its owner, and stayed.
        assert_eq!(ended("paused (user)", "none"), failed);
        assert_eq!(ended("paused (user)", "shut off (destroyed)"), failed);
        for there in ["silent", "paused (migrating)", "paused (user)", "running (migrated)"] {
            assert_eq!(ended("paused (user)", there), None, "{there}");
        }
        for here in
            ["paused (migrating)", "paused (post-copy)", "paused (post-copy failed)", "paused (I/O error)"]
        {
            assert_eq!(ended(here, "none"), None, "it may have run there: {here}");
        }
        assert_eq!(ended("none", "running (migrated)"), completed);
        assert_eq!(ended("shut off (migrated)", "paused (user)"), completed);
        for there in ["silent", "none", "paused (migrating)", "paused (post-copy failed)"] {
            assert_eq!(ended("none", there), None, "{there}");
        }
    }

    #[test]
    fn what_went_into_post_copy_after_it_was_to_be_cancelled_is_not_cancelled_any_more() {
        let mut job = Job { cancel_asked: true, ..Job::default() };
        assert!(job.is_to_be_cancelled());
        job.hear(
            Side::Source,
            &EventKind::MigrationStatus {
                status: "postcopy-active".into(),
                state: Some(MigrationState::PostCopy),
            },
        );
        assert!(!job.is_to_be_cancelled());
    }
}
