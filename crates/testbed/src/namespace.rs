//! Network namespaces: made under a name, entered only by threads and processes that end in them.
#![expect(unsafe_code, reason = "a program enters its namespace between fork and exec")]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::{Result, TestbedError};

/// Where namespaces have their names; the same place as `ip netns`, in the lab's own `/run`.
pub(crate) const NAMES: &str = "/run/netns";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes a namespace and gives it a name.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let doing = || format!("create the network namespace {name}");
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(TestbedError::errno(doing()))?;
            Self::name_current(name)
        })
    }

    /// Gives a name to the network namespace of the calling thread.
    pub(crate) fn name_current(name: &str) -> Result<Self> {
        let path = path_of(name);
        // `/proc/self` would be the main thread, which need not be in the same namespace.
        let current = Path::new("/proc/thread-self/ns/net");
        File::create_new(&path).map_err(TestbedError::io(format!("create {}", path.display())))?;
        mount(Some(current), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(TestbedError::errno(format!("name the network namespace {name}")))?;
        let file = File::open(&path).map_err(TestbedError::io(format!("open {}", path.display())))?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it has its name.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Does work inside, on a thread made for it: a thread that came back from a namespace is easily forgotten there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            setns(self, CloneFlags::CLONE_NEWNET)
                .map_err(TestbedError::errno(format!("enter the network namespace {}", self.name)))?;
            work()
        })
    }

    /// Starts a program inside.
    pub(crate) fn spawn(&self, mut command: Command) -> Result<Child> {
        let namespace = self.as_fd().as_raw_fd();
        let enter = move || {
            // SAFETY: the descriptor is the parent's open namespace, which the fork has copied.
            let namespace = unsafe { BorrowedFd::borrow_raw(namespace) };
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        // SAFETY: after the fork this only makes a system call.
        unsafe { command.pre_exec(enter) };
        let program = command.get_program().to_owned();
        command.spawn().map_err(TestbedError::io(format!("start {} on {}", program.display(), self.name)))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes a namespace's name away; the namespace ends with its last process, device or open file.
pub(crate) fn unname(name: &str) {
    let path = path_of(name);
    // Both can only fail where the name is gone already.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

fn path_of(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
