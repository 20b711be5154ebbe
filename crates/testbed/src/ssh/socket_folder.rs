//! The folder of a connection's socket: private, and removed also after its process was killed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::{Result, TestbedError};

/// What the names of our folders for sockets begin with.
const PREFIX: &str = "dunlin-ssh-";
/// The longest path of a folder for them: a socket's may have 107 bytes, and ssh adds 17 while it makes one.
const BASE_BYTES: usize = 50;
/// How old a folder is at least that nobody has: one that is just being made is not had by anybody yet.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// A folder that nobody else may reach. Dropping it removes it.
#[derive(Debug)]
pub(super) struct SocketFolder {
    folder: TempDir,
    /// By which others see that somebody has it: a process id would be another in another namespace.
    _lock: Flock<File>,
}

impl SocketFolder {
    /// Makes one, and removes those that nobody has any more.
    pub(super) fn make() -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let base =
            runtime.filter(|path| path.as_os_str().len() < BASE_BYTES).unwrap_or_else(|| "/tmp".into());
        remove_dead(&base);
        let doing = || format!("make a folder for ssh's socket in {}", base.display());
        let private = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(&base);
        let folder = made.map_err(TestbedError::io(doing()))?;
        let lock = lock(folder.path()).map_err(TestbedError::io(doing()))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where the socket is to be.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("m")
    }
}

fn lock(folder: &Path) -> std::io::Result<Flock<File>> {
    Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

fn remove_dead(base: &Path) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Ok(metadata) = entry.metadata() else { continue };
        let is_old = metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > DEAD_AFTER));
        if is_ours && is_old && metadata.is_dir() && metadata.uid() == own && lock(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_nobody_has_any_more_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str, is_old: bool| {
            let path = base.path().join(name);
            fs::create_dir(&path).unwrap();
            if is_old {
                File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
            path
        };
        let dead = make("dunlin-ssh-dead", true);
        let had = make("dunlin-ssh-had", true);
        let (new, other) = (make("dunlin-ssh-new", false), make("other", true));
        let _had = lock(&had).unwrap();
        remove_dead(base.path());
        assert_eq!([dead, had, new, other].map(|path| path.exists()), [false, true, true, true]);
    }
}
