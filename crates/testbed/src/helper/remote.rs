//! The folder of a helper on a machine that is reached through ssh: its own, which it takes along when it ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netlink::Netlink;

/// What the names of such folders begin with; the bench adds what makes one its own.
pub(crate) const FOLDER_PREFIX: &str = "dunlin-";
/// The name of the program in it.
pub(crate) const PROGRAM: &str = "dunlin-helper";
/// What is locked as long as a helper has the folder.
pub(crate) const LOCK: &str = "lock";
/// The taps that were made, a line each.
const TAPS: &str = "taps";

/// In the environment of what is launched: whose it is.
const MARK: &str = "DUNLIN_HELPER_FOLDER";
/// How often is looked for what a killed helper had launched, as it may start more meanwhile.
const LOOKS: usize = 3;

/// The folder of a helper. Whoever ends the helper removes it: several threads may.
pub(super) struct Folder {
    path: PathBuf,
    taps: Mutex<Vec<String>>,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes the folder in which this program lies, and removes those of helpers that were killed beside it.
    pub(super) fn own() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let path = program.parent().map(Path::to_owned).unwrap_or_default();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER_PREFIX));
        if !is_ours || program.file_name().is_none_or(|name| name != PROGRAM) {
            let why = format!("{} lies in no folder of its own, which would be removed", program.display());
            return Err(io::Error::other(why));
        }
        let lock = lock(&path)?;
        if let Some(base) = path.parent() {
            remove_dead(base, &path);
        }
        Ok(Self { path, taps: Mutex::default(), _lock: lock })
    }

    /// Notes a tap that is about to be made: who comes after a kill finds it.
    pub(super) fn note_tap(&self, name: &str) -> io::Result<()> {
        let mut taps = self.taps();
        taps.push(name.to_owned());
        self.write(&taps)
    }

    pub(super) fn forget_tap(&self, name: &str) -> io::Result<()> {
        let mut taps = self.taps();
        taps.retain(|known| known != name);
        self.write(&taps)
    }

    /// Marks a program that is about to be launched, and with it all that it starts: who comes after a kill finds them.
    pub(super) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.path);
    }

    /// Removes it, with the taps that were made.
    pub(super) fn remove(&self) {
        remove(&self.path, &self.taps());
    }

    fn write(&self, taps: &[String]) -> io::Result<()> {
        fs::write(self.path.join(TAPS), taps.join("\n"))
    }

    fn taps(&self) -> MutexGuard<'_, Vec<String>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(folder: &Path) -> io::Result<Flock<File>> {
    let file = File::options().write(true).create(true).truncate(false).open(folder.join(LOCK))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// What helpers left that were killed, or whose machine went down. One that is just being filled has no lock yet.
fn remove_dead(base: &Path, own: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path != own
            && name.starts_with(FOLDER_PREFIX)
            && path.join(LOCK).is_file()
            && path.join(PROGRAM).is_file()
    });
    for path in others {
        let is_mine = fs::symlink_metadata(&path).is_ok_and(|metadata| {
            use std::os::unix::fs::MetadataExt;
            metadata.is_dir() && metadata.uid() == fs::metadata(own).map_or(u32::MAX, |own| own.uid())
        });
        if !is_mine {
            continue;
        }
        if let Ok(_lock) = lock(&path) {
            (0..LOOKS).for_each(|_| end_marked(&path));
            let taps = fs::read_to_string(path.join(TAPS)).unwrap_or_default();
            let taps: Vec<String> = taps.lines().map(str::to_owned).collect();
            remove(&path, &taps);
        }
    }
}

/// Ends what is marked with a folder. Its first process died with the helper; what that had started did not.
fn end_marked(folder: &Path) {
    let mark = [MARK.as_bytes(), b"=", folder.as_os_str().as_bytes()].concat();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Other users' are not told, and not ours.
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn remove(folder: &Path, taps: &[String]) {
    if !taps.is_empty()
        && let Ok(mut netlink) = Netlink::open_here("the host")
    {
        // Fails only where there is none any more.
        taps.iter().for_each(|tap| drop(netlink.delete(tap)));
    }
    let _ = fs::remove_dir_all(folder);
}
