//! The folder of a helper on a machine that is reached through ssh: its own, which it takes along when it ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::services::boot_id;
use crate::netlink::Netlink;

/// What the names of such folders begin with; the bench adds what makes one its own.
pub(crate) const FOLDER_PREFIX: &str = "dunlin-";
/// The name of the program in it.
pub(crate) const PROGRAM: &str = "dunlin-helper";
/// What is locked as long as a helper has the folder.
pub(crate) const LOCK: &str = "lock";
/// What was made outside of the folder, each a line of JSON.
const MADE: &str = "made";

/// In the environment of what is launched: whose it is.
const MARK: &str = "DUNLIN_HELPER_FOLDER";
/// How often is looked for what a killed helper had launched, as it may start more meanwhile.
const LOOKS: usize = 3;
/// How old a folder is at least that has no lock and will not get one: its bench was gone before all had arrived.
const NEVER_FILLED_AFTER: Duration = Duration::from_secs(600);

/// Something that was made outside of the folder, and goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Made {
    /// A tap. By its number and the kernel's run it is told from one of the same name that is somebody else's.
    Tap { name: String, index: u32, boot_id: String },
    /// By bytes: a path may hold any.
    File(OsString),
}

/// The folder of a helper. Whoever ends the helper removes it: several threads may.
pub(super) struct Folder {
    path: PathBuf,
    made: Mutex<Vec<Made>>,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes the folder in which this program lies, and removes those of helpers that were killed beside it.
    pub(super) fn own() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let path = program.parent().map(Path::to_owned).unwrap_or_default();
        // It will be removed: it must have been made for that.
        let metadata = fs::symlink_metadata(&path)?;
        let is_private = metadata.is_dir() && metadata.mode() & 0o777 == 0o700;
        if !is_private || !is_ours(&path) || program.file_name().is_none_or(|name| name != PROGRAM) {
            let why = format!("{} lies in no folder of its own, which would be removed", program.display());
            return Err(io::Error::other(why));
        }
        let lock = make_lock(&path)?;
        if let Some(base) = path.parent() {
            remove_dead(base, &path, metadata.uid());
        }
        Ok(Self { path, made: Mutex::default(), _lock: lock })
    }

    /// Removes what a helper left in whose folder this program lies and that was killed.
    pub(super) fn sweep() -> io::Result<()> {
        let program = std::env::current_exe()?;
        let path = program.parent().filter(|path| is_ours(path));
        let path = path.ok_or_else(|| io::Error::other("it lies in no folder of a helper"))?;
        sweep(path);
        Ok(())
    }

    /// Notes what was made, or is about to be: who comes after a kill finds it.
    pub(super) fn note(&self, made: Made) -> io::Result<()> {
        let mut all = self.made();
        all.push(made);
        self.write(&all)
    }

    /// Whether a path is inside.
    pub(super) fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
    }

    /// Forgets what is no more.
    pub(super) fn forget(&self, is_gone: impl Fn(&Made) -> bool) -> io::Result<()> {
        let mut all = self.made();
        let before = all.len();
        all.retain(|made| !is_gone(made));
        if all.len() == before { Ok(()) } else { self.write(&all) }
    }

    /// Marks a program that is about to be launched, and with it all that it starts: who comes after a kill finds them.
    pub(super) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.path);
    }

    /// Removes it, with what was made.
    pub(super) fn remove(&self) {
        remove(&self.path, &self.made());
    }

    fn write(&self, all: &[Made]) -> io::Result<()> {
        let lines: Result<Vec<String>, _> = all.iter().map(serde_json::to_string).collect();
        let beside = self.path.join("made.part");
        fs::write(&beside, lines.map_err(io::Error::other)?.join("\n"))?;
        // Whole at any moment.
        fs::rename(beside, self.path.join(MADE))
    }

    fn made(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    /// A tap that has just been made.
    pub(super) fn tap(name: &str) -> io::Result<Self> {
        Ok(Self::Tap { name: name.to_owned(), index: if_nametoindex(name)?, boot_id: boot_id() })
    }

    fn remove(&self) {
        match self {
            Self::Tap { name, index, boot_id: then } => {
                let is_it =
                    boot_id() == *then && if_nametoindex(name.as_str()).is_ok_and(|now| now == *index);
                if is_it && let Ok(mut netlink) = Netlink::open_here("the host") {
                    let _ = netlink.delete(name);
                }
            }
            Self::File(path) => drop(fs::remove_file(path)),
        }
    }
}

/// Whether a folder is named as the bench names them: the prefix, a process id, a time.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(pid, time)| is_number(pid) && is_number(time))
}

/// A lock that is held from the moment that others see it.
fn make_lock(folder: &Path) -> io::Result<Flock<File>> {
    let beside = folder.join("lock.new");
    let file = File::options().write(true).create(true).truncate(false).open(&beside)?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    fs::rename(beside, folder.join(LOCK))?;
    Ok(lock)
}

/// The lock of a folder whose helper is gone.
fn lock_of_dead(folder: &Path) -> io::Result<Flock<File>> {
    let file = File::options().write(true).custom_flags(libc::O_NOFOLLOW).open(folder.join(LOCK))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// What helpers of this user left that were killed, or whose machine went down.
fn remove_dead(base: &Path, own: &Path, uid: u32) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        // Whose it is comes first: what is somebody else's may hang whoever looks into it.
        let Ok(metadata) = entry.metadata() else { continue };
        if path == own || !is_ours(&path) || !metadata.is_dir() || metadata.uid() != uid {
            continue;
        }
        let age = metadata.modified().ok().and_then(|changed| changed.elapsed().ok()).unwrap_or_default();
        if path.join(LOCK).is_file() {
            sweep(&path);
        } else if age > NEVER_FILLED_AFTER {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Removes a folder with what was made, unless a helper has it.
fn sweep(path: &Path) {
    if let Ok(_lock) = lock_of_dead(path) {
        (0..LOOKS).for_each(|_| end_marked(path));
        let text = fs::read_to_string(path.join(MADE)).unwrap_or_default();
        let made: Vec<Made> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        remove(path, &made);
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

fn remove(folder: &Path, made: &[Made]) {
    made.iter().for_each(Made::remove);
    let _ = fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_named_as_the_bench_names_them_are_ours() {
        assert!(is_ours(Path::new("/var/tmp/dunlin-12-345")));
        for other in
            ["/var/tmp/dunlin-1.0", "/srv/dunlin-main", "/x/dunlin-1-2-3", "/x/dunlin--", "/x/other-1-2", "/"]
        {
            assert!(!is_ours(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn what_is_noted_is_read_and_a_tap_of_another_number_is_left_alone() {
        let made = [
            Made::File("/a b\n/disk".into()),
            Made::Tap { name: "lo".into(), index: 99, boot_id: boot_id() },
        ];
        for one in &made {
            let line = serde_json::to_string(one).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Made>(&line).unwrap(), *one);
        }
        // The loopback device has another number: nothing is asked of the kernel.
        made[1].remove();
        assert!(if_nametoindex("lo").is_ok());
    }

    #[test]
    fn a_folder_whose_helper_lives_is_never_swept() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("dunlin-1-2");
        fs::create_dir(&folder).unwrap();
        let disk = base.path().join("disk");
        fs::write(&disk, "").unwrap();
        let line = serde_json::to_string(&Made::File(disk.clone().into())).unwrap();
        fs::write(folder.join(MADE), line).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let lock = make_lock(&folder).unwrap();
        remove_dead(base.path(), Path::new("/"), uid);
        assert!(folder.exists() && disk.exists());
        drop(lock);
        remove_dead(base.path(), Path::new("/"), uid);
        assert!(!folder.exists() && !disk.exists());
    }
}
