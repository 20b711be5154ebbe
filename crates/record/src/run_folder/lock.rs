//! A folder has one writer.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{RecordError, Result};

/// Says that whoever holds it is the one writer of a folder, as of a run's. It ends with the process, however that ends.
/// Readers need none.
#[derive(Debug)]
pub struct FolderLock {
    /// Absent where the file system knows no locks: there nobody is kept out.
    held: Option<Flock<File>>,
}

impl FolderLock {
    /// Takes the folder to write in it. It is the folder itself that is locked (flock(2)): nothing is put into it.
    ///
    /// # Errors
    /// Where another process writes in it, or there is no such folder.
    pub fn take(folder: &Path) -> Result<Self> {
        let file = File::open(folder).map_err(RecordError::io("open", folder))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { held: Some(held) }),
            Err((_, Errno::EWOULDBLOCK)) => Err(RecordError::Busy { path: folder.to_owned() }),
            Err((_, Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP)) => Ok(Self { held: None }),
            Err((_, errno)) => Err(RecordError::io("lock", folder)(errno.into())),
        }
    }

    /// Whether it keeps others out, which it does not where the file system knows no locks.
    #[must_use]
    pub fn keeps_out(&self) -> bool {
        self.held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_writer_that_is_killed_holds_nothing_any_more() {
        let dir = tempfile::tempdir().unwrap();
        // One process, so that the lock is gone with it and not with a child of it.
        let mut writer =
            Command::new("flock").arg("--no-fork").arg(dir.path()).args(["sleep", "60"]).spawn().unwrap();
        while FolderLock::take(dir.path()).is_ok() {
            assert!(writer.try_wait().unwrap().is_none(), "this machine's flock(1) is another");
        }
        // SIGKILL.
        writer.kill().unwrap();
        writer.wait().unwrap();
        FolderLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_has_one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(dir.path()).unwrap();
        let second = FolderLock::take(dir.path()).unwrap_err();
        assert!(matches!(&second, RecordError::Busy { path } if path == dir.path()), "{second:?}");
        drop(first);
        FolderLock::take(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left in it");
    }
}
